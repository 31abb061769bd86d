"""Every way to fail before a socket is open is told with its step, and without keys."""

from __future__ import annotations

import logging
import socket
import ssl
import subprocess
import traceback
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream
from anyio.streams.tls import TLSStream

from mux.errors import MuxError
from mux.links.opening import Opening
from mux.links.transport import open_transport

pytestmark = pytest.mark.anyio

KEY = "sk-0123456789"


async def failure(url: str, **options: Any) -> MuxError:
    """Open `url` with keys in query and header; they must not be told."""
    with pytest.raises(MuxError) as caught:
        async with open_transport(f"{url}?api_key={KEY}", headers={"xi-api-key": KEY}, **options):
            pass
    assert KEY not in "".join(traceback.format_exception(caught.value))
    return caught.value


def answering(answer: bytes, *, hold: bool = False) -> Any:
    """A server that reads the request's head, sends `answer`, and then closes the connection or holds it."""

    async def handler(stream: ByteStream) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += await stream.receive()
        if answer:
            await stream.send(answer)
        if hold:
            await anyio.sleep_forever()

    return handler


def http(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


OURS = b'{"detail": {"message": "This API key is not known.", "code": "invalid_api_key"}}'
LENGTH = f"Content-Length: {len(OURS)}"


@pytest.mark.parametrize(
    ("answer", "hold"),
    [
        (http("401 Unauthorized", OURS, LENGTH), True),
        (http("401 Unauthorized", OURS, LENGTH), False),
        (http("401 Unauthorized", OURS, "Connection: close"), False),
        (http("401 Unauthorized", b"50\r\n%s\r\n0\r\n\r\n" % OURS, "Transfer-Encoding: chunked"), True),
    ],
    ids=["open", "closed", "until-close", "chunked"],
)
async def test_a_401_is_a_wrong_key_with_the_servers_sentence(server: Any, answer: bytes, hold: bool) -> None:
    assert len(OURS) == 0x50
    async with server(answering(answer, hold=hold)) as where:
        error = await failure(f"ws://{where}/v1")
    assert error.code == "invalid_api_key"
    assert error.problem.observed == 401
    assert "This API key is not known." in str(error)
    assert f"ws://{where}/v1" in str(error)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"detail":"Not Found"}', "Not Found"),
        (b'{"error":{"message":"no such voice"}}', "no such voice"),
        (b'{"message":"gone"}', "gone"),
        (b"<html>nothing here</html>", None),
        (b'{"detail":[1]}', None),
        (b"[" * 20_000, None),
        (b"", None),
    ],
)
async def test_a_404_is_not_found_whatever_its_body(server: Any, body: bytes, said: str | None) -> None:
    async with server(answering(http("404 Not Found", body, f"Content-Length: {len(body)}"))) as where:
        error = await failure(f"ws://{where}/v1")
    assert error.code == "not_found"
    assert (f'404: "{said}"' if said else "HTTP 404;") in str(error)


async def test_a_key_that_the_server_quotes_is_not_told(server: Any) -> None:
    body = b'{"detail":"unknown key %s"}' % KEY.encode()
    async with server(answering(http("403 Forbidden", body, f"Content-Length: {len(body)}"))) as where:
        error = await failure(f"ws://{where}/v1")
    assert error.code == "invalid_api_key"
    assert "unknown key ***" in str(error)


async def test_http_200_is_not_a_websocket(server: Any) -> None:
    async with server(answering(http("200 OK", b"hi", "Content-Length: 2"), hold=True)) as where:
        error = await failure(f"ws://{where}/v1")
    assert error.code == "connection_refused"
    assert "HTTP 200" in str(error)
    assert "WebSocket" in str(error)


async def test_an_endless_answer_is_cut(server: Any) -> None:
    async def handler(stream: ByteStream) -> None:
        await answering(http("200 OK", b"", "Connection: close"), hold=False)(stream)
        while True:
            await stream.send(b"x" * 65536)

    async with server(handler) as where:
        error = await failure(f"ws://{where}/v1")
    assert error.code == "connection_refused"


