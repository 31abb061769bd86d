"""What a review of the client core found: each of these broke a promise when it was written."""

from __future__ import annotations

import json
from array import array
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import pytest

import mux
from mux.client import Callbacks, Chunk, Context, ContextEnd, OverLimit, Session, SpeechError
from mux.client.connect import open_session, session_over
from mux.engines.tone import ToneEngine
from mux.links.endpoint import Endpoint
from mux.links.memory import MemoryTransport, memory_pair
from mux.links.transport import Transport
from mux.mock import Fault, Mock, serve_mock
from mux.protocol.messages import Reason
from mux.protocol.voice import ContextSettings
from mux.testing import MemoryServer, memory_server

pytestmark = pytest.mark.anyio
TEXT = "Hello there, in pieces. "
EACH = 160
"""Bytes of a character."""
ELEVENLABS: dict[str, Any] = {"dialect": "elevenlabs", "voice": "v", "output_format": "pcm_8000"}


@asynccontextmanager
async def served(**options: Any) -> AsyncIterator[tuple[MemoryServer, Session]]:
    engine = ToneEngine(sample_rate=8000, character_seconds=0.01, chunk_delay=0.05)
    async with (
        memory_server(engine) as server,
        server.connect(**{"output_format": "pcm_8000", **options}) as session,
    ):
        yield server, session


@asynccontextmanager
async def mocked(*faults: Fault, **options: Any) -> AsyncIterator[tuple[Mock, Session]]:
    async with (
        serve_mock("elevenlabs", faults) as mock,
        mux.connect(mock.url, **ELEVENLABS, **options) as session,
    ):
        yield mock, session


async def heard(context: Context) -> bytes:
    return b"".join([chunk.audio async for chunk in context])


async def say(session: Session, name: str) -> bytes:
    context = await session.create_context(name)
    await context.send(TEXT)
    await context.close()
    return await heard(context)


# --- text is never silently dropped ------------------------------------------------------------------


@pytest.mark.virtual_time
@pytest.mark.parametrize("dialect", ["elevenlabs", "kugelaudio", "mux"])
async def test_an_end_without_any_audio_for_text_is_an_error(dialect: Any) -> None:
    ours, theirs = memory_pair()
    async with session_over(ours, dialect=dialect) as session:
        context = await session.create_context("a", voice="v")
        await context.send("Never spoken.", flush=True)
        id = json.loads(await theirs.receive())["context_id"]
        end = {"context_closed": True} if dialect == "kugelaudio" else {"isFinal": True, "contextId": id}
        await theirs.send(json.dumps({"context_id": id, **end}))
        await context.wait_ended()
        assert isinstance(context.error, SpeechError)
        assert context.error.unspoken == "Never spoken."
        await theirs.aclose()


async def test_text_whose_close_overtook_it_is_an_error_or_said_again() -> None:
    async with (
        serve_mock("kugelaudio", [Fault("close_overtakes", times=1)]) as mock,
        mux.connect(mock.url, dialect="kugelaudio", voice="v", reconnect=True) as session,
    ):
        context = await session.create_context("a")
        await context.send(TEXT)
        await context.close()
        assert await heard(context) or context.error


def frame(id: str, text: str, at: int) -> str:
    """Each character sounds for 10 ms, as its own number."""
    pcm = array("h", [ord(character) for character in text for _ in range(80)]).tobytes()
    times = {
        "chars": list(text),
        "charStartTimesMs": [at + 10 * number for number in range(len(text))],
        "charDurationsMs": [10] * len(text),
    }
    return json.dumps({"audio": b64encode(pcm).decode(), "contextId": id, "alignment": times})


