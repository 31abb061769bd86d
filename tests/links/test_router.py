from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from mux.dialects.base import AudioFrame, ContextError, SocketError
from mux.errors import Problem
from mux.links.router import Ended, Inbox, Router
from mux.protocol.messages import ContextClosed, Reason, Usage, Warning

pytestmark = pytest.mark.anyio

PROBLEM = Problem(code="busy", message="Too much.")
OTHER = Problem(code="engine_failed", message="Broken.")
USAGE = Usage(characters_accepted=3)


def router(*ids: str, limit: int = 1000) -> tuple[Router, list[Inbox]]:
    made = Router()
    inboxes = [Inbox(limit) for _ in ids]
    for id, inbox in zip(ids, inboxes, strict=True):
        made.add(id, inbox)
    return made, inboxes


async def settle() -> None:
    for _ in range(5):
        await anyio.lowlevel.checkpoint()


async def waiting(inbox: Inbox) -> bytes:
    """What is there without anybody sending more."""
    audio = b""
    with anyio.move_on_after(0):
        while frame := await inbox.get():
            audio += frame.audio
    return audio


async def test_a_frame_reaches_its_own_context_and_nobody_else() -> None:
    routes, (a, b) = router("a", "b")
    for frame in (AudioFrame("a", b"1"), AudioFrame("b", b"2"), AudioFrame("a", b"3")):
        assert routes.route(frame) is None
    assert await waiting(a) == b"13"
    assert await waiting(b) == b"2"
    assert a.received_bytes == 2
    assert routes.dropped == 0


async def test_what_belongs_to_nobody_is_counted_and_dropped() -> None:
    routes, (a,) = router("a")
    routes.route(AudioFrame("x", b"1"))
    routes.route(ContextError("x", PROBLEM))
    routes.route(ContextClosed("x", 0, Reason.COMPLETED, USAGE))
    routes.route(ContextClosed("a", 0, Reason.COMPLETED, USAGE))
    routes.route(AudioFrame("a", b"late"))
    assert routes.dropped == 4
    assert len(routes) == 0
    assert await waiting(a) == b""


async def test_audio_that_came_before_the_end_is_read_before_it() -> None:
    routes, (a,) = router("a")
    routes.route(AudioFrame("a", b"1"))
    routes.route(ContextClosed("a", 0, Reason.COMPLETED, USAGE))
    assert a.ended == Ended(reason=Reason.COMPLETED, usage=USAGE)
    frame = await a.get()
    assert frame is not None
    assert frame.audio == b"1"
    assert await a.get() is None
    assert await a.get() is None


async def test_an_error_is_kept_for_the_end_that_follows_it() -> None:
    routes, (a, b) = router("a", "b")
    routes.route(ContextError("a", PROBLEM))
    assert a.ended is None
    # A vendor's isFinal tells no reason: after an error it is no completion.
    routes.route(ContextClosed("a", 0, Reason.COMPLETED, USAGE))
    assert a.ended == Ended(reason=Reason.FAILED, usage=USAGE, problem=PROBLEM)
    assert b.ended is None


async def test_an_error_does_not_change_a_reason_that_says_more() -> None:
    routes, (a,) = router("a")
    routes.route(ContextError("a", PROBLEM))
    routes.route(ContextClosed("a", 0, Reason.TIMED_OUT, USAGE))
    assert a.ended == Ended(reason=Reason.TIMED_OUT, usage=USAGE, problem=PROBLEM)


async def test_only_the_first_end_counts() -> None:
    inbox = Inbox(10)
    inbox.end(Reason.CANCELLED, USAGE)
    inbox.end(Reason.FAILED, None, PROBLEM)
    assert inbox.ended == Ended(reason=Reason.CANCELLED, usage=USAGE)


