"""What an engine hears instead of the client's text: the same text, code point for code point, with what it
must not hear blanked out.

Nothing is inserted or removed, so a position in what was heard is a position in the text. Three things
go: characters that crash or command the espeak library, Markdown marks, which it reads aloud ("asterisk"),
and the dots of titles, after which it pauses as at the end of a sentence ("Dr. | Smith").
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["heard"]

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""NUL cuts a text short; the others are commands: \\x01 changes speed and pitch for every later job."""
_MARKDOWN = re.compile(
    r"^[ \t]{0,3}\#{1,6}(?=\s)"  # a heading
    r"|^[ \t]*\*(?=\s)"  # a list item
    r"|\*{2,}|`+"
    r"|(?<![\d\s])\*|\*(?![\d\s])",  # one asterisk, but not between numbers or spaces: 3 * 4
    re.MULTILINE,
)
_TITLE = re.compile(r"(?<!\w)(Dr|Mr|Mrs|Ms|Prof|St|Rev|Gen|Col|Gov|Sen|Capt)\.(?=\s+[^\W\d_])")
_PAUSE = "\N{EM DASH}"


def heard(text: str) -> str:
    """Return what to speak for `text`: as long as it, and blank if nothing of it can be spoken."""
    safe = _CONTROLS.sub(" ", text) if text.isascii() else "".join(map(_safe, text))
    plain = _MARKDOWN.sub(_blank, safe)
    if not plain.strip():
        # Marks alone ("**" in a message of its own) are text that was accepted: they sound, as a pause.
        return plain.replace(" ", _PAUSE, 1) if safe.strip() else plain
    return _TITLE.sub(r"\1 ", plain)


def _safe(character: str) -> str:
    """Unassigned, private and surrogate code points, and braille, can abort the process (U+28FE does)."""
    dangerous = (
        "\u2800" <= character <= "\u28ff"
        or unicodedata.category(character) in ("Cn", "Co", "Cs")
        or _CONTROLS.match(character)
    )
    return " " if dangerous else character


def _blank(match: re.Match[str]) -> str:
    return " " * len(match[0])