async def test_a_redirect_is_told_and_not_followed(server: Any) -> None:
    answer = http("302 Found", b"", "Location: ws://127.0.0.1:1/else", "Content-Length: 0")
    async with server(answering(answer)) as where:
        error = await failure(f"ws://{where}/v1")
    assert error.code == "connection_refused"
    assert error.problem.observed == 302


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"", "closed the connection"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "proper HTTP"),
        (http("101 Switching Protocols", b"", "Upgrade: websocket", "Connection: Upgrade"), "wrong answer"),
    ],
    ids=["nothing", "ssh", "no-accept"],
)
async def test_a_server_that_speaks_something_else(server: Any, answer: bytes, told: str) -> None:
    async with server(answering(answer)) as where:
        error = await failure(f"ws://{where}/v1")
    assert error.code == "connection_refused"
    assert told in str(error)


async def test_a_server_that_says_nothing_is_given_up_in_time(server: Any) -> None:
    async with server(answering(b"", hold=True)) as where:
        with anyio.fail_after(2):
            error = await failure(f"ws://{where}/v1", open_timeout=0.05)
            tls = await failure(f"wss://{where}/v1", open_timeout=0.05)
    assert error.code == tls.code == "connection_refused"
    assert "0.05 s" in str(error)
    assert "did not answer the WebSocket handshake" in str(error)
    assert "TLS" in str(tls)


async def test_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{bound.getsockname()[1]}"
        error = await failure(f"ws://{where}/v1")
    assert error.code == "connection_refused"
    assert error.retryable
    assert f"Connecting to {where} failed" in str(error)


async def test_a_name_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_args: Any, **_kwargs: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = await failure("ws://no-such-host.invalid/v1")
    assert error.code == "connection_refused"
    assert "Looking up the name 'no-such-host.invalid' failed" in str(error)


async def test_tls_to_a_server_without_tls(server: Any) -> None:
    async def handler(stream: ByteStream) -> None:
        await stream.receive()
        await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with server(handler) as where:
        error = await failure(f"wss://{where}/v1")
    assert error.code == "connection_refused"
    assert "TLS" in str(error)
    assert "ws://" in str(error)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=t"
    made = subprocess.run(
        [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path, "-out", path],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("needs the openssl program to make a certificate")
    return path


async def test_tls_is_verified_and_works(server: Any, answer: Any, certificate: Path) -> None:
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(certificate)

    async def handler(stream: ByteStream) -> None:
        try:
            secured = await TLSStream.wrap(
                stream, server_side=True, ssl_context=ours, standard_compatible=False
            )
        except (ssl.SSLError, anyio.EndOfStream, anyio.BrokenResourceError):
            return  # the client did not like the certificate
        await answer(secured)

    async with server(handler) as where:
        error = await failure(f"wss://{where}/v1")
        assert error.code == "connection_refused"
        assert "certificate was not accepted" in str(error)
        theirs = ssl.create_default_context(cafile=certificate)
        async with open_transport(f"wss://{where}/v1", ssl_context=theirs) as transport:
            await transport.send("hello")
            await transport.aclose(4000, "enough")
        assert transport.closed is not None
        assert transport.closed.received


async def test_no_log_contains_keys_or_text(
    server: Any, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with (
        server(answer) as where,
        open_transport(f"ws://{where}/a?key={KEY}", headers={"xi-api-key": KEY}) as transport,
    ):
        await transport.send("a spoken sentence")
    assert KEY not in caplog.text
    assert "spoken" not in caplog.text


def test_urls_become_what_http_can_carry() -> None:
    opening = Opening("wss://Bücher.example/ein Weg/ü?q=ä b&c=%20", {}, None)
    assert opening.url == "wss://xn--bcher-kva.example:443/ein%20Weg/%C3%BC?q=%C3%A4%20b&c=%20"
    assert opening.host_header == "xn--bcher-kva.example"
    assert Opening("ws://[::1]:8000", {}, None).host_header == "[::1]:8000"
    assert Opening("ws://[::1]:8000", {}, None).target == "/"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "[::1]", "mux.localhost"])
def test_no_proxy_stands_before_this_machine(host: str) -> None:
    assert Opening(f"ws://{host}/", {}, None).loopback
    assert not Opening("ws://10.0.0.1/", {}, None).loopback