async def test_the_context_that_overflows_is_named_and_keeps_what_it_has() -> None:
    routes, (a, b) = router("a", "b", limit=3)
    assert routes.route(AudioFrame("a", b"123")) is None
    assert routes.route(AudioFrame("b", b"1")) is None
    assert routes.route(AudioFrame("a", b"4")) == "a"
    routes.end_one("a", Reason.FAILED, PROBLEM)
    assert await waiting(a) == b"1234"
    assert a.ended == Ended(reason=Reason.FAILED, problem=PROBLEM)
    assert b.ended is None
    assert len(routes) == 1


async def test_reading_makes_room() -> None:
    routes, (a,) = router("a", limit=3)
    for _ in range(10):
        assert routes.route(AudioFrame("a", b"123")) is None
        await a.get()


async def test_a_muted_inbox_forgets_what_it_had_and_what_comes_but_learns_of_the_end() -> None:
    routes, (a,) = router("a", limit=3)
    routes.route(AudioFrame("a", b"123"))
    a.mute()
    assert routes.route(AudioFrame("a", b"12345678")) is None, "nobody is cut off for what nobody wants"
    assert await waiting(a) == b""
    routes.route(ContextClosed("a", 0, Reason.CANCELLED, USAGE))
    assert await a.get() is None
    assert a.ended == Ended(reason=Reason.CANCELLED, usage=USAGE)


async def test_the_sockets_end_is_everybodys_with_the_servers_own_reason() -> None:
    routes, (a, b) = router("a", "b")
    routes.route(AudioFrame("a", b"1"))
    routes.route(SocketError(OTHER))
    assert a.ended is None
    routes.end_all(PROBLEM)
    for inbox in (a, b):
        assert inbox.ended == Ended(reason=Reason.SOCKET_CLOSED, problem=OTHER)
    assert await waiting(a) == b"1"
    assert len(routes) == 0


async def test_without_a_servers_reason_the_sockets_own_counts() -> None:
    routes, (a,) = router("a")
    routes.end_all(PROBLEM)
    assert a.ended == Ended(reason=Reason.SOCKET_CLOSED, problem=PROBLEM)


async def test_warnings_are_kept_up_to_a_bound_and_end_nobody() -> None:
    routes, (a,) = router("a")
    for number in range(150):
        routes.route(Warning(Problem(code="setting_clamped", message=str(number)), "a"))
    assert [warning.problem.message for warning in routes.warnings] == [str(n) for n in range(50, 150)]
    assert a.ended is None


async def test_waiting_readers_wake_for_frames_and_for_the_end() -> None:
    routes, (a,) = router("a")
    got: list[object] = []

    async def read() -> None:
        while frame := await a.get():
            got.append(frame.audio)
        got.append(None)

    async def wait() -> None:
        got.append((await a.wait_ended()).reason)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        tasks.start_soon(wait)
        await settle()
        routes.route(AudioFrame("a", b"1"))
        await settle()
        assert got == [b"1"]
        routes.route(ContextClosed("a", 0, Reason.COMPLETED, USAGE))
    assert sorted(map(str, got)) == sorted(map(str, [b"1", None, Reason.COMPLETED]))


async def test_a_cancelled_reader_loses_nothing() -> None:
    routes, (a,) = router("a")
    for number in range(20):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(a.get)
                if number % 2:
                    await settle()
                scope.cancel()
        routes.route(AudioFrame("a", bytes([number])))
        assert await waiting(a) == bytes([number])


async def test_a_listener_gets_frames_as_they_come_and_none_after_the_end() -> None:
    made, (inbox, other) = router("a", "b", limit=3)
    heard: list[bytes] = []
    inbox.listen(lambda frame: heard.append(bytes(frame.audio)))
    for audio in (b"one", b"two"):
        assert made.route(AudioFrame("a", audio)) is None, "nothing waits, so nothing overflows"
    assert heard == [b"one", b"two"]
    assert inbox.received_bytes == 6
    inbox.mute()
    made.route(AudioFrame("a", b"late"))
    made.route(ContextClosed("a", 0, Reason.COMPLETED, USAGE))
    made.route(AudioFrame("a", b"too late"))
    assert heard == [b"one", b"two"]
    assert (await inbox.wait_ended()).reason is Reason.COMPLETED
    assert other.received_bytes == 0
