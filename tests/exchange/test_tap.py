"""What passes a tap is what would have passed without it."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress

import anyio
import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.websockets import WebSocket, WebSocketDisconnect
from tapped import SWITCHED, one_head, raw_service, serving, shaken_hands, tapping, until

from mux.errors import MuxError
from mux.exchange.model import LOST
from mux.exchange.recorder import Recorder
from mux.exchange.tap import Service, serve_tap
from mux.links.transport import Disconnected, open_transport
from mux.mock import serve_mock
from mux.server.listener import open_listener

pytestmark = pytest.mark.anyio

BIG = 4 * 1024 * 1024


async def echo(ws: WebSocket) -> None:
    await ws.accept()
    try:
        while True:
            message = await ws.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("text") is not None:
                await ws.send_text(message["text"])
            else:
                await ws.send_bytes(message["bytes"])
    except WebSocketDisconnect:
        return


async def test_messages_pass_as_they_are() -> None:
    messages = ["", "one", "ünï 🎙", '{"a":  1}', b"", b"\x00\xff" * 5, "x" * BIG, b"y" * BIG, "last"]
    recorder = Recorder(audio=True)
    async with (
        serving(echo) as url,
        tapping(url, recorder) as tap,
        open_transport(tap + "/echo", max_message=2 * BIG) as transport,
    ):
        for message in messages:
            await transport.send(message)
            assert await transport.receive() == message
    sent = [message for message in recorder.tracks[0].exchange.messages if message.by == "client"]
    told = [message for message in recorder.tracks[0].exchange.messages if message.by == "service"]
    kept = [one if isinstance(one, str) else base64.b64encode(one).decode() for one in messages]
    assert [message.data for message in sent] == kept
    assert [message.data for message in told] == kept
    assert [message.binary for message in sent] == [isinstance(message, bytes) for message in messages]


async def test_close_codes_and_reasons_pass_from_the_service() -> None:
    async def leave(ws: WebSocket) -> None:
        await ws.accept()
        await ws.send_text("because")
        await ws.close(4321, "Größe")

    recorder = Recorder()
    async with serving(leave) as url, tapping(url, recorder) as tap:
        async with open_transport(tap + "/x") as transport:
            assert await transport.receive() == "because"
            with pytest.raises(Disconnected) as gone:
                await transport.receive()
        await until(lambda: recorder.tracks[0].exchange.ended is not None)
    assert (gone.value.ending.code, gone.value.ending.reason) == (4321, "Größe")
    close = recorder.tracks[0].exchange.close
    assert close is not None
    assert (close.code, close.reason, close.by) == (4321, "Größe", "service")


async def test_the_bytes_of_both_sides_pass_as_they_are() -> None:
    """Fragments, masks, pings, and at last a close frame: 3001, "had enough", under the mask 0."""
    close = b"\x88\x8c\0\0\0\0\x0b\xb9had enough"
    said = b"\x01\x82\1\2\3\4ig\x89\x81\0\0\0\0p\x80\x81\0\0\0\0!" + close
    told = b"\x81\x03one\x8a\x01p" + b"\x88\x02\x0b\xb9"
    heard = b""

    async def record(stream: anyio.abc.SocketStream) -> None:
        nonlocal heard
        async with stream:
            await one_head(stream)
            await stream.send(SWITCHED + told)
            with suppress(anyio.EndOfStream):
                while True:
                    heard += await stream.receive()

    recorder = Recorder()
    async with raw_service(record) as url, tapping(url, recorder) as tap:
        async with shaken_hands(tap) as stream:
            for byte in said:
                await stream.send(bytes([byte]))
            answer = b""
            while len(answer) < len(told):
                answer += await stream.receive()
        await until(lambda: recorder.tracks[0].exchange.ended is not None)
    assert answer == told
    assert heard == said
    exchange = recorder.tracks[0].exchange
    assert [(message.by, message.data) for message in exchange.messages] in (
        [("client", "he!"), ("service", "one")],
        [("service", "one"), ("client", "he!")],
    )
    assert exchange.close is not None
    assert exchange.close.code == 3001


async def test_a_clients_close_is_recorded_as_the_clients() -> None:
    async def listen(ws: WebSocket) -> None:
        await ws.accept()
        await ws.receive()

    recorder = Recorder()
    async with serving(listen) as url, tapping(url, recorder) as tap:
        async with open_transport(tap + "/x") as transport:
            await transport.aclose(3001, "had enough")
        await until(lambda: recorder.tracks[0].exchange.ended is not None)
    close = recorder.tracks[0].exchange.close
    assert close is not None
    assert (close.code, close.reason, close.by) == (3001, "had enough", "client")


async def test_a_refused_handshake_is_the_services_own() -> None:
    async def refuse(ws: WebSocket) -> None:
        answer = JSONResponse({"detail": {"message": "no, sk_0123456789"}}, 401, {"x-trace-id": "7"})
        await ws.send_denial_response(answer)

    recorder = Recorder()
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    headers |= {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "xi-api-key": "sk_0123456789"}
    async with serving(refuse) as url, tapping(url, recorder) as tap, httpx.AsyncClient() as client:
        answers = [
            await client.get(f"{base}/v1/x".replace("ws", "http", 1), headers=headers) for base in (url, tap)
        ]
    direct, tapped = answers
    assert tapped.status_code == direct.status_code == 401
    assert tapped.content == direct.content
    assert tapped.headers["x-trace-id"] == "7"
    exchange = recorder.tracks[0].exchange
    assert exchange.websocket
    assert exchange.status == 401
    assert exchange.body == '{"detail":{"message":"no, ***"}}'


async def test_path_query_headers_and_subprotocol_reach_the_service() -> None:
    async def tell(ws: WebSocket) -> None:
        await ws.accept(subprotocol=ws.scope["subprotocols"][-1])
        query = ws.scope["query_string"].decode()
        await ws.send_json([ws.scope["path"], query, dict(ws.headers), ws.scope["subprotocols"]])

    recorder = Recorder()
    headers = {"xi-api-key": "sk_0123456789", "Sec-WebSocket-Protocol": "one, token.sk_0123456789"}
    async with serving(tell) as url, tapping(url + "/base/", recorder) as tap:
        request = [
            "GET /v1/a%20b/stream-input?api_key=sk_0123456789&x=%2B&flag HTTP/1.1",
            "Host: tap.example",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        port = int(tap.rsplit(":", 1)[1])
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send("\r\n".join([*request, "", ""]).encode())
            answer = b""
            while b"]]" not in answer:
                answer += await stream.receive()
        await until(lambda: recorder.tracks[0].exchange.ended is not None)
    assert b"sec-websocket-protocol: token.sk_0123456789" in answer.lower()
    path, query, seen, subprotocols = json.loads(answer[answer.index(b'["/base') : answer.index(b"]]") + 2])
    assert path == "/base/v1/a b/stream-input"
    assert query == "api_key=sk_0123456789&x=%2B&flag"
    assert seen["host"] == url.removeprefix("ws://")
    assert seen["xi-api-key"] == "sk_0123456789"
    assert subprotocols == ["one", "token.sk_0123456789"]
    exchange = recorder.tracks[0].exchange
    assert "sk_0123456789" not in repr(exchange)
    assert exchange.url == f"{url}/base/v1/a%20b/stream-input?api_key=***&x=%2B&flag="


async def test_plain_http_streams_through_on_one_connection() -> None:
    released = anyio.Event()

    async def answer(request: Request) -> Response:
        said = await request.body()

        async def parts() -> AsyncIterator[bytes]:
            yield said[:4]
            await released.wait()  # who buffered answers would wait for ever
            yield said[4:]

        return StreamingResponse(parts(), headers={"x-seen": str(request.url.query)})

    async def body() -> AsyncIterator[bytes]:
        yield b"some"
        yield b" text"

    recorder = Recorder()
    async with serving(http=answer) as url, tapping(url, recorder) as tap, httpx.AsyncClient() as client:
        base = tap.replace("ws", "http", 1)
        for _ in range(2):
            async with client.stream("POST", f"{base}/speak?a=1", content=body()) as response:
                received = response.aiter_raw()
                assert await anext(received) == b"some"
                released.set()
                assert b"".join([part async for part in received]) == b" text"
                assert response.headers["x-seen"] == "a=1"
        assert (await client.head(f"{base}/speak")).content == b""
    assert [track.exchange.status for track in recorder.tracks] == [200, 200, 200]
    assert recorder.tracks[0].exchange.body_bytes == 9
    assert not recorder.tracks[0].exchange.websocket


async def test_a_service_of_http_1_0_is_understood() -> None:
    async def old(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await one_head(stream)
            await stream.send(b"HTTP/1.0 403 Not You\r\nX-Old: yes\r\n\r\nuntil the end")

    async with raw_service(old) as url, tapping(url) as tap, httpx.AsyncClient() as client:
        answer = await client.get(tap.replace("ws", "http", 1))
    assert (answer.status_code, answer.reason_phrase, answer.text) == (403, "Not You", "until the end")
    assert answer.headers["x-old"] == "yes"


async def test_a_reader_who_is_slow_slows_the_service() -> None:
    sent = 0
    stuck = anyio.Event()

    async def flood(ws: WebSocket) -> None:
        nonlocal sent
        await ws.accept()
        try:
            while True:
                with anyio.fail_after(0.3):
                    await ws.send_bytes(bytes(65536))
                sent += 65536
        except (TimeoutError, WebSocketDisconnect):
            stuck.set()

    recorder = Recorder()
    async with serving(flood) as url, tapping(url, recorder) as tap, shaken_hands(tap):
        await stuck.wait()
    assert sent < 24 * 1024 * 1024, "what the kernel's buffers of two connections hold, and no more"


async def test_a_service_that_dies_is_told_as_it_is() -> None:
    recorder = Recorder()
    async with serve_mock("elevenlabs") as mock, tapping(mock.url, recorder) as tap:
        path = "/v1/text-to-speech/anne/multi-stream-input"
        async with open_transport(tap + path) as transport:
            await until(lambda: mock.open_sockets)
            mock.kill()
            with pytest.raises(Disconnected) as gone:
                await transport.receive()
        await until(lambda: recorder.tracks[0].exchange.ended is not None)
    assert gone.value.ending.code == LOST
    close = recorder.tracks[0].exchange.close
    assert close is not None
    assert (close.code, close.by) == (LOST, "service")


async def test_a_client_that_vanishes_is_told_as_it_is() -> None:
    gone = anyio.Event()

    async def listen(ws: WebSocket) -> None:
        await ws.accept()
        await ws.receive()
        gone.set()

    recorder = Recorder()
    async with serving(listen) as url, tapping(url, recorder) as tap:
        async with shaken_hands(tap) as stream:
            await anyio.aclose_forcefully(stream)
        with anyio.fail_after(3):
            await gone.wait()
        await until(lambda: recorder.tracks[0].exchange.ended is not None)
    close = recorder.tracks[0].exchange.close
    assert close is not None
    assert (close.code, close.by) == (LOST, "client")


async def test_a_service_that_is_not_there_is_named() -> None:
    listener = open_listener("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    recorder = Recorder()
    async with tapping(url, recorder) as tap, httpx.AsyncClient() as client:
        answer = await client.get(tap.replace("ws", "http", 1))
    assert answer.status_code == 502
    assert "Connecting to" in answer.json()["detail"]["message"]
    assert "Connecting to" in recorder.tracks[0].exchange.failure
    assert recorder.tracks[0].exchange.status is None


async def test_what_is_not_http_is_refused_and_nobody_else_suffers() -> None:
    async with serving(echo) as url, tapping(url) as tap:
        port = int(tap.rsplit(":", 1)[1])
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(b"\x16\x03\x01 what is this\r\n\r\n")
            assert (await stream.receive()).startswith(b"HTTP/1.1 400 ")
        async with open_transport(tap + "/x") as transport:
            await transport.send("still there?")
            assert await transport.receive() == "still there?"


async def test_bytes_that_are_no_frames_pass_all_the_same() -> None:
    recorder = Recorder()

    async def odd(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await one_head(stream)
            await stream.send(SWITCHED + b"\xff\xff odd bytes")

    answer = b""
    async with raw_service(odd) as url, tapping(url, recorder) as tap, shaken_hands(tap) as stream:
        with suppress(anyio.EndOfStream):
            while True:
                answer += await stream.receive()
    assert answer == b"\xff\xff odd bytes"
    assert "could not be read any further" in recorder.tracks[0].exchange.failure


async def test_cancelling_cuts_every_connection() -> None:
    async with serving(echo) as url:
        listener = open_listener("127.0.0.1", 0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve_tap, listener, Service(url), Recorder())
            async with open_transport(f"ws://127.0.0.1:{listener.getsockname()[1]}/x") as transport:
                await transport.send("hello")
                assert await transport.receive() == "hello"
                tasks.cancel_scope.cancel()
                with anyio.CancelScope(shield=True), anyio.fail_after(3), pytest.raises(Disconnected):
                    await transport.receive()


@pytest.mark.parametrize("url", ["ftp://x", "nothing", "ws://", "https://user:pw@host"])
def test_a_url_that_leads_nowhere_is_refused(url: str) -> None:
    with pytest.raises(MuxError, match="ws://"):
        Service(url)


def test_http_and_ws_mean_the_same() -> None:
    assert Service("https://host/v1/").url("/x?y", websocket=True) == "wss://host/v1/x?y"
    assert Service("wss://host/v1").url("/x?y", websocket=False) == "https://host/v1/x?y"
    assert isinstance(Service("https://host").opening().tls, ssl.SSLContext)
