from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from mux.mock import Fault, Mock, serve_mock

Run = Callable[..., Any]


@contextmanager
def mocking(*faults: Fault) -> Iterator[Mock]:
    """A mock in another thread."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serve_mock("elevenlabs", faults)) as mock,
    ):
        yield mock


def test_all_is_well(mux: Run) -> None:
    with mocking() as mock:
        done = mux("doctor", mock.url, "--quick", "--api-key", "sesame-open")
    assert done.returncode == 0, done.stdout + done.stderr
    for step in ("dns", "tcp", "handshake", "key", "voice", "model", "format", "speech", "contexts", "close"):
        assert f"  ok   {step} " in done.stdout
    assert "keepalive, timeout: Not tried: --quick" in done.stdout
    assert done.stdout.endswith("No problem found.\n")
    assert "sesame" not in done.stdout + done.stderr


def test_a_problem_and_its_remedy(mux: Run) -> None:
    with mocking(Fault("unauthorized")) as mock:
        done = mux(
            "doctor", f"{mock.url}/v1?inactivity_timeout=300&xi-api-key=sesame-1", MUX_API_KEY="sesame-2"
        )
    assert done.returncode == 1
    assert "FAIL key" in done.stdout
    assert "problem key_refused: The service does not accept the API key." in done.stdout
    assert "problem timeout_over_max: The inactivity_timeout is 300" in done.stdout
    assert "2 problems found." in done.stdout
    assert "sesame" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_warning_is_no_problem(mux: Run) -> None:
    with mocking(Fault("final_twice", nth=1)) as mock:
        done = mux("doctor", mock.url, "--quick")
    assert done.returncode == 0
    assert "warning end_twice" in done.stdout


def test_findings_for_a_program(mux: Run) -> None:
    with mocking(Fault("close_1012")) as mock:
        done = mux("doctor", mock.url, "--json", "--api-key", "sesame-1")
    assert done.returncode == 1
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    (problem,) = [finding for finding in findings if finding["verdict"] == "problem"]
    assert (problem["step"], problem["cause"]) == ("speech", "service_restarting")
    assert problem["evidence"] == ["close 1012 (mock fault) after 0.0 s"]
    assert problem["remedy"]


def test_a_file_is_explained(mux: Run, tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text(
        "websockets.exceptions.ConnectionClosedError: received 1008 (policy violation) Invalid API key\n"
    )
    done = mux("doctor", "--log", str(log))
    assert done.returncode == 1
    assert "key_refused" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("a URL", "--har", "--log")),
        (("ws://h", "--log", "x"), ("one of",)),
        (("api.elevenlabs.io",), ("ws://host[:port]/path",)),
        (("ws://h/v1?single_use_token=sesame",), ("single_use_token", "--api-key")),
        (("ws://h", "--dialect", "cartesia"), ("elevenlabs", "kugelaudio")),
        (("--log", "/nowhere.log"), ("/nowhere.log",)),
    ],
)
def test_a_mistake_is_named(mux: Run, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    done = mux("doctor", *arguments)
    assert done.returncode == 2
    assert all(word in done.stderr for word in words), done.stderr
    assert "sesame" not in done.stderr
    assert "Traceback" not in done.stderr
