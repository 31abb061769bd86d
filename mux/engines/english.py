"""How English is said where espeak-ng misreads it as it is written.

It reads numbers, decimals, ordinals, percents and years well, so digits stay digits; what is changed is
their order ("$5"), the marks among them ("12/25/2024", "555-1234"), and abbreviations that it spells out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from mux.engines.readings import Edit, Reading, by_digit, group, whole

__all__ = ["english"]

_NUMBER = r"(?:\d{1,3}(?:,\d{3}){1,5}|\d{1,15})(?:\.\d{1,6})?"
_BEFORE = r"(?<![\w$€£¥₹])(?<!\d[.,:/])"
"""Here a number or a sum may begin, that is not a part of something longer."""
_AFTER = r"(?!\w|[.,]\d)"
_ADJECTIVE = re.compile(r"(?<!\w)an? $", re.IGNORECASE)
"""After "a", what is counted stands in the singular: a 5 dollar bill."""


def english(region: str) -> tuple[Reading, ...]:
    """The readings for a region, the rest of the language's tag in small letters ("us", "gb", "gb-x-rp")."""
    month_first = region.partition("-")[0] in _MONTH_FIRST

    def iso_date(match: re.Match[str]) -> str | None:
        return _date(match["year"], match["month"], match["day"], month_first)

    def slash_date(match: re.Match[str]) -> str | None:
        return _slash_date(match, month_first)

    return (
        _reading(_ADDRESS, _address),
        _reading(_SLASH_DATE, whole(slash_date)),
        _reading(_ISO_DATE, whole(iso_date)),
        *_EVERYWHERE,
    )


def _reading(pattern: str, edits: Callable[[re.Match[str]], Sequence[Edit]]) -> Reading:
    return Reading(re.compile(pattern, re.ASCII), edits)


# --- money ------------------------------------------------------------------------------------------

_CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "¥": ("yen", "yen", "", ""),
    "₹": ("rupee", "rupees", "paisa", "paise"),
}
_SCALES = {"k": "thousand", "m": "million", "b": "billion", "bn": "billion", "t": "trillion"}
_SCALE = r"(?:[ -]?(?P<scale>thousand|million|billion|trillion)|(?P<letter>[KkMmBT]|bn))?"
_MONEY = (
    rf"(?<![\w$€£¥₹])(?P<minus>-)?(?P<land>US|CA|AU|NZ|HK)?(?P<sign>[$€£¥₹])[ ]?(?P<number>{_NUMBER})"
    rf"(?:[-–][$€£¥₹]?(?P<upper>{_NUMBER}))?{_SCALE}{_AFTER}"
)
_MONEY_AFTER = (
    rf"{_BEFORE}(?P<minus>-)?(?P<land>)(?P<number>{_NUMBER})(?P<upper>)(?P<scale>)(?P<letter>)"
    r"[ ]?(?P<sign>[€£¥₹¢])(?![\w$€£¥₹])"
)


def _money(match: re.Match[str]) -> str:
    number, upper, sign = match["number"], match["upper"], match["sign"]
    scale = match["scale"] or _SCALES.get((match["letter"] or "").lower(), "")
    few = _is_adjective(match)
    land = f" {match['land']}" if match["land"] else ""
    if sign == "¢":
        return f"{number} {'cent' if few or number == '1' else 'cents'}"
    one, many, small_one, small_many = _CURRENCIES[sign]
    units, _, cents = number.partition(".")
    if len(cents) != 2 or scale or upper or not small_one:
        single = few or (number == "1" and not scale and not upper)
        amount = f"{number} to {upper}" if upper else number
        said = f"{amount} {scale}".rstrip() + f"{land} {one if single else many}"
    else:
        said = f"{units}{land} {one if few or units == '1' else many}"
        small = f"{int(cents)} {small_one if cents == '01' or (few and sign != '£') else small_many}"
        if cents != "00":
            said = small if not units.strip("0") else f"{said} {cents}" if few else f"{said} and {small}"
    return f"minus {said}" if match["minus"] else said


def _is_adjective(match: re.Match[str]) -> bool:
    start = match.start()
    return _ADJECTIVE.search(match.string[max(0, start - 4) : start]) is not None


# --- dates and times --------------------------------------------------------------------------------

