from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
import pytest
from cryptography.hazmat.primitives import serialization
from loopback import (
    HANDSHAKE,
    TEXT_FRAME,
    Flood,
    application,
    one_head,
    open_sockets,
    raw,
    until_open_sockets,
)
from starlette.websockets import WebSocket

from mux.config import Settings, load_settings
from mux.errors import MuxError
from mux.links.transport import open_transport
from mux.server.limits import Limits
from mux.server.listener import open_listener
from mux.server.run import serve
from mux.server.tls import load_certificate, make_certificate, open_tls

linux = pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="counts sockets in /proc")
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
"""The beginning of a ClientHello of 512 bytes."""


@asynccontextmanager
async def serving(app: Any = None, **limits: Any) -> AsyncIterator[tuple[int, ssl.SSLContext]]:
    """A server with a self-signed certificate: its port, and how to trust it."""
    listener = open_listener("127.0.0.1", 0)
    with open_tls(Settings(tls_self_signed=True)) as tls:
        assert tls is not None
        async with anyio.create_task_group() as tasks:
            run = partial(serve, limits=Limits(**limits), tls=tls.context)
            tasks.start_soon(run, app or application(), listener, anyio.Event())
            with anyio.fail_after(20):
                yield listener.getsockname()[1], ssl.create_default_context(cafile=tls.trust)
            tasks.cancel_scope.cancel()


async def echoes(port: int, trust: ssl.SSLContext, host: str = "127.0.0.1") -> bool:
    async with open_transport(f"wss://{host}:{port}/echo", ssl_context=trust) as transport:
        await transport.send("still there?")
        return await transport.receive() == "still there?"


async def connect(port: int, trust: ssl.SSLContext, *, strict: bool = True) -> Any:
    """A stream over TLS; if `strict`, it raises when the server ends without saying so."""
    return await anyio.connect_tcp("127.0.0.1", port, ssl_context=trust, tls_standard_compatible=strict)


# --- over the loopback interface; each of these runs on asyncio, on trio and on uvloop ------------------


async def check_wss_and_https_share_one_port() -> None:
    async def scheme(ws: WebSocket) -> None:
        await ws.accept()
        await ws.send_text(ws.url.scheme)
        await ws.close()

    async with serving(application(scheme=scheme)) as (port, trust):
        assert await echoes(port, trust)
        assert await echoes(port, trust, "localhost")
        async with await connect(port, trust) as stream:
            await stream.send(HEALTH)
            answer = b""
            with suppress(anyio.EndOfStream):  # said by TLS: a cut connection raises something else
                while True:
                    answer += await stream.receive()
        assert answer.startswith(b"HTTP/1.1 200")
        assert b'{"status":"ok"}' in answer
        async with open_transport(f"wss://127.0.0.1:{port}/scheme", ssl_context=trust) as transport:
            assert await transport.receive() == "wss"


async def check_a_client_that_does_not_trust_the_certificate_says_so() -> None:
    async with serving() as (port, trust):
        with pytest.raises(MuxError, match=r"certificate was not accepted \(self-signed") as refused:
            async with open_transport(
                f"wss://127.0.0.1:{port}/echo", ssl_context=ssl.create_default_context()
            ):
                pass
        assert refused.value.code == "connection_refused"
        assert await echoes(port, trust)


async def check_whoever_does_not_speak_tls_is_closed() -> None:
    async with serving(head_timeout=0.2) as (port, trust):
        with anyio.fail_after(3):
            for data in (b"", HELLO, HEALTH, HANDSHAKE + b"\r\n", b"\xff" * 5000):
                assert b"HTTP" not in await raw(port, data)
        assert await echoes(port, trust)


async def check_dripping_bytes_does_not_prolong_the_handshake() -> None:
    async with serving(head_timeout=0.15) as (port, _), await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(HELLO)
        with suppress(anyio.BrokenResourceError), anyio.fail_after(2):
            while True:
                await stream.send(b"a")
                await anyio.sleep(0.02)


