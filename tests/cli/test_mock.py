from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mux.mock import FAULTS


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("dialect", ["elevenlabs", "kugelaudio"])
def test_it_stands_in_until_sigterm(backend: str, dialect: str, tmp_path: Path) -> None:
    scenario = tmp_path / "day.toml"
    scenario.write_text('dialect = "elevenlabs"\nseed = 3\n[[fault]]\nname = "stall"\nrate = 0.5\n')
    command = [sys.executable, "-W", "error", "-m", "mux", "mock", "--port", "0", "--backend", backend]
    with subprocess.Popen(
        [*command, "--dialect", dialect, "--scenario", str(scenario), "--fault", "unauthorized=1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        ready = [next(process.stdout) for _ in range(5 if dialect == "elevenlabs" else 4)]
        assert f"{dialect}, {5 if dialect == 'elevenlabs' else 20} contexts a socket, seed 3" in ready[0]
        assert ready[-2].split() == ["fault", "stall", "rate=0.5"]
        assert ready[-1].split() == ["fault", "unauthorized", "rate=1.0"]
        base = ready[1].split('"')[1].removesuffix("/v1")
        with urllib.request.urlopen(f"{base}/healthz", timeout=5) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert "Traceback" not in process.stderr.read()


def test_it_lists_its_faults(mux: Callable[..., Any]) -> None:
    done = mux("mock", "--list-faults")
    assert done.returncode == 0
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == list(FAULTS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--fault", "stal"), ("stal", "Did you mean stall")),
        (("--fault", "stall=2"), ("rate", "0 to 1")),
        (("--scenario", "/nowhere.toml"), ("/nowhere.toml",)),
        (("--dialect", "cartesia"), ("elevenlabs", "kugelaudio")),
    ],
)
def test_a_mistake_is_named(
    mux: Callable[..., Any], arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    done = mux("mock", "--port", "0", *arguments)
    assert done.returncode == 2
    assert all(word in done.stderr for word in words), done.stderr
