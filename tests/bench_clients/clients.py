"""The clients, all with the same face."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

import anyio
from load import PLACES, VOICE, Client, Heard, Tokens

import mux
from mux.client import Callbacks


class Mux(Client):
    """A task for each context iterates over it."""

    def __init__(self, sessions: list[mux.Session]) -> None:
        self._sessions = sessions

    async def say(self, place: int, text: str, heard: Heard) -> None:
        async with self._sessions[place % len(self._sessions)].context(f"c{place}") as context:
            await context.send(text)
            await context.close()
            async for chunk in context:
                heard(len(chunk.audio))

    async def feed(self, tokens: Tokens) -> None:
        async with self._sessions[0].context("feed") as context:
            for token in tokens:
                await context.send(token)
            await tokens.settle()


class MuxTold(Mux):
    """One place of the app is told of all contexts: by callbacks, or by one iteration."""

    def __init__(self) -> None:
        super().__init__([])
        self._heard: defaultdict[str, Heard] = defaultdict(lambda: lambda _: None)
        self._over: defaultdict[str, anyio.Event] = defaultdict(anyio.Event)
        self.callbacks = Callbacks(
            on_chunk=lambda chunk: self._heard[chunk.context](len(chunk.audio)),
            on_context_closed=lambda name, _: self._over[name].set(),
        )

    async def say(self, place: int, text: str, heard: Heard) -> None:
        name = f"c{place}"
        self._heard[name], self._over[name] = heard, anyio.Event()
        context = await self._sessions[0].create_context(name)
        await context.send(text)
        await context.close()
        await self._over[name].wait()

    async def read(self, events: AsyncIterator[Any]) -> None:
        async for event in events:
            if isinstance(event, mux.Chunk):
                self._heard[event.context](len(event.audio))
            else:
                self._over[event.context].set()


@asynccontextmanager
async def open_mux(
    url: str, dialect: Literal["mux", "elevenlabs", "kugelaudio"], sessions: int = 1, told: str = ""
) -> AsyncIterator[Client]:
    options: dict[str, Any] = {"dialect": dialect, "voice": VOICE, "contexts_per_socket": PLACES + 1}
    client = MuxTold() if told else Mux([])
    async with AsyncExitStack() as stack:
        if told == "callbacks":
            options["callbacks"] = client.callbacks  # type: ignore[attr-defined]
        for _ in range(sessions):
            client._sessions.append(await stack.enter_async_context(mux.connect(url, **options)))
        if told == "events":
            events = await stack.enter_async_context(client._sessions[0].events(stay=True))
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(tasks.cancel_scope.cancel)
            tasks.start_soon(client.read, events)  # type: ignore[attr-defined]
        yield client


class ElevenLabs(Client):
    """`convert_realtime`: blocking, and a socket for each turn."""

    def __init__(self, convert: Any) -> None:
        self._convert = convert

    async def say(self, place: int, text: str, heard: Heard) -> None:
        await anyio.to_thread.run_sync(self._say, iter([text]), heard)

    async def feed(self, tokens: Tokens) -> None:
        await anyio.to_thread.run_sync(self._feed, tokens)
        await tokens.settle()

    def _say(self, text: Iterator[str], heard: Heard) -> None:
        for audio in self._convert(VOICE, text=text, output_format="pcm_24000"):
            heard(len(audio))

    def _feed(self, tokens: Tokens) -> None:
        speech = self._convert(VOICE, text=iter(tokens), output_format="pcm_24000")
        for _ in speech:
            if tokens.ended:
                speech.close()


@asynccontextmanager
async def open_elevenlabs(url: str) -> AsyncIterator[Client]:
    from elevenlabs.client import ElevenLabs as Sdk

    speech = Sdk(base_url=url.replace("ws", "http", 1), api_key="any").text_to_speech
    speech._ws_base_url = url  # it would make wss:// of it
    yield ElevenLabs(speech.convert_realtime)


class KugelAudio(Client):
    """`multi_context_session`, or `streaming_session`: only one task may read a session."""

    def __init__(self, sessions: list[Any], *, multi: bool) -> None:
        self._sessions = sessions
        self._context = ("context",) if multi else ()

    async def say(self, place: int, text: str, heard: Heard) -> None:
        async for chunk in self._sessions[place].send(*self._context, text, flush=True):
            heard(len(chunk.audio))

    async def feed(self, tokens: Tokens) -> None:
        session = self._sessions.pop()
        for token in tokens:
            async for _ in session.send(*self._context, token):
                pass
        await tokens.settle()


@asynccontextmanager
async def open_kugelaudio(url: str, kind: Literal["multi_context", "streaming"]) -> AsyncIterator[Client]:
    from kugelaudio import KugelAudio as Sdk

    sdk = Sdk(api_key="any", api_url=url.replace("ws", "http", 1))
    multi = kind == "multi_context"
    voice = {"default_voice_id" if multi else "voice_id": int(VOICE)}
    async with AsyncExitStack() as stack:
        stack.push_async_callback(sdk.aclose)
        make = getattr(sdk.tts, f"{kind}_session")
        sessions = [make(**voice, language="en", word_timestamps=True) for _ in range(PLACES + 1)]
        for session in sessions:
            await stack.enter_async_context(session)
        yield KugelAudio(sessions, multi=multi)


class LiveKit(Client):
    """The plugin as agents use it: text goes through its tokenizer, audio through its emitter, which gives
    frames of 200 ms."""

    def __init__(self, tts: Any) -> None:
        self._tts = tts

    async def say(self, place: int, text: str, heard: Heard) -> None:
        async with self._tts.stream() as stream:
            stream.push_text(text)
            stream.end_input()
            async for audio in stream:
                heard(audio.frame.data.nbytes)

    async def feed(self, tokens: Tokens) -> None:
        async with self._tts.stream() as stream:
            for token in tokens:
                stream.push_text(token)
            await tokens.settle()


class LiveKitSocket(LiveKit):
    """The plugin's socket alone: its reader parses, decodes, routes, and makes words of alignments."""

    _names = 0

    async def say(self, place: int, text: str, heard: Heard) -> None:
        connection, content, name, over = await self._stream(heard)
        connection.send_content(content(name, text + " ", flush=False))
        connection.send_content(content(name, "", flush=True))
        connection.close_context(name)
        await over

    async def feed(self, tokens: Tokens) -> None:
        connection, content, name, _ = await self._stream(lambda _: None)
        for token in tokens:
            connection.send_content(content(name, token, flush=False))
        await tokens.settle()
        connection.unregister_stream(name)
        connection.close_context(name)

    async def _stream(self, heard: Heard) -> Any:
        from livekit.plugins.elevenlabs.tts import _SynthesizeContent

        connection, _, _ = await self._tts._current_connection()
        LiveKitSocket._names += 1
        name = f"c{self._names}"
        stream = SimpleNamespace(
            _context_id=name,
            _conn_options=SimpleNamespace(timeout=10),
            _text_buffer="",
            _start_times_ms=[],
            _durations_ms=[],
        )
        emitter = SimpleNamespace(push=lambda audio: heard(len(audio)), push_timed_transcript=lambda _: None)
        over = asyncio.get_running_loop().create_future()
        connection.register_stream(stream, emitter, over)
        return connection, _SynthesizeContent, name, over


