"""The how-to pages, as written: programs are saved under the name in their first line, commands are run one
after the other (those that end in `&` beside the others), and what they print is what the page shows, but for
its numbers."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

PAGES = Path(__file__).parent.parent.parent / "docs" / "how-to"
CLIENTS = {
    "elevenlabs-sdk": "elevenlabs",
    "kugelaudio-sdk": "kugelaudio",
    "livekit": "livekit.plugins.elevenlabs",
    "patter": "getpatter",
    "pipecat": "pipecat.services.elevenlabs.tts",
    "twilio": "mux",
}

pytestmark = [pytest.mark.clients, pytest.mark.espeak]


def test_every_page_is_run() -> None:
    """But for those that are about accounts and services of others (tests/test_config_engines.py reads the
    gateway's files), and the client's, whose programs tests/test_docs.py runs."""
    elsewhere = {"client", "doctor", "gateway", "tap"}
    assert {path.stem for path in PAGES.glob("*.md")} == {*CLIENTS, *elsewhere}


@pytest.mark.parametrize("name", CLIENTS)
def test_a_page_works_as_written(name: str, tmp_path: Path) -> None:
    pytest.importorskip(CLIENTS[name], reason="`make clients` installs this page's client")
    page = (PAGES / f"{name}.md").read_text()
    blocks = re.findall(r"```(sh|python|text)\n(.*?)```", page, re.DOTALL)
    shown = "".join(block for kind, block in blocks if kind == "text")
    assert shown
    with Terminal(tmp_path) as terminal:
        for kind, block in blocks:
            if kind == "python":
                terminal.save(block)
            elif kind == "sh":
                for command in block.splitlines():
                    terminal.run(command)
    assert without_numbers(terminal.printed) == without_numbers(shown)


def without_numbers(text: str) -> str:
    return re.sub(r"\d+(\.\d+)?", "N", text)


class Terminal(ExitStack):
    """Runs a page's commands in the environment of these tests, on ports that are free."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.printed = ""
        """By the commands that the page waits for."""
        self._directory = directory
        self._ports = {"8790": free_port(), "8080": free_port()}
        self._variables = {
            **os.environ,
            "MUX_PORT": self._ports["8790"],
            "DO_NOT_TRACK": "1",
            # what a page installs is there already; pip checks that, and changes nothing
            "PIP_DRY_RUN": "1",
            "PIP_NO_INDEX": "1",
            "PIP_QUIET": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    def save(self, program: str) -> None:
        first, _, _ = program.partition("\n")
        (self._directory / first.removeprefix("# ")).write_text(self._here(program))

    def run(self, command: str) -> None:
        words = self._here(command).replace(".venv/bin", f"{sys.prefix}/bin")
        if words.endswith("&"):
            self.enter_context(self._beside(words.removesuffix("&")))
            return
        done = subprocess.run(
            words,
            shell=True,
            cwd=self._directory,
            env=self._variables,
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        self.printed += done.stdout

    @contextmanager
    def _beside(self, command: str) -> Iterator[None]:
        output = self._directory / f"{len(list(self._directory.iterdir()))}.out"
        with (
            output.open("w") as file,
            subprocess.Popen(
                f"exec {command}",
                shell=True,
                cwd=self._directory,
                env=self._variables,
                stdout=file,
                stderr=file,
            ) as process,
        ):
            try:
                if "serve" in command:
                    wait_until(lambda: "health" in output.read_text(), process)
                else:
                    wait_until(lambda: listens(self._ports["8080"]), process)
                if trust := re.search(r"SSL_CERT_FILE=(\S+)", output.read_text()):
                    self._variables["SSL_CERT_FILE"] = trust[1]
                yield
            finally:
                process.terminate()
        assert "Traceback" not in output.read_text()

    def _here(self, text: str) -> str:
        for written, free in self._ports.items():
            text = text.replace(written, free)
        return text


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


def listens(port: str) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", int(port)), timeout=1):
        return True
    return False


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    for _ in range(400):
        assert process.poll() is None, "it has ended"
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it is not ready within 20 s")
