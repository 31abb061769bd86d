"""trio-websocket beneath the transport, over streams in memory and in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import anyio.abc
import pytest
import trio
import trio.testing
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from mux.links.opening import Opening
from mux.links.transport import Disconnected
from mux.links.trio_transport import TrioTransport, connect_over

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[TrioTransport, WebSocketConnection, anyio.abc.TaskGroup]]:
    """A transport, trio-websocket's server at its other end, and a group for tasks. Nothing is buffered
    between the two: a send ends when the other end has read it."""
    ours, theirs = trio.testing.lockstep_stream_pair()
    accepted: list[WebSocketConnection] = []
    async with anyio.create_task_group() as tasks, trio.open_nursery() as servers:

        async def accept() -> None:
            request = await wrap_server_stream(servers, theirs)
            accepted.append(await request.accept())

        tasks.start_soon(accept)
        opening = Opening("ws://memory/", {}, None)
        transport = await connect_over(ours, opening, tasks, max_message=1000)
        await trio.testing.wait_all_tasks_blocked()
        yield transport, accepted[0], tasks
        await transport.aclose()
        servers.cancel_scope.cancel()


async def test_keepalive_leaves_a_peer_alone_that_answers() -> None:
    async with connected() as (transport, server, tasks):
        tasks.start_soon(transport.keep_alive)
        await anyio.sleep(1000)
        assert transport.closed is None
        tasks.start_soon(transport.send, "still here")
        assert await server.get_message() == "still here"
        await transport.aclose(4000, "done")
        assert server.closed is not None
        assert (server.closed.code, server.closed.reason) == (4000, "done")


async def test_keepalive_ends_a_peer_that_reads_nothing() -> None:
    async with connected() as (transport, server, tasks):
        for _ in range(2):  # one fills the server's queue; with the next in hand its reader stops reading
            await transport.send("unread")
        tasks.start_soon(transport.keep_alive)
        began = anyio.current_time()
        with pytest.raises(Disconnected, match="keepalive"):
            await transport.receive()
        assert anyio.current_time() - began == pytest.approx(80)
        assert transport.closed is not None
        assert transport.closed.code == 1011
        assert [await server.get_message() for _ in range(2)] == ["unread"] * 2
        with pytest.raises(ConnectionClosed):
            await server.get_message()


async def test_a_send_that_was_cut_in_the_middle_of_a_frame_is_the_last() -> None:
    async with connected() as (transport, server, _tasks):
        cancelled = 0
        while not cancelled:
            with anyio.move_on_after(1) as scope:
                await transport.send("x" * 500)
            cancelled += scope.cancelled_caught
        with pytest.raises(Disconnected):
            await transport.send("this would be read as the rest of the frame")
        began = anyio.current_time()
        await transport.aclose()
        assert anyio.current_time() == began
        with suppress(ConnectionClosed):
            while True:
                assert await server.get_message() == "x" * 500
