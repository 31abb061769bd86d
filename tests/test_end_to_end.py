"""Everything real: server, sockets and client, over the loopback interface."""

from __future__ import annotations

import base64
import gc
import json
import os
import random
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import numpy as np
import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.protocol import State
from websockets.uri import parse_uri

import mux
from mux.client import Context
from mux.config import Settings
from mux.engines.base import Engine
from mux.engines.espeak import EspeakEngine
from mux.engines.scheduler import Ticket
from mux.engines.tone import ToneEngine, frequency_of
from mux.links.link import LinkContext
from mux.links.router import Inbox
from mux.protocol.context import Context as ServerContext
from mux.protocol.messages import Reason
from mux.server.app import create_app
from mux.server.listener import open_listener
from mux.server.run import serve
from mux.server.service import Service, start_service
from mux.server.socket import ServerSocket
from mux.tasks import owned_tasks

pytestmark = pytest.mark.anyio
DEEP = os.environ.get("MUX_PROFILE") == "deep"
RATE = 24000  # Hz


@asynccontextmanager
async def served(engine: Engine) -> AsyncIterator[tuple[str, Service]]:
    settings = Settings(engine="tone")
    async with start_service(engine, settings) as service, owned_tasks() as tasks:
        listener = open_listener("127.0.0.1", 0)
        tasks.start_soon(serve, create_app(service), listener, anyio.Event())
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}", service


async def heard(context: Context) -> bytes:
    return b"".join([chunk.audio async for chunk in context])


# --- whose voice is it -------------------------------------------------------------------------------


def spectrum(audio: bytes) -> dict[int, float]:
    """How loud each multiple of 50 Hz is, as a part of a full tone. `audio` lasts a multiple of 20 ms, so
    that all of them are exact and none leaks into another."""
    wave = np.frombuffer(audio, "<i2") / 8000
    every = len(wave) * 50 // RATE
    loudness = np.abs(np.fft.rfft(wave))[::every] * 2 / len(wave)
    return {50 * index: float(value) for index, value in enumerate(loudness)}


def distinct_voices(number: int) -> dict[str, int]:
    """Voices that sound different, with their frequencies."""
    voices: dict[int, str] = {}
    for index in count():
        voices.setdefault(frequency_of(f"voice {index}"), f"voice {index}")
        if len(voices) == number:
            return {voice: frequency for frequency, voice in voices.items()}
    raise AssertionError


async def test_twenty_voices_at_once_and_none_is_heard_in_anothers_audio() -> None:
    voices = distinct_voices(20)
    texts = {voice: "x" * (20 + 4 * number) for number, voice in enumerate(voices)}
    audio: dict[str, bytes] = {}
    async with served(ToneEngine()) as (url, service), mux.connect(url) as session:

        async def talk(voice: str) -> None:
            async with session.context("actor", voice=voice) as context:
                for at in range(0, len(texts[voice]), 7):
                    await context.send(texts[voice][at : at + 7])
                    await anyio.lowlevel.checkpoint()
                await context.close()
                audio[voice] = await heard(context)
                assert context.ended is not None
                assert context.ended.reason is Reason.COMPLETED

        async with anyio.create_task_group() as tasks:
            for voice in voices:
                tasks.start_soon(talk, voice)
        assert (session.dropped_frames, service.contexts) == (0, 0)
    for voice, own in voices.items():
        assert len(audio[voice]) == len(texts[voice]) * 2400, "each its own text"
        heard_in_it = spectrum(audio[voice])
        assert heard_in_it.pop(own) == pytest.approx(1, abs=0.001)
        assert max(heard_in_it.values()) < 0.001


# --- the wire, byte by byte --------------------------------------------------------------------------


class Wire:
    """A client that decides which bytes leave together."""

    def __init__(self, stream: anyio.abc.SocketStream, protocol: ClientProtocol) -> None:
        self.stream = stream
        self.protocol = protocol
        self.frames: list[dict[str, Any]] = []

    async def say(self, *messages: dict[str, Any]) -> None:
        """Send all messages with one write."""
        for message in messages:
            self.protocol.send_text(json.dumps(message).encode())
        await self.stream.send(b"".join(self.protocol.data_to_send()))

    async def read_until(self, done: Callable[[dict[str, Any]], bool]) -> None:
        with anyio.fail_after(20):
            while not any(map(done, self.frames)):
                self.protocol.receive_data(await self.stream.receive())
                for event in self.protocol.events_received():
                    assert isinstance(event, Frame)
                    self.frames.append(json.loads(event.data))

    async def ended(self, context: str) -> None:
        await self.read_until(lambda frame: bool(frame.get("isFinal")) and frame["contextId"] == context)

    def of(self, context: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame.get("contextId") == context]

    def audio(self, context: str) -> bytes:
        return b"".join(base64.b64decode(frame["audio"] or "") for frame in self.of(context))


