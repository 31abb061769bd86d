"""What hostile, silent and broken peers can do before and below the level of messages: end their own
connection, and nothing else."""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress

import anyio
import msgspec
import pytest
import sniffio
from loopback import (
    HANDSHAKE,
    TEXT_FRAME,
    Flood,
    application,
    connected,
    deaf_client,
    one_head,
    open_sockets,
    raw,
    running,
    shaken_hands,
    still_echoes,
    until,
    until_open_sockets,
)
from starlette.websockets import WebSocket
from websockets.frames import Opcode

pytestmark = pytest.mark.anyio
linux = pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="counts sockets in /proc")


async def test_half_a_head_is_closed() -> None:
    async with running(head_timeout=0.1) as port:
        assert await raw(port, b"") == b""
        assert await raw(port, b"GET /health HTTP/1.1\r\nHos") == b""
        assert await still_echoes(port)


async def test_dripping_bytes_does_not_prolong_the_head() -> None:
    async with running(head_timeout=0.15) as port, await anyio.connect_tcp("127.0.0.1", port) as stream:
        with suppress(anyio.BrokenResourceError), anyio.fail_after(2):
            while True:
                await stream.send(b"a")
                await anyio.sleep(0.02)


async def test_half_a_second_head_is_closed() -> None:
    limits = {"head_timeout": 0.1, "keep_alive": 0.2}
    async with running(**limits) as port, await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " in await one_head(stream)
        await stream.send(b"GET /health HT")
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError), anyio.fail_after(1):
            while True:
                await stream.receive()


async def test_an_idle_websocket_outlives_every_deadline_of_the_head() -> None:
    limits = {"head_timeout": 0.1, "keep_alive": 0.1, "write_timeout": 0.1, "linger": 0.1}
    async with running(**limits) as port, connected(port) as (client, _):
        await anyio.sleep(0.3)
        await client.send("still there?")
        assert await client.receive() == "still there?"


