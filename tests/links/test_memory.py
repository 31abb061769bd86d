"""The connection in memory: bounds, cuts and silence, in virtual time."""

from __future__ import annotations

import anyio
import pytest

from mux.links.memory import memory_pair
from mux.links.transport import CLOSE_TIMEOUT, Disconnected, Ending

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


async def test_a_send_waits_while_the_other_end_has_too_much_to_read() -> None:
    left, right = memory_pair(unread_bytes=10)
    sent: list[str] = []

    async def send() -> None:
        for text in ["é" * 5, "b", "c", "d"]:  # bytes count: the first fills the bound, the second exceeds it
            await left.send(text)
            sent.append(text)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        await anyio.sleep(1)
        assert len(sent) == 2
        assert await right.receive() == "é" * 5
        await anyio.sleep(1)
        assert len(sent) == 4


async def test_a_sender_that_waits_learns_of_the_end() -> None:
    for end in ("cut", "aclose"):
        left, right = memory_pair(unread_bytes=0)
        await left.send("x")
        async with anyio.create_task_group() as tasks:

            async def send(left: object = left) -> None:
                with pytest.raises(Disconnected):
                    await left.send("y")  # type: ignore[attr-defined]

            tasks.start_soon(send)
            await anyio.sleep(1)
            if end == "cut":
                right.cut()
            else:
                await right.aclose()


async def test_a_cut_loses_nothing_that_was_delivered() -> None:
    left, right = memory_pair()
    await left.send("delivered")
    right.cut()
    assert await right.receive() == "delivered"
    for one in (left, right):
        with pytest.raises(Disconnected, match="1006"):
            await one.receive()
        assert one.closed == Ending(1006, "the connection was lost")


async def test_a_peer_that_hangs_holds_closing_up_for_its_deadline_and_no_longer() -> None:
    left, right = memory_pair()
    right.hang()
    began = anyio.current_time()
    await left.aclose(1000, "bye")
    assert anyio.current_time() - began == pytest.approx(CLOSE_TIMEOUT)
    assert left.closed == Ending(1000, "bye", received=False, local=True)


async def test_both_ends_close_at_once() -> None:
    left, right = memory_pair()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(left.aclose, 4001, "left")
        tasks.start_soon(right.aclose, 4002, "right")
    assert left.closed is not None
    assert right.closed is not None
    assert left.closed.code == right.closed.code
    assert left.closed.local != right.closed.local