@asynccontextmanager
async def wire(url: str) -> AsyncIterator[Wire]:
    where = parse_uri(f"{url}/v1/text-to-speech/bob/multi-stream-input?output_format=pcm_24000")
    protocol = ClientProtocol(where, max_size=None)
    async with await anyio.connect_tcp(where.host, where.port) as stream:
        protocol.send_request(protocol.connect())
        await stream.send(b"".join(protocol.data_to_send()))
        while protocol.state is State.CONNECTING:
            protocol.receive_data(await stream.receive())
        assert protocol.handshake_exc is None
        protocol.events_received()  # the handshake's answer
        yield Wire(stream, protocol)


async def test_everything_in_one_tcp_segment_is_spoken_in_order() -> None:
    texts = {
        f"c{number}": f"Context number {number} has this to say, and nothing else. " for number in range(5)
    }
    async with served(ToneEngine(chunk_delay=0.001)) as (url, service), wire(url) as client:
        await client.say(
            *(
                message
                for id, text in texts.items()
                for message in (
                    {"text": " ", "context_id": id},
                    {"text": text, "context_id": id},
                    {"context_id": id, "flush": True},
                    {"context_id": id, "close_context": True},
                )
            )
        )
        for id, text in texts.items():
            await client.ended(id)
            assert len(client.audio(id)) == len(text) * 2400
            assert client.of(id)[-1]["isFinal"]
            assert client.of(id)[-1]["mux"]["reason"] == "completed"
        assert service.contexts == 0


async def test_after_a_cancel_is_confirmed_nothing_of_the_context_comes() -> None:
    async with served(ToneEngine(chunk_delay=0.001)) as (url, service), wire(url) as client:
        for number in range(10):
            id = f"c{number}"
            text = "This is much longer than anybody wants to hear it. " * 5
            await client.say({"text": text, "context_id": id, "flush": True})
            await client.read_until(lambda frame, id=id: frame.get("contextId") == id)
            await client.say({"context_id": id, "close_context": True, "immediate": True})
            await client.ended(id)
            await client.say(
                {"text": "Next. ", "context_id": f"after {id}", "flush": True, "close_context": True}
            )
            await client.ended(f"after {id}")
            assert [frame.get("isFinal") for frame in client.of(id)].index(True) == len(client.of(id)) - 1
            assert len(client.audio(id)) < len(text) * 2400
            usage = client.of(id)[-1]["mux"]["usage"]
            assert usage["audio_sent_ms"] * 48 == pytest.approx(len(client.audio(id)))
            assert len(client.audio(f"after {id}")) == 6 * 2400
        assert service.contexts == 0


# --- nothing is left behind --------------------------------------------------------------------------

KINDS = (ServerContext, LinkContext, Inbox, Ticket, ServerSocket)


def living() -> dict[str, int]:
    """How many of our objects there are, by kind."""
    gc.collect()
    names = [type(thing).__qualname__ for thing in gc.get_objects() if isinstance(thing, KINDS)]
    return {name: names.count(name) for name in set(names)}


def tasks_running() -> int:
    if "trio" in sys.modules:
        import trio

        with_trio = getattr(trio.lowlevel, "in_trio_run", lambda: False)()
        if with_trio:
            return trio.lowlevel.current_statistics().tasks_living
    import asyncio

    return len(asyncio.all_tasks())