@pytest.mark.virtual_time
async def test_times_that_restart_with_every_generation_lose_no_text() -> None:
    """As ElevenLabs was recorded: "times restart at 0 at each generation"."""
    peers: list[MemoryTransport] = []

    @asynccontextmanager
    async def opened() -> AsyncIterator[Transport]:
        ours, theirs = memory_pair()
        peers.append(theirs)
        yield ours
        theirs.cut()

    endpoint = Endpoint(
        name="test",
        dialect="elevenlabs",
        url="ws://h",
        output_format="pcm_8000",
        settings=ContextSettings(voice="v"),
        opener=opened,
    )
    async with open_session(endpoint) as session:
        context = await session.create_context("a")
        await context.send("One two three four. ", flush=True)
        await context.send("Five six seven.", flush=True)
        await context.close()
        id = json.loads(await peers[0].receive())["context_id"]
        await peers[0].send(frame(id, "One two three four. ", 0))
        await peers[0].send(frame(id, "Five si", 0))
        await anyio.sleep(0.1)
        peers[0].cut()
        await anyio.sleep(1)
        id, again = json.loads(await peers[1].receive())["context_id"], ""
        while "flush" not in (message := json.loads(await peers[1].receive())):
            again += message["text"]
        await peers[1].send(frame(id, again, 0))
        await peers[1].send(json.dumps({"contextId": id, "isFinal": True}))
        chunks = [chunk async for chunk in context]
        samples = array("h", b"".join(chunk.audio for chunk in chunks))
        assert "".join(map(chr, samples[::80])) == "One two three four. Five six seven."
        starts = [start for chunk in chunks if chunk.alignment for start in chunk.alignment.starts]
        assert starts == sorted(starts)
        assert context.split(250) == ("One two three four. Five ", "six seven.")


async def test_leaving_the_merged_iteration_early_loses_no_audio() -> None:
    async with served() as (_, session):
        await session.send("a", TEXT * 3)
        await session.close_context("a")
        heard = 0
        async with session.events() as events:
            async for event in events:
                assert isinstance(event, Chunk)
                heard += len(event.audio)
                break
        async with session.events() as events:
            async for event in events:
                heard += len(event.audio) if isinstance(event, Chunk) else 0
        assert heard == len(TEXT * 3) * EACH


@pytest.mark.virtual_time
async def test_a_callback_may_close_the_session() -> None:
    """It waits for callbacks, but not for the one that it was called from."""
    session: Session
    took: list[float] = []

    async def done(name: str, usage: Any) -> None:
        begun = anyio.current_time()
        await session.close()
        took.append(anyio.current_time() - begun)

    async with served(callbacks=Callbacks(on_context_closed=done)) as (_, session):
        await session.send("a", TEXT)
        await session.close_context("a")
        await anyio.sleep(60)
    assert took[0] < 1


@pytest.mark.virtual_time
async def test_a_lost_socket_is_told() -> None:
    """`on_error`: "or a socket was lost: (why, None)"."""
    told: list[str | None] = []
    callbacks = Callbacks(on_error=lambda error, name: told.append(name))
    async with served(callbacks=callbacks, reconnect=True) as (server, session):
        await session.send("a", TEXT, flush=True)
        await anyio.sleep(0.1)
        server.transports[0].cut()
        await anyio.sleep(5)
    assert told == [None]


@pytest.mark.virtual_time
async def test_usage_of_what_the_session_left_in_mid_speech() -> None:
    async with served() as (_, session):
        context = await session.create_context("a")
        await context.send(TEXT, flush=True)
        await anext(context)
        await anyio.sleep(0.12)
        read = context.audio_ms
        session._tasks.cancel_scope.cancel()  # as when the block raises
    assert read
    assert context.usage is not None
    assert context.usage.audio_generated_ms >= read


# --- the smallest failure scope ----------------------------------------------------------------------


async def test_who_is_cut_off_keeps_the_slot_until_the_service_gave_it_back() -> None:
    """ElevenLabs ends the whole socket over a 6th context."""
    async with mocked(Fault("slot_late", seconds=0.5), buffer_bytes=20_000) as (_, session):
        contexts = [await session.create_context(f"c{number}") for number in range(5)]
        await contexts[0].send("x" * 200, flush=True)
        assert (await contexts[0].wait_ended()).problem is not None
        late = await session.create_context("late")
        await late.send(TEXT, flush=True)
        assert (await anext(late)).audio
        assert session.active_contexts == ["c1", "c2", "c3", "c4", "late"]


@pytest.mark.virtual_time
async def test_a_cancel_that_is_not_confirmed_does_not_end_the_session() -> None:
    """`reconnect` is off, as by default: a socket that was given up by ourselves may still be replaced."""
    silent: list[MemoryTransport] = []

    @asynccontextmanager
    async def opened() -> AsyncIterator[Transport]:
        ours, theirs = memory_pair(unread_bytes=10**6)
        silent.append(theirs)
        yield ours
        theirs.cut()

    endpoint = Endpoint(name="test", dialect="mux", url="ws://h", opener=opened, reopen=False, patience=1)
    async with open_session(endpoint) as session:
        await session.create_context("other")
        turn = await session.create_context("turn")
        await turn.send(TEXT, flush=True)
        await turn.cancel()
        assert session.active_contexts == ["other"]
        await session.create_context("next turn")