async def check_half_a_head_is_closed_over_tls_too() -> None:
    async with (
        serving(head_timeout=0.15) as (port, trust),
        await connect(port, trust, strict=False) as stream,
    ):
        await stream.send(b"GET /health HTTP/1.1\r\nHos")
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError), anyio.fail_after(2):
            while True:
                await stream.receive()


async def check_an_idle_websocket_outlives_every_deadline_of_the_handshake() -> None:
    limits = {"head_timeout": 0.1, "keep_alive": 0.1, "write_timeout": 0.1, "linger": 0.1}
    async with (
        serving(**limits) as (port, trust),
        open_transport(f"wss://127.0.0.1:{port}/echo", ssl_context=trust) as transport,
    ):
        await anyio.sleep(0.3)
        await transport.send("still there?")
        assert await transport.receive() == "still there?"


async def check_nothing_is_left_of_a_handshake_when_the_server_ends() -> None:
    before = open_sockets()
    for stopped in (False, True):
        listener, stop = open_listener("127.0.0.1", 0), anyio.Event()
        with open_tls(Settings(tls_self_signed=True)) as tls:
            assert tls is not None
            with anyio.fail_after(2):  # less than a handshake may take
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(partial(serve, tls=tls.context), application(), listener, stop)
                    async with await anyio.connect_tcp("127.0.0.1", listener.getsockname()[1]) as stream:
                        await stream.send(HELLO)
                        await anyio.sleep(0.05)
                        stop.set() if stopped else tasks.cancel_scope.cancel()
                        with (
                            anyio.CancelScope(shield=True),
                            suppress(anyio.EndOfStream, anyio.BrokenResourceError),
                        ):
                            await stream.receive()
    await until_open_sockets(before)


async def check_the_reason_of_a_close_reaches_a_client_that_is_still_sending() -> None:
    async with serving() as (port, trust), await connect(port, trust) as stream:
        await stream.send(HANDSHAKE.replace(b"/echo", b"/why") + b"\r\n")
        await one_head(stream)
        for _ in range(50):
            await stream.send(TEXT_FRAME)
        answer = b""
        while not answer.endswith(b"slow"):
            answer += await stream.receive()
        assert b"because" in answer


async def check_a_client_that_never_reads_holds_little_and_is_freed() -> None:
    flood = Flood(patience=60)
    async with serving(application(flood=flood.send), write_timeout=0.3, linger=0.1) as (port, trust):
        before = open_sockets()
        with await anyio.to_thread.run_sync(deaf_client, port, trust, "/flood"), anyio.fail_after(3):
            await flood.ended.wait()
            await until_open_sockets(before + 1)
    assert 0 < flood.accepted < 500_000, f"{flood.accepted} bytes in flight"


def deaf_client(port: int, trust: ssl.SSLContext, path: str) -> socket.socket:
    """A WebSocket whose client never reads. To be called in a thread."""
    client = trust.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="127.0.0.1")
    client.sendall(HANDSHAKE.replace(b"/echo", path.encode()) + b"\r\n")
    return client


Check = Callable[[], Any]
CHECKS: list[Check] = [check for name, check in list(globals().items()) if name.startswith("check_")]
each_check = pytest.mark.parametrize("check", CHECKS, ids=[check.__name__[6:] for check in CHECKS])


@linux
@pytest.mark.anyio
@each_check
async def test_over_tls(check: Check) -> None:
    await check()


@linux
@pytest.mark.skipif(find_spec("uvloop") is None, reason="no uvloop here")
@each_check
def test_over_tls_on_uvloop(check: Check) -> None:
    """uvloop, on which `mux serve` runs, has a TLS of its own."""
    anyio.run(check, backend="asyncio", backend_options={"use_uvloop": True})


