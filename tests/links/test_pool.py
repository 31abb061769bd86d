"""Few sockets for many contexts: placement, slots, replacement."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import anyio
import pytest

from mux.dialects.elevenlabs import ElevenLabsClient
from mux.errors import MuxError
from mux.links.memory import MemoryTransport
from mux.links.pool import PLACE_SECONDS, Pool, Target, open_pool
from mux.links.transport import Transport
from mux.protocol.voice import ContextSettings
from mux.testing import MemoryServer, memory_server

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]
SPOKEN = ContextSettings(voice="v")


class Service:
    """What a pool connects to: a mux in memory, or a refusal."""

    def __init__(self, server: MemoryServer) -> None:
        self.server = server
        self.refusal: MuxError | None = None
        self.attempts: list[float] = []
        self.open: list[MemoryTransport] = []

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Transport]:
        self.attempts.append(anyio.current_time())
        await anyio.sleep(0.01)
        if self.refusal is not None:
            raise self.refusal
        transport = self.server.open(sync_alignment="true")
        self.open.append(transport)
        try:
            yield transport
        finally:
            await transport.aclose()

    def cut(self) -> None:
        """End every socket without a word."""
        for transport in self.open:
            transport.cut()
        self.open.clear()


@asynccontextmanager
async def pooled(contexts: int = 2, sockets: int = 3) -> AsyncIterator[tuple[Pool, Service]]:
    async with memory_server() as server:
        service = Service(server)
        target = Target(
            name="up",
            connect=service.connect,
            dialect=ElevenLabsClient,
            contexts=contexts,
            sockets=sockets,
        )
        async with open_pool(target, seed=1) as pool:
            yield pool, service


async def test_contexts_share_a_socket_until_it_is_full() -> None:
    async with (
        pooled(contexts=2) as (pool, _),
        pool.context("a", SPOKEN) as a,
        pool.context("b", SPOKEN) as b,
    ):
        assert a.link is b.link
        assert (pool.opened, pool.used) == (1, 2)
        async with pool.context("c", SPOKEN) as c:
            assert c.link is not a.link
            assert (pool.opened, pool.used) == (2, 3)


async def test_the_least_loaded_socket_gets_the_next_context() -> None:
    async with (
        pooled(contexts=3) as (pool, _),
        pool.context("a", SPOKEN) as a,
        pool.context("b", SPOKEN),
        pool.context("c", SPOKEN),
        pool.context("d", SPOKEN) as d,
    ):
        assert d.link is not a.link
        async with pool.context("e", SPOKEN) as e:
            assert e.link is d.link


async def test_a_burst_opens_no_more_sockets_than_it_needs() -> None:
    async with pooled(contexts=5, sockets=9) as (pool, _):

        async def use() -> None:
            async with pool.context("a", SPOKEN):
                await anyio.sleep(1)

        async with anyio.create_task_group() as tasks:
            for _ in range(12):
                tasks.start_soon(use)
        assert pool.opened == 3


async def test_a_slot_is_given_back_only_when_the_service_has_confirmed_the_end() -> None:
    async with pooled(contexts=1, sockets=1) as (pool, _):
        async with pool.context("a", SPOKEN) as context:
            await context.send("A text that nobody hears to its end.")
        assert pool.used == 1
        async with pool.context("b", SPOKEN) as second:
            assert context.inbox.ended is not None
            assert second.wire_id != context.wire_id
        await anyio.sleep(1)
        assert pool.used == 0


async def test_who_finds_no_slot_in_time_is_told_how_many_there_are() -> None:
    async with (
        pooled(contexts=1, sockets=2) as (pool, _),
        pool.context("a", SPOKEN),
        pool.context("b", SPOKEN),
    ):
        began = anyio.current_time()
        with pytest.raises(MuxError, match="All 2 slots of up") as caught:
            async with pool.context("c", SPOKEN):
                raise AssertionError
        assert caught.value.code == "busy"
        assert caught.value.problem.retry_after_ms
        assert anyio.current_time() - began == pytest.approx(PLACE_SECONDS, abs=0.1)


async def test_a_lost_socket_is_replaced_and_its_contexts_end() -> None:
    async with pooled() as (pool, service):
        async with pool.context("a", SPOKEN) as context:
            service.cut()
            ended = await context.inbox.wait_ended()
            assert ended.problem is not None
            assert ended.problem.code == "connection_lost"
        async with pool.context("b", SPOKEN) as other:
            assert other.link is not context.link
            await other.send("Hello again.")
            other.close()
            assert await other.inbox.get() is not None
        assert pool.opened == 2


async def test_attempts_to_connect_come_ever_more_slowly() -> None:
    async with pooled() as (pool, service):
        service.refusal = MuxError.of("connection_refused", "Nobody is there.")
        for _ in range(6):
            with pytest.raises(MuxError):
                async with pool.context("a", SPOKEN):
                    raise AssertionError
            await anyio.sleep(20)
        gaps = [b - a for a, b in pairwise(service.attempts)]
        assert max(gaps[:2]) < 1, "at first it tries again soon"
        assert len(service.attempts) < 12, "in two minutes"


async def test_nobody_waits_for_a_service_that_failed_again_and_again() -> None:
    async with pooled() as (pool, service):
        service.refusal = MuxError.of("connection_refused", "Nobody is there.")
        with pytest.raises(MuxError):
            async with pool.context("a", SPOKEN):
                raise AssertionError
        began = anyio.current_time()
        with pytest.raises(MuxError, match="Nobody is there") as caught:
            async with pool.context("b", SPOKEN):
                raise AssertionError
        assert anyio.current_time() - began < PLACE_SECONDS / 2
        assert caught.value.problem.retry_after_ms is not None
        service.refusal = None
        await anyio.sleep(caught.value.problem.retry_after_ms / 1000 + 0.1)
        async with pool.context("c", SPOKEN):
            assert pool.connected == 1


async def test_a_refusal_for_good_is_told_at_once_and_not_repeated() -> None:
    async with pooled() as (pool, service):
        service.refusal = MuxError.of("invalid_api_key", "The key is wrong.")
        with pytest.raises(MuxError, match="key is wrong"):
            await pool.warm()
        for _ in range(5):
            with pytest.raises(MuxError, match="key is wrong"):
                async with pool.context("a", SPOKEN):
                    raise AssertionError
        assert len(service.attempts) == 1


async def test_a_service_that_says_when_to_come_back_is_obeyed() -> None:
    async with pooled() as (pool, service):
        service.refusal = MuxError.of("busy", "Too many.", retry_after_ms=7000)
        with pytest.raises(MuxError):
            async with pool.context("a", SPOKEN):
                raise AssertionError
        first = service.attempts[0]
        service.refusal = None
        async with pool.context("b", SPOKEN):
            assert service.attempts[1] - first >= 7


async def test_a_retired_socket_keeps_what_it_has_and_gets_nothing_new() -> None:
    async with pooled() as (pool, _):
        async with pool.context("a", SPOKEN) as a:
            pool.retire(a)
            async with pool.context("b", SPOKEN) as b:
                assert b.link is not a.link
            await a.send("Still here.")
            a.close()
            assert await a.inbox.get() is not None
            await a.inbox.wait_ended()
        await anyio.sleep(1)
        assert not a.link.connected
        assert pool.connected == 1


async def test_cancelling_while_waiting_takes_no_slot() -> None:
    async with pooled(contexts=1, sockets=1) as (pool, _):
        async with pool.context("a", SPOKEN):
            with anyio.move_on_after(1):
                async with pool.context("b", SPOKEN):
                    raise AssertionError
        await anyio.sleep(1)
        assert pool.used == 0
        async with pool.context("c", SPOKEN):
            assert pool.used == 1
