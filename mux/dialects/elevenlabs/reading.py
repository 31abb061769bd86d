"""A client's message: what it says, its settings, and whom to blame when it cannot be read."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from mux.dialects.elevenlabs.wire import ClientMessage
from mux.errors import Problem
from mux.protocol.messages import Invalid
from mux.protocol.voice import SCHEDULE_RANGE, ContextSettings, voice_settings

__all__ = [
    "DICTIONARIES_IGNORED",
    "NOTHING",
    "UNREADABLE",
    "decode_message",
    "key_of",
    "settings_of",
    "unreadable",
]

UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeError)
"""All that msgspec raises for what a peer sends: RecursionError on deep nesting, UnicodeError on bad UTF-8
or half a surrogate pair."""

_MOST_SCHEDULE = 50
NOTHING = ContextSettings()
# Lax: some clients send "true" and "0.5" as strings.
decode_message = msgspec.json.Decoder(ClientMessage, strict=False).decode


class _Id(msgspec.Struct):
    """The id alone, of a message that is otherwise unreadable."""

    context_id: Any = None
    contextId: Any = None


_decode_id = msgspec.json.Decoder(_Id).decode


DICTIONARIES_IGNORED = Problem(
    code="setting_ignored",
    message="pronunciation_dictionary_locators are not applied: the dictionaries are the vendor's. Write the "
    "words as they are to be said, or leave the locators out.",
    param="pronunciation_dictionary_locators",
)


def key_of(message: ClientMessage) -> str | None:
    """The API key that came with a message."""
    return message.xi_api_key or message.xi_api_key_dashed or message.authorization


def settings_of(message: ClientMessage) -> ContextSettings | Problem:
    """The settings in a message; what is `{}` or null was not given."""
    voice = voice_settings(message.voice_settings)
    if isinstance(voice, Problem):
        return voice
    config = message.generation_config or message.generator_config
    given = config.get("chunk_length_schedule") if isinstance(config, dict) else None
    schedule = _schedule(message.chunk_length_schedule if given is None else given)
    if isinstance(schedule, Problem):
        return schedule
    timeout = message.inactivity_timeout
    if timeout is not None and math.isnan(timeout):  # it came as a string
        return Problem(
            code="invalid_setting",
            message="inactivity_timeout must be a number of seconds. Correct it or leave it out.",
            observed="nan",
        )
    return ContextSettings(
        voice=message.voice_id or None,
        language=message.language_code or None,
        voice_settings=voice or None,
        chunk_length_schedule=schedule,
        inactivity_timeout=timeout,
    )


def _schedule(given: Any) -> tuple[int, ...] | Problem | None:
    if given is None or given == []:
        return None
    low, high = SCHEDULE_RANGE
    if isinstance(given, list) and len(given) <= _MOST_SCHEDULE:
        numbers = [int(n) for n in given if isinstance(n, (int, float)) and low <= n <= high]
        if len(numbers) == len(given):
            return tuple(numbers)
    allowed = f"a list of at most {_MOST_SCHEDULE} numbers from {low} to {high}"
    return Problem(
        code="invalid_setting",
        message=f"chunk_length_schedule must be {allowed}. Correct it or leave it out.",
        limit=allowed,
        observed=str(given)[:40],
    )


def unreadable(data: str | bytes, error: Exception) -> Invalid:
    """The smallest thing to blame: the context whose id can be read, else only the message."""
    try:
        ids = _decode_id(data)
        id = ids.context_id or ids.contextId
    except UNREADABLE:
        id = None
    if not isinstance(id, str) or not id:
        id = None
    # msgspec's own sentence names the field and the type, never the value.
    cause = str(error) if isinstance(error, msgspec.DecodeError) else type(error).__name__
    return Invalid(
        Problem(
            code="invalid_message" if id else "unreadable_message",
            message="Could not parse input message, make sure it is a json and follows the schema outlined "
            f"in protocol. ({cause[:200]})",
        ),
        id,
    )