# --- certificates ------------------------------------------------------------------------------------


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> ssl.SSLObject:
    """Both sides of a handshake, in memory; raises what the client would."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server, server_hostname=name)
    for _ in range(3):
        for side in (theirs, ours):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return theirs


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Two certificates with their keys."""
    paths = {}
    for number in ("", "2"):
        for kind, pem in zip(("cert", "key"), make_certificate("mux.example"), strict=True):
            paths[kind + number] = tmp_path / f"{kind}{number}.pem"
            paths[kind + number].write_bytes(pem)
    return paths


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("127.0.0.1", "localhost"),
        ("127.0.0.1", "::1"),
        ("0.0.0.0", "127.0.0.1"),
        ("192.0.2.7", "192.0.2.7"),
        ("mux.example", "mux.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_a_made_certificate_is_for_this_machine_and_the_host(host: str, name: str, tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    for path, pem in zip((cert, key), make_certificate(host), strict=True):
        path.write_bytes(pem)
    server = load_certificate(cert, key)
    client = ssl.create_default_context(cafile=cert)
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    assert shake_hands(server, client, name).version() == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(server, client, "elsewhere.example")


def test_tls_1_2_is_the_oldest_and_http_1_1_is_named(files: dict[str, Path]) -> None:
    server = load_certificate(files["cert"], files["key"])
    client = ssl.create_default_context(cafile=files["cert"])
    client.set_alpn_protocols(["h2", "http/1.1"])
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    agreed = shake_hands(server, client, "localhost")
    assert (agreed.version(), agreed.selected_alpn_protocol()) == ("TLSv1.2", "http/1.1")
    assert server.minimum_version is ssl.TLSVersion.TLSv1_2


def test_the_file_to_trust_holds_no_key_and_goes_with_the_server() -> None:
    with open_tls(Settings(tls_self_signed=True)) as tls:
        assert tls is not None
        assert tls.trust is not None
        assert [path.name for path in tls.trust.parent.iterdir()] == [tls.trust.name]
        text = tls.trust.read_text()
        assert text.count("BEGIN") == text.count("BEGIN CERTIFICATE") == 1
    assert not tls.trust.parent.exists()


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(MuxError, match=r"pip install 'ttsmux\[tls\]'") as refused:
        make_certificate("localhost")
    assert refused.value.code == "missing_dependency"


def test_certificates_by_file_need_no_extra(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with open_tls(Settings(tls_cert=str(files["cert"]), tls_key=str(files["key"]))) as tls:
        assert tls is not None
        assert tls.trust is None
    with open_tls(Settings()) as none:
        assert none is None


def refusal(cert: Path, key: Path) -> str:
    with pytest.raises(MuxError) as refused:
        load_certificate(cert, key)
    assert refused.value.code == "invalid_config"
    assert refused.value.__cause__ is None
    return str(refused.value)


def test_a_file_that_cannot_be_read_is_named(files: dict[str, Path], tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    assert refusal(missing, files["key"]).startswith(f"tls_cert: {missing} cannot be read: No such file")
    assert refusal(files["cert"], missing).startswith(f"tls_key: {missing} cannot be read: No such file")
    assert f"tls_cert: {tmp_path} cannot be read: Is a directory" in refusal(tmp_path, files["key"])


def test_a_file_of_something_else_is_named(files: dict[str, Path], tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    der = ssl.PEM_cert_to_DER_cert(files["cert"].read_text())
    for junk in (b"", b"\xff\x00", b"-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n", der):
        other.write_bytes(junk)
        assert re.match(rf"tls_cert: {other} holds no (PEM )?certificate", refusal(other, files["key"]))
        assert f"tls_key: {other} holds no PEM private key" in refusal(files["cert"], other)
    other.write_text("-----BEGIN PRIVATE KEY-----\nxx\n-----END PRIVATE KEY-----\n")
    assert f"tls_key: {other} holds no private key that can be read" in refusal(files["cert"], other)
    assert f"tls_cert: {files['key']} holds no PEM certificate" in refusal(files["key"], files["cert"])


def test_a_key_of_another_certificate_is_refused(files: dict[str, Path]) -> None:
    message = refusal(files["cert"], files["key2"])
    assert f"The key in {files['key2']} (tls_key) does not belong to" in message
    assert str(files["cert"]) in message


@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL"])
def test_a_key_with_a_password_is_refused_without_asking_for_it(form: str, files: dict[str, Path]) -> None:
    key = serialization.load_pem_private_key(files["key"].read_bytes(), None)
    files["key"].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            getattr(serialization.PrivateFormat, form),
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    message = refusal(files["cert"], files["key"])
    assert f"tls_key: {files['key']} is protected by a password, which mux does not support" in message


def test_a_chain_and_comments_are_understood(files: dict[str, Path]) -> None:
    chain = "Für mux.example:\n" + files["cert"].read_text() + files["cert2"].read_text()
    files["cert"].write_text(chain, encoding="utf-8")
    load_certificate(files["cert"], files["key"])


# --- settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tls_cert": "a.pem"}, "tls_cert is set, but tls_key is not"),
        ({"tls_key": "a.pem"}, "tls_key is set, but tls_cert is not"),
        ({"tls_self_signed": "true", "tls_key": "a.pem"}, "Set either tls_self_signed, or tls_cert and"),
        (
            {"tls_self_signed": "true", "tls_cert": "a.pem", "tls_key": "b.pem"},
            "Set either tls_self_signed, or tls_cert and",
        ),
        ({"tls_self_signed": "maybe"}, "tls_self_signed must be true or false"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, str], words: str) -> None:
    for flags, environ in (
        (settings, {}),
        ({}, {f"MUX_{name.upper()}": value for name, value in settings.items()}),
    ):
        with pytest.raises(MuxError, match=words) as refused:
            load_settings(flags, environ)
        assert refused.value.code == "invalid_config"


def test_an_empty_path_in_the_file_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "mux.toml"
    config.write_text('tls_cert = ""\ntls_key = "key.pem"\n')
    with pytest.raises(MuxError, match="tls_cert must be the path of a PEM file"):
        load_settings({}, {}, config)


# --- the program -------------------------------------------------------------------------------------


@contextmanager
def mux_serve(*arguments: str) -> Iterator[list[str]]:
    """`mux serve` until its ready lines are out; it must then end well, and complain of nothing."""
    command = [sys.executable, "-W", "error", "-m", "mux", "serve", "--port", "0", "--engine", "tone"]
    with subprocess.Popen(
        [*command, "--log-format", "json", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "health" in line:
                break
        try:
            yield lines
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        assert {json.loads(line)["level"] for line in process.stderr} == {"info"}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_default_client_trusts_the_file_that_the_program_names(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mux_serve("--tls-self-signed", "--backend", backend) as lines:
        ready = "".join(lines)
        url = lines[-1].split()[-1]
        base = url.removeprefix("https://").removesuffix("/healthz")
        assert "http://" not in ready
        assert "ws://" not in ready
        assert f'"https://{base}/v1"' in ready
        assert ready.count(f'"wss://{base}"') == 2
        variable, _, path = next(line for line in lines if "SSL_CERT_FILE" in line).split()[-1].partition("=")
        monkeypatch.setenv(variable, path)
        trust = ssl.create_default_context()
        with urllib.request.urlopen(url, timeout=5, context=trust) as answer:
            assert json.load(answer)["status"] == "ok"
        assert anyio.run(greeted, base, trust)
    assert not Path(path).exists()


async def greeted(base: str, trust: ssl.SSLContext) -> bool:
    path = "v1/text-to-speech/any/multi-stream-input?mux_hello=true"
    async with open_transport(f"wss://{base}/{path}", ssl_context=trust) as transport:
        return bool(await transport.receive())


def test_the_program_serves_with_certificates_by_file(files: dict[str, Path]) -> None:
    with mux_serve("--tls-cert", str(files["cert"]), "--tls-key", str(files["key"])) as lines:
        assert "SSL_CERT_FILE" not in "".join(lines)
        trust = ssl.create_default_context(cafile=files["cert"])
        with urllib.request.urlopen(lines[-1].split()[-1], timeout=5, context=trust) as answer:
            assert json.load(answer)["status"] == "ok"


def test_the_program_does_not_start_with_a_wrong_file(files: dict[str, Path]) -> None:
    command = [sys.executable, "-W", "error", "-m", "mux", "serve", "--port", "0", "--engine", "tone"]
    done = subprocess.run(
        [*command, "--tls-cert", str(files["cert"]), "--tls-key", str(files["key2"])],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"mux: The key in {files['key2']} (tls_key) does not belong")
    assert not done.stdout