async def test_a_missing_end_does_not_end_the_session() -> None:
    async with mocked(Fault("final_never", times=1)) as (_, session):
        context = await session.create_context("a", silence_timeout=0.5)
        await context.send(TEXT)
        await context.close()
        while await context.next_chunk() is not None:
            pass
        assert await say(session, "next")


async def test_all_was_heard_and_the_end_never_came() -> None:
    """What ElevenLabs' times tell to be spoken to the last word was completed."""
    async with mocked(Fault("final_never", times=1)) as (_, session):
        context = await session.create_context("a", silence_timeout=0.5)
        await context.send(TEXT)
        await context.close()
        assert await heard(context)
        assert (await context.wait_ended()).reason is Reason.COMPLETED


@pytest.mark.virtual_time
@pytest.mark.parametrize("characters", [["ab", "c"], ["a", ""]])
async def test_an_alignment_in_pieces_of_another_length_ends_nobody(characters: list[str]) -> None:
    """As an emoji of several code points would be."""
    ours, theirs = memory_pair()
    async with session_over(ours) as session:
        context = await session.create_context("a")
        await context.send("abc")
        id = json.loads(await theirs.receive())["context_id"]
        times = {"chars": characters, "charStartTimesMs": [0, 5], "charDurationsMs": [5, 5]}
        await theirs.send(json.dumps({"audio": "AAAA", "contextId": id, "alignment": times}))
        assert (await anext(context)).audio == bytes(3)
        assert context.split(1000)
        await theirs.aclose()


async def test_more_voices_than_pools_at_the_same_time() -> None:
    """A pool whose first socket is being opened for somebody is not idle."""
    results: list[int | str] = []

    async def talk(session: Session, number: int) -> None:
        try:
            async with session.context(voice=f"v{number}") as context:
                await context.send("Hi. ")
                await context.close()
                results.append(len(await heard(context)))
        except SpeechError as error:
            results.append(error.code)

    async with (
        serve_mock("elevenlabs") as mock,
        mux.connect(mock.url, dialect="elevenlabs", output_format="pcm_8000") as session,
        anyio.create_task_group() as tasks,
    ):
        for number in range(20):
            tasks.start_soon(talk, session, number)
    assert set(results) == {4 * 800}


# --- ends --------------------------------------------------------------------------------------------


@pytest.mark.virtual_time
async def test_the_merged_iteration_ends_when_the_session_is_left_in_any_way() -> None:
    ended = False

    async def read(session: Session) -> None:
        nonlocal ended
        async with session.events(stay=True) as events:
            async for _ in events:
                pass
        ended = True

    async def fail(tasks: anyio.abc.TaskGroup) -> None:
        async with served() as (_, session):
            await session.send("a", TEXT)
            tasks.start_soon(read, session)
            await anyio.sleep(0.01)
            raise KeyError

    async with anyio.create_task_group() as tasks:
        with pytest.raises(KeyError):
            await fail(tasks)
        await anyio.sleep(100)
        assert ended
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("how", ["iterated", "events"])
async def test_what_was_read_is_not_told_again(how: str) -> None:
    async with served() as (_, session):
        await session.send("a", TEXT)
        await session.close_context("a")
        if how == "iterated":
            context = session._newest("a")
            assert context is not None
            await heard(context)
        else:
            async with session.events() as events:
                assert sum(isinstance(event, ContextEnd) for event in [event async for event in events]) == 1
        async with session.events() as events:
            assert [event async for event in events] == []


async def test_a_context_that_could_not_be_created_is_not_told() -> None:
    async with served(contexts_per_socket=1) as (_, session):
        context = await session.create_context("x")
        with anyio.move_on_after(0.05):
            await session.create_context("nobody")
        await context.close()
        async with session.events() as events:
            assert {event.context async for event in events} == {"x"}


@pytest.mark.virtual_time
async def test_many_contexts_that_find_no_slot_at_once() -> None:
    kinds: list[type[BaseException]] = []
    async with served(contexts_per_socket=1, slot_timeout=1) as (_, session):
        await session.create_context("x")

        async def create() -> None:
            try:
                await session.create_context("y")
            except Exception as error:
                kinds.append(type(error))

        async with anyio.create_task_group() as tasks:
            for _ in range(300):
                tasks.start_soon(create)
    assert set(kinds) == {OverLimit}


