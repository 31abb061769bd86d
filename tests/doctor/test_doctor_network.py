"""What is found on the way to a service: name, TCP, TLS, and a handshake that never was one."""

from __future__ import annotations

import socket
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from servers import BRISK, answering, dead_end, examined, only, proxy, tcp, tls

import mux.server.tls
from mux.doctor.patience import Patience
from mux.mock import Fault, serve_mock

pytestmark = pytest.mark.anyio
MULTI = "/v1/text-to-speech/anne/multi-stream-input"
WELL = {"dns", "tcp", "handshake", "key", "voice", "model", "format", "speech", "close"}
IMPATIENT = Patience(lookup=0.3, handshake=0.3)


async def test_all_is_well() -> None:
    async with serve_mock("elevenlabs") as mock:
        findings = await examined(mock.url)
    assert {finding.step for finding in findings if finding.verdict == "ok"} == WELL
    assert {finding.step for finding in findings if finding.verdict == "skipped"} == {
        "keepalive",
        "timeout",
        "contexts",
    }


async def test_the_name_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    async def lookup(*args: Any, **kwargs: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(anyio, "getaddrinfo", lookup)
    findings = await examined("wss://api.elevenlab.io/v1", voice="anne")
    finding = only(findings, "dns_failed")
    assert finding.step == "dns"
    assert "api.elevenlab.io" in finding.sentence
    assert finding.evidence == ("Name or service not known",)
    # What could not be tried is said, too.
    assert {finding.step for finding in findings if finding.verdict == "skipped"} >= {
        "tcp",
        "handshake",
        "key",
    }


async def test_nobody_listens(free_tcp_port: int) -> None:
    finding = only(await examined(f"ws://127.0.0.1:{free_tcp_port}"), "tcp_refused")
    assert finding.step == "tcp"
    assert f"127.0.0.1:{free_tcp_port}" in finding.sentence


async def test_a_firewall_says_nothing() -> None:
    with dead_end() as port:
        finding = only(await examined(f"ws://127.0.0.3:{port}", IMPATIENT), "tcp_blocked")
    assert finding.evidence == ("127.0.0.3: no answer within 0.3 s",)


async def test_one_of_two_addresses_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    async def lookup(host: str, port: int, **kwargs: Any) -> Any:
        return [(0, 0, 0, "", (address, port)) for address in ("127.0.0.3", "127.0.0.1")]

    with dead_end() as port:
        async with serve_mock("elevenlabs", port=port) as mock:
            monkeypatch.setattr(anyio, "getaddrinfo", lookup)
            findings = await examined(mock.url.replace("127.0.0.1", "localhost"), IMPATIENT)
    finding = only(findings, "address_dead")
    assert (finding.step, finding.verdict) == ("tcp", "warning")


async def test_a_proxy_of_the_environment_that_does_not_work(
    monkeypatch: pytest.MonkeyPatch, free_tcp_port: int, anyio_backend_name: str
) -> None:
    """On asyncio, where it is used; on trio there is no such thing."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_tcp_port}")
    findings = await examined("ws://speech.invalid/v1", IMPATIENT)
    if anyio_backend_name == "asyncio":
        assert only(findings, "proxy_failed").step == "speech"
    else:
        assert only(findings, "dns_failed").step == "dns"


# --- TLS -----------------------------------------------------------------------------------------------


async def test_a_certificate_that_nobody_signed(tmp_path: Path) -> None:
    async with serve_mock() as mock, tls(tmp_path, mock) as (port, trusted):
        finding = only(await examined(f"wss://127.0.0.1:{port}{MULTI}"), "tls_untrusted")
        assert finding.step == "tls"
        assert "self-signed" in finding.evidence[0]
        trust = ssl.create_default_context(cafile=str(trusted))
        well = await examined(f"wss://127.0.0.1:{port}{MULTI}", ssl_context=trust)
        assert {finding.step for finding in well if finding.verdict == "ok"} == WELL | {"tls"}


async def test_a_certificate_of_yesterday(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mux.server.tls, "LIFETIME", -timedelta(minutes=1))
    async with serve_mock() as mock, tls(tmp_path, mock) as (port, trusted):
        trust = ssl.create_default_context(cafile=str(trusted))
        only(await examined(f"wss://127.0.0.1:{port}{MULTI}", ssl_context=trust), "tls_expired")


async def test_a_certificate_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lookup(host: str, port: int, **kwargs: Any) -> Any:
        return [(0, 0, 0, "", ("127.0.0.1", port))]

    async with serve_mock() as mock, tls(tmp_path, mock) as (port, trusted):
        trust = ssl.create_default_context(cafile=str(trusted))
        monkeypatch.setattr(anyio, "getaddrinfo", lookup)
        finding = only(await examined(f"wss://speech.test:{port}{MULTI}", ssl_context=trust), "tls_name")
    assert "speech.test" in finding.sentence


async def test_a_port_without_tls() -> None:
    async with serve_mock() as mock:
        finding = only(await examined(mock.url.replace("ws", "wss")), "tls_not_spoken")
    assert finding.step == "tls"


async def test_ws_where_tls_is_spoken(tmp_path: Path) -> None:
    async with serve_mock() as mock, tls(tmp_path, mock) as (port, _):
        findings = await examined(f"ws://127.0.0.1:{port}{MULTI}")
    assert "wss://" in str(only(findings, "tls_needed").remedy)


async def test_nginx_says_that_this_is_its_https_port() -> None:
    page = b"<h1>400 Bad Request</h1>The plain HTTP request was sent to HTTPS port"
    async with answering(b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n" + page) as port:
        finding = only(await examined(f"ws://127.0.0.1:{port}"), "tls_needed")
    assert "server: nginx" in finding.evidence


# --- the handshake ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nVia: 1.1 old-proxy\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 426 Upgrade Required\r\nVia: 1.1 old-proxy\r\n\r\n",
        b"HTTP/1.1 400 Bad Request\r\nVia: 1.1 old-proxy\r\nContent-Length: 11\r\n\r\nBad Request",
    ],
)
async def test_a_proxy_strips_the_upgrade(answer: bytes) -> None:
    async with answering(answer) as port:
        finding = only(await examined(f"ws://127.0.0.1:{port}"), "upgrade_stripped")
    assert finding.step == "handshake"
    assert "via: 1.1 old-proxy" in finding.evidence
    assert "Upgrade" in str(finding.remedy)


async def test_a_real_proxy_strips_the_upgrade() -> None:
    """As nginx does with its default of HTTP/1.0 towards upstreams and `Connection: close`."""

    def strip(head: bytes) -> bytes:
        lines = [line for line in head.split(b"\r\n") if not line.startswith((b"Upgrade:", b"Connection:"))]
        return b"\r\n".join([lines[0], b"Connection: close", *lines[1:]])

    async with serve_mock() as mock, proxy(mock.url, strip) as url:
        finding = only(await examined(url), "path_not_found", "upgrade_stripped")
    assert finding.step == "handshake"


async def test_a_redirect_is_named_and_its_key_is_not() -> None:
    answer = (
        b"HTTP/1.1 308 Permanent Redirect\r\nLocation: https://elsewhere.test/tts?api_key=sesame-123\r\n\r\n"
    )
    async with answering(answer) as port:
        finding = only(await examined(f"ws://127.0.0.1:{port}"), "redirected")
    assert "https://elsewhere.test/tts" in finding.sentence
    assert "sesame" not in repr(finding)


async def test_the_connection_is_cut() -> None:
    async with serve_mock("elevenlabs", [Fault("refused")]) as mock:
        only(await examined(mock.url), "handshake_cut")


async def test_nothing_answers_the_handshake() -> None:
    async def handle(stream: anyio.abc.ByteStream) -> None:
        await anyio.sleep(5)

    async with tcp(handle) as port:
        finding = only(await examined(f"ws://127.0.0.1:{port}", IMPATIENT), "handshake_silent")
    assert "0.3 s" in finding.sentence


async def test_a_slow_handshake() -> None:
    patience = Patience(slow_handshake=0.1, settle=0.1)
    async with serve_mock("elevenlabs", [Fault("slow_handshake", nth=1, seconds=0.2)]) as mock:
        finding = only(await examined(mock.url, patience), "handshake_slow")
    assert finding.verdict == "warning"


async def test_a_cache_answers_101_without_having_read_the_request() -> None:
    answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    async with answering(answer + b"Sec-WebSocket-Accept: bm8=\r\n\r\n") as port:
        only(await examined(f"ws://127.0.0.1:{port}"), "handshake_broken")


async def test_another_service_listens_there() -> None:
    async with answering(b"220 mail.test ESMTP\r\n") as port:
        finding = only(await examined(f"ws://127.0.0.1:{port}"), "not_http")
    assert "220 mail" in finding.evidence[0]


async def test_cancelling_closes_the_connection() -> None:
    closed = anyio.Event()

    async def handle(stream: anyio.abc.ByteStream) -> None:
        try:
            while True:
                await stream.receive()
        finally:
            closed.set()

    async with tcp(handle) as port:
        with anyio.move_on_after(0.2) as scope:
            await examined(f"ws://127.0.0.1:{port}", BRISK)
        assert scope.cancelled_caught
        with anyio.fail_after(2):
            await closed.wait()
