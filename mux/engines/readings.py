"""How pieces of text are said that an engine would misread: what a reading is, and those that hold in every
language. `english` has more; `normalize` applies them.

Every pattern takes linear time: its repetitions are bounded, or it cannot begin inside what it failed on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

__all__ = ["NEUTRAL", "Edit", "Reading", "by_digit", "group", "whole"]


class Edit(NamedTuple):
    """Say `spoken` for the code points of the text from `start` to `end`, of which there is at least one."""

    start: int
    end: int
    spoken: str


class Reading(NamedTuple):
    """What to do where `pattern` matches: edits in order, or none if it was no such thing after all."""

    pattern: re.Pattern[str]
    edits: Callable[[re.Match[str]], Sequence[Edit]]


def whole(spoken: Callable[[re.Match[str]], str | None]) -> Callable[[re.Match[str]], Sequence[Edit]]:
    """Edits that say one thing for the whole match; None leaves it alone."""

    def edits(match: re.Match[str]) -> Sequence[Edit]:
        words = spoken(match)
        return () if words is None else (Edit(*match.span(), words),)

    return edits


def group(match: re.Match[str], name: str | int, spoken: str = "") -> tuple[Edit, ...]:
    """The edit of one group of a match, if the group took part in it and is not empty."""
    start, end = match.span(name)
    return (Edit(start, end, spoken),) if start < end else ()


def _drop(match: re.Match[str]) -> tuple[Edit, ...]:
    """Say nothing for the whole match."""
    return group(match, 0)


def by_digit(number: str) -> str:
    """A telephone number digit by digit, with a short pause between its groups."""
    groups = re.findall(r"\d+", number)
    if len(groups) == 1:
        groups = re.findall(r"\d{1,3}", number)
    return ", ".join(" ".join(digits) for digits in groups)


def _title_dot(match: re.Match[str]) -> tuple[Edit, ...]:
    """Before a name a title's full stop is no end of a sentence, but engines pause there as at one."""
    return group(match, "dot") if match["name"].isupper() else ()


def _link(match: re.Match[str]) -> Sequence[Edit]:
    return *group(match, "open"), *group(match, "close")


def _international(match: re.Match[str]) -> str | None:
    digits = sum(character.isdigit() for character in match[0])
    return f"+{by_digit(match[0])}" if 8 <= digits <= 15 else None


_LINK = r"(?P<open>!?\[)[^\[\]\n]{1,500}(?P<close>\]\([^\s()\[\]]{1,2000}\))"
_MARKS = (
    r"^[ ]{0,3}\#{1,6}(?=\s|$)[ \t]*"  # a heading
    r"|^[ \t]{0,12}\*[ \t]+"  # a list item
    r"|\*{2,}|~{2,}|`+"
    r"|(?<![\d\s])\*|\*(?![\d\s])"  # one asterisk, but not between numbers or spaces: 3 * 4
)
_TITLE = (
    r"(?<!\w)(?:Dr|Mr|Mrs|Ms|Prof|St|Rev|Gen|Col|Gov|Sen|Capt|Maj|Lt|Sgt|Hon|Mt)(?P<dot>\.)"
    # not at the end of a street, and of a sentence: "on Main St. The"
    r"(?!\s{1,3}(?:The|This|That|It|He|She|We|I|You|They|There|And|But|In|At|On|If|My|Our|A|An)\b)"
    r"(?=\s{1,3}(?P<name>[^\W\d_]))"
)

NEUTRAL = (
    Reading(re.compile(_LINK), _link),
    Reading(re.compile(r"(?<=[^\W\d])\*(?=\w)|(?<=\w)\*(?=[^\W\d])"), whole(lambda match: " ")),
    Reading(re.compile(_MARKS, re.MULTILINE), _drop),
    Reading(
        # the digits of a number with its country code
        re.compile(
            r"(?<![\w+])\+(?:\d{8,15}|\d{1,3}(?:[ .-]?\(\d{1,5}\)\d{0,5})?(?:[ .-]\d{1,8}){1,6})"
            r"(?!\w|[.,]\d)",
            re.ASCII,
        ),
        whole(_international),
    ),
    Reading(re.compile(r"(?<!\w)https?://(?=\w)"), _drop),
    Reading(re.compile(_TITLE), _title_dot),
)
