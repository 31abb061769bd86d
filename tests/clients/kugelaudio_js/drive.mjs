// One scene of the KugelAudio SDK for JavaScript against the server at process.argv[2]; what it heard, as JSON.
// Run where the SDK is installed: it is looked up from the working directory.
import { createRequire } from "node:module";

const { KugelAudio } = createRequire(process.cwd() + "/")("kugelaudio");
const [, , apiUrl, scene, apiKey = "any"] = process.argv;
const [VOICE, OTHER] = [1071, 1072];
const TEXT = "Hello there, this is the first sentence. And here comes another one, a bit longer than the first.";
const LONG = "This one will be interrupted after a moment, because the user speaks up. ".repeat(20);
const SORRY = "Sorry, go ahead please.";

const client = new KugelAudio({ apiKey, apiUrl });
const seconds = (chunks) => chunks.reduce((sum, chunk) => sum + chunk.samples / chunk.sampleRate, 0);
const later = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Callbacks that keep what they were told, and promises of what will be told.
class Ears {
  heard = [];
  chunks = [];
  words = [];
  waiting = [];

  constructor() {
    for (const name of [
      "onGenerationStarted", "onChunkComplete", "onFinal", "onSessionClosed", "onInterrupted", "onServerRestart",
      "onSessionStarted", "onContextCreated", "onContextClosed", "onContextTimeout",
    ])
      this[name] = (...told) => this.tell(name, ...told);
    this.onError = (error, context) => this.tell("onError", error.name, error.errorCode ?? null, context);
    this.onWordTimestamps = (words) => this.words.push(...words);
    this.onChunk = (chunk) => {
      this.chunks.push(chunk);
      const rest = this.heard.slice(this.heard.findLastIndex(([name]) => name !== "onChunk") + 1);
      if (!rest.some(([, context]) => context === chunk.contextId)) this.tell("onChunk", chunk.contextId);
    };
  }

  tell(name, ...told) {
    this.heard.push([name, ...told]);
    this.waiting = this.waiting.filter((wait) => !wait());
  }

  // until `name` was told `count` times (of a context), or it took too long
  until(name, { context, count = 1 } = {}) {
    return new Promise((resolve, reject) => {
      const there = () =>
        this.heard.filter((told) => told[0] === name && (context === undefined || told[1] === context)).length >= count;
      if (there()) return resolve();
      const timer = setTimeout(() => reject(new Error(`no ${name}: ${JSON.stringify(this.heard)}`)), 10_000);
      this.waiting.push(() => there() && (clearTimeout(timer), resolve(), true));
    });
  }

  // what was heard since the last time
  take() {
    const { heard, chunks, words } = this;
    this.heard = [];
    this.chunks = [];
    this.words = [];
    return { heard, seconds: seconds(chunks), words: words.map((word) => word.word) };
  }

  of(context) {
    return seconds(this.chunks.filter((chunk) => chunk.contextId === context));
  }
}

async function timed(promise) {
  const began = performance.now();
  await promise;
  return (performance.now() - began) / 1000;
}

async function streaming(config = {}) {
  const ears = new Ears();
  const session = client.tts.streamingSession({ voiceId: VOICE, language: "en", wordTimestamps: true, ...config }, ears);
  await session.connect();
  return [session, ears];
}

async function multi(config = {}) {
  const ears = new Ears();
  const session = client.tts.createMultiContextSession({ defaultVoiceId: VOICE, language: "en", ...config });
  await session.connect(ears);
  return [session, ears];
}

async function refusal(promise) {
  try {
    await promise;
  } catch (error) {
    return { name: error.name, code: error.errorCode ?? null, status: error.statusCode, id: error.requestId ?? null };
  }
}

