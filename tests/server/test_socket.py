"""One socket, as its client sees it, over a memory transport."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
import pytest
from wire import PCM, Wire, all_in_one, quick, say_alone

from mux.config import Settings
from mux.engines.base import Chunk, Job, Synthesizer
from mux.engines.tone import ToneEngine
from mux.testing import memory_server

pytestmark = pytest.mark.anyio
KEYED = Settings(engine="tone", api_keys=("sesame",), authentication_timeout=10)


class Moody(ToneEngine):
    """A tone engine that has bad days: certain words make it fail."""

    @asynccontextmanager
    async def start(self, workers: int) -> AsyncGenerator[Sequence[Synthesizer], None]:
        async with super().start(workers) as synthesizers:
            yield [_Moody(synthesizer) for synthesizer in synthesizers]


class _Moody:
    def __init__(self, inner: Synthesizer) -> None:
        self._inner = inner

    @asynccontextmanager
    async def speak(self, job: Job) -> AsyncGenerator[AsyncIterator[Chunk], None]:
        if "early bug" in job.text:
            raise RuntimeError("before the first chunk")
        async with self._inner.speak(job) as chunks:
            yield self._chunks(job, chunks)

    async def _chunks(self, job: Job, chunks: AsyncIterator[Chunk]) -> AsyncIterator[Chunk]:
        if "mute" in job.text:
            return
        async for chunk in chunks:
            yield chunk
            if "late bug" in job.text:
                raise RuntimeError("after the first chunk")


# --- what the engine says is what arrives ------------------------------------------------------------


@pytest.mark.virtual_time
@pytest.mark.parametrize("delay", [0, 0.01, 0.5, 3])
@pytest.mark.parametrize("separately", [True, False])
async def test_init_text_flush_and_close_in_one_go_give_all_audio(delay: float, separately: bool) -> None:
    engine = quick(delay=delay, chunk_delay=delay / 100)
    text = "Every word of this must be heard, however long the engine thinks about it."
    async with memory_server(engine) as server:
        client = Wire(server.open(**PCM))
        if separately:
            await client.say(
                {"text": " ", "voice_settings": {}, "context_id": "a"},
                {"text": text[:10], "context_id": "a"},
                {"text": text[10:], "context_id": "a"},
                {"context_id": "a", "flush": True},
                {"context_id": "a", "close_context": True},
            )
        else:
            await client.say(all_in_one("a", text))
        final = await client.final("a")
        assert client.audio("a") == await say_alone(engine, text)
        assert final["mux"]["reason"] == "completed"
        assert client.frames[-1] is final
        assert final["mux"]["usage"]["characters_synthesised"] == len(text)


async def test_twenty_contexts_speak_and_the_21st_is_refused_alone() -> None:
    engine = quick()
    async with memory_server(engine) as server:
        client = Wire(server.open(**PCM))
        names = [f"c{number}" for number in range(20)]
        for name in names:
            await client.say({"text": f"This is {name}. ", "context_id": name, "voice_id": name})
        await client.say(all_in_one("one too many", "Let me in."))
        refusal = await client.final("one too many")
        assert client.errors("one too many") == ["max_active_conversations"]
        assert client.audio("one too many") == b""
        assert refusal["mux"]["reason"] == "failed"
        for name in names:
            await client.say({"context_id": name, "flush": True}, {"context_id": name, "close_context": True})
        await client.final(*names)
        for name in names:
            assert client.audio(name) == await say_alone(engine, f"This is {name}. ", name)
            assert client.errors(name) == []
            assert [frame.get("isFinal") for frame in client.of(name)].count(True) == 1
            assert client.of(name)[-1]["isFinal"] is True
        await client.say({"context_id": "one too many", "close_context": True})
        await client.say(all_in_one("one too many", "And now?"))
        await client.read_until(lambda frame: bool(frame.get("isFinal")))
        assert client.audio("one too many") == await say_alone(engine, "And now?")


@pytest.mark.virtual_time
async def test_a_slot_is_free_at_the_moment_of_the_close() -> None:
    async with memory_server(quick(delay=5), Settings(engine="tone", workers=40)) as server:
        client = Wire(server.open(**PCM))
        begun = anyio.current_time()
        first, second = [f"a{number}" for number in range(20)], [f"b{number}" for number in range(19)]
        await client.say(*({"text": "Slow. ", "context_id": name, "flush": True} for name in first))
        for old, new in zip(first[1:], second, strict=True):
            await client.say({"context_id": old, "close_context": True})
            await client.say({"text": "Next. ", "context_id": new, "flush": True})
        # Nineteen speak on, twenty are open. With the next close twenty speak on: that is bounded too.
        await client.say({"context_id": first[0], "close_context": True}, all_in_one("c", "One more."))
        await client.final("c")
        assert anyio.current_time() - begun < 1
        assert client.errors("c") == ["system_busy"]
        await client.final(*first)
        assert all(client.errors(name) == [] for name in first + second)
        await client.say(all_in_one("d", "Room again."))
        await client.final("d")
        assert client.errors("d") == []


@pytest.mark.virtual_time
async def test_the_reader_never_waits_for_an_engine() -> None:
    async with memory_server(quick(delay=1000)) as server:
        client = Wire(server.open(**PCM))
        begun = anyio.current_time()
        for number in range(10):
            await client.say({"text": "Well. ", "context_id": f"slow{number}", "flush": True})
        await client.say(
            {"text": "x", "context_id": "bad", "voice_settings": {"speed": 9}},
            "nonsense",
            {"context_id": "slow3", "close_context": True, "immediate": True},
        )
        await client.final("bad")
        await client.final("slow3")
        assert client.errors("bad") == ["invalid_voice_settings"]
        assert any("warning" in frame for frame in client.frames)
        assert anyio.current_time() - begun < 1


# --- cancelling --------------------------------------------------------------------------------------


@pytest.mark.virtual_time
@pytest.mark.parametrize("how", ["immediate", "second close"])
@pytest.mark.parametrize("after", [0.0, 0.05, 0.35, 1.0])
async def test_after_a_cancel_is_acknowledged_nothing_of_the_context_comes(how: str, after: float) -> None:
    async with memory_server(quick(delay=0.3, chunk_delay=0.1)) as server:
        client = Wire(server.open(**PCM))
        await client.say({"text": "A long story. " * 20, "context_id": "a", "flush": True})
        await client.for_a_while(after)
        if how == "immediate":
            await client.say({"context_id": "a", "close_context": True, "immediate": True})
        else:
            await client.say(
                {"context_id": "a", "close_context": True}, {"context_id": "a", "close_context": True}
            )
        final = await client.final("a")
        usage = final["mux"]["usage"]
        assert final["mux"]["reason"] == "cancelled"
        assert usage["audio_sent_ms"] == len(client.audio("a")) / 16
        assert usage["audio_generated_ms"] == usage["audio_sent_ms"] + usage["audio_dropped_ms"]
        assert usage["audio_generated_ms"] < 2800, "the engine stopped"
        assert await client.for_a_while(60) == []
        assert server.service.contexts == 0


async def test_control_messages_for_unknown_ids_open_nothing() -> None:
    async with memory_server(quick()) as server:
        client = Wire(server.open(**PCM))
        for number in range(30):
            id = f"ghost{number}"
            await client.say(
                {"context_id": id, "flush": True},
                {"context_id": id, "close_context": True},
                {"context_id": id, "close_context": True, "immediate": True},
                {"text": "", "context_id": id},
                {"text": "", "context_id": id, "flush": True},
            )
        await client.say({"text": " ", "flush": True}, {"flush": True}, {})
        await client.say(all_in_one("real", "Still room."))
        await client.final("real")
        assert {frame["contextId"] for frame in client.frames} == {"real"}


# --- failures ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "error"),
    [("early bug", "engine_failed"), ("late bug", "engine_failed"), ("mute", "empty_synthesis")],
)
async def test_an_engines_failure_costs_one_context(text: str, error: str) -> None:
    engine = Moody(8000, 0.01)
    async with memory_server(engine) as server:
        client = Wire(server.open(**PCM))
        await client.say({"text": "I was here first. ", "context_id": "good"})
        await client.say(all_in_one("bad", f"There is a {text} in this."))
        await client.say({"context_id": "good", "flush": True}, {"context_id": "good", "close_context": True})
        final = await client.final("good", "bad")
        assert client.errors("bad") == [error]
        assert final["mux"]["reason"] == "failed"
        assert client.errors("good") == []
        assert client.audio("good") == await say_alone(engine, "I was here first. ")


async def test_a_failed_id_stays_silent_until_its_close() -> None:
    engine = Moody(8000, 0.01)
    async with memory_server(engine) as server:
        client = Wire(server.open(**PCM))
        await client.say({"text": "An early bug. ", "context_id": "a", "flush": True})
        await client.final("a")
        await client.say({"text": "the second half ", "context_id": "a", "flush": True})
        await client.say({"context_id": "a", "close_context": True}, all_in_one("a", "A new start."))
        await client.read_until(lambda frame: bool(frame.get("isFinal")))
        assert client.audio("a") == await say_alone(engine, "A new start.")
        assert client.errors("a") == ["engine_failed"]


async def test_unreadable_messages_are_warned_of_and_end_nobody_until_there_are_too_many() -> None:
    async with memory_server(quick()) as server:
        client = Wire(server.open(**PCM))
        await client.say({"text": "Hm. ", "context_id": "a"})
        for _ in range(100):
            await client.say("nonsense")
        await client.read_until(lambda frame: len(client.frames) == 100)
        assert all("warning" in frame for frame in client.frames)
        await client.say("nonsense")
        ending = await client.to_the_end(5)
        assert ending.code == 1008
        assert client.frames[-1]["mux"]["code"] == "too_many_invalid_messages"
        assert client.frames[-1]["mux"]["limit"] == 100
        assert (await client.final("a"))["mux"]["reason"] == "socket_closed"


@pytest.mark.virtual_time
async def test_close_socket_lets_everybody_finish() -> None:
    engine = quick(delay=1)
    async with memory_server(engine) as server:
        client = Wire(server.open(**PCM))
        for name in "abc":
            await client.say({"text": f"Mine is {name}. ", "context_id": name})
        await client.say({"close_socket": True}, all_in_one("late", "Too late."))
        ending = await client.to_the_end()
        assert (ending.code, ending.reason) == (1000, "")
        for name in "abc":
            assert client.audio(name) == await say_alone(engine, f"Mine is {name}. ")
        assert client.errors("late") == ["socket_closing"]
        assert server.service.sockets == 0


@pytest.mark.virtual_time
async def test_a_client_that_leaves_stops_its_engines() -> None:
    async with memory_server(quick(delay=100), Settings(engine="tone", workers=1)) as server:
        leaver, other = Wire(server.open(**PCM)), Wire(server.open(**PCM))
        for number in range(10):
            await leaver.say({"text": "Hm. ", "context_id": f"a{number}", "flush": True})
        await anyio.sleep(1)
        leaver.transport.cut()
        await anyio.sleep(0.1)
        assert (server.service.sockets, server.service.contexts) == (1, 0)
        begun = anyio.current_time()
        await other.say(all_in_one("b", "My turn."))
        await other.final("b")
        assert anyio.current_time() - begun == pytest.approx(100, abs=1)


# --- conversion --------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["pcm_16000", "ulaw_8000", "mp3_22050_32"])
async def test_every_context_has_a_converter_of_its_own(format: str) -> None:
    engine = quick()
    text = "The same words in the same voice."

    async def alone() -> bytes:
        client = Wire(server.open(output_format=format))
        await client.say(all_in_one("a", text))
        await client.final("a")
        audio: bytes = client.audio("a")
        return audio

    async with memory_server(engine) as server:
        expected = await alone()
        client = Wire(server.open(output_format=format))
        names = [f"c{number}" for number in range(6)]
        await client.say(*(all_in_one(name, text) for name in names))
        await client.final(*names)
        assert {client.audio(name) for name in names} == {expected}
        if format == "ulaw_8000":
            assert len(expected) == len(text) * 80
        for frame in client.of("c0"):
            assert len(base64.b64decode(frame["audio"] or "")) % (2 if format.startswith("pcm") else 1) == 0
