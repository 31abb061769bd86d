"""Checking single values: each is refused with its name, where it came from, and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Annotated, Any, NoReturn

import msgspec
from msgspec import Meta

from mux.errors import MuxError

__all__ = [
    "Discreet",
    "Key",
    "OptionalKey",
    "OptionalText",
    "OptionalUrl",
    "OptionalWhole",
    "Seconds",
    "Text",
    "Url",
    "Whole",
    "allowed_values",
    "convert",
    "known",
    "refuse",
]

SECRETS = frozenset({"api_keys", "upstream_key", "key", "upstream_url", "url", "key_env"})
"""Fields that are not shown. A URL may hold a key; who confuses `key_env` with `key` has put one there."""

Seconds = Annotated[float, Meta(ge=0.1, le=3600, description="seconds, from 0.1 to 3600")]
_KEY = "ASCII letters, digits and signs without white space"
_URL = "a URL that begins with wss://, ws://, https:// or http:// and holds no user or password"
_WHOLE = "a whole number from 1 to 1000"
_TEXT = "a text of at least one character"

Key = Annotated[str, Meta(pattern=r"^[!-~]+$", description=_KEY)]
Url = Annotated[str, Meta(pattern=r"^(wss?|https?)://[^/?#@\s]+(/[^#\s]*)?(\?[^#\s]*)?$", description=_URL)]
Whole = Annotated[int, Meta(ge=1, le=1000, description=_WHOLE)]
Text = Annotated[str, Meta(min_length=1, description=_TEXT)]
OptionalKey = Annotated[Key | None, Meta(description=_KEY)]
OptionalUrl = Annotated[Url | None, Meta(description=_URL)]
OptionalWhole = Annotated[Whole | None, Meta(description=_WHOLE)]
OptionalText = Annotated[Text | None, Meta(description=_TEXT)]


class Discreet(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings whose secrets reach no log and no traceback."""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, self._shown(name)) for name in self.__struct_fields__]

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({fields})"

    def _shown(self, name: str) -> Any:
        value = getattr(self, name)
        if name not in SECRETS or value is None:
            return value
        return f"<{len(value)} not shown>" if isinstance(value, tuple) else "<not shown>"


def known(name: str, allowed: Iterable[str], source: str) -> str:
    """`name`, if it is one of `allowed`.

    Raises:
        MuxError: `invalid_config`.
    """
    names = tuple(sorted(allowed))
    if name not in names:
        near = difflib.get_close_matches(name, names)
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        refuse(f"{source} is not a setting. {hint}Allowed: {', '.join(names)}.", observed=name, allowed=names)
    return name


def allowed_values(hint: Any) -> str:
    """What an annotation says that its values may be."""
    description: str = next(meta.description for meta in hint.__metadata__ if meta.description)
    return description


def convert(name: str, value: object, hint: Any, source: str, *, strict: bool) -> Any:
    """`value` as `hint` wants it, an annotation with a description of what is allowed; without `strict` a
    text may stand for another type.

    Raises:
        MuxError: `invalid_config`.
    """
    try:
        return msgspec.convert(value, hint, strict=strict)
    except msgspec.ValidationError:
        pass  # its text may show the value
    allowed = allowed_values(hint)
    shown = "a value that is not shown here" if name in SECRETS else repr(value)[:80]
    refuse(f"{name} must be {allowed}; {source} gives {shown}.", limit=allowed)


def refuse(message: str, **facts: Any) -> NoReturn:
    raise MuxError.of("invalid_config", message, **facts) from None