_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_MONTH_FIRST = {"", "us", "ph"}
_ISO_DATE = (
    r"(?<![\w/.-])(?P<year>[12]\d{3})(?P<mark>[-/])(?P<month>\d\d)(?P=mark)(?P<day>\d\d)(?![\w/-]|\.\d)"
)
_SLASH_DATE = (
    r"(?<![\w/.-])(?P<first>\d{1,2})(?P<mark>[/.-])(?P<second>\d{1,2})(?P=mark)"
    r"(?P<year>(?:19|20)\d\d|(?<=/)\d\d)(?![\w/-]|\.\d)"
)
_TIME = (
    r"(?<![\w:.,/])(?:(?P<zero>0)(?=\d:))?(?P<hour>\d{1,2})(?P<minutes>:(?P<minute>[0-5]\d))"
    r"(?P<half>[ ]?[AaPp](?:[Mm]|\.[Mm]\.))?(?![\w:]|[.,]\d)"
)


def _slash_date(match: re.Match[str], month_first: bool) -> str | None:
    """Whose day comes first is the region's custom, unless only one order is a date."""
    first, second = match["first"], match["second"]
    if int(second) > 12 or (month_first and int(first) <= 12):
        return _date(match["year"], first, second, month_first)
    return _date(match["year"], second, first, month_first)


def _date(year: str, month: str, day: str, month_first: bool) -> str | None:
    if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):
        return None
    if len(year) == 2:
        year = f"{20 if int(year) < 70 else 19}{year}"
    name, ordinal = _MONTHS[int(month) - 1], _ordinal(int(day))
    return f"{name} {ordinal}, {year}" if month_first else f"{ordinal} of {name} {year}"


def _ordinal(day: int) -> str:
    ending = "th" if 10 < day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return f"{day}{ending}"


def _time(match: re.Match[str]) -> Sequence[Edit]:
    hour, minute, half = int(match["hour"]), match["minute"], match["half"]
    if not 0 < hour < 24:
        return ()
    if minute != "00":
        said = f" oh {minute[1]}" if minute[0] == "0" else f" {minute}"
    elif half:
        said = ""
    else:
        said = " o'clock" if hour <= 12 else " hundred"
    glued = half is not None and half[0] != " "
    return *group(match, "zero"), *group(match, "minutes", f"{said} " if glued else said)


# --- numbers ----------------------------------------------------------------------------------------

_PHONE = (
    r"(?<![\w+/.-])(?:(?:1[-. ])?(?:(?P<area>\([2-9]\d\d\))[ -]?|[2-9]\d\d(?P<mark>[-. ])))?"
    r"(?P<exchange>\d{3})(?(mark)(?P=mark)|(?(area)[-. ]|-))(?P<line>\d{4})(?![\w-]|[.,]\d)"
)
_RANGE = (
    rf"(?<![\w$€£¥₹:/.,-])(?!\d{{4}}-(?:0\d|1[0-2])(?!\d))(?:\d{{1,2}}:\d\d|{_NUMBER})%?"
    rf"(?P<dash>[-–])(?!0\d)(?:\d{{1,2}}:\d\d|{_NUMBER})(?![\d:/–-]|[.,]\d|[ ]?=)"
)
_BETWEEN = (
    r"(?<=:\d\d|[\d ][AaPp][Mm])[ ]?[-–][ ]?(?=\d{1,2}(?::\d\d|[ ]?[AaPp]\.?[Mm]))"  # 9am-5pm
    r"|(?<=[\dKMBT])[-–](?=[$€£¥₹]\d)"  # $5M-$10M
)
_FRACTIONS = {
    "1/2": "half", "1/3": "one third", "2/3": "two thirds", "1/4": "one quarter", "3/4": "three quarters",
    "1/8": "one eighth", "3/8": "three eighths", "5/8": "five eighths", "7/8": "seven eighths",
}  # fmt: skip
_VULGAR = dict(zip("½⅓⅔¼¾⅛⅜⅝⅞", _FRACTIONS, strict=True))
_FRACTION = (
    r"(?<![\w/.,$€£¥₹])(?:\d{1,3}(?P<joint>[ -]))?(?P<plain>[1357]/[2348]|2/3)(?![\w/]|[.,]\d)"
    r"|(?<=\d)(?P<part>[ ]?[½⅓⅔¼¾⅛⅜⅝⅞])|(?P<alone>[½⅓⅔¼¾⅛⅜⅝⅞])"
)


