"""What an app sees: over a server in memory where only contexts matter, over loopback where sockets do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import mux
from mux.client import Session
from mux.client.connect import session_over
from mux.client.context import Context
from mux.client.holding import FRAME_SECONDS
from mux.engines.base import Job
from mux.engines.tone import ToneEngine
from mux.errors import MuxError
from mux.links.link import CANCEL_SECONDS, CLOSE_SECONDS
from mux.links.memory import MemoryTransport, memory_pair
from mux.protocol.messages import Reason
from mux.protocol.voice import VoiceSettings
from mux.testing import memory_server

pytestmark = pytest.mark.anyio
PCM = {"output_format": "pcm_8000"}
BYTES_EACH = 160
"""What a character of `quick` sounds like."""


def quick(**options: Any) -> ToneEngine:
    return ToneEngine(**{"sample_rate": 8000, "character_seconds": 0.01, **options})


async def alone(text: str, voice: str = "default") -> bytes:
    async with quick().start(1) as (synthesizer,), synthesizer.speak(Job(text, voice)) as chunks:
        return b"".join([chunk.pcm async for chunk in chunks])


async def heard(context: Context) -> bytes:
    return b"".join([chunk.audio async for chunk in context])


@asynccontextmanager
async def connected(engine: ToneEngine | None = None, **query: Any) -> AsyncIterator[Session]:
    async with memory_server(engine or quick()) as server, server.connect(**{**PCM, **query}) as session:
        yield session


@asynccontextmanager
async def silent_server() -> AsyncIterator[tuple[Session, MemoryTransport]]:
    """A server that accepts everything and says nothing."""
    ours, theirs = memory_pair(unread_bytes=10_000_000)
    async with session_over(ours) as session:
        try:
            yield session, theirs
        finally:
            await theirs.aclose()


# --- speaking ----------------------------------------------------------------------------------------


async def test_text_becomes_audio_with_times_and_usage() -> None:
    text = "Hello there, in pieces. "
    async with connected() as session, session.context("a") as context:
        for piece in (text[:3], text[3:4], text[4:], ""):
            await context.send(piece)
        await context.close()
        chunks = [chunk async for chunk in context]
        assert b"".join(chunk.audio for chunk in chunks) == await alone(text)
        assert {chunk.context for chunk in chunks} == {"a"}
        times = [chunk.alignment for chunk in chunks if chunk.alignment]
        assert "".join(part.text for part in times) == text
        starts = [start for part in times for start in part.starts]
        assert starts == [10 * index for index in range(len(text))]
        assert context.ended is not None
        assert context.ended.reason is Reason.COMPLETED
        assert context.ended.problem is None
        usage = context.ended.usage
        assert usage is not None
        assert usage.characters_accepted == usage.characters_sent == len(text)
        assert usage.audio_sent_ms == usage.audio_generated_ms == 10 * len(text)
        assert usage.audio_dropped_ms == 0
        assert await context.wait_ended() is context.ended


async def test_flush_speaks_what_was_sent_and_the_context_goes_on() -> None:
    async with connected() as session, session.context() as context:
        await context.send("First. ")
        await context.flush()
        first = b""
        while len(first) < 7 * BYTES_EACH:
            first += (await anext(context)).audio
        assert first == await alone("First. ")
        assert context.ended is None
        await context.keep_alive()
        await context.send("Second.")
        await context.close()
        assert await heard(context) == await alone("Second.")


async def test_settings_of_a_context_are_its_own() -> None:
    async with connected(voice="narrator") as session:
        slow = session.context("slow", settings=VoiceSettings(speed=0.8))
        bob = session.context("bob", voice="bob", settings={"stability": "0.5"})
        plain = session.context("plain")
        async with slow as a, bob as b, plain as c:
            for context in (a, b, c):
                await context.send("The same words.")
                await context.close()
            assert len(await heard(a)) == 15 * BYTES_EACH / 0.8
            assert await heard(b) == await alone("The same words.", "bob")
            assert await heard(c) == await alone("The same words.", "narrator")


async def test_two_tasks_on_two_contexts_and_a_sender_beside_a_reader() -> None:
    texts = {name: f"This is what {name} says, word for word. " * 5 for name in ("alice", "bob", "carol")}
    results: dict[str, bytes] = {}
    async with connected() as session, anyio.create_task_group() as tasks:

        async def talk(name: str) -> None:
            async with session.context(name, voice=name) as context:

                async def send() -> None:
                    for word in texts[name].split(" "):
                        await context.send(word + " ")
                        await anyio.lowlevel.checkpoint()
                    await context.close()

                async with anyio.create_task_group() as pair:
                    pair.start_soon(send)
                    results[name] = await heard(context)

        for name in texts:
            tasks.start_soon(talk, name)
    for name in texts:
        # One extra space comes from the splitting.
        assert len(results[name]) == (len(texts[name]) + 1) * BYTES_EACH


async def test_who_sends_or_reads_much_lets_others_go_on() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with connected() as session, session.context() as context, anyio.create_task_group() as tasks:
        await context.send("x" * 300)
        await context.close()
        await context.wait_ended()
        tasks.start_soon(count)
        await anyio.lowlevel.checkpoint()
        before = turns
        frames = len([chunk async for chunk in context])
        assert frames > 20
        assert turns - before > frames // 2
        async with session.context() as talker:
            before = turns
            for _ in range(20):
                await talker.send("x")
            assert turns - before > 10
        tasks.cancel_scope.cancel()


async def test_a_name_can_be_used_again_also_at_once() -> None:
    async with connected() as session:
        for number in range(3):
            async with session.context("turn") as context:
                await context.send(f"Turn {number}.")
                await context.close()
                assert await heard(context) == await alone(f"Turn {number}.")
        async with session.context("turn") as a, session.context("turn") as b:
            await a.send("Mine.")
            await b.send("No, mine.")
            await a.close()
            await b.close()
            assert await heard(a) == await alone("Mine.")
            assert await heard(b) == await alone("No, mine.")


async def test_twenty_contexts_and_the_21st_fails_alone() -> None:
    async with connected(contexts_per_socket=30) as session:
        contexts = [session.context(f"c{number}") for number in range(21)]
        opened = [await context.__aenter__() for context in contexts]
        for context in opened[:-1]:
            await context.send("Hello.")
        with pytest.raises(MuxError) as caught:
            await heard(opened[-1])
        assert (caught.value.code, caught.value.retryable) == ("too_many_contexts", True)
        assert caught.value.problem.limit == 20
        for context in opened[:-1]:
            await context.close()
        for context in opened[:-1]:
            assert await heard(context) == await alone("Hello.")
        for manager in contexts:
            await manager.__aexit__(None, None, None)


# --- cancelling --------------------------------------------------------------------------------------


@pytest.mark.virtual_time
async def test_cancel_stops_at_once_and_tells_the_usage() -> None:
    async with connected(quick(chunk_delay=0.1)) as session, session.context() as context:
        await context.send("A long story that nobody wants to hear to its end. " * 3)
        await context.flush()
        await anext(context)
        ended = await context.cancel()
        assert ended.reason is Reason.CANCELLED
        assert ended.usage is not None
        assert 0 < ended.usage.audio_sent_ms < 1500
        assert await heard(context) == b""
        assert await context.cancel() == ended
        with pytest.raises(MuxError):
            await context.send("more")


@pytest.mark.virtual_time
async def test_leaving_the_block_cancels_and_the_slot_is_free() -> None:
    async with memory_server(quick(delay=100)) as server, server.connect(**PCM) as session:
        for _ in range(60):
            async with session.context() as context:
                await context.send("Never heard. ")
                await context.flush()
            assert (await context.wait_ended()).reason is Reason.CANCELLED
        await anyio.sleep(1)
        assert server.service.contexts == 0
        assert session.dropped_frames == 0


@pytest.mark.virtual_time
async def test_cancel_does_not_wait_for_ever() -> None:
    async with silent_server() as (session, _), session.context() as context:
        begun = anyio.current_time()
        ended = await context.cancel()
        assert anyio.current_time() - begun == CANCEL_SECONDS
        assert ended.problem is not None
        assert ended.problem.code == "timed_out"


# --- waiting -----------------------------------------------------------------------------------------


@pytest.mark.virtual_time
@pytest.mark.parametrize("closed_after", [0.0, 12.0, 100.0])
async def test_a_closed_context_that_stays_silent_is_given_up(closed_after: float) -> None:
    async with silent_server() as (session, _), session.context("mute") as context:

        async def close() -> None:
            await anyio.sleep(closed_after)
            await context.close()

        begun = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(close)
            with pytest.raises(MuxError, match="'mute' was closed") as caught:
                await anext(context)
        assert caught.value.code == "timed_out"
        assert anyio.current_time() - begun == closed_after + FRAME_SECONDS


@pytest.mark.virtual_time
async def test_an_open_context_may_be_silent_as_long_as_it_likes() -> None:
    async with silent_server() as (session, server), session.context("patient") as context:

        async def speak_late() -> None:
            await anyio.sleep(500)
            wire_id = json.loads(await server.receive())["context_id"]
            await server.send(json.dumps({"audio": "AAAA", "contextId": wire_id}))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(speak_late)
            assert (await anext(context)).audio == bytes(3)


@pytest.mark.virtual_time
async def test_keepalives_keep_a_quiet_context_alive_and_can_be_switched_off() -> None:
    async with (
        connected(inactivity_timeout="10") as session,
        session.context("kept") as kept,
        session.context("own", inactivity_timeout=3) as own,
        session.context("left", keepalive=False) as left,
    ):
        begun = anyio.current_time()
        assert (await left.wait_ended()).reason is Reason.TIMED_OUT
        assert anyio.current_time() - begun == pytest.approx(10, abs=0.1)
        with pytest.raises(MuxError) as caught:
            await heard(left)
        assert caught.value.code == "input_timeout"
        await anyio.sleep(100)
        for context in (kept, own):
            assert context.ended is None
            await context.send("Still here.")
            await context.close()
            assert await heard(context) == await alone("Still here.")


@pytest.mark.parametrize("seconds", [0, 0.5, 181, -1, float("nan"), float("inf")])
async def test_a_timeout_out_of_range_is_refused_before_anything_is_opened(seconds: float) -> None:
    async with connected() as session:
        with pytest.raises(MuxError, match="from 1 to 180") as caught:
            async with session.context(inactivity_timeout=seconds):
                pass
        assert caught.value.code == "invalid_setting"
    with pytest.raises(MuxError, match="from 1 to 180"):
        async with mux.connect("ws://127.0.0.1:1", inactivity_timeout=seconds):
            pass


@pytest.mark.parametrize("settings", [{"speed": 3}, {"stability": "very"}, {"use_speaker_boost": 7}])
async def test_a_bad_setting_is_refused_by_name(settings: dict[str, Any]) -> None:
    async with connected() as session:
        with pytest.raises(MuxError, match=next(iter(settings))):
            async with session.context(settings=settings):
                pass


# --- ends --------------------------------------------------------------------------------------------


@pytest.mark.virtual_time
async def test_who_does_not_read_is_cut_off_alone() -> None:
    async with (
        connected(quick(), buffer_bytes=5000) as session,
        session.context("lazy") as lazy,
        session.context("other") as other,
    ):
        await lazy.send("Nobody listens to this, however long it is. " * 5)
        await lazy.close()
        ended = await lazy.wait_ended()
        assert ended.reason is Reason.FAILED
        assert ended.problem is not None
        assert (ended.problem.code, ended.problem.limit) == ("slow_consumer", 5000)
        await other.send("But this.")
        await other.close()
        assert await heard(other) == await alone("But this.")
        with pytest.raises(MuxError, match="not read"):
            await heard(lazy)


async def test_a_lost_socket_ends_every_context_with_the_audio_so_far() -> None:
    ours, theirs = memory_pair()
    async with session_over(ours) as session, session.context("a") as a, session.context("b") as b:
        ids = [json.loads(await theirs.receive())["context_id"] for _ in range(2)]
        for id in ids:
            await theirs.send(json.dumps({"audio": "AAAA", "contextId": id}))
        theirs.cut()
        for context in (a, b):
            assert (await anext(context)).audio == bytes(3)
            with pytest.raises(MuxError) as caught:
                await anext(context)
            assert (caught.value.code, caught.value.retryable) == ("connection_lost", True)
            assert context.ended is not None
            assert context.ended.reason is Reason.SOCKET_CLOSED
            with pytest.raises(MuxError):
                await context.flush()
        assert not session.is_connected
        await session.close()
        with pytest.raises(MuxError) as caught:
            async with session.context("c"):
                pass
        assert caught.value.code == "connection_lost"


@pytest.mark.virtual_time
async def test_close_lets_everybody_finish() -> None:
    async with connected(quick(delay=1)) as session:
        async with session.context("a") as a, session.context("b") as b:
            await a.send("The end of a.")
            await b.send("The end of b.")
            await session.close()
            assert await heard(a) == await alone("The end of a.")
            assert await heard(b) == await alone("The end of b.")
            assert a.ended is not None
            assert a.ended.reason is Reason.COMPLETED
        assert not session.is_connected


@pytest.mark.virtual_time
@pytest.mark.parametrize("silent", [True, False])
async def test_close_survives_a_server_that_is_gone(silent: bool) -> None:
    begun = anyio.current_time()
    async with silent_server() as (session, server), session.context() as context:
        await context.send("Hello?")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(session.close)
            await anyio.sleep(1)
            if not silent:
                server.cut()
        assert anyio.current_time() - begun == (CLOSE_SECONDS if silent else 1)
        if not silent:
            ended = await context.wait_ended()
            assert ended.reason is Reason.SOCKET_CLOSED
            assert ended.problem is not None
            assert ended.problem.code == "connection_lost"


async def test_a_servers_warning_is_there_to_be_read() -> None:
    async with connected(inactivity_timeout="500") as session:
        async with session.context() as context:
            await context.send("x")
            await context.close()
            await heard(context)
        assert [problem.code for problem in session.warnings] == ["setting_clamped"]


async def test_what_the_block_raises_comes_out_as_it_is() -> None:
    async def fail() -> None:
        async with connected() as session, session.context():
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await fail()
