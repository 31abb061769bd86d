from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.espeak
SCRIPT = "NARRATOR: Once upon a time there was a wolf.\nWOLF: I am very hungry today!\n"


def test_a_script_becomes_a_file(mux: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    done = mux("say", "-", "-o", str(path), input=SCRIPT)
    assert done.returncode == 0, done.stderr
    assert "2 voices" in done.stdout
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24_000)
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(float)
    assert 3.5 < len(pcm) / 24_000 < 8
    loud = np.sqrt((pcm[: len(pcm) // 2400 * 2400].reshape(-1, 2400) ** 2).mean(axis=1)) > 200
    assert loud.mean() > 0.6  # it speaks most of the time
    assert not loud[-1] or loud.sum() > 20


@pytest.mark.parametrize("suffix", [".mp3", ".ulaw", ".alaw", ".pcm", ".raw"])
def test_the_suffix_chooses_the_format(mux: Callable[..., Any], tmp_path: Path, suffix: str) -> None:
    script = tmp_path / "script.txt"
    script.write_text("Hello there.")
    path = tmp_path / f"out{suffix}"
    assert mux("say", str(script), "-o", str(path)).returncode == 0
    per_second = {".mp3": 16_000, ".ulaw": 8_000, ".alaw": 8_000, ".pcm": 48_000, ".raw": 48_000}[suffix]
    assert 0.5 < path.stat().st_size / per_second < 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-", "-o", "x.ogg"), "'.ogg' is not a known suffix"),
        (("missing.txt", "-o", "x.wav"), "missing.txt cannot be read: No such file"),
        (("-", "-o", "/nowhere/x.wav"), "/nowhere/x.wav cannot be written: there is no directory"),
        (("-", "-o", "x.wav", "--url", "ws://127.0.0.1:9"), "127.0.0.1"),
        (("-", "-o", "x.wav", "--url", "ftp://127.0.0.1:9"), "ws://"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    mux: Callable[..., Any], arguments: tuple[str, ...], words: str
) -> None:
    done = mux("say", *arguments, input="Hello.")
    assert done.returncode == 2
    assert done.stderr.startswith("mux: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_text_that_is_not_utf8_is_named_by_its_line(mux: Callable[..., Any], tmp_path: Path) -> None:
    script = tmp_path / "latin.txt"
    script.write_bytes(b"one\ntwo\nf\xfcnf\n")
    done = mux("say", str(script), "-o", str(tmp_path / "x.wav"))
    assert done.returncode == 2
    assert "latin.txt, line 3" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
@pytest.mark.parametrize("suffix", [".wav", ".mp3"])
def test_a_full_disk_is_said_in_one_line(mux: Callable[..., Any], tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"full{suffix}"
    path.symlink_to("/dev/full")
    done = mux("say", "-", "-o", str(path), input="Hello.")
    assert done.returncode == 2
    assert done.stderr.startswith(f"mux: {path} cannot be written: No space left on device")
    assert done.stderr.count("\n") == 1


def test_the_help_shows_how_scripts_are_written(mux: Callable[..., Any]) -> None:
    shown = mux("say", "--help").stdout
    assert "standard input" in shown
    assert "ANNE: Is there still coffee?" in shown
    assert "+++" in shown
