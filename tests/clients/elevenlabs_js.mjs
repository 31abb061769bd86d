// What the ElevenLabs SDK for JavaScript gets from the server at process.argv[2], as JSON.
// Run where it is installed: it is looked up from the working directory.
import { createRequire } from "node:module";

const { ElevenLabsClient } = createRequire(process.cwd() + "/")("@elevenlabs/elevenlabs-js");
const [, , baseUrl, voice, text] = process.argv;
const client = new ElevenLabsClient({ apiKey: "any", baseUrl });
const request = { text, outputFormat: "pcm_24000" };

async function size(audio) {
  let bytes = 0;
  for await (const piece of await audio) bytes += piece.length;
  return bytes;
}

async function refused(settings) {
  try {
    await client.textToSpeech.convert(voice, { ...request, ...settings });
  } catch (error) {
    return { status: error.statusCode, message: error.body.detail.message };
  }
}

const timed = await client.textToSpeech.convertWithTimestamps(voice, request);
const page = await client.voices.search({ pageSize: 3 });
console.log(
  JSON.stringify({
    convert: await size(client.textToSpeech.convert(voice, request)),
    stream: await size(client.textToSpeech.stream(voice, request)),
    characters: timed.alignment.characters.join(""),
    page: page.voices.map((voice) => voice.voiceId),
    voices: (await client.voices.getAll()).voices.length,
    models: (await client.models.list()).map((model) => model.modelId),
    refused: await refused({ voiceSettings: { stability: 2 } }),
  }),
);
