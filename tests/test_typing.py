"""An app that is type-checked strictly is not let down by mux, and runs as it stands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SAMPLE = Path(__file__).parent / "sample_app"

WRONG = """
import mux, mux.sync
from mux.client import SpeechError

mux.sync.connect("ws://h", voise="bob")  # reportCallIssue
with mux.sync.connect(url="ws://h") as session:
    with session.context("a", settings=3) as context:  # reportArgumentType
        context.send(b"bytes")  # reportArgumentType
        text: str = next(context).audio  # reportAssignmentType
        session.create_context(keep_alive=True)  # reportCallIssue
mux.sync.speak("ws://h", "Hi.", sockets=2)  # reportCallIssue

async def main() -> None:
    async with mux.connect("ws://h", inactivity_timeout="20") as session:  # reportArgumentType
        async with session.context() as context:
            for chunk in context: ...  # reportGeneralTypeIssues
            spoken, unspoken, rest = context.split(0.5)  # reportAssignmentType

def told(error: SpeechError) -> int:
    return error.unspoken  # reportReturnType
"""


def pyright(*arguments: str) -> Any:
    """Its report. With `--outputjson` it does not ask the network for a newer version of itself."""
    bin = Path(sys.executable).parent
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=SAMPLE,
        env={**os.environ, "PATH": f"{bin}{os.pathsep}{os.environ['PATH']}"},
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def complaints(report: Any) -> list[tuple[int, str, str]]:
    return [
        (found["range"]["start"]["line"] + 1, found["rule"], found["message"])
        for found in report["generalDiagnostics"]
    ]


def test_the_sample_app_is_clean_in_strict_mode() -> None:
    report = pyright("--project", str(SAMPLE), "--pythonpath", sys.executable)
    assert complaints(report) == []
    assert report["summary"]["filesAnalyzed"] == len(list(SAMPLE.glob("*.py")))


def test_mistakes_are_found(tmp_path: Path) -> None:
    """The types are not clean because they are vague."""
    (tmp_path / "wrong.py").write_text(WRONG)
    (tmp_path / "pyrightconfig.json").write_text((SAMPLE / "pyrightconfig.json").read_text())
    expected = [
        (number, line.split("# report")[1])
        for number, line in enumerate(WRONG.splitlines(), 1)
        if "# report" in line
    ]
    found = complaints(pyright("--project", str(tmp_path), "--pythonpath", sys.executable))
    rules = {(line, rule.removeprefix("report")) for line, rule, _ in found}
    consequences = ("Unknown", "Unused")
    assert sorted(one for one in rules if not one[1].startswith(consequences)) == expected


def test_no_name_that_mux_exports_is_of_an_unknown_type() -> None:
    report = pyright("--verifytypes", "mux", "--ignoreexternal")["typeCompleteness"]
    assert report["exportedSymbolCounts"]["withKnownType"] > 1000
    unknown = [
        f"{symbol['name']}: {found['message']}"
        for symbol in report["symbols"]
        if symbol["isExported"] and not symbol["isTypeKnown"] and not symbol["isTypeAmbiguous"]
        for found in symbol["diagnostics"]
    ]
    assert not unknown


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    """A server as a user starts it, with test tones."""
    command = [
        sys.executable,
        "-m",
        "mux",
        "serve",
        "--port",
        "0",
        "--engine",
        "tone",
        "--log-level",
        "error",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield next(
                found[0].replace("http", "ws")
                for line in process.stdout
                if (found := re.search(r"http://[\d.:]+", line))
            )
        finally:
            process.terminate()


@pytest.mark.parametrize(
    ("program", "printed"),
    [
        ("story.py", ("captain is done", "2 voices, ", "change the request (invalid_message)")),
        ("script.py", ("The captain was interrupted: cancelled", "lookout: done", "used 38 characters")),
    ],
)
def test_the_sample_app_runs(program: str, printed: tuple[str, ...], served: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", SAMPLE / program, served, tmp_path / "story.wav"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    for words in printed:
        assert words in done.stdout
