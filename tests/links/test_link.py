"""A link against a server that does exactly what a test says."""

from __future__ import annotations

import json

import anyio
import anyio.lowlevel
import pytest
from far_end import NOTHING, Server, linked, settle

from mux.dialects.elevenlabs import ElevenLabsClient
from mux.errors import MuxError, Problem
from mux.links.link import (
    CANCEL_SECONDS,
    CLOSE_SECONDS,
    LinkContext,
    open_link,
)
from mux.links.memory import memory_pair
from mux.protocol.messages import Reason
from mux.protocol.voice import ContextSettings

pytestmark = pytest.mark.anyio


async def test_messages_go_out_in_order_each_under_its_contexts_id() -> None:
    async with linked() as (link, server):
        a = link.open("a", ContextSettings(voice="v"), keepalive=False)
        await a.send("Hello ")
        await a.send("there.")
        a.flush()
        a.keep_alive()
        a.close()
        a.close()
        id = a.wire_id
        assert await server.heard(6) == [
            {"text": " ", "context_id": id, "voice_id": "v"},
            {"text": "Hello ", "context_id": id},
            {"text": "there.", "context_id": id},
            {"context_id": id, "flush": True},
            {"text": "", "context_id": id},
            {"context_id": id, "close_context": True},
        ]
        await server.hears_nothing_more()


async def test_no_two_contexts_share_a_wire_id_whatever_their_names() -> None:
    async with linked() as (link, _):
        names = ["a.2", "a", "a", "", "a.2", ".4", "a.3", "3", "a"]
        ids = [link.open(name, NOTHING).wire_id for name in names]
        assert len(set(ids)) == len(names)
        assert all(ids)


async def test_audio_finds_its_context_and_the_end_its_reader() -> None:
    async with linked() as (link, server):
        a, b = link.open("x", NOTHING), link.open("x", NOTHING)
        await server.audio(b.wire_id, "AQ==")
        await server.audio(a.wire_id, "Ag==")
        await server.final(b.wire_id)
        frame = await a.inbox.get()
        assert frame is not None
        assert frame.audio == b"\2"
        assert (await b.inbox.wait_ended()).reason is Reason.COMPLETED
        assert a.inbox.ended is None


async def test_a_context_that_was_closed_or_has_ended_takes_nothing_more() -> None:
    async with linked() as (link, server):
        closed, failed = link.open("closed", NOTHING), link.open("failed", NOTHING)
        closed.close()
        await server.say(message="Too much.", error="system_busy", code=1013, contextId=failed.wire_id)
        await server.final(failed.wire_id)
        await failed.inbox.wait_ended()
        for context, code in ((closed, "closed_early"), (failed, "busy")):
            for act in (context.flush, context.keep_alive):
                with pytest.raises(MuxError) as caught:
                    act()
                assert caught.value.code == code
            with pytest.raises(MuxError):
                await context.send("more")
            context.close()


async def test_a_cancel_overtakes_everybodys_text_and_takes_back_its_own() -> None:
    async with linked(unread_bytes=0) as (link, server):
        talker, cancelled = link.open("talker", NOTHING), link.open("cancelled", NOTHING)
        await settle()  # one message is on its way, one waits for the network, the rest waits in the link
        for number in range(20):
            await talker.send(f"{number} ")
            await cancelled.send(f"never {number} ")
        cancelled.cancel()
        heard = await server.heard(23)
        assert {"context_id": cancelled.wire_id, "close_context": True, "immediate": True} in heard[:3]
        assert not [m for m in heard if "never" in (m.get("text") or "")]
        said = [m["text"] for m in heard if m["context_id"] == talker.wire_id and m["text"].strip()]
        assert said == [f"{number} " for number in range(20)], "nobody else lost a word"


async def test_a_context_cancelled_before_it_was_opened_is_still_opened_first() -> None:
    async with linked() as (link, server):
        context = link.open("a", NOTHING)
        context.cancel()
        assert await server.heard(2) == [
            {"text": " ", "context_id": context.wire_id},
            {"context_id": context.wire_id, "close_context": True, "immediate": True},
        ]
        await server.final(context.wire_id, reason="cancelled", usage={})
        assert (await context.inbox.wait_ended()).reason is Reason.CANCELLED


async def test_after_a_cancel_no_audio_is_delivered() -> None:
    async with linked() as (link, server):
        context = link.open("a", NOTHING)
        await server.audio(context.wire_id)
        await settle()
        context.cancel()
        await server.audio(context.wire_id)
        await server.final(context.wire_id)
        assert await context.inbox.get() is None


@pytest.mark.virtual_time
async def test_a_cancel_that_nobody_answers_ends_by_itself() -> None:
    async with linked() as (link, server):
        context = link.open("a", NOTHING)
        begun = anyio.current_time()
        ended = await context.cancelled()
        assert anyio.current_time() - begun == CANCEL_SECONDS
        assert ended.problem is not None
        assert ended.problem.code == "timed_out"
        assert len(link.router) == 0
        await server.audio(context.wire_id)
        await settle()
        assert link.router.dropped == 1


async def test_a_context_that_is_not_read_is_cut_off_alone() -> None:
    async with linked(buffer_bytes=10) as (link, server):
        lazy, other = link.open("lazy", NOTHING), link.open("other", NOTHING)
        for _ in range(5):
            await server.audio(lazy.wire_id, "AAAAAAAA")
            await server.audio(other.wire_id, "AAAAAAAA")
            assert await other.inbox.get()
        ended = await lazy.inbox.wait_ended()
        assert ended.reason is Reason.FAILED
        assert ended.problem is not None
        assert (ended.problem.code, ended.problem.limit) == ("slow_consumer", 10)
        audio = b""
        while frame := await lazy.inbox.get():
            audio += frame.audio
        assert audio == bytes(12), "what it has can still be read"
        heard = await server.heard(3)
        assert {"context_id": lazy.wire_id, "close_context": True, "immediate": True} in heard
        assert other.inbox.ended is None


