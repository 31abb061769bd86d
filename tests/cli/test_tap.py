from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mux.cli.tap.view import TableView
from mux.exchange import read_har
from mux.exchange.recorder import Recorder

KEY = "sk_0123456789"
CLOSED = ["socket", "closed", "1008"]


class _Refusing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"detail":{"status":"invalid_api_key","message":"Invalid API key"}}'
        self.send_response(401)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Refusing) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_passes_on_shows_and_records_until_sigterm(backend: str, service: str, tmp_path: Path) -> None:
    out = tmp_path / "tap.har"
    command = [sys.executable, "-W", "error", "-m", "mux", "tap", "--to", service, "--port", "0"]
    with subprocess.Popen(
        [*command, "--out", str(out), "--backend", backend],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            ready = next(process.stdout)
            assert ready.rstrip().endswith(service.replace("http", "ws"))
            assert "never keys" in next(process.stdout)
            headers = {"Upgrade": "websocket", "Connection": "Upgrade", "xi-api-key": KEY}
            asked = urllib.request.Request(f"{ready.split()[4]}/v1/x/stream-input", headers=headers)
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(asked, timeout=5)
            refused.value.close()
            assert refused.value.code == 401
            assert next(process.stdout).split()[1:] == ["#1:", "HTTP", "401"]
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
            assert f"{out} holds 1 socket and 0 HTTP requests" in process.stdout.read()
            assert process.stderr.read() == ""
        finally:
            process.kill()
    (exchange,) = read_har(out.read_bytes()).exchanges
    assert (exchange.status, exchange.path) == (401, "/v1/x/stream-input")
    assert "Invalid API key" in exchange.body
    assert KEY not in out.read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("--to",)),
        (("--to", "ftp://x"), ("ftp", "ws://")),
        (("--to", "ws://x", "--out", "/nowhere/tap.har"), ("/nowhere", "no directory")),
        (("--to", "ws://x", "--out", "/dev/full/tap.har"), ("/dev/full",)),
        (("--to", "ws://x", "--host", "no.such.host.invalid", "--out", "/tmp/tap.har"), ("no.such.host",)),
    ],
)
def test_a_mistake_is_named(
    mux: Callable[..., Any], arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    done = mux("tap", "--port", "0", *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert all(word in done.stderr for word in words), done.stderr


def test_the_table_shows_contexts_and_never_words() -> None:
    recorder = Recorder()
    url = "wss://h/v1/text-to-speech/anne/multi-stream-input?output_format=pcm_24000"
    track = recorder.begin(0.0, method="GET", url=url, headers=[], websocket=True)
    track.answered(0.0, 101, [])
    for context in ("first", "second\x1b[2J"):
        track.message(1.0, "client", json.dumps({"text": "Hello. ", "context_id": context, "flush": True}))
        track.message(1.25, "service", json.dumps({"audio": "A" * 6400, "contextId": context}))
    track.message(2.0, "client", '{"context_id":"first","close_context":true}')
    track.message(3.0, "service", '{"isFinal":true,"contextId":"first"}')
    track.closed(4.0, "service", 1008, "enough")
    view = TableView(Console(file=io.StringIO(), width=140, height=40))
    with view.showing(recorder):
        out = Console(file=io.StringIO(), width=140)
        out.print(view.table())
    lines = [line.split() for line in out.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert lines[1] == ["#1", "multi-stream-input", "closed", "1008", "by", "the", "service:", "enough"]
    assert lines[2] == ["first", "ended", "7", "1", "100", "ms", "250", "ms", "isFinal"]
    assert lines[3] == ["second?[2J", "ended", "7", "1", "100", "ms", "250", "ms", *CLOSED]
    assert "Hello" not in out.file.getvalue()  # type: ignore[attr-defined]


def test_a_long_table_shows_the_newest_rows() -> None:
    recorder = Recorder()
    for _ in range(50):
        recorder.begin(0.0, method="GET", url="http://h/x", headers=[], websocket=False)
    view = TableView(Console(file=io.StringIO(), width=80, height=20))
    with view.showing(recorder):
        assert view.table().row_count == 15
