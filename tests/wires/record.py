"""Records what unmodified clients say: `make wires`, which runs it where they are installed. Arguments choose
among them.

A proxy stands between each client and a `mux serve`. A recording is a file of JSON lines:

    {"client", "open": path and query, "headers"}   the handshake
    {"say": message}                                what the client sent, in order
    {"heard": "audio", "final" or more, "context"}  what it had heard since it last spoke, audio but once
    {"closed": code, "by": "client" or "server"}
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

RECORDED = Path(__file__).parent / "recorded"
JS_DRIVER = Path(__file__).parent.parent / "clients/kugelaudio_js/drive.mjs"
TEXT = "Hello there, this is the first sentence. And here is another one."
LONG = " ".join(["This one will be interrupted after a moment, because the user speaks up."] * 6)
SORRY = "Sorry, go ahead please."
PACE = 0.02
"""Seconds between two frames, so that an interruption finds something to interrupt."""


Frame = dict[str, Any]
Heard = tuple[str | None, str | None]
"""What a frame says (None: nothing that a client waits for), and of which context."""
CREDENTIALS = ("xi-api-key", "authorization")
KUGELAUDIO_ENDS = (
    "context_created",
    "final",
    "context_closed",
    "interrupted",
    "session_closed",
    "settings_updated",
    "error",
)


def read_elevenlabs(frame: Frame) -> Heard:
    return "audio" if frame.get("audio") else "final", frame.get("contextId")


def read_kugelaudio(frame: Frame) -> Heard:
    said = next((name for name in ("audio", *KUGELAUDIO_ENDS) if frame.get(name)), None)
    return said, frame.get("context_id")


class Recorder:
    """A proxy; one line list for all that its sockets carried, in order."""

    def __init__(self, upstream: str, client: str, read: Callable[[Frame], Heard]) -> None:
        self._upstream = upstream
        self._client = client
        self._read = read
        self.lines: list[dict[str, Any]] = []

    async def carry(self, downstream: ServerConnection) -> None:
        request = downstream.request
        assert request is not None
        headers = {name: request.headers[name] for name in CREDENTIALS if name in request.headers}
        self.lines.append({"client": self._client, "open": request.path, "headers": headers})
        async with connect(
            self._upstream + request.path, additional_headers=headers, compression=None, max_size=None
        ) as upstream:
            answering = asyncio.create_task(self._answer(upstream, downstream))
            with suppress(ConnectionClosed):
                async for message in downstream:
                    self.lines.append({"say": json.loads(message)})
                    await upstream.send(message)
            answering.cancel()
            if "closed" not in self.lines[-1]:
                self.lines.append({"closed": downstream.close_code, "by": "client"})

    async def _answer(self, upstream: Any, downstream: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            async for message in upstream:
                self._hear(*self._read(json.loads(message)))
                await downstream.send(message)
                await asyncio.sleep(PACE)
        self.lines.append({"closed": upstream.close_code, "by": "server"})
        await downstream.close(upstream.close_code or 1011)

    def _hear(self, what: str | None, context: str | None) -> None:
        if what is None:
            return
        line = {"heard": what, "context": context}
        for earlier in reversed(self.lines):
            if earlier == line and what == "audio":
                return
            if "heard" not in earlier:
                break
        self.lines.append(line)


@asynccontextmanager
async def recording(
    name: str, client: str, server: str, read: Callable[[Frame], Heard] = read_elevenlabs
) -> AsyncIterator[str]:
    """A proxy's address; what went through it is written to the recording of this name."""
    recorder = Recorder(server, client if " " in client else f"{client} {version(client)}", read)
    async with serve(recorder.carry, "127.0.0.1", 0, compression=None) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        async with asyncio.timeout(60):
            yield f"127.0.0.1:{port}"
            while "closed" not in recorder.lines[-1]:  # noqa: ASYNC110 - sockets end after their clients
                await asyncio.sleep(0.01)
    lines = [json.dumps(line, ensure_ascii=False) for line in recorder.lines]
    (RECORDED / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    print(f"{name}: {len(lines)} lines")


async def livekit(server: str) -> None:
    import aiohttp
    from livekit.plugins import elevenlabs

    async def turn(tts: Any, text: str, *, cut: bool = False) -> None:
        async with tts.stream() as stream:
            for word in text.split(" "):
                stream.push_text(word + " ")
            if not cut:
                stream.end_input()
            async for _ in stream:
                if cut:
                    return

    client = "livekit-plugins-elevenlabs"
    async with aiohttp.ClientSession() as http:
        async with recording("livekit_turns", client, server) as address:
            tts = elevenlabs.TTS(base_url=f"http://{address}/v1", api_key="any", http_session=http)
            for text in (TEXT, SORRY):
                await turn(tts, text)
            await tts.aclose()
        async with recording("livekit_interruption", client, server) as address:
            tts = elevenlabs.TTS(
                base_url=f"http://{address}/v1", api_key="any", http_session=http, encoding="pcm_24000"
            )
            await turn(tts, LONG, cut=True)
            await turn(tts, SORRY)
            await tts.aclose()


async def pipecat(server: str) -> None:
    from pipecat.frames import frames
    from pipecat.pipeline.pipeline import Pipeline
    from pipecat.pipeline.worker import PipelineParams, PipelineWorker
    from pipecat.processors.frame_processor import FrameProcessor
    from pipecat.services.elevenlabs.tts import ElevenLabsTTSService
    from pipecat.workers.runner import WorkerRunner

    class Ears(FrameProcessor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.heard: asyncio.Queue[type] = asyncio.Queue()

        async def process_frame(self, frame: Any, direction: Any) -> None:
            await super().process_frame(frame, direction)
            self.heard.put_nowait(type(frame))
            await self.push_frame(frame, direction)

        async def until(self, kind: type) -> None:
            while await self.heard.get() is not kind:
                pass

    @asynccontextmanager
    async def conversation(name: str) -> AsyncIterator[tuple[Any, Ears, Callable[..., Awaitable[None]]]]:
        async with recording(name, "pipecat-ai", server) as address:
            service = ElevenLabsTTSService(
                api_key="any",
                url=f"ws://{address}",
                sample_rate=24000,
                settings=ElevenLabsTTSService.Settings(voice="21m00Tcm4TlvDq8ikWAM"),
            )
            ears = Ears()
            worker = PipelineWorker(
                Pipeline([service, ears]),
                params=PipelineParams(audio_out_sample_rate=24000),
                idle_timeout_secs=None,
            )
            runner = WorkerRunner(handle_sigint=False)
            await runner.add_workers(worker)
            running = asyncio.create_task(runner.run())
            await ears.until(frames.StartFrame)

            async def say(text: str, until: type = frames.TTSStoppedFrame) -> None:
                await worker.queue_frames(
                    [
                        frames.LLMFullResponseStartFrame(),
                        frames.LLMTextFrame(text),
                        frames.LLMFullResponseEndFrame(),
                    ]
                )
                await ears.until(until)

            yield worker, ears, say
            await worker.queue_frame(frames.EndFrame())
            await running

    async with conversation("pipecat_turns") as (_, _, say):
        await asyncio.sleep(10.5)  # it says a keepalive after 10 s
        await say(TEXT)
        await say(SORRY)
    async with conversation("pipecat_interruption") as (worker, ears, say):
        await say(LONG, until=frames.TTSAudioRawFrame)
        await worker.queue_frame(frames.InterruptionFrame())
        await ears.until(frames.InterruptionFrame)
        await say(SORRY)


async def sdk(server: str) -> None:
    from elevenlabs.client import ElevenLabs

    def listen(address: str, text: str, most: int | None) -> None:
        client = ElevenLabs(base_url=f"http://{address}", api_key="any")
        client.text_to_speech._ws_base_url = f"ws://{address}"
        words = (word + " " for word in text.split())
        pieces = client.text_to_speech.convert_realtime(
            "21m00Tcm4TlvDq8ikWAM", text=words, output_format="pcm_24000"
        )
        for _ in zip(pieces, range(most or sys.maxsize), strict=False):
            pass
        pieces.close()

    async with recording("elevenlabs_sdk_turn", "elevenlabs", server) as address:
        await asyncio.to_thread(listen, address, TEXT, None)
    async with recording("elevenlabs_sdk_interruption", "elevenlabs", server) as address:
        await asyncio.to_thread(listen, address, LONG, 3)


async def patter(server: str) -> None:
    from getpatter.providers import elevenlabs_ws_tts as provider

    async def listen(address: str, tts: Any, text: str, *, cut: bool = False) -> None:
        provider._WS_BASE = f"ws://{address}/v1/text-to-speech"
        async with aclosing(tts.synthesize(text)) as chunks:
            async for _ in chunks:
                if cut:
                    return

    async with recording("patter_turn", "getpatter", server) as address:
        await listen(address, provider.ElevenLabsWebSocketTTS.for_twilio(api_key="any"), TEXT)
    async with recording("patter_interruption", "getpatter", server) as address:
        await listen(address, provider.ElevenLabsWebSocketTTS(api_key="any"), LONG, cut=True)


async def kugelaudio(server: str) -> None:
    from kugelaudio import KugelAudio

    def through(name: str) -> Any:
        return recording(f"kugelaudio/{name}", "kugelaudio", server, read_kugelaudio)

    async def listen(chunks: AsyncIterator[Any], *, cut: bool = False) -> None:
        async with aclosing(chunks) as heard:  # type: ignore[type-var]
            async for _ in heard:
                if cut:
                    return

    async def say(session: Any, text: str) -> None:
        for word in text.split():
            await listen(session.send(word + " "))

    for cut in (False, True):
        kind = "interruption" if cut else "turns"
        async with through(f"session_{kind}") as address:
            client = KugelAudio(api_key="any", api_url=f"http://{address}")
            async with client.tts.streaming_session(voice_id=1071, language="en") as session:
                if cut:
                    await listen(session.send(LONG, flush=True), cut=True)
                    await session.cancel_current()
                else:
                    await say(session, TEXT)
                    await listen(session.drain())
                    await session.end_session()
                    await session.update_settings(speed=1.2)
                    session.update_config(voice_id=1072)
                await listen(session.send(SORRY, flush=True))
            await client.aclose()
        async with through(f"contexts_{kind}") as address:
            client = KugelAudio(api_key="any", api_url=f"http://{address}")
            async with client.tts.multi_context_session(
                default_voice_id=1071, model_id="kugel-3.5", language="en", word_timestamps=True
            ) as contexts:
                await contexts.create_context("a")
                await contexts.create_context("b", voice_id=1072)
                await listen(contexts.send("a", LONG if cut else TEXT, flush=True), cut=cut)
                await listen(contexts.close_context("a", immediate=cut))
                await contexts.keep_alive("b")
                await listen(contexts.send("b", SORRY, flush=True))
            await client.aclose()
    async with through("requests") as address:
        client = KugelAudio(api_key="any", api_url=f"http://{address}")
        for text in (TEXT, SORRY):
            await client.tts.generate_async(text, voice_id=1071, language="en", output_format="ulaw_8000")
        await client.aclose()


async def kugelaudio_livekit(server: str) -> None:
    import aiohttp
    from kugelaudio.livekit import TTS

    async def turn(tts: Any, text: str, *, cut: bool = False) -> None:
        async with tts.stream() as stream:
            for piece in text.split(". ") if cut else text.split(" "):
                stream.push_text(piece + (". " if cut else " "))
            stream.end_input()
            async for _ in stream:
                if cut:
                    return

    async with aiohttp.ClientSession() as http:
        for kind in ("turns", "interruption", "sentences"):
            name = f"kugelaudio/livekit_{kind}"
            async with recording(name, "kugelaudio", server, read_kugelaudio) as address:
                tts = TTS(
                    api_key="any",
                    base_url=f"http://{address}",
                    http_session=http,
                    voice_id=1071,
                    word_timestamps=True,
                )
                if kind == "sentences":
                    async with tts.synthesize(TEXT) as stream:
                        async for _ in stream:
                            pass
                else:
                    await turn(tts, LONG if kind == "interruption" else TEXT, cut=kind == "interruption")
                    await turn(tts, SORRY)
                await tts.aclose()


async def kugelaudio_js(server: str) -> None:
    """The SDK for JavaScript is not on npm: `KUGELAUDIO_JS` names a directory where it is installed."""
    where = os.environ.get("KUGELAUDIO_JS")
    if where is None:
        print("KUGELAUDIO_JS is not set: the KugelAudio SDK for JavaScript was not recorded")
        return
    package = json.loads((Path(where) / "node_modules/kugelaudio/package.json").read_text())
    for scene in ("stream_turns", "stream_interruption", "multi_turns", "multi_interruption", "one_shot"):
        name, client = f"kugelaudio/js_{scene}", f"kugelaudio-js {package['version']}"
        async with recording(name, client, server, read_kugelaudio) as address:
            driving = await asyncio.create_subprocess_exec(
                "node", str(JS_DRIVER), f"http://{address}", scene, cwd=where, stdout=subprocess.DEVNULL
            )
            assert await driving.wait() == 0


async def main() -> None:
    command = [
        sys.executable,
        "-m",
        "mux",
        "serve",
        "--port",
        "0",
        "--engine",
        "tone",
        "--log-level",
        "error",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: ASYNC220
        assert process.stdout is not None
        health = next(line for line in process.stdout if "health" in line).split()[-1]
        server = health.replace("http", "ws", 1).removesuffix("/healthz")
        try:
            for scenes in (livekit, pipecat, sdk, patter, kugelaudio, kugelaudio_livekit, kugelaudio_js):
                if not sys.argv[1:] or scenes.__name__ in sys.argv[1:]:
                    await scenes(server)
        finally:
            process.terminate()


if __name__ == "__main__":
    asyncio.run(main())
