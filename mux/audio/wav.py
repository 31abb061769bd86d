"""Speech as files."""

from __future__ import annotations

import os
import wave
from pathlib import Path
from typing import IO, TypeAlias

from mux.audio.converter import Converter
from mux.audio.formats import FORMATS
from mux.audio.pcm import samples
from mux.errors import MuxError

__all__ = ["Target", "check_suffix", "open_wav", "save", "write_wav"]

Target: TypeAlias = str | os.PathLike[str] | IO[bytes]

SUFFIXES: dict[str, str] = {
    ".wav": "wav",
    ".mp3": "mp3_44100_128",
    ".ulaw": "ulaw_8000",
    ".ul": "ulaw_8000",
    ".alaw": "alaw_8000",
    ".al": "alaw_8000",
    ".pcm": "pcm",
    ".raw": "pcm",
}
"""What `save` writes for a suffix: a token of `FORMATS`, or PCM at its own rate with (wav) or without a
header."""


def open_wav(target: Target, sample_rate: int) -> wave.Wave_write:
    """A mono 16-bit WAV to write piece by piece: ``with open_wav(path, 24000) as wav: wav.writeframes(pcm)``.

    The header is put right after every piece, so a program that dies leaves a file that plays. `target` is a
    path, or an open binary file that can seek and that stays open.

    Raises:
        OSError: the file cannot be written.
    """
    file = os.fspath(target) if isinstance(target, os.PathLike) else target
    if isinstance(file, str):
        Path(file).open("wb").close()  # a Wave_write that fails to open prints a traceback of its own later
    writer: wave.Wave_write = wave.open(file, "wb")  # noqa: SIM115 (the caller closes it)
    writer.setnchannels(1)
    writer.setsampwidth(2)
    writer.setframerate(sample_rate)
    return writer


def write_wav(target: Target, pcm: bytes, sample_rate: int) -> None:
    """Write mono s16le `pcm` as a WAV file. `target` is a path or an open binary file, which may be a pipe.

    Raises:
        ValueError: `pcm` has an odd length.
        OSError: the file cannot be written.
    """
    samples(pcm)
    with open_wav(target, sample_rate) as writer:
        writer.writeframes(pcm)


def check_suffix(path: str | os.PathLike[str]) -> str:
    """What `save` would write to `path`: a value of `SUFFIXES`. Worth asking before the speech is made.

    Raises:
        MuxError: `unsupported_format`, naming the suffixes that are allowed.
    """
    suffix = Path(path).suffix
    if kind := SUFFIXES.get(suffix.lower()):
        return kind
    found = f"{suffix!r} is not a known suffix" if suffix else "there is no suffix"
    raise MuxError.of(
        "unsupported_format",
        f"Cannot tell in which format to write {os.fspath(path)!r}: {found}. "
        f"Name a file that ends in one of {', '.join(SUFFIXES)}.",
        observed=suffix,
        allowed=tuple(SUFFIXES),
    )


def save(path: str | os.PathLike[str], pcm: bytes, sample_rate: int) -> None:
    """Write mono s16le `pcm` at `sample_rate` (Hz) in the format that the suffix of `path` says: .wav, .mp3
    (44,100 Hz, 128 kbps), .ulaw/.ul and .alaw/.al (G.711, 8,000 Hz, no header), .pcm/.raw (no header).

    Raises:
        MuxError: `unsupported_format` for any other suffix; nothing is written.
        ValueError: `pcm` has an odd length.
        OSError: the file cannot be written.
    """
    kind = check_suffix(path)
    if kind == "wav":
        write_wav(path, pcm, sample_rate)
        return
    samples(pcm)
    data = pcm if kind == "pcm" else Converter(sample_rate, FORMATS[kind]).convert(pcm, last=True)
    Path(path).write_bytes(data)
