"""A link's queue towards the server, and its keepalives."""

from __future__ import annotations

import json

import anyio
import anyio.lowlevel
import pytest
from far_end import NOTHING, Server, linked, settle

from mux.errors import MuxError
from mux.links.link import (
    MESSAGE_CHARACTERS,
    UNSENT_BYTES,
)
from mux.links.transport import Disconnected
from mux.protocol.voice import ContextSettings

pytestmark = pytest.mark.anyio


async def test_send_waits_while_much_text_waits_for_the_socket() -> None:
    async with linked(unread_bytes=0) as (link, server):
        context = link.open("a", NOTHING, keepalive=False)
        sent = 0

        async def send() -> None:
            nonlocal sent
            for _ in range(40):
                await context.send("x" * 10_000)
                sent += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            await settle()
            assert UNSENT_BYTES <= sent * 10_000 <= UNSENT_BYTES + 50_000
            before = sent
            await server.heard(10)
            await settle()
            assert before < sent < 40
            await server.heard(31)
            await settle()
            assert sent == 40


async def test_the_bound_on_unsent_text_holds_after_any_number_of_cancels() -> None:
    async with linked(unread_bytes=0) as (link, server):
        for _ in range(50):
            context = link.open("a", NOTHING, keepalive=False)
            await context.send("x" * 10_000)  # half of it is on its way when it is taken back
            await settle()
            context.cancel()
            while not (await server.heard())[0].get("immediate"):
                await settle()
        context = link.open("a", NOTHING, keepalive=False)
        sent = 0
        with anyio.move_on_after(1):
            async with anyio.create_task_group() as tasks:

                async def send() -> None:
                    nonlocal sent
                    for _ in range(100):
                        await context.send("x" * 10_000)
                        sent += 1

                tasks.start_soon(send)
                await settle()
                tasks.cancel_scope.cancel()
        assert sent * 10_000 <= UNSENT_BYTES + 50_000


async def test_a_waiting_send_ends_with_the_socket() -> None:
    async with linked(unread_bytes=0) as (link, server):
        context = link.open("a", NOTHING, keepalive=False)
        failures = 0

        async def send() -> None:
            nonlocal failures
            try:
                for _ in range(100):
                    await context.send("x" * 10_000)
            except MuxError as error:
                failures += error.code == "connection_lost"

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            await settle()
            server.end.cut()
        assert failures == 1


async def test_a_cancelled_send_sends_nothing() -> None:
    async with linked(unread_bytes=0) as (link, server):
        context = link.open("a", NOTHING, keepalive=False)
        await context.send("x" * 400_000)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(context.send, "never")
                await settle()
                scope.cancel()
        context.flush()
        heard = await server.heard(9)
        assert heard[-1] == {"context_id": context.wire_id, "flush": True}
        assert not [m for m in heard if m.get("text") == "never"]


async def test_long_text_goes_in_messages_that_every_server_takes() -> None:
    async with linked(unread_bytes=10_000_000) as (link, server):
        context = link.open("a", NOTHING)
        text = "0123456789" * (MESSAGE_CHARACTERS // 10) * 3
        await context.send(text)
        await context.send("")
        context.flush()
        heard = await server.heard(6)
        assert "".join(message["text"] for message in heard[1:4]) == text
        assert max(len(json.dumps(message)) for message in heard) < 512 * 1024
        assert heard[4:] == [
            {"text": "", "context_id": context.wire_id},
            {"context_id": context.wire_id, "flush": True},
        ]


async def test_text_that_no_wire_can_carry_fails_its_caller_only() -> None:
    async with linked() as (link, server):
        context, other = link.open("a", NOTHING), link.open("b", NOTHING)
        with pytest.raises(MuxError, match="surrogate") as caught:
            await context.send("half: \ud83d")
        assert caught.value.code == "invalid_message"
        with pytest.raises(MuxError, match="surrogate"):
            link.open("\udc80", NOTHING)
        with pytest.raises(MuxError, match="surrogate"):
            link.open("c", ContextSettings(voice="\udc80"))
        assert len(link.router) == 2
        await context.send("whole: 😀")
        await other.send("fine")
        heard = await server.heard(4)
        assert [message["text"] for message in heard] == [" ", " ", "whole: 😀", "fine"]


async def keepalives(server: Server, seconds: float) -> list[float]:
    """When keepalives come within this time."""
    times: list[float] = []
    with anyio.move_on_after(seconds):
        while True:
            if (await server.heard())[0].get("text") == "":
                times.append(anyio.current_time())
    return times


@pytest.mark.virtual_time
async def test_a_quiet_context_speaks_up_after_half_its_timeout() -> None:
    async with linked(inactivity_timeout=20) as (link, server):
        begun = anyio.current_time()
        link.open("socket's", NOTHING)
        assert [time - begun for time in await keepalives(server, 35)] == [10, 20, 30]
    async with linked(inactivity_timeout=20) as (link, server):
        begun = anyio.current_time()
        link.open("own", ContextSettings(inactivity_timeout=6))
        assert [time - begun for time in await keepalives(server, 10)] == [3, 6, 9]


@pytest.mark.virtual_time
async def test_a_context_that_talks_needs_no_keepalive() -> None:
    async with linked(inactivity_timeout=20) as (link, server):
        context = link.open("a", NOTHING)
        begun = anyio.current_time()

        async def talk() -> None:
            for _ in range(5):
                await anyio.sleep(8)
                await context.send("word ")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(talk)
            assert [time - begun for time in await keepalives(server, 55)] == [50]


@pytest.mark.virtual_time
@pytest.mark.parametrize("end", ["switched off", "closed", "cancelled", "ended", "lost"])
async def test_who_is_not_wanted_any_more_says_nothing(end: str) -> None:
    async with linked(inactivity_timeout=20) as (link, server):
        context = link.open("a", NOTHING, keepalive=end != "switched off")
        await settle()
        if end == "closed":
            context.close()
        elif end == "cancelled":
            context.cancel()
        elif end == "ended":
            await server.final(context.wire_id)
        elif end == "lost":
            server.end.cut()
            with pytest.raises(Disconnected):
                await keepalives(server, 100)
        if end != "lost":
            assert await keepalives(server, 100) == []
