"""What every transport promises, on every loop: the same tests for memory, trio-websocket and websockets."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mux.links import transport as module
from mux.links.memory import memory_pair
from mux.links.transport import Disconnected, Ending, open_transport

pytestmark = pytest.mark.anyio


async def ending_of(end: Any) -> Ending:
    """Read `end` to its end."""
    try:
        while True:
            await end.receive()
    except Disconnected as gone:
        return gone.ending


async def test_text_arrives_whole_and_in_order_both_ways(connected: Any) -> None:
    texts = ["", "plain", "é 漢字 😀", *map(str, range(50))]
    async with connected() as (transport, peer):
        for text in texts:
            await transport.send(text)
        assert [await peer.receive() for _ in texts] == texts
        for text in texts:
            await peer.send(text)
        assert [await transport.receive() for _ in texts] == texts


async def test_a_message_of_400_kB_arrives(connected: Any) -> None:
    big = "0123456789" * 40_000
    async with connected() as (transport, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(transport.send, big)
        assert await peer.receive() == big
        tasks.start_soon(peer.send, big)
        assert await transport.receive() == big


async def test_sending_and_receiving_at_the_same_time(connected: Any) -> None:
    texts = [str(number) * 100 for number in range(200)]
    async with connected() as (transport, peer), anyio.create_task_group() as tasks:

        async def echo() -> None:
            for _ in texts:
                await peer.send(await peer.receive())

        async def send() -> None:
            for text in texts:
                await transport.send(text)

        tasks.start_soon(echo)
        tasks.start_soon(send)
        assert [await transport.receive() for _ in texts] == texts


async def test_the_peers_close_is_told_after_its_last_message(connected: Any) -> None:
    async with connected() as (transport, peer):
        for number in range(40):
            await peer.send(str(number))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.close, 4001, "that was all")
            assert [await transport.receive() for _ in range(40)] == [str(number) for number in range(40)]
            told = Ending(4001, "that was all", received=True)
            assert await ending_of(transport) == told
        assert transport.closed == told
        with pytest.raises(Disconnected) as caught:
            await transport.send("too late")
        assert (caught.value.code, caught.value.reason) == (4001, "that was all")
        assert (caught.value.received, caught.value.local) == (True, False)
        await transport.aclose(1000, "not me")
        assert transport.closed == told


async def test_a_lost_connection_is_1006_and_not_clean(connected: Any) -> None:
    async with connected() as (transport, peer):
        assert transport.closed is None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.vanish)
            ending = await ending_of(transport)
        assert (ending.code, ending.received, ending.local) == (1006, False, False)
        assert ending.reason
        with pytest.raises(Disconnected):
            await transport.send("anybody?")


async def test_a_sender_learns_of_a_lost_connection(connected: Any) -> None:
    async with connected() as (transport, peer):
        await peer.vanish()
        with anyio.fail_after(5), suppress(Disconnected):
            while True:
                await transport.send("anybody?")
        assert transport.closed is not None
        assert transport.closed.code == 1006
        assert await ending_of(transport) == transport.closed


async def test_a_cancelled_receive_loses_nothing(connected: Any) -> None:
    texts = [str(number) for number in range(60)]
    received: list[Any] = []
    async with connected() as (transport, peer), anyio.create_task_group() as tasks:

        async def send() -> None:
            for text in texts:
                await peer.send(text)
                await anyio.lowlevel.checkpoint()

        async def cancel_after(steps: int, scope: anyio.CancelScope) -> None:
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
            scope.cancel()

        tasks.start_soon(send)
        steps = 0
        with anyio.fail_after(10):
            while len(received) < len(texts):
                steps = (steps + 1) % 12
                with anyio.CancelScope() as scope:
                    tasks.start_soon(cancel_after, steps, scope)
                    received.append(await transport.receive())
    assert received == texts


async def test_a_cancelled_send_breaks_the_transport_and_closing_it_is_forceful(connected: Any) -> None:
    async with connected() as (transport, peer):
        peer.stop_answering()
        message = "x" * 1_000_000
        scope = anyio.CancelScope()
        while not scope.cancelled_caught:
            with anyio.move_on_after(0.05) as scope:
                await transport.send(message)
        with pytest.raises(Disconnected, match="cancelled"):
            await transport.send("after half a frame")
        with anyio.fail_after(1):
            await transport.aclose()
        assert transport.closed is not None
        assert (transport.closed.code, transport.closed.received, transport.closed.local) == (
            1006,
            False,
            True,
        )


async def test_closing_tells_the_peer_code_and_reason(connected: Any) -> None:
    async with connected() as (transport, peer):
        await transport.send("last words")
        await transport.aclose(4002, "enough " * 30)
        assert await peer.receive() == "last words"
        ending = await ending_of(peer)
        assert (ending.code, ending.received) == (4002, True)
        assert ending.reason.startswith("enough")
        assert len(ending.reason) <= 123
        assert transport.closed == Ending(4002, ending.reason, received=True, local=True)


async def test_closing_twice_is_closing_once(connected: Any) -> None:
    async with connected() as (transport, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(transport.aclose, 4003, "first")
            tasks.start_soon(transport.aclose, 4003, "first")
        await transport.aclose(4004, "again")
        assert (await ending_of(peer)).code == 4003
        assert transport.closed == Ending(4003, "first", received=True, local=True)
        for use in (transport.send("x"), transport.receive()):
            with pytest.raises(Disconnected, match="4003"):
                await use


async def test_a_receive_that_waits_is_woken_by_closing(connected: Any) -> None:
    told: list[Ending] = []
    async with connected() as (transport, _peer), anyio.create_task_group() as tasks:

        async def receive() -> None:
            told.append(await ending_of(transport))

        tasks.start_soon(receive)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        await transport.aclose(1001, "going")
    assert told == [Ending(1001, "going", received=True, local=True)]


async def test_closing_reads_past_what_nobody_received(connected: Any) -> None:
    async with connected() as (transport, peer), anyio.create_task_group() as tasks:

        async def flood() -> None:
            with suppress(Disconnected):
                for _ in range(100):
                    await peer.send("x" * 10_000)

        tasks.start_soon(flood)
        await anyio.wait_all_tasks_blocked()
        await transport.aclose()
        assert transport.closed == Ending(1000, received=True, local=True)


async def test_a_peer_that_never_answers_the_close_is_given_up(
    connected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSE_TIMEOUT", 0.03)
    async with connected() as (transport, peer):
        peer.stop_answering()
        with anyio.fail_after(2):
            await transport.aclose(1000, "hello?")
        assert transport.closed == Ending(1000, "hello?", received=False, local=True)


async def test_a_code_that_no_frame_can_carry_cuts_the_connection(connected: Any) -> None:
    async with connected() as (transport, peer):
        await transport.aclose(1006, "cut")
        assert transport.closed == Ending(1006, "cut", received=False, local=True)
        assert (await ending_of(peer)).code == 1006


async def test_closing_in_a_cancelled_scope_cuts_the_connection(connected: Any) -> None:
    async with connected() as (transport, peer):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await transport.aclose()
        assert transport.closed is not None
        assert not transport.closed.received
        with anyio.fail_after(2):
            await ending_of(peer)


async def test_a_message_that_is_too_big_ends_the_connection_with_1009(connected: Any) -> None:
    async with connected(max_message=1000) as (transport, peer):
        fitting = [str(number) * 1000 for number in range(5)]
        for message in [*fitting, "x" * 2000]:
            await peer.send(message)
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        assert [await transport.receive() for _ in fitting] == fitting
        ending = await ending_of(transport)
        assert (ending.code, ending.local) == (1009, True)
        assert "1000" in ending.reason
        assert (await ending_of(peer)).code == 1009


# --- open_transport ----------------------------------------------------------------------------------


async def test_an_exception_leaves_the_block_as_it_is(server: Any, answer: Any) -> None:
    async with server(answer) as where:
        with pytest.raises(KeyError):
            async with open_transport(f"ws://{where}/") as transport:
                raise KeyError
    assert transport.closed == Ending(1000, received=True, local=True)


async def test_cancelling_the_block_cuts_the_connection(socket_connected: Any) -> None:
    with anyio.fail_after(2), anyio.CancelScope() as scope:
        async with socket_connected() as (transport, _peer):
            scope.cancel()
            await transport.receive()
    assert scope.cancelled_caught
    assert transport.closed is not None
    assert transport.closed.local


async def test_headers_and_query_reach_the_server(socket_connected: Any) -> None:
    async with socket_connected(headers={"xi-api-key": "abc"}) as (_transport, peer):
        assert peer.request.target == "/a?key=secret"
        headers = dict(peer.request.extra_headers)
        assert headers[b"xi-api-key"] == b"abc"
        assert headers[b"user-agent"] == b"ttsmux"
        assert b"sec-websocket-extensions" not in headers


async def test_a_frame_in_the_packet_of_the_handshake_is_not_lost(socket_connected: Any) -> None:
    async with socket_connected(first=b"\x81\x05hello") as (transport, _peer):
        assert await transport.receive() == "hello"


async def test_binary_and_fragmented_messages_arrive_whole(socket_connected: Any) -> None:
    async with socket_connected() as (transport, peer):
        await peer.send(b"\x00\xff")
        await peer.raw(b"\x01\x02ab" + b"\x89\x00" + b"\x00\x01c" + b"\x80\x00")
        assert await transport.receive() == b"\x00\xff"
        assert await transport.receive() == "abc"


@pytest.mark.parametrize("frame", [b"\xc1\x01x", b"\x83\x00", b"\x81\x81....x"])
async def test_a_peer_that_breaks_the_protocol_ends_the_connection(
    socket_connected: Any, frame: bytes
) -> None:
    async with socket_connected() as (transport, peer):
        await peer.raw(frame)
        with anyio.fail_after(2):
            ending = await ending_of(transport)
        assert (ending.code, ending.local) == (1002, True)
        with pytest.raises(Disconnected):
            await transport.send("x")


async def test_a_server_that_keeps_tcp_open_after_its_close_holds_nobody_up(socket_connected: Any) -> None:
    async with socket_connected() as (transport, peer):
        peer.stop_answering()
        await anyio.wait_all_tasks_blocked()
        await peer.close(1012, "restart")
        with anyio.fail_after(1):
            assert await ending_of(transport) == Ending(1012, "restart", received=True)
            await transport.aclose()


async def test_a_peer_that_hangs_up_instead_of_answering_the_close(socket_connected: Any) -> None:
    async with socket_connected() as (transport, peer), anyio.create_task_group() as tasks:
        peer.stop_answering()
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        tasks.start_soon(transport.aclose, 1000, "")
        await peer.stream.receive()
        await peer.stream.aclose()
        with anyio.fail_after(1):
            await transport.aclose()
        assert transport.closed == Ending(1000, received=False, local=True)


async def test_a_ping_in_the_middle_of_closing_holds_nobody_up(socket_connected: Any) -> None:
    async with socket_connected() as (transport, peer), anyio.create_task_group() as tasks:
        peer.stop_answering()
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        tasks.start_soon(transport.aclose, 1001, "going")
        await peer.stream.receive()
        await peer.raw(b"\x89\x00" + b"\x88\x02\x03\xe9")
        with anyio.fail_after(1):
            await transport.aclose()
        assert transport.closed is not None
        assert (transport.closed.code, transport.closed.local) == (1001, True)


async def test_a_silent_peer_is_noticed_by_keepalive(
    socket_connected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PING_EVERY", 0.01)
    monkeypatch.setattr(module, "PONG_WITHIN", 0.05)
    async with socket_connected() as (transport, peer):
        await peer.send("alive")
        assert await transport.receive() == "alive"
        peer.answers_pings = False
        with anyio.fail_after(2):
            ending = await ending_of(transport)
        assert (ending.code, ending.received, ending.local) == (1011, False, True)
        assert "keepalive" in ending.reason
        assert transport.closed == ending
        with pytest.raises(Disconnected, match="keepalive"):
            await transport.send("x")


@pytest.mark.virtual_time
async def test_keepalive_gives_a_silent_peer_20_and_60_seconds() -> None:
    transport, peer = memory_pair()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(transport.keep_alive)
        await anyio.sleep(1000)
        assert transport.closed is None
        peer.hang()
        began = anyio.current_time()
        assert (await ending_of(transport)).code == 1011
        assert 60 <= anyio.current_time() - began <= 80


async def test_a_url_or_header_that_cannot_be_used_is_refused_by_name() -> None:
    for url, named in [
        ("http://host/", "'http'"),
        ("ws:///path", "no host"),
        ("ws://user:secret@host/", "user name"),
        ("ws://host:99999/", "cannot be read"),
        ("host.example/path?key=secret", "scheme"),
    ]:
        with pytest.raises(Exception, match=named) as caught:
            async with open_transport(url):
                pass
        assert "secret" not in str(caught.value)
        assert "wss://" in str(caught.value)
    with pytest.raises(Exception, match="'xi-api-key'") as caught:
        async with open_transport("ws://127.0.0.1:1/", headers={"xi-api-key": "secret\n"}):
            pass
    assert "secret" not in str(caught.value)
