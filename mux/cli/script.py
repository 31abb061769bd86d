"""The scripts that `mux say` reads: speakers, and what they say in which order.

    +++
    [narrator]
    voice = "en-us-f2"
    [wolf]
    voice = "en-us-klatt4"
    speed = 0.8
    +++
    narrator: Once upon a time   # not a comment: only whole lines are
    wolf: I am hungry.
    # a comment
    Still the wolf.

Without the front matter every word in capitals before a colon is a speaker.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any, NoReturn

import msgspec

from mux.errors import MuxError, Problem
from mux.protocol.voice import VoiceSettings, voice_settings

__all__ = ["NARRATOR", "Line", "Speaker", "parse_script"]

NARRATOR = "narrator"
FENCE = "+++"
LONGEST_TURN = 16_000
"""Characters that one context gets; a longer turn goes on in another one."""

_SPEAKER = re.compile(r"\s*([^\W\d_][\w .'-]{0,40}?)\s*:(?:\s+|$)(.*)", re.DOTALL)
_SETTINGS = VoiceSettings.__struct_fields__
_KEYS = ("voice", "language", *_SETTINGS)


class Speaker(msgspec.Struct, frozen=True):
    """A declared voice; `settings` holds only what was given."""

    name: str
    voice: str | None = None
    language: str | None = None
    settings: dict[str, Any] = {}


class Line(msgspec.Struct, frozen=True):
    """What one speaker says before the next one does."""

    speaker: Speaker
    text: str


def parse_script(source: str, name: str) -> list[Line]:
    """Read a script. `name` is the file's, for error messages.

    Raises:
        MuxError: `invalid_config`, naming file and line, what is wrong and what is allowed.
    """
    lines = source.removeprefix("\ufeff").splitlines()
    speakers, start = _front_matter(lines, name)
    declared = bool(start)
    speaker = speakers.get(NARRATOR, Speaker(NARRATOR))
    said: list[tuple[Speaker, list[str]]] = []
    for number, line in enumerate(lines[start:], start + 1):
        if line.lstrip().startswith("#"):
            continue
        if bad := next((c for c in line if ord(c) < 32 and c != "\t"), None):
            _wrong(name, number, f"the control character U+{ord(bad):04X} cannot be spoken; remove it")
        text = line.strip()
        if (match := _SPEAKER.fullmatch(line)) and (
            found := _who(match[1], speakers, declared, name, number)
        ):
            speaker, text = found, match[2].strip()
            said.append((speaker, []))
        if text and (not said or said[-1][0] is not speaker):
            said.append((speaker, []))
        if said:
            said[-1][1].append(text)
    turns = [Line(who, part) for who, texts in said for part in _turns("\n".join(texts))]
    if not turns:
        _wrong(name, max(1, len(lines)), "the script says nothing; write some text, or NAME: and some text")
    return turns


def _front_matter(lines: list[str], name: str) -> tuple[dict[str, Speaker], int]:
    """The declared speakers by lower-case name, and the index of the first line after them."""
    first = next((i for i, line in enumerate(lines) if line.strip()), None)
    if first is None or lines[first].strip() != FENCE:
        return {}, 0
    end = next((i for i in range(first + 1, len(lines)) if lines[i].strip() == FENCE), None)
    if end is None:
        _wrong(name, first + 1, f"the front matter has no closing {FENCE} line")
    try:
        table = tomllib.loads("\n".join(lines[first + 1 : end]) + "\n")
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"line (\d+)", str(error))
        number = first + 1 + int(place[1]) if place else end  # "at end of document"
        _wrong(name, number, f"the front matter is not TOML: {error}")
    speakers: dict[str, Speaker] = {}
    for who, given in table.items():
        number = first + 1 + _line_of(lines[first + 1 : end], who)
        speakers[who.lower()] = _speaker(who, given, name, number)
    return speakers, end + 1


def _speaker(who: str, given: Any, name: str, number: int) -> Speaker:
    if isinstance(given, str):
        given = {"voice": given}
    if not isinstance(given, dict):
        _wrong(name, number, f"{who} must be a table of {', '.join(_KEYS)}, or a voice id")
    if unknown := [key for key in given if key not in _KEYS]:
        _wrong(name, number, f"{who} has the unknown key {unknown[0]}; allowed are {', '.join(_KEYS)}")
    for key in ("voice", "language"):
        if not isinstance(given.get(key, ""), str):
            _wrong(name, number, f"{who}.{key} must be a string in quotes")
    checked = voice_settings({key: value for key, value in given.items() if key in _SETTINGS})
    if isinstance(checked, Problem):
        _wrong(name, number, f"{who}: {checked.message.removeprefix('voice_settings.')}")
    return Speaker(who, given.get("voice"), given.get("language"), dict(checked))


def _who(label: str, speakers: dict[str, Speaker], declared: bool, name: str, number: int) -> Speaker | None:
    """The speaker that a label names; None if it is no label but text."""
    known = speakers.get(label.lower())
    if known is not None and (declared or label.isupper()):
        return known
    if not label.isupper():
        return None
    if declared:
        names = ", ".join(speaker.name for speaker in speakers.values())
        _wrong(name, number, f"the speaker {label} is not declared; declared are {names}")
    # Nothing is declared: the name itself is the voice id, so every speaker gets a stable voice of its own.
    who = label.lower()
    speakers[who] = Speaker(who, None if who == NARRATOR else who)
    return speakers[who]


def _turns(text: str) -> list[str]:
    """Paragraphs, none of them too long for one context."""
    turns = []
    for paragraph in re.split(r"\n\s*\n", text):
        rest = " ".join(paragraph.split())
        while len(rest) > LONGEST_TURN:
            cut = (
                max(rest.rfind(". ", 0, LONGEST_TURN) + 1, rest.rfind(" ", 0, LONGEST_TURN), 0)
                or LONGEST_TURN
            )
            turns.append(rest[:cut])
            rest = rest[cut:].lstrip()
        if rest:
            turns.append(rest)
    return turns


def _line_of(lines: list[str], who: str) -> int:
    named = re.compile(rf"\s*\[?\s*[\"']?{re.escape(who)}[\"']?\s*[\].=]")
    return next((i for i, line in enumerate(lines, 1) if named.match(line)), 1)


def _wrong(name: str, number: int, what: str) -> NoReturn:
    raise MuxError.of("invalid_config", f"{name}, line {number}: {what.removesuffix('.')}.") from None
