"""Sockets that are lost, and what a session makes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

import mux
from mux.cli.local import local_server
from mux.client import ClosedEarly, Context, OverLimit, Session, SpeechError
from mux.config import Settings
from mux.engines.tone import ToneEngine
from mux.protocol.messages import Reason
from mux.testing import MemoryServer, memory_server

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]
EACH = 160
"""Bytes of a character."""
TEXT = "Nobody ever hears that anything went wrong, not a single word of it. "


@asynccontextmanager
async def served(**options: Any) -> AsyncIterator[tuple[MemoryServer, Session]]:
    """A service that speaks 100 times as fast as anybody listens, a word at a time."""
    engine = ToneEngine(sample_rate=8000, character_seconds=0.01, chunk_delay=0.05)
    async with memory_server(engine) as server:
        options = {"output_format": "pcm_8000", "reconnect": True, **options}
        async with server.connect(**options) as session:
            yield server, session


async def listen(context: Context) -> tuple[int, str]:
    """(bytes, text) of all that is heard."""
    chunks = [chunk async for chunk in context]
    text = "".join(chunk.alignment.text for chunk in chunks if chunk.alignment)
    starts = [start for chunk in chunks if chunk.alignment for start in chunk.alignment.starts]
    assert starts == sorted(starts)
    return sum(len(chunk.audio) for chunk in chunks), text


@pytest.mark.parametrize("dialect", ["mux", "kugelaudio"])
@pytest.mark.parametrize("after", [0.0, 0.02, 0.13, 0.31, 0.5])
async def test_what_was_not_heard_is_said_again_on_another_socket(after: float, dialect: Any) -> None:
    voice = {"voice": "v"}
    async with served(dialect=dialect) as (server, session), session.context("a", **voice) as context:
        await context.send(TEXT)
        await context.close()
        async with anyio.create_task_group() as tasks:

            async def cut() -> None:
                await anyio.sleep(after)
                server.transports[0].cut()

            tasks.start_soon(cut)
            heard, text = await listen(context)
        assert text.split() == TEXT.split()
        # It may go on a space early, but never twice or not at all with a word.
        assert heard == pytest.approx(len(TEXT) * EACH, abs=3 * EACH)
        assert context.ended is not None
        assert context.ended.reason is Reason.COMPLETED
        assert context.usage is not None
        assert context.usage.characters_accepted >= len(TEXT.strip())
        assert len(server.transports) == 2
        assert session.is_connected


async def test_text_may_be_sent_while_there_is_no_socket() -> None:
    async with served() as (server, session), session.context() as context:
        await context.send("One, ", flush=True)
        heard = len((await anext(context)).audio)
        server.transports[0].cut()
        await context.send("two, ")
        await context.flush()
        await context.send("three.")
        await context.close()
        rest, _ = await listen(context)
        assert heard + rest == pytest.approx(len("One, two, three.") * EACH, abs=EACH)


async def test_many_losses_and_many_contexts() -> None:
    async with served(sockets=2, contexts_per_socket=2) as (server, session):
        contexts = [await session.create_context(f"c{number}") for number in range(4)]
        assert len(server.transports) == 2
        results: list[tuple[int, str]] = []

        async def talk(context: Context) -> None:
            for word in (TEXT * 3).split(" "):
                await context.send(word + " ")
            await context.close()
            results.append(await listen(context))

        async with anyio.create_task_group() as tasks:
            for context in contexts:
                tasks.start_soon(talk, context)
            for number in range(4):
                await anyio.sleep(0.3)
                server.transports[number].cut()
        assert [text.split() for _, text in results] == [(TEXT * 3).split()] * 4
        assert len(server.transports) > 4


async def test_what_was_buffered_before_the_loss_is_heard_first() -> None:
    async with served() as (server, session), session.context() as context:
        await context.send(TEXT)
        await context.close()
        await anyio.sleep(0.4)  # nobody reads yet
        server.transports[0].cut()
        await anyio.sleep(5)
        heard, text = await listen(context)
        assert text.split() == TEXT.split()
        assert heard == pytest.approx(len(TEXT) * EACH, abs=EACH)


async def test_a_lost_end_after_all_was_said_is_an_end() -> None:
    async with served() as (server, session), session.context() as context:
        await context.send("All of it. ")
        await context.flush()
        heard = 0
        while heard < len("All of it. ") * EACH:
            heard += len((await anext(context)).audio)
        async with anyio.create_task_group() as tasks:
            server.transports[0].cut()
            tasks.start_soon(context.close)
            assert [chunk async for chunk in context] == []
        assert (await context.wait_ended()).reason is Reason.COMPLETED


async def test_cancelling_while_there_is_no_socket() -> None:
    async with served() as (server, session), session.context() as context:
        await context.send(TEXT)
        server.service.start_draining()
        server.transports[0].cut()
        await anyio.sleep(0.01)
        assert (await context.cancel()).reason is Reason.CANCELLED
        assert [chunk async for chunk in context] == []


async def test_a_service_that_does_not_come_back_is_told_with_what_is_missing() -> None:
    async with served() as (server, session), session.context("lost") as context:
        await context.send(TEXT)
        await context.flush()
        await anext(context)

        @asynccontextmanager
        async def nobody() -> AsyncIterator[Any]:
            raise mux.MuxError.of("connection_refused", "Nobody listens there.")
            yield

        [pool] = session._pools
        pool.target = mux_replace(pool.target, connect=nobody)
        server.transports[0].cut()
        with pytest.raises(ClosedEarly) as caught:
            await listen(context)
        error = caught.value
        assert (error.code, error.context, error.retryable) == ("connection_refused", "lost", True)
        assert error.reason == "Nobody listens there."
        assert error.unspoken is not None
        assert error.audio_ms == context.audio_ms
        assert TEXT.endswith(error.unspoken)
        assert 0 < len(error.unspoken) < len(TEXT)
        assert error.unspoken.strip() not in str(error)


def mux_replace(target: Any, **changes: Any) -> Any:
    import msgspec

    return msgspec.structs.replace(target, **changes)


async def test_without_reconnecting_it_is_said_what_was_not_spoken() -> None:
    async with served(reconnect=False) as (server, session), session.context("a") as context:
        await context.send(TEXT)
        await context.flush()
        heard = len((await anext(context)).audio)
        server.transports[0].cut()
        while (chunk := await context.next_chunk()) is not None:
            heard += len(chunk.audio)
        error = context.error
        assert isinstance(error, ClosedEarly)
        assert error.code == "connection_lost"
        assert error.problem.observed == 1006
        assert error.audio_ms == heard / 16
        assert error.unspoken is not None
        spoken = TEXT.removesuffix(error.unspoken)
        assert len(spoken) * EACH <= heard < len(spoken + error.unspoken.split(" ")[0] + " ") * EACH + EACH
        with pytest.raises(ClosedEarly):
            await session.create_context("b")
        with pytest.raises(ClosedEarly):
            await context.send("more")


async def test_audio_that_cannot_be_cut_is_not_said_again() -> None:
    async with served(output_format="mp3_44100_64") as (server, session), session.context() as context:
        await context.send(TEXT * 20)
        await context.close()
        await anext(context)
        server.transports[0].cut()
        with pytest.raises(ClosedEarly) as caught:
            await listen(context)
        assert caught.value.audio_ms is None
        assert caught.value.unspoken


# --- limits ------------------------------------------------------------------------------------------


async def test_contexts_beyond_one_socket_go_to_another_and_then_wait() -> None:
    async with served(sockets=2, contexts_per_socket=2, slot_timeout=3) as (server, session):
        contexts = [await session.create_context(f"c{number}") for number in range(4)]
        assert len(server.transports) == 2
        begun = anyio.current_time()
        with pytest.raises(OverLimit, match="All 4 slots of memory were taken for 3 s") as caught:
            await session.create_context("one too many")
        assert anyio.current_time() - begun == 3
        assert (caught.value.code, caught.value.context) == ("busy", "one too many")
        assert session.active_contexts == ["c0", "c1", "c2", "c3"]

        async def make_room() -> None:
            await anyio.sleep(1)
            await contexts[2].close()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(make_room)
            late = await session.create_context("late")
        assert anyio.current_time() - begun == pytest.approx(4, abs=0.2)
        await late.send("At last.", flush=True)
        assert len((await anext(late)).audio) > 0


async def test_sockets_are_opened_again_over_loopback() -> None:
    async with local_server(Settings(engine="tone")) as url:
        with pytest.raises(SpeechError):
            async with mux.connect("ws://127.0.0.1:9", reconnect=True):
                pass
        async with mux.connect(url, reconnect=True, output_format="pcm_8000", sockets=2) as session:
            [first] = [link for pool in session._pools for link in pool.links]
            async with session.context() as context:
                await context.send("Twice. ", flush=True)
                heard = len((await anext(context)).audio)
                await first._transport.aclose(1000, "the test")
                await context.close()
                rest, _ = await listen(context)
                assert heard + rest >= 6 * 800


test_sockets_are_opened_again_over_loopback.pytestmark = [pytest.mark.anyio]  # type: ignore[attr-defined]
