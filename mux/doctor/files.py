"""Explaining what was written down: recordings of `mux tap` or a browser, and logs."""

from __future__ import annotations

from pathlib import Path

from mux.doctor.findings import Finding
from mux.doctor.logs import explain_lines
from mux.doctor.recordings import explain_recording
from mux.errors import MuxError
from mux.exchange import read_har

__all__ = ["explain_har", "explain_log"]

LONGEST_LOG = 64 * 1024 * 1024
"""Bytes; of a longer log the end is read, for that is where it stopped."""


def explain_har(path: Path) -> list[Finding]:
    """What a HAR file shows (of `mux tap`, Chrome, Firefox, Playwright or mitmproxy), the gravest first; one
    finding that says so if all is well.

    Raises:
        MuxError: `invalid_config`: the file cannot be read, or is none.
    """
    return explain_recording(read_har(_read(path), str(path)))


def explain_log(path: Path) -> list[Finding]:
    """What a log, a traceback or the text of an issue says, the surest first. Where it leaves the cause open,
    the possible ones, the likeliest first, with what would tell them apart.

    Raises:
        MuxError: `invalid_config`: the file cannot be read.
    """
    return explain_lines(_read(path)[-LONGEST_LOG:].decode("utf-8", "replace"))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MuxError.of("invalid_config", f"{path} cannot be read: {error.strerror}.") from None
