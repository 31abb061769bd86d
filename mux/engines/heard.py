"""What the espeak engine hears instead of a text: the same text, code point for code point, with the
characters that crash or command the library blanked out.

Nothing is inserted or removed, so a position in what was heard is a position in the text. What a text means
to a listener is the business of `normalize`.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["heard"]

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""NUL cuts a text short; the others are commands: \\x01 changes speed and pitch for every later job."""


def heard(text: str) -> str:
    """Return what to speak for `text`: as long as it, and blank if nothing of it can be spoken."""
    return _CONTROLS.sub(" ", text) if text.isascii() else "".join(map(_safe, text))


def _safe(character: str) -> str:
    """Unassigned, private and surrogate code points, and braille, can abort the process (U+28FE does)."""
    dangerous = (
        "\u2800" <= character <= "\u28ff"
        or unicodedata.category(character) in ("Cn", "Co", "Cs")
        or _CONTROLS.match(character)
    )
    return " " if dangerous else character
