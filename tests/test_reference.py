"""docs/reference is what the code says today."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import mux
import mux.client
import mux.mock
import mux.sync
import mux.testing
from mux.cli import COMMANDS
from mux.config import FIELDS
from mux.errors import ERRORS

DOCS = Path(__file__).parent.parent / "docs"
REFERENCE = DOCS / "reference"


def test_the_pages_are_not_stale(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", DOCS / "make_reference.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    pages, committed = (
        {page.name: page.read_text() for page in sorted(directory.glob("*.md"))}
        for directory in (tmp_path, REFERENCE)
    )
    stale = sorted(name for name in pages.keys() | committed if pages.get(name) != committed.get(name))
    assert not stale, f"docs/reference is stale ({', '.join(stale)}); `make reference` writes it anew."


@pytest.mark.parametrize("package", [mux, mux.client, mux.sync, mux.testing, mux.mock])
def test_every_public_name_is_told_of(package: object) -> None:
    text = "".join(page.read_text() for page in REFERENCE.glob("*.md"))
    for name in package.__all__:  # type: ignore[attr-defined]
        assert f"\n### {name}\n" in text, name


def test_every_code_command_and_setting_is_told_of() -> None:
    for page, names in (
        ("errors", (f"| `{code}` |" for code in ERRORS)),
        ("command-line", (f"\n## mux {name}\n" for name in COMMANDS)),
        ("configuration", (f"| `{name}` |" for name in FIELDS)),
    ):
        text = (REFERENCE / f"{page}.md").read_text()
        for name in names:
            assert name in text
