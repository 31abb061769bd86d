"""Text with SSML tags (`enable_ssml_parsing`): what is to be said for it, aligned on the client's characters.

Tags are characters of the source that are not said. Those that change what is said, break, sub, say-as, s and
p, become ordinary text and punctuation here, so an engine never meets markup: espeak's own parser crashes on
hostile tags, and what it leaves open changes the next job.

`emphasis`, `prosody`, `phoneme`, `mark`, `voice`, `lang`, `speak` and every unknown tag are dropped: their
content is said, but louder, slower or by another voice it is not. What is not a well-formed tag is said as it
stands ("a < b").

A segment is read by itself. A tag that the segmenter has cut, which it does at a space, is not said, and its
second half still has its effect, as an attribute tells its element; but `sub` and `say-as` must be closed in
the segment in which they begin.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mux.engines.normalize import Normalized, edited, normalize
from mux.engines.readings import Edit

__all__ = ["MAX_BREAK", "read_ssml"]

MAX_BREAK = 3.0
"""Seconds; a longer break is cut ("up to 3 seconds", the vendor's limit)."""

_NAME = r"[A-Za-z][\w:.-]{0,30}+"
_QUOTED = r"""(?:"[^"<]{0,300}+"|'[^'<]{0,300}+')"""
_GIVEN = rf"{_NAME}\s*+=\s*+{_QUOTED}"
_TOKEN = re.compile(
    rf"<(?P<closing>/)?(?P<name>{_NAME})"
    rf"""(?P<attributes>(?:\s++{_NAME}\s*+=\s*+(?:{_QUOTED}|(?:[^\s"'<>=/]|/(?!>)){{1,300}}+)){{0,10}}+)"""
    r"\s*+(?P<empty>/)?>"
    r"|<(?:!--[^<>]{0,300}--|!DOCTYPE[^<>]{0,300}|\?[^<>]{0,300}\?)>"
    r"|&(?P<entity>amp|lt|gt|quot|apos|\#\d{1,7}|\#x[\dA-Fa-f]{1,6});"
)
_ATTRIBUTE = re.compile(rf"""({_NAME})\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'<>]++))""")
_HALVED = "speak|break|emphasis|prosody|say-as|sub|phoneme|mark|voice|lang"
"""Elements with attributes, so that a space may be in their tag."""
_FIRST_HALF = re.compile(
    # a space that was cut at stands between attributes, or in one of the two that hold several words
    rf"""<(?:{_HALVED})(?:\s++{_GIVEN})*+(?:\s++(?:alias|ph)\s*+=\s*+["'][^"'<>]{{0,300}}+|\s++)\Z"""
)
_SECOND_HALF = re.compile(
    # whole attributes, or the end of one and whole ones, or only the tag's end
    rf"""\s*+(?P<attributes>{_GIVEN}(?:\s++{_GIVEN})*+|[^<>"'=]{{0,300}}+["'](?:\s++{_GIVEN})*+|(?=/))"""
    r"(?:\s*+/)?>"
)
_OWNERS = {"time": "break", "strength": "break", "alias": "sub", "interpret-as": "say-as"}
"""Whose attributes have an effect."""

_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_ENTITY = re.compile(r"&(amp|lt|gt|quot|apos|\#\d{1,7}|\#x[\dA-Fa-f]{1,6});")

_TIME = re.compile(r"\s*\+?(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})(m?s)\s*", re.ASCII)
_STRENGTHS = {"none": 0.0, "x-weak": 0.1, "weak": 0.25, "medium": 0.5, "strong": 0.8, "x-strong": 1.2}

_STOPS = ".!?…,:;—。！？、，；：।؟؛،۔"
"""What an engine pauses at anyway."""
_CLOSERS = " \t\r\n\"'”’»)]」』）】"
_DASH = 0.11
"""Seconds that espeak makes of one more em dash, measured in ten languages; Japanese alone says its name."""
_AFTER_WORD = 0.2
"""What the first dash after a word is longer than that: 0.15 to 0.29."""


def read_ssml(text: str, language: str | None, *, normalized: bool) -> Normalized:
    """What to say for `text` with SSML tags, in `language` (see `normalize`, which reads what is between the
    tags if `normalized`). Takes linear time, and never fails."""
    markup = _Markup(text, (language or "en").lower().replace("_", "-").partition("-")[0])
    return normalize(text, language, markup.edits) if normalized else edited(text, markup.edits)


class _Open(NamedTuple):
    """An element whose content is said otherwise, once its end has come."""

    name: str
    tag: Edit
    edits: int
    """How many edits there were up to and with its tag."""
    alias: str
    digits: bool


class _Markup:
    """The edits of a text that its markup asks for, in order, made in one pass."""

    def __init__(self, text: str, language: str) -> None:
        self.edits: list[Edit] = []
        self._text = text
        self._language = language
        self._open: _Open | None = None
        self._last = ""
        """The last character said so far, but for white space and closing quotes."""
        at = 0
        if half := _SECOND_HALF.match(text):
            at = half.end()
            attributes = _attributes(half["attributes"] or "")
            owner = next((_OWNERS[name] for name in attributes if name in _OWNERS), "")
            self._begin(owner, attributes, 0, at, empty=False)
        for token in _TOKEN.finditer(text, at):
            start, end = token.span()
            self._hear(text[at:start])
            at = end
            if entity := token["entity"]:
                self._say(start, end, _character(entity))
            elif token["closing"]:
                self._end(token["name"].lower(), start, end)
            else:
                name, attributes = (token["name"] or "").lower(), _attributes(token["attributes"] or "")
                self._begin(name, attributes, start, end, empty=bool(token["empty"]))
        cut = text.rfind("<", at)
        if cut >= 0 and _FIRST_HALF.match(text, cut):
            self._say(cut, len(text), "")

    def _hear(self, said: str) -> None:
        self._last = said.rstrip(_CLOSERS)[-1:] or self._last

    def _say(self, start: int, end: int, spoken: str) -> None:
        self.edits.append(Edit(start, end, spoken))
        self._hear(spoken)

    def _begin(self, name: str, attributes: dict[str, str], start: int, end: int, *, empty: bool) -> None:
        spoken, alias = "", attributes.get("alias")
        if name == "break":
            spoken = self._pause(_seconds(attributes))
        elif name in ("s", "p"):
            spoken = self._sentence_end()
        elif name == "sub" and alias is not None and empty:
            spoken = alias
        self._say(start, end, spoken)
        if empty:
            return
        kind = attributes.get("interpret-as", "").lower()
        if name == "sub" and alias is not None:
            self._open = _Open(name, self.edits[-1], len(self.edits), alias, False)
        elif name == "spell" or (name == "say-as" and kind in ("characters", "spell-out", "digits")):
            self._open = _Open(name, self.edits[-1], len(self.edits), "", kind == "digits")

    def _end(self, name: str, start: int, end: int) -> None:
        opened = self._open
        if opened is not None and opened.name == name:
            self._open = None
            inside = self.edits[opened.edits :]
            del self.edits[opened.edits :]
            if name in ("say-as", "spell"):
                self.edits += self._spelled(opened.tag.end, start, inside, opened.digits)
            elif opened.tag.end < start:
                self._say(opened.tag.end, start, opened.alias)
            else:  # nothing is inside that the alias could be said for
                self.edits[-1] = opened.tag._replace(spoken=opened.alias)
                self._hear(opened.alias)
        self._say(start, end, self._sentence_end() if name in ("s", "p") else "")

    def _spelled(self, start: int, end: int, inside: Sequence[Edit], digits: bool) -> Iterator[Edit]:
        """The characters from `start` to `end` one by one, with spaces between them."""
        otherwise = {edit.start: edit for edit in inside}
        space = ""
        while start < end:
            edit = otherwise.get(start) or Edit(start, start + 1, self._text[start])
            spoken = edit.spoken
            if len(spoken) == 1 and (
                spoken.isdecimal() if digits else unicodedata.category(spoken)[0] != "M"
            ):
                # Alone, "a" would be the article, and as that no letter.
                letter = f"{spoken}-" if spoken in "aA" and self._language == "en" else spoken
                edit = edit._replace(spoken=f"{space}{letter}")
                space = " "
            yield edit
            start = edit.end

    def _sentence_end(self) -> str:
        return ". " if self._last and self._last not in _STOPS else " "

    def _pause(self, seconds: float) -> str:
        """Punctuation that espeak pauses at for about so long, on top of the pause that is there anyway."""
        after_word = bool(self._last) and self._last not in _STOPS
        if seconds <= 0 or (not after_word and seconds < _DASH / 2):
            return " "
        if after_word and seconds <= 0.25:
            return ", "
        if self._language == "ja":
            return "… "
        dashes = round((seconds - _AFTER_WORD * after_word) / _DASH)
        return " —" * max(1, dashes) + " "


def _attributes(text: str) -> dict[str, str]:
    """The attributes of a tag by name, or of the rest of one."""
    return {
        match[1].lower(): _ENTITY.sub(
            lambda entity: _character(entity[1]), match[2] or match[3] or match[4] or ""
        )
        for match in _ATTRIBUTE.finditer(text)
    }


def _seconds(attributes: dict[str, str]) -> float:
    """How long a break lasts."""
    if given := _TIME.fullmatch(attributes.get("time", "")):
        return min(MAX_BREAK, float(given[1]) / (1000 if given[2] == "ms" else 1))
    return _STRENGTHS.get(attributes.get("strength", ""), _STRENGTHS["medium"])


def _character(entity: str) -> str:
    """The character that an entity names; a blank for what is none, or nothing to be said."""
    if entity[0] != "#":
        return _ENTITIES[entity]
    number = int(entity[2:], 16) if entity[1] == "x" else int(entity[1:])
    character = chr(number) if number < 0x110000 else " "
    return " " if unicodedata.category(character)[0] == "C" else character
