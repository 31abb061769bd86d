from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mux.cli.serve import _HELP
from mux.config import FIELDS


def test_every_setting_has_a_flag() -> None:
    assert list(_HELP) == list(FIELDS)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_serves_until_sigterm_and_says_how_to_reach_it(backend: str) -> None:
    command = [sys.executable, "-W", "error", "-m", "mux", "serve", "--port", "0", "--engine", "tone"]
    with subprocess.Popen(
        [*command, "--backend", backend, "--log-format", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        ready = [next(process.stdout) for _ in range(7)]
        url = ready[-1].split()[-1]
        base = url.removeprefix("http://").removesuffix("/healthz")
        assert "engine tone" in ready[0]
        assert backend in ready[0]
        assert "20 contexts a socket" in ready[1]
        assert f'base_url="http://{base}/v1"' in ready[2]
        assert f'url="ws://{base}"' in ready[3]
        assert f'api_url="http://{base}"' in ready[4]
        with urllib.request.urlopen(url, timeout=5) as answer:
            assert json.load(answer)["status"] == "ok"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert [json.loads(line)["event"] for line in process.stderr] == ["draining"]


@pytest.mark.parametrize(
    ("arguments", "variables", "words"),
    [
        (("--port", "fish"), {}, ("port", "1 to 65535", "--port", "fish")),
        (("--engine", "fish"), {}, ("engine must be espeak, tone", "--engine gives 'fish'")),
        ((), {"MUX_PROT": "1"}, ("MUX_PROT", "MUX_PORT")),
        (("--host", "0.0.0.0"), {}, ("0.0.0.0", "MUX_API_KEYS")),
        (("--config", "/nowhere.toml"), {}, ("/nowhere.toml",)),
        (("--engine", "elevenlabs", "--upstream-key", "k"), {}, ("needs upstream_url",)),
    ],
)
def test_a_wrong_setting_is_refused_by_name(
    mux: Callable[..., Any], arguments: tuple[str, ...], variables: dict[str, str], words: tuple[str, ...]
) -> None:
    done = mux("serve", *arguments, **variables)
    assert done.returncode == 2
    assert all(word in done.stderr for word in words), done.stderr


def test_a_check_tries_every_engine_and_serves_nothing(mux: Callable[..., Any], tmp_path: Path) -> None:
    done = mux("serve", "--check", "--engine", "tone")
    assert (done.returncode, done.stdout, done.stderr) == (0, "tone: it starts, and has 1 voices\n", "")
    config = tmp_path / "mux.toml"
    config.write_text('[engines.far]\nkind = "mux"\nurl = "ws://127.0.0.1:1"\nkey_env = "MUX_FAR_KEY"\n')
    for backend in ("asyncio", "trio"):
        arguments = ("--config", str(config), "--engine", "tone", "--backend", backend)
        done = mux("serve", "--check", *arguments, MUX_FAR_KEY="a-secret")
        assert done.returncode == 1
        first, second = done.stdout.splitlines()
        assert first.startswith("tone: it starts")
        assert second.startswith("far: failed (connection_refused): Connecting to 127.0.0.1:1 failed")
        assert "secret" not in done.stdout + done.stderr


def test_flags_win_over_variables_over_the_file(mux: Callable[..., Any], tmp_path: Path) -> None:
    config = tmp_path / "mux.toml"
    config.write_text('engine = "fish"\n')
    assert "the key engine in" in mux("serve", "--config", str(config)).stderr
    config.write_text('host = "0.0.0.0"\n')
    assert "0.0.0.0" in mux("serve", "--config", str(config)).stderr
    assert "::1 " not in mux("serve", "--config", str(config), MUX_HOST="::").stderr
    assert ":: " in mux("serve", "--config", str(config), MUX_HOST="::").stderr