async def test_a_closed_session_opens_nothing_again() -> None:
    async with served(reconnect=True) as (server, session):
        async with session.events(stay=True):
            await session.close()
            with pytest.raises(SpeechError):
                await session.create_context("late")
        with pytest.raises(SpeechError):
            await session.create_context("later")
        assert len(server.transports) == 1


@pytest.mark.virtual_time
async def test_closing_while_the_socket_breaks_still_ends_everybody() -> None:
    async with served(reconnect=True) as (server, session):
        context = await session.create_context("a")
        await context.send(TEXT * 4)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(session.close)
            await anyio.sleep(0.3)
            server.transports[0].cut()
        assert context.ended is not None
        assert not session.is_connected


@pytest.mark.virtual_time
@pytest.mark.parametrize("reconnect", [True, False])
async def test_a_barge_in_while_the_socket_breaks_is_a_barge_in(reconnect: bool) -> None:
    async with served(reconnect=reconnect) as (server, session):
        context = await session.create_context("a")
        await context.send(TEXT, flush=True)
        await anext(context)
        context.stop()
        server.transports[0].cut()
        assert (await context.wait_ended()).reason is Reason.CANCELLED
        assert await heard(context) == b""


async def test_text_for_a_name_that_is_draining_opens_it_again() -> None:
    """`Session.send`: "a context that is not open is opened"."""
    async with served() as (_, session):
        await session.send("a", TEXT)
        await session.close_context("a")
        await session.send("a", "Again.")
        assert session.active_contexts == ["a", "a"]


# --- how long it takes -------------------------------------------------------------------------------


@pytest.mark.virtual_time
async def test_what_nobody_reads_yet_gives_its_slot_back_as_soon() -> None:
    """On ElevenLabs' wire the close waits for the last word to arrive, not to be read: whoever buffers the
    next turns has five slots."""
    async with served(dialect="elevenlabs") as (_, session):
        context = await session.create_context("a")
        await context.send(TEXT)
        begun = anyio.current_time()
        await context.close()
        await context.wait_ended()
        assert anyio.current_time() - begun < 1


@pytest.mark.virtual_time
async def test_silence_is_counted_from_the_last_audio() -> None:
    ours, theirs = memory_pair()
    async with session_over(ours) as session:
        context = await session.create_context("a", silence_timeout=9)
        await context.send("x")
        await context.close()
        id = json.loads(await theirs.receive())["context_id"]
        await anyio.sleep(1)
        await theirs.send(json.dumps({"audio": "AAAA", "contextId": id}))
        begun = anyio.current_time()
        await context.wait_ended()
        assert anyio.current_time() - begun == pytest.approx(9, abs=0.5)
        await theirs.aclose()


@pytest.mark.virtual_time
async def test_stopping_without_waiting_is_bounded_like_a_cancel() -> None:
    ours, theirs = memory_pair()
    async with session_over(ours) as session:
        context = await session.create_context("a")
        await anyio.sleep(0.1)
        begun = anyio.current_time()
        context.stop()
        await context.wait_ended()
        assert anyio.current_time() - begun <= 5.1
        await theirs.aclose()


@pytest.mark.virtual_time
async def test_opening_a_socket_may_take_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """`open_timeout` is 10 s; a slot is something else."""
    ours, theirs = memory_pair()

    @asynccontextmanager
    async def slow(url: str, **options: Any) -> AsyncIterator[MemoryTransport]:
        await anyio.sleep(7)
        yield ours
        theirs.cut()

    monkeypatch.setattr("mux.links.pool.open_transport", slow)
    async with mux.connect("ws://h") as session:
        assert session.is_connected


@pytest.mark.parametrize(
    "options",
    [
        {"url": "ws://[h"},
        {"dialect": "elevenlab"},
        {"sockets": 0},
        {"contexts_per_socket": -1},
        {"slot_timeout": -1},
        {"buffer_bytes": 0},
    ],
)
async def test_arguments_out_of_their_range_are_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(mux.client.Refused), anyio.fail_after(1):
        async with mux.connect(**{"url": "ws://127.0.0.1:9", **options}):
            pass
