from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RATE = 24_000


def read(path: Path) -> np.ndarray[Any, np.dtype[np.int16]]:
    with wave.open(str(path)) as file:
        assert file.getframerate() == RATE
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


@pytest.mark.espeak
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_demo_shows_what_it_promises(mux: Callable[..., Any], tmp_path: Path, backend: str) -> None:
    done = mux("demo", "--out", str(tmp_path), "--backend", backend)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "over one socket" in lines[0]

    def when(words: str) -> int:
        return next(i for i, line in enumerate(lines) if words in line)

    # the next turn is prepared while one plays
    assert when("02 captain    first audio") < when("01 narrator   heard")
    # a barge-in, while its tokens still arrive; what was prepared after it is dropped
    assert when("04 engineer   was cut off when")
    assert when("04 engineer   ended cancelled")
    assert when("05 engineer   ended cancelled")
    assert when("04 engineer   interrupted at 4.2 s") < when("06 captain    plays")
    # one context is left alone, the others go on
    assert when("lookout    timed out") < when("09 narrator   heard")
    dialogue = read(tmp_path / "dialogue.wav")
    parts = [read(path) for path in sorted(tmp_path.glob("[0-9][0-9]-*.wav"))]
    assert len(parts) == 7
    assert len(parts[2]) == int(4.2 * RATE)  # cut at the playhead
    pauses = 6 * int(0.3 * RATE)
    assert len(dialogue) == sum(len(part) for part in parts) + pauses
    at = 0
    for part in parts:
        assert np.abs(part).max() > 3000
        np.testing.assert_array_equal(dialogue[at : at + len(part)], part)
        at += len(part) + int(0.3 * RATE)


def test_a_directory_that_cannot_be_made_is_named_before_the_play(
    mux: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    done = mux("demo", "--engine", "tone", "--out", str(tmp_path / "file" / "out"))
    assert done.returncode == 2
    assert done.stderr.startswith("mux: ")
    assert "cannot be written: Not a directory" in done.stderr
    assert not done.stdout