def _phone(match: re.Match[str]) -> str | None:
    """Without an area code it may be a range: of two round numbers ("500-1000 people"), or beginning with a
    digit that no exchange has."""
    if not (match["area"] or match["mark"]):
        exchange, line = int(match["exchange"]), int(match["line"])
        if exchange < 200 or (exchange % 50 == 0 and line % 50 == 0):
            return None
    return by_digit(match[0])


def _fraction(match: re.Match[str]) -> Sequence[Edit]:
    sign = match["plain"] or _VULGAR[(match["part"] or match["alone"]).strip()]
    name = _FRACTIONS.get(sign)
    if name is None:
        return ()
    alone = "one half" if name == "half" else name
    mixed = " and a half" if name == "half" else f" and {name}"
    if match["part"]:
        return group(match, "part", mixed)
    if match["alone"]:
        return group(match, "alone", alone)
    if match["joint"]:
        return *group(match, "joint", mixed[:5]), *group(match, "plain", mixed[5:])
    return group(match, "plain", alone)


# --- units ------------------------------------------------------------------------------------------

_UNITS = {
    "km/h": "kilometer per hour", "kph": "kilometer per hour", "mph": "mile per hour",
    "m/s": "meter per second", "km": "kilometer", "m": "meter", "cm": "centimeter", "mm": "millimeter",
    "mi": "mile", "ft": "foot", "yd": "yard", "sq ft": "square foot",
    "km²": "square kilometer", "m²": "square meter", "cm²": "square centimeter", "m³": "cubic meter",
    "kg": "kilogram", "g": "gram", "mg": "milligram", "lb": "pound", "lbs": "pound", "oz": "ounce",
    "l": "liter", "L": "liter", "ml": "milliliter", "mL": "milliliter",
    "°C": "degree Celsius", "°F": "degree Fahrenheit",
    "W": "watt", "kW": "kilowatt", "kWh": "kilowatt hour", "V": "volt", "mA": "milliampere",
    "Hz": "hertz", "kHz": "kilohertz", "MHz": "megahertz", "GHz": "gigahertz",
    "kB": "kilobyte", "KB": "kilobyte", "MB": "megabyte", "GB": "gigabyte", "TB": "terabyte",
    "Mbps": "megabit per second", "Gbps": "gigabit per second",
    "ms": "millisecond", "s": "second", "sec": "second", "secs": "second", "min": "minute", "mins": "minute",
    "h": "hour", "hr": "hour", "hrs": "hour",
}  # fmt: skip
_NEEDS_SPACE = {"m", "s"}
"""Glued to a number these mean something else: 5m people, the 1970s."""
_COMPASS = {"W"}
_STREET = re.compile(r"[ ][A-Z]")
"""123 W Main Street."""
_UNIT = (
    r"(?<![\w$€£¥₹])(?<!\d[.,:])"
    rf"(?P<number>{_NUMBER})(?P<tail>(?P<joint>[ -]?)"
    rf"(?P<unit>{'|'.join(sorted(map(re.escape, _UNITS), key=len, reverse=True))}))(?![\w²³°/'’])"
)
_PERIODS = {"hr": "hour", "h": "hour", "min": "minute", "sec": "second", "s": "second"}
_PERIODS |= {"wk": "week", "mo": "month", "yr": "year"}
_PERIOD = "second|sec|s|minute|min|hour|hr|h|day|night|week|wk|month|mo|year|yr|person|unit"
_PER = rf"(?<=[\dKk])/(?P<period>{_PERIOD})\b"


def _unit(match: re.Match[str]) -> Sequence[Edit]:
    number, unit, joint = match["number"], match["unit"], match["joint"]
    if unit in _NEEDS_SPACE and joint != " ":
        return ()
    if unit in _COMPASS and joint and _STREET.match(match.string, match.end()):
        return ()
    name = _UNITS[unit]
    if not (number == "1" or joint == "-" or _is_adjective(match)):
        name = _plural(name)
    return group(match, "tail", f" {name}")