const scenes = {
  async stream_turns() {
    const [session, ears] = await streaming({ autoMode: true, chunkLengthSchedule: [50, 100, 150, 250] });
    for (const word of TEXT.split(" ")) session.send(word + " ");
    const ended = await timed(session.endSession());
    const tokens = { ...ears.take(), usage: session.lastUsage };
    session.updateConfig({ voiceId: OTHER });
    session.send(TEXT, true);
    await ears.until("onSessionClosed");
    const flushed = { ...ears.take(), usage: session.lastUsage };
    const endedAgain = await timed(session.endSession());
    const usage = session.lastUsage;
    const closed = await timed(session.close());
    return { tokens, flushed, ended, endedAgain, usage, afterwards: ears.take(), closed, last: session.lastUsage };
  },

  // The end is asked for while a flushed turn still speaks: it is that turn's.
  async stream_end_of_flushed() {
    const [session, ears] = await streaming();
    session.send(SORRY, true);
    await session.endSession();
    const first = { ...ears.take(), usage: session.lastUsage };
    session.send(TEXT, true);
    await session.endSession();
    const second = { ...ears.take(), usage: session.lastUsage };
    await session.close();
    return { first, second, afterwards: ears.take() };
  },

  // Three turns are sent before the first has spoken.
  async stream_pipelined() {
    const [session, ears] = await streaming();
    for (const text of [SORRY, TEXT, SORRY]) session.send(text, true);
    await ears.until("onSessionClosed", { count: 3 });
    const turns = ears.take();
    await session.close();
    return { turns };
  },

  async stream_interruption() {
    const [session, ears] = await streaming();
    session.send(LONG, true);
    await ears.until("onChunk");
    const cancelled = await timed(session.cancelCurrent());
    const cut = ears.take();
    session.send(SORRY, true);
    await ears.until("onSessionClosed");
    const sorry = { ...ears.take(), usage: session.lastUsage };
    const idle = await timed(session.cancelCurrent());
    const nothing = ears.take();
    const closed = await timed(session.close());
    return { cut, cancelled, sorry, idle, nothing, closed };
  },

  async stream_settings() {
    const [session, ears] = await streaming();
    const settings = await session.updateSettings({ speed: 0.8, cfgScale: 1.5 });
    const refused = await refusal(session.updateSettings({ speed: 9 }));
    session.send(TEXT, true);
    await ears.until("onSessionClosed");
    await session.close();
    return { settings, refused, turn: ears.take() };
  },

  async multi_turns() {
    const [session, ears] = await multi({ sampleRate: 24000, inactivityTimeout: 20 });
    session.createContext("narrator");
    session.createContext("character", { voiceId: OTHER, voiceSettings: { stability: 0.5, speed: 1.1 } });
    session.send("narrator", "Hello there, this is the first sentence. ");
    session.send("narrator", "And here comes another one.");
    session.send("character", SORRY, true);
    await ears.until("onFinal", { context: "character" });
    session.keepAlive("character");
    session.flush("narrator");
    await ears.until("onFinal", { context: "narrator" });
    const heard = { narrator: ears.of("narrator"), character: ears.of("character") };
    session.closeContext("narrator");
    await ears.until("onContextClosed", { context: "narrator" });
    session.send("late", SORRY, true);
    await ears.until("onFinal", { context: "late" });
    const usage = { narrator: session.usageFor("narrator"), character: session.usageFor("character") };
    const active = session.activeContexts;
    const id = session.sessionId;
    session.close();
    await later(300);
    return { heard, usage, active, id, told: ears.take().heard, closedUsage: session.usageFor("character") };
  },

  async multi_interruption() {
    const [session, ears] = await multi();
    session.createContext("cut");
    session.send("cut", LONG, true);
    await ears.until("onChunk", { context: "cut" });
    session.closeContext("cut", true);
    const cancelled = await timed(ears.until("onContextClosed", { context: "cut" }));
    const cut = ears.of("cut");
    session.send("sorry", SORRY, true);
    await ears.until("onFinal", { context: "sorry" });
    session.closeContext("sorry");
    await ears.until("onContextClosed", { context: "sorry" });
    const sorry = ears.of("sorry");
    const usage = { cut: session.usageFor("cut"), sorry: session.usageFor("sorry") };
    session.close();
    return { cut, cancelled, sorry, usage, told: ears.take().heard };
  },

  async multi_limit() {
    const [session, ears] = await multi();
    for (let number = 0; number < 21; number++) session.createContext(`c${number}`);
    await ears.until("onError");
    session.send("c19", SORRY, true);
    await ears.until("onFinal", { context: "c19" });
    session.closeContext("c0", true);
    await ears.until("onContextClosed", { context: "c0" });
    session.createContext("c20");
    await ears.until("onContextCreated", { context: "c20" });
    session.send("c20", SORRY, true);
    await ears.until("onFinal", { context: "c20" });
    const result = { c19: ears.of("c19"), c20: ears.of("c20"), active: session.activeContexts.length };
    session.close();
    return { ...result, told: ears.take().heard };
  },

  async multi_timeout() {
    const [session, ears] = await multi({ inactivityTimeout: 1 });
    session.createContext("quiet");
    session.createContext("busy");
    for (let half = 0; half < 5; half++) {
      await later(500);
      session.keepAlive("busy");
    }
    const told = ears.take().heard;
    const active = session.activeContexts;
    session.send("quiet", SORRY, true); // and comes back
    await ears.until("onFinal", { context: "quiet" });
    const again = ears.of("quiet");
    session.close();
    return { told, active, again };
  },

  async multi_settings() {
    const [session, ears] = await multi();
    const settings = await session.updateSettings({ speed: 0.8 });
    session.send("slow", TEXT, true);
    await ears.until("onFinal");
    const slow = ears.of("slow");
    session.close();
    return { settings, slow };
  },

  // Requests on one socket, all sent before the first was answered; the third is refused.
  async one_shot() {
    await client.connect();
    const all = [TEXT, SORRY, "", TEXT].map((text) => {
      const ears = new Ears();
      const done = client.tts.stream({ text, voiceId: VOICE, language: "en", wordTimestamps: true }, ears);
      return refusal(done).then((refused) => ({ ...ears.take(), refused }));
    });
    const requests = await Promise.all(all);
    const whole = await client.tts.generate({ text: TEXT, voiceId: VOICE, outputFormat: "ulaw_8000" });
    const connected = client.isConnected();
    client.close();
    return { requests, whole: { rate: whole.sampleRate, bytes: whole.audio.byteLength }, connected };
  },

  // A request with a socket of its own.
  async one_shot_alone() {
    const ears = new Ears();
    await client.tts.stream({ text: SORRY, voiceId: VOICE }, ears, false);
    return ears.take();
  },

  async lists() {
    const page = await client.voices.list({ limit: 3, offset: 2 });
    const models = await client.models.list();
    const missing = await refusal(client.voices.get(1_000_000_007));
    return { page, models, voice: await client.voices.get(page.voices[0].id), missing };
  },

  async refused() {
    return {
      stream: await refusal(client.tts.streamingSession({ voiceId: VOICE }, {}).connect()),
      multi: await refusal(client.tts.createMultiContextSession({}).connect({})),
      one_shot: await refusal(client.connect()),
      http: await refusal(client.voices.list()),
    };
  },
};

console.log(JSON.stringify(await scenes[scene]()));
process.exit(0);
