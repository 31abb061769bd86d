"""What a mock is told to do: its dialect, its seed and its faults, in a TOML file or by hand. What is not
understood is refused, never ignored."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar, get_type_hints

import msgspec
from msgspec import Meta

from mux.errors import MuxError
from mux.mock.faults import FAULTS
from mux.mock.plan import Fault
from mux.mock.vendors import Dialect

__all__ = ["Scenario", "load_scenario", "parse_fault", "parse_scenario"]

T = TypeVar("T", bound=msgspec.Struct)

EVERYWHERE = ("name", "rate", "nth", "times", "socket")


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """What a mock does.

    Raises:
        MuxError: `invalid_config`, when a fault is unknown or has a field that means nothing to it.
    """

    dialect: Annotated[Dialect, Meta(description="elevenlabs or kugelaudio")] = "elevenlabs"
    seed: Annotated[int, Meta(description="a whole number")] = 0
    """The same one gives the same faults."""
    pace: Annotated[
        Annotated[float, Meta(gt=0, le=1000)] | None,
        Meta(description="a number above 0 (1: as fast as one speaks), at most 1000"),
    ] = None
    """Audio leaves so many times as fast as it is spoken; None: as fast as it can."""
    faults: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        for fault in self.faults:
            _known(fault.name, FAULTS, "fault", f"The fault {fault.name}")
            takes = _fields_of(fault.name)
            defaults = Fault(fault.name)
            for field in Fault.__struct_fields__:
                if field not in takes and getattr(fault, field) != getattr(defaults, field):
                    _refuse(
                        f"The fault {fault.name} has no {field}. Allowed: {', '.join(takes)}.",
                        observed=field,
                        allowed=takes,
                    )


def parse_fault(text: str) -> Fault:
    """A fault as a flag names it: `NAME` or `NAME=rate`.

    Raises:
        MuxError: `invalid_config`.
    """
    name, equals, rate = text.partition("=")
    _known(name, FAULTS, "fault", f"The fault {name}")
    return _struct(
        Fault, {"name": name} | ({"rate": rate} if equals else {}), f"--fault {name}", strict=False
    )


def load_scenario(path: Path) -> Scenario:
    """Read a scenario from a TOML file: `seed`, `dialect`, `pace`, and a table `[[fault]]` for each fault.

    Raises:
        MuxError: `invalid_config`, naming the file, what is wrong in it, and what is allowed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        _refuse(f"The scenario {path} cannot be read: {error.strerror}. Correct the path.")
    except UnicodeDecodeError:
        _refuse(f"The scenario {path} is not UTF-8 text. Save it as UTF-8.")
    return parse_scenario(text, str(path))


def parse_scenario(text: str, source: str = "the scenario") -> Scenario:
    """The same for the text itself; `source` names it in a refusal.

    Raises:
        MuxError: `invalid_config`.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        _refuse(f"{source} is not valid TOML: {error}. A fault is a table [[fault]] with a name.")
    faults = table.pop("fault", [])
    if not (isinstance(faults, list) and all(isinstance(fault, dict) for fault in faults)):
        _refuse(f"fault must be a list of tables, each of them written as [[fault]], in {source}.")
    _known_fields(table, ("dialect", "seed", "pace", "fault"), source)
    planned = tuple(
        _struct(Fault, fault, f"fault {number} of {source}") for number, fault in enumerate(faults, 1)
    )
    return _struct(Scenario, {**table, "faults": planned}, source)


def _struct(type: type[T], table: dict[str, Any], source: str, *, strict: bool = True) -> T:
    """A struct of a table, field by field, so that a refusal can name the one and say what it may be."""
    hints = get_type_hints(type, include_extras=True)
    if type is Fault:
        if "name" not in table:
            _refuse(f"{source} has no name. Give one of: {', '.join(FAULTS)}.", allowed=tuple(FAULTS))
        if isinstance(table["name"], str):
            _known(table["name"], FAULTS, "fault", f"The name {table['name']} of {source}")
            _known_fields(table, _fields_of(table["name"]), f"{source} ({table['name']})")
    return type(**{name: _value(name, value, hints[name], source, strict) for name, value in table.items()})


def _value(name: str, value: Any, hint: Any, source: str, strict: bool) -> Any:
    if name == "faults":
        return value
    try:
        return msgspec.convert(value, hint, strict=strict)
    except msgspec.ValidationError:
        allowed = next(meta.description for meta in hint.__metadata__ if meta.description)
    _refuse(f"{name} must be {allowed}; {source} gives {value!r:.80}.", limit=allowed)


def _fields_of(name: str) -> tuple[str, ...]:
    """What may be said of a fault."""
    kind = FAULTS[name]
    return (*EVERYWHERE, *(() if kind.opportunity == "handshake" else ("context",)), *kind.parameters)


def _known_fields(table: dict[str, Any], allowed: Collection[str], source: str) -> None:
    for name in table:
        _known(name, allowed, "field", f"The field {name} of {source}")


def _known(name: str, allowed: Collection[str], what: str, source: str) -> None:
    if name not in allowed:
        near = difflib.get_close_matches(name, allowed)
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        _refuse(
            f"{source} is not a {what}. {hint}Allowed: {', '.join(allowed)}.",
            observed=name,
            allowed=tuple(allowed),
        )


def _refuse(message: str, **facts: Any) -> NoReturn:
    raise MuxError.of("invalid_config", message, **facts) from None