async def test_a_lost_socket_ends_every_context_with_the_audio_so_far() -> None:
    async with linked() as (link, server):
        contexts = [link.open(name, NOTHING) for name in "abc"]
        for context in contexts:
            await server.audio(context.wire_id)
        server.end.cut()
        for context in contexts:
            assert await context.inbox.get()
            assert await context.inbox.get() is None
            ended = context.inbox.ended
            assert ended is not None
            assert ended.reason is Reason.SOCKET_CLOSED
            assert ended.problem is not None
            assert (ended.problem.code, ended.problem.retryable) == ("connection_lost", True)
        assert not link.connected
        with pytest.raises(MuxError) as caught:
            link.open("d", NOTHING)
        assert caught.value.code == "connection_lost"
        await link.close()


async def test_what_arrived_before_the_end_counts_even_if_a_send_notices_the_end_first() -> None:
    ours, theirs = memory_pair()
    server = Server(theirs)
    for _ in range(20):
        await server.audio("a.1")
    await server.final("a.1")
    await server.say(message="Restarting.", error="system_busy", code=1012)
    await theirs.aclose(1012, "bye")
    async with open_link(ours, ElevenLabsClient()) as link:
        context, other = link.open("a", NOTHING), link.open("other", NOTHING)
        assert (await context.inbox.wait_ended()).reason is Reason.COMPLETED
        assert [bool(await context.inbox.get()) for _ in range(21)] == [True] * 20 + [False]
        ended = await other.inbox.wait_ended()
        assert ended.problem is not None
        assert ended.problem.message == "Restarting.", "the server's own reason"


async def test_the_servers_reason_for_closing_is_everybodys() -> None:
    async with linked() as (link, server):
        context = link.open("a", NOTHING)
        await server.say(message="Invalid API key", error="invalid_api_key", code=1008)
        await server.end.aclose(1008, "Invalid API key")
        ended = await context.inbox.wait_ended()
        assert ended.problem == Problem(code="invalid_api_key", message="Invalid API key")


async def test_close_asks_for_the_end_and_waits_for_it() -> None:
    async with linked() as (link, server):
        context = link.open("a", NOTHING)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(link.close)
            assert (await server.heard(2))[1] == {"close_socket": True}
            await server.audio(context.wire_id)
            await server.final(context.wire_id)
            await server.end.aclose(1000, "")
        assert context.inbox.ended is not None
        assert context.inbox.ended.reason is Reason.COMPLETED
        assert await context.inbox.get()


@pytest.mark.virtual_time
async def test_close_does_not_wait_for_ever() -> None:
    async with linked() as (link, _):
        link.open("a", NOTHING)
        begun = anyio.current_time()
        await link.close()
        assert anyio.current_time() - begun == CLOSE_SECONDS


async def test_what_the_block_raises_comes_out_as_it_is_and_everything_stops() -> None:
    async def fail() -> None:
        async with linked() as (link, _):
            link.open("a", NOTHING)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await fail()


@pytest.mark.parametrize("junk", ["nonsense", "[]", "{"])
async def test_something_that_cannot_be_read_ends_the_socket_and_says_so(junk: str) -> None:
    """It may have been anybody's audio: nobody is told that he heard all."""
    async with linked() as (link, server):
        context = link.open("a", NOTHING)
        await server.audio(context.wire_id)
        await server.end.send(junk)
        assert await context.inbox.get()
        ended = await context.inbox.wait_ended()
        assert ended.problem is not None
        assert (ended.problem.code, ended.problem.retryable) == ("connection_lost", True)
        assert "not of this protocol" in ended.problem.message
        assert not link.connected


async def test_audio_that_cannot_be_read_ends_its_context_alone() -> None:
    async with linked() as (link, server):
        a, b = link.open("a", NOTHING), link.open("b", NOTHING)
        await server.end.send(json.dumps({"audio": "é", "contextId": a.wire_id}))
        ended = await a.inbox.wait_ended()
        assert ended.problem is not None
        assert (ended.problem.code, ended.problem.retryable) == ("engine_failed", True)
        await server.audio(b.wire_id)
        await server.final(b.wire_id, reason="completed", usage={})
        assert await b.inbox.get()
        assert (await b.inbox.wait_ended()).reason is Reason.COMPLETED


async def test_a_frame_that_is_no_frame_harms_no_context() -> None:
    async with linked() as (link, server):
        context = link.open("a", NOTHING)
        for junk in (
            '{"audio": "é"}',
            '{"isFinal": true, "contextId": "nobody", "mux": 5}',
        ):
            await server.end.send(junk)
        await server.audio(context.wire_id)
        await server.final(context.wire_id, reason="evaporated", usage={})
        assert await context.inbox.get()
        assert (await context.inbox.wait_ended()).reason is Reason.COMPLETED


@pytest.mark.parametrize("how", ["leave", "cancel"])
async def test_leaving_the_block_ends_its_contexts_also_for_who_waits_outside(how: str) -> None:
    problems = []

    async def wait(context: LinkContext) -> None:
        ended = await context.inbox.wait_ended()
        problems.append((ended.reason, ended.problem.code if ended.problem else None))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as outside:
            with anyio.CancelScope() as inside:
                async with linked() as (link, _):
                    context = link.open("a", NOTHING)
                    outside.start_soon(wait, context)
                    await settle()
                    if how == "cancel":
                        inside.cancel()
                        await settle()
    assert problems == [(Reason.SOCKET_CLOSED, "closed_early")]
    assert not link.connected
    with pytest.raises(MuxError):
        await context.send("more")
