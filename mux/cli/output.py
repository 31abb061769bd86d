"""Files that a command writes: what is in the way is one sentence, not a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mux.errors import MuxError

__all__ = ["check_directory", "writing"]


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around whatever writes `path` or below it.

    Raises:
        MuxError: `invalid_config`, naming the file and why it could not be written (no directory, no right, a
            full disk); what was written until then stays.
    """
    try:
        yield
    except OSError as error:
        raise MuxError.of(
            "invalid_config",
            f"{error.filename or path} cannot be written: {error.strerror}. Choose another or make room.",
        ) from None


def check_directory(path: Path) -> None:
    """Worth asking before the speech is made.

    Raises:
        MuxError: `invalid_config`: the directory of `path` does not exist.
    """
    if not path.parent.is_dir():
        raise MuxError.of(
            "invalid_config", f"{path} cannot be written: there is no directory {path.parent}. Make it first."
        )