def _plural(name: str) -> str:
    """The plural of a unit: of what is counted, not of what it is counted in."""
    if name.endswith(" foot") or name == "foot":
        return name.replace("foot", "feet")
    if name.endswith("hertz"):
        return name
    first, space, rest = name.partition(" ")
    if space and (first == "degree" or rest.startswith("per ")):
        return f"{first}s {rest}"
    return f"{name}s"


# --- words ------------------------------------------------------------------------------------------

_SHORTS = {"vs": "versus", "e.g": "for example", "i.e": "that is", "approx": "approximately"}
_SHORT = r"(?<![\w.])(?P<short>vs|(?:[Ee]\.g|[Ii]\.e|[Aa]pprox)(?=\.))\b\.?(?!\w)"
_COUNTED = {
    "no.": "number ", "nos.": "numbers ", "#": "number ", "p.": "page ", "pp.": "pages ", "fig.": "figure ",
    "figs.": "figures ", "vol.": "volume ", "ch.": "chapter ",
}  # fmt: skip
_BEFORE_NUMBER = r"(?<![\w.&#])(?:(?:Nos?|pp?|[Ff]igs?|[Vv]ol|[Cc]h)\.[ ]?|#)(?=\d{1,4}\b)"
_NAME_SUFFIXES = {"Jr": "Junior", "Sr": "Senior", "Ave": "Avenue", "Blvd": "Boulevard", "Rd": "Road"}
_AFTER_NAME = r"\b[A-Z\d]\w{0,30},? (?P<suffix>Jr|Sr|Ave|Blvd|Rd)\b"
_TITLES = {
    "Ms": "Miz", "Prof": "Professor", "Rev": "Reverend", "Gen": "General", "Col": "Colonel", "Maj": "Major",
    "Gov": "Governor", "Sen": "Senator", "Capt": "Captain", "Lt": "Lieutenant", "Sgt": "Sergeant",
    "Hon": "Honorable", "Mt": "Mount",
}  # fmt: skip
_TITLE = rf"(?<!\w)(?P<title>{'|'.join(_TITLES)})(?P<dot>\.?)(?=\s{{1,3}}(?P<name>[^\W\d_]))"


def _title(match: re.Match[str]) -> Sequence[Edit]:
    """Before a name only. Without its full stop, a title looks like another word, but for "Ms"."""
    if match["name"].isupper() and (match["dot"] or match["title"] == "Ms"):
        return group(match, "title", _TITLES[match["title"]])
    return ()


# --- addresses --------------------------------------------------------------------------------------

_ADDRESS = (
    r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w@-])"
    r"|(?:(?<=http://)|(?<=https://)|(?<![\w/.-])(?=www\.))\w[^\s<>\"'()\[\]{}|\\^`*]{1,2000}(?<=[\w/])"
)
_MARK_NAMES = {".": "dot", "@": "at", "_": "underscore", "-": "dash", "/": "slash", "+": "plus"}


def _address(match: re.Match[str]) -> Sequence[Edit]:
    """The marks of an e-mail address or of a web address by name, without a slash at its end."""
    last = match.end() - 1
    return [
        Edit(at, at + 1, "" if mark == "/" and at == last else f" {_MARK_NAMES[mark]} ")
        for at, mark in enumerate(match[0], match.start())
        if mark in _MARK_NAMES
    ]


# --- all of them, the more particular ones first -----------------------------------------------------

_EVERYWHERE = (
    _reading(_PHONE, whole(_phone)),
    _reading(_MONEY, whole(_money)),
    _reading(_MONEY_AFTER, whole(_money)),
    _reading(_TIME, _time),
    _reading(_FRACTION, _fraction),
    _reading(r"(?<![\w/])24(?P<slash>/)7(?![\w/])", lambda match: group(match, "slash", " ")),
    _reading(_PER, whole(lambda match: f" per {_PERIODS.get(match['period'], match['period'])}")),
    _reading(_UNIT, _unit),
    _reading(_RANGE, lambda match: group(match, "dash", " to ")),
    _reading(_BETWEEN, whole(lambda match: " to ")),
    _reading(_SHORT, whole(lambda match: _SHORTS[match["short"].lower()])),
    _reading(_BEFORE_NUMBER, whole(lambda match: _COUNTED[match[0].rstrip().lower()])),
    _reading(_AFTER_NAME, lambda match: group(match, "suffix", _NAME_SUFFIXES[match["suffix"]])),
    Reading(re.compile(_TITLE), _title),
)
