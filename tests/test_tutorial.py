"""The tutorial's programs do what its text says, against a server as a user starts it; with tones, whose
lengths are known to the sample."""

from __future__ import annotations

import re
import subprocess
import sys
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PAGE = (Path(__file__).parent.parent / "docs" / "tutorial.md").read_text()
EACH = 0.05
"""Seconds of a character of the tone engine."""
Run = Callable[[str], str]


def program(heading: str) -> str:
    """The program of a section."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    (found,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return str(found)


def seconds(path: Path) -> float:
    with wave.open(str(path)) as wav:
        return wav.getnframes() / wav.getframerate()


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
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
                line.split()[-1].removesuffix("/healthz").replace("http", "ws")
                for line in process.stdout
                if "health" in line
            )
        finally:
            process.terminate()


@pytest.fixture
def run(served: str, tmp_path: Path) -> Run:
    """Run a section's program in an empty directory; returns what it printed."""

    def run_one(heading: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program(heading).replace("ws://127.0.0.1:8790", served)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert not done.stderr
        return done.stdout

    return run_one


def test_one_voice(run: Run) -> None:
    assert run("One voice") == f"{37 * EACH:.1f} s of audio, completed\n"


def test_a_narrator_and_characters(run: Run, tmp_path: Path) -> None:
    spoken = run("A narrator and characters").splitlines()
    assert [line.split()[0] for line in spoken[::2]] == ["narrator", "wolf", "pig", "narrator"]
    assert {line.split()[0] for line in spoken[1::2]} == {"pause"}
    characters = sum(len(line.split(" s  ")[1]) for line in spoken)
    assert seconds(tmp_path / "story.wav") == pytest.approx(characters * EACH + 4 * 0.5)


def test_two_agents_who_talk_to_each_other(run: Run, tmp_path: Path) -> None:
    spoken = run("Two agents who talk to each other").splitlines()
    assert [line.split(":")[0] for line in spoken] == ["anna", "ben", "anna", "ben"]
    characters = sum(len(line.split(": ", 1)[1]) for line in spoken)
    assert seconds(tmp_path / "talk.wav") == pytest.approx(characters * EACH)


def test_an_agent_that_can_be_interrupted(run: Run, tmp_path: Path) -> None:
    first, second = run("An agent that can be interrupted").splitlines()
    answer = "Sorry. What would you like to know? "
    heard = re.fullmatch(r"heard: '(Of course\. .*)', and (\d+) characters not", first)
    assert heard
    assert second == f"the next turn used {len(answer)} characters"
    # It was heard for 2 s at most, and its last word may have been broken off.
    said = seconds(tmp_path / "agent.wav") - len(answer) * EACH
    assert 1.0 < said < 2.2
    assert said - 10 * EACH < len(heard[1]) * EACH <= said
    assert int(heard[2]) > 0


def test_when_something_goes_wrong(run: Run) -> None:
    assert run("When something goes wrong").startswith("invalid_setting - voice_settings.speed must be")


def test_every_program_is_short() -> None:
    programs = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(programs) == 5
    for found in programs:
        assert len([line for line in found.splitlines() if line.strip()]) < 40
