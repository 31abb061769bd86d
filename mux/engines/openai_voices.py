"""Voices of OpenAI-compatible servers."""

from __future__ import annotations

from typing import Any

import msgspec

from mux.engines.base import Voice

__all__ = ["OPENAI_VOICES", "listed_voices"]

_MOST_VOICES = 2000
_LONGEST = 200
"""Characters of an id, a name or a description."""

OPENAI_VOICES = tuple(
    Voice(id=name, name=name.capitalize(), language="und")
    for name in (
        *("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable"),
        *("marin", "nova", "onyx", "sage", "shimmer", "verse"),
    )
)
"""OpenAI's own, which most compatible servers accept too. All of them speak every language."""


def listed_voices(body: bytes) -> dict[str, Voice]:
    """Read the answer to `GET /audio/voices`, which every server has in a form of its own: a list, or an
    object with it under "voices" or "data", of ids or of objects. {} if it is none of these."""
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    if isinstance(value, dict):
        value = value.get("voices") or value.get("data")
    if not isinstance(value, list):
        return {}
    voices = [voice for entry in value[:_MOST_VOICES] if (voice := _voice(entry))]
    return {voice.id: voice for voice in voices}


def _voice(entry: Any) -> Voice | None:
    fields = entry if isinstance(entry, dict) else {"id": entry}
    id = _first(fields, "id", "voice_id", "voice", "name")
    if id is None:
        return None
    return Voice(
        id=id,
        name=_first(fields, "name") or id,
        language=_first(fields, "language", "language_code", "lang") or "und",
        gender=_first(fields, "gender"),
        description=_first(fields, "description") or "",
    )


def _first(fields: dict[str, Any], *names: str) -> str | None:
    for name in names:
        value = fields.get(name)
        if isinstance(value, str) and value.strip() and len(value) <= _LONGEST:
            return value.strip()
    return None