@asynccontextmanager
async def open_livekit(url: str, kind: type[LiveKit]) -> AsyncIterator[Client]:
    import aiohttp
    from livekit.plugins import elevenlabs as plugin

    base = url.replace("ws", "http", 1) + "/v1"
    async with aiohttp.ClientSession() as http:
        tts = plugin.TTS(base_url=base, api_key="any", encoding="pcm_24000", http_session=http)
        yield kind(tts)
        await tts.aclose()


class Row(NamedTuple):
    """A client of the table; `module` is what has to be installed."""

    name: str
    sockets: str
    open: Callable[[str], Any]
    module: str = "mux"


EACH = str(PLACES)
ROWS = [
    Row("mux, each context iterated", "1", lambda url: open_mux(url, "mux")),
    Row("mux, events()", "1", lambda url: open_mux(url, "mux", told="events")),
    Row("mux, callbacks", "1", lambda url: open_mux(url, "mux", told="callbacks")),
    Row("mux, dialect elevenlabs", "1", lambda url: open_mux(url, "elevenlabs")),
    Row("mux, dialect kugelaudio", "1", lambda url: open_mux(url, "kugelaudio")),
    Row("mux, a session each", EACH, lambda url: open_mux(url, "mux", PLACES)),
    Row("mux, kugelaudio, a session each", EACH, lambda url: open_mux(url, "kugelaudio", PLACES)),
    Row("LiveKit plugin, its socket alone", "1", lambda url: open_livekit(url, LiveKitSocket), "livekit"),
    Row("LiveKit plugin, stream()", "1", lambda url: open_livekit(url, LiveKit), "livekit"),
    Row("elevenlabs, convert_realtime", "1 a turn", open_elevenlabs, "elevenlabs"),
    Row("kugelaudio, streaming_session", EACH, lambda url: open_kugelaudio(url, "streaming"), "kugelaudio"),
    Row(
        "kugelaudio, multi_context_session",
        EACH,
        lambda url: open_kugelaudio(url, "multi_context"),
        "kugelaudio",
    ),
]