HOSTILE = {
    "non-ASCII in Connection": (HANDSHAKE + b"Connection: \xff\xfe\r\n\r\n", 101),
    "non-ASCII in Host": (HANDSHAKE.replace(b"localhost", b"\xff") + b"\r\n", 400),
    "non-ASCII in Sec-WebSocket-Protocol": (HANDSHAKE + b"Sec-WebSocket-Protocol: \xff\r\n\r\n", 400),
    "non-ASCII in Sec-WebSocket-Extensions": (HANDSHAKE + b"Sec-WebSocket-Extensions: \xff\r\n\r\n", 400),
    "non-ASCII in Sec-WebSocket-Key": (HANDSHAKE.replace(b"AAAAAA", b"\xff\xffAAAA") + b"\r\n", 400),
    "non-ASCII elsewhere": (HANDSHAKE + b"X-Title: \xff\xfe\r\n\r\n", 101),
    "a 20 KB header": (HANDSHAKE + b"X: " + b"a" * 20_000 + b"\r\n\r\n", 431),
    "a 9 KB header": (HANDSHAKE + b"X: " + b"a" * 9_000 + b"\r\n\r\n", 431),
    "a 9 KB target": (HANDSHAKE.replace(b"/echo", b"/echo?" + b"a" * 9_000) + b"\r\n", 431),
    "a 20 KB header without end": (HANDSHAKE + b"X: " + b"a" * 20_000, 431),
    "65 headers": (HANDSHAKE + b"".join(b"X%d: 1\r\n" % n for n in range(60)) + b"\r\n", 431),
    "HTTP/1.0": (HANDSHAKE.replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\n", 400),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "POST": (HANDSHAKE.replace(b"GET", b"POST") + b"\r\n", 400),
    "two Hosts": (HANDSHAKE + b"Host: other\r\n\r\n", 400),
    "no Host": (HANDSHAKE.replace(b"Host: localhost\r\n", b"") + b"\r\n", 400),
    "version 12": (HANDSHAKE.replace(b"Version: 13", b"Version: 12") + b"\r\n", 426),
    "a short key": (HANDSHAKE.replace(b"AAAAAAAAAAAAAAAAAAAAAA==", b"A") + b"\r\n", 400),
    "no key": (HANDSHAKE.replace(b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", b"") + b"\r\n", 400),
    "a body": (HANDSHAKE + b"Content-Length: 4\r\n\r\nbody", 400),
    "a chunked body": (HANDSHAKE + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a frame with the head": (HANDSHAKE + b"\r\n\x81\x80\x00\x00\x00\x00", 400),
    "garbage": (b"\x00\xff\x16\x03" * 20 + b"\r\n\r\n", 400),
    "a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\n\n", 400),
    "a bad target": (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "two lengths": (
        b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        400,
    ),
    "HEAD too large": (b"HEAD /health HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 9_000 + b"\r\n\r\n", 431),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_no_head_ends_the_server(name: str) -> None:
    data, status = HOSTILE[name]
    async with running(linger=0.1) as port:
        if status == 101:
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.send(data)
                assert (await one_head(stream)).startswith(b"HTTP/1.1 101 ")
        else:
            answer = await raw(port, data)
            assert answer.startswith(b"HTTP/1.1 %d " % status), answer
            assert msgspec.json.decode(answer.partition(b"\r\n\r\n")[2])["detail"]["message"].endswith(".")
        assert await still_echoes(port)


async def test_junk_before_the_answer_ends_one_connection_only() -> None:
    entered, left = anyio.Event(), anyio.Event()

    async def hesitate(ws: WebSocket) -> None:
        await ws.receive()
        entered.set()
        try:
            assert (await ws.receive())["type"] == "websocket.disconnect"
        finally:
            left.set()

    async with running(application(slow=hesitate), linger=0.1) as port:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(HANDSHAKE.replace(b"/echo", b"/slow") + b"\r\n")
            await entered.wait()
            await stream.send(b"\xff" * 100)
            with anyio.fail_after(2):
                await left.wait()
        assert await still_echoes(port)


async def test_junk_frames_end_one_connection_only() -> None:
    async with running(linger=0.1) as port:
        for junk in (b"\xff" * 100, b"\x81\x05hello", b"\xc1\x80abcd", b"\x83\x80abcd", b"\x88\x81abcdx"):
            async with shaken_hands(port, "/echo") as stream:
                await stream.send(junk)
                with suppress(anyio.EndOfStream, anyio.BrokenResourceError), anyio.fail_after(2):
                    while True:
                        await stream.receive()
        assert await still_echoes(port)


@linux
async def test_a_message_over_the_limit_is_answered_1009_and_the_socket_freed() -> None:
    async with running(message_bytes=1000, linger=0.1) as port:
        before = open_sockets()
        async with connected(port) as (client, _):
            await client.send("x" * 1000)
            assert await client.receive() == "x" * 1000
            await client.send("x" * 1001)
            frame = await client.next_event()
            assert frame.opcode is Opcode.CLOSE
            assert bytes(frame.data[:2]) == struct.pack("!H", 1009)
            # It holds its end open: only ours is left to be counted off.
            await until_open_sockets(before + 1)


async def test_the_reason_of_a_close_reaches_a_client_that_is_still_sending() -> None:
    async with running() as port, shaken_hands(port, "/why") as stream:
        for _ in range(50):
            await stream.send(TEXT_FRAME)
        answer = b""
        reason = struct.pack("!H", 1013) + b"slow"
        while not answer.endswith(b"\x88%c" % len(reason) + reason):
            answer += await stream.receive()
        assert b"because" in answer


async def test_an_application_that_ends_early_leaves_nothing_behind() -> None:
    async with running(linger=0.1) as port:
        await anyio.sleep(0.05)  # the server has started
        idle = len(anyio.get_running_tasks())
        async with shaken_hands(port, "/ends") as stream:
            await stream.send(TEXT_FRAME * 100)
        await until(lambda: len(anyio.get_running_tasks()) == idle)


@linux
async def test_a_client_that_never_reads_is_freed_once_its_send_is_abandoned() -> None:
    flood = Flood(patience=0.15)
    async with running(application(flood=flood.send), linger=0.1) as port:
        before = open_sockets()
        with deaf_client(port, "/flood"), anyio.fail_after(3):
            await flood.ended.wait()
            await until_open_sockets(before + 1)
    assert 0 < flood.accepted < 1_000_000, f"{flood.accepted} bytes in flight"


@linux
async def test_a_client_that_never_reads_is_freed_even_if_its_send_is_not_abandoned() -> None:
    flood = Flood(patience=60)
    async with running(application(flood=flood.send), write_timeout=0.2, linger=0.1) as port:
        before = open_sockets()
        with deaf_client(port, "/flood"), anyio.fail_after(3):
            await until_open_sockets(before + 1)
            await flood.ended.wait()


@linux
async def test_a_client_that_never_reads_its_response_is_freed() -> None:
    async with running(write_timeout=0.2) as port:
        before = open_sockets()
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: open_sockets() == before + 2)
            await until_open_sockets(before + 1)


async def test_a_message_of_endless_empty_fragments_ends_or_takes_no_memory() -> None:
    async with running(linger=0.1) as port:
        async with shaken_hands(port, "/echo") as stream:
            with suppress(anyio.BrokenResourceError, anyio.EndOfStream):
                await stream.send(b"\x01\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * 5000)
                if sniffio.current_async_library() == "asyncio":
                    assert (await stream.receive())[2:4] == struct.pack("!H", 1008)
        assert await still_echoes(port)


async def test_an_application_that_only_sends_notices_that_its_peer_left() -> None:
    flood = Flood(patience=5)
    async with running(application(flood=flood.send)) as port:
        async with connected(port, "/flood") as (client, _):
            await client.next_event()
        with anyio.fail_after(2):
            await flood.ended.wait()


@linux
async def test_a_peer_that_answers_no_ping_is_closed() -> None:
    limits = {"ping_interval": 0.05, "ping_timeout": 0.1, "linger": 0.1}
    async with running(**limits) as port, connected(port) as (client, _):
        before = open_sockets()
        with deaf_client(port, "/echo"):
            with anyio.move_on_after(0.4):
                while True:  # this one answers
                    assert (await client.next_event()).opcode is Opcode.PING
            await until_open_sockets(before + 1)
        await client.send("still there?")
        while (event := await client.next_event()).opcode is Opcode.PING:
            pass
        assert bytes(event.data) == b"still there?"
