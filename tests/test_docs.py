"""The parts of the documentation that are drawn from the code are what the code says today."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mux.errors import ERRORS, Scope
from mux.protocol.diagram import state_diagram

DOCS = Path(__file__).parent.parent / "docs"


def test_the_state_diagram_is_drawn_from_the_table() -> None:
    page = (DOCS / "protocol.md").read_text()
    assert f"```mermaid\n{state_diagram()}\n```" in page, "python -m mux.protocol.diagram prints the new one"


def test_every_error_is_documented_with_its_codes() -> None:
    page = (DOCS / "protocol.md").read_text()
    for code, row in ERRORS.items():
        if row.scope in (Scope.CONTEXT, Scope.SOCKET, Scope.MESSAGE) and row.close != 1006:
            assert f"| `{code}` | `{row.elevenlabs}` |" in page, code


def test_links_between_pages_lead_somewhere() -> None:
    pages = [DOCS.parent / "README.md", *DOCS.rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def _programs(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


@pytest.mark.espeak
@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md", "docs/how-to/client.md"])
def test_the_programs_in_the_pages_run_as_they_stand(page: str, served: str, tmp_path: Path) -> None:
    programs = _programs((DOCS.parent / page).read_text())
    assert programs
    for program in programs:
        program = program.replace("ws://127.0.0.1:8790", served).replace("/tmp/", f"{tmp_path}/")
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout
        assert not done.stderr


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    """A server as a user starts it."""
    command = [sys.executable, "-m", "mux", "serve", "--port", "0", "--log-level", "error"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield next(
                line.split()[-1].removesuffix("/healthz").replace("http", "ws")
                for line in process.stdout
                if "health" in line
            )
        finally:
            process.terminate()