@pytest.mark.timeout(0 if DEEP else 60)
async def test_contexts_that_are_cancelled_at_any_moment_leave_nothing_behind() -> None:
    cycles, together = (10_000, 5) if DEEP else (500, 5)
    dice = random.Random(20)
    engine = ToneEngine(character_seconds=0.005, chunk_delay=0.0005)
    async with served(engine) as (url, service), mux.connect(url) as session:

        async def cycle(number: int) -> None:
            async with session.context(f"c{number % 7}", voice=f"v{number % 3}") as context:
                moment = dice.randrange(8)
                if moment > 0:
                    await context.send("A sentence that may or may not be heard. " * dice.choice([3, 6]))
                if moment > 1:
                    await context.flush()
                for _ in range(max(0, moment - 3)):
                    await anext(context)
                if moment % 3 == 0:
                    await context.close()
                if moment != 5:  # else leaving the block cancels
                    assert (await context.cancel()).reason in (Reason.CANCELLED, Reason.COMPLETED)
            assert (await context.wait_ended()).usage is not None

        async def many(number: int) -> None:
            for index in range(number):
                await cycle(index)

        await many(20)
        await anyio.sleep(0.05)
        before, tasks_before = living(), tasks_running()
        async with anyio.create_task_group() as tasks:
            for _ in range(together):
                tasks.start_soon(many, cycles // together)
        with anyio.fail_after(5):
            while service.contexts or tasks_running() > tasks_before:  # noqa: ASYNC110 - they tell nobody
                await anyio.sleep(0.01)
        # The scheduler knows one job until its deadline has passed, to fail it then if it still waits.
        assert all(number <= before.get(kind, 0) + 1 for kind, number in living().items())
        # All slots are there, and the socket speaks as on the first day.
        async with session.context("last") as context:
            await context.send("Done.")
            await context.close()
            assert len(await heard(context)) == 5 * 240


async def test_sockets_that_come_and_go_leave_nothing_behind() -> None:
    async with served(ToneEngine(chunk_delay=0.01)) as (url, service):
        for number in range(12):
            async with mux.connect(url) as session:
                contexts = [session.context() for _ in range(3)]
                for index, manager in enumerate(contexts):
                    context = await manager.__aenter__()
                    await context.send("Nobody waits for the end of this. ")
                    await context.flush()
                    if number % 2 and index == 0:
                        await anext(context)
                with anyio.CancelScope() as scope:
                    scope.cancel()
                    for manager in reversed(contexts):
                        await manager.__aexit__(None, None, None)
        with anyio.fail_after(5):
            while service.sockets:  # noqa: ASYNC110 - sockets tell nobody
                await anyio.sleep(0.01)
        assert service.contexts == 0
        del session, contexts, context, manager
        # The scheduler knows one job, and that its socket, until the deadline has passed.
        assert max(living().values(), default=0) <= 1


# --- speech ------------------------------------------------------------------------------------------


@pytest.mark.espeak
async def test_real_speech_of_two_voices_over_one_socket() -> None:
    texts = {"a": "The quick brown fox jumps over the lazy dog.", "b": "Der Hund schläft. Es ist acht Uhr."}
    chunks: dict[str, list[mux.Chunk]] = {}
    async with served(EspeakEngine()) as (url, _), mux.connect(url) as session:

        async def talk(name: str, language: str) -> None:
            async with session.context(name, language=language) as context:
                for word in texts[name].split(" "):
                    await context.send(word + " ")
                await context.close()
                chunks[name] = [chunk async for chunk in context]
                assert context.ended is not None
                assert context.ended.usage is not None
                sent = sum(len(chunk.audio) for chunk in chunks[name]) / 48
                assert context.ended.usage.audio_sent_ms == pytest.approx(sent, abs=100)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(talk, "a", "en")
            tasks.start_soon(talk, "b", "de")
    for name, text in texts.items():
        wave = np.frombuffer(b"".join(chunk.audio for chunk in chunks[name]), "<i2").astype(float)
        assert 1 < len(wave) / RATE < 10
        assert np.sqrt(np.mean(wave**2)) > 300, "somebody speaks"
        times = [chunk.alignment for chunk in chunks[name] if chunk.alignment]
        assert "".join(part.text for part in times).rstrip() == text
        starts = [start for part in times for start in part.starts]
        assert starts == sorted(starts)
        assert starts[-1] <= len(wave) / RATE * 1000


@pytest.mark.espeak
async def test_twenty_contexts_of_real_speech_at_once_last_as_long_as_alone() -> None:
    sentences = ["Good morning, everybody.", "It rains.", "The train to the coast leaves in five minutes."]
    lines = [(f"{sentences[number % 3]} This is line {number}. ", f"v{number}") for number in range(20)]
    async with served(EspeakEngine()) as (url, service), mux.connect(url) as session:

        async def speak(number: int, into: dict[int, bytes]) -> None:
            text, voice = lines[number]
            async with session.context(voice=voice) as context:
                await context.send(text)
                await context.close()
                into[number] = await heard(context)

        together: dict[int, bytes] = {}
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(speak, number, together)
        alone: dict[int, bytes] = {}
        for number in range(0, 20, 4):
            await speak(number, alone)
        assert (session.dropped_frames, service.contexts) == (0, 0)
    for number, audio in alone.items():
        assert len(together[number]) == pytest.approx(len(audio), rel=0.05)
    for audio in together.values():
        wave = np.frombuffer(audio, "<i2").astype(float)
        assert len(wave) > RATE
        assert np.sqrt(np.mean(wave**2)) > 300, "somebody speaks"
