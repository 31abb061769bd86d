"""What the constructor refuses, before a socket is opened in vain."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from mux.client.session import checked_voice
from mux.errors import MuxError
from mux.protocol.voice import INACTIVITY_RANGE, SCHEDULE_RANGE

__all__ = ["api_key_or_environment", "check_model", "check_schedule", "check_seconds", "check_voice_settings"]

KEY = "ELEVENLABS_API_KEY"


def api_key_or_environment(given: str | None) -> str:
    key = given or os.environ.get(KEY)
    if not key:
        raise ValueError(f"There is no API key: give `api_key`, or set {KEY} in the environment.")
    return key


def check_model(model: str) -> None:
    if model.startswith("eleven_v3"):
        raise ValueError(
            f"The model {model!r} does not exist on ElevenLabs' WebSockets. Use one of theirs, such as "
            "'eleven_flash_v2_5', or Patter's ElevenLabsRestTTS."
        )


def check_seconds(inactivity_timeout: float, open_timeout: float, frame_timeout: float) -> None:
    low, high = INACTIVITY_RANGE
    if not low <= inactivity_timeout <= high:
        raise ValueError(
            f"inactivity_timeout must be from {low:g} to {high:g} seconds, received {inactivity_timeout!r}."
        )
    for name, seconds in (("open_timeout", open_timeout), ("frame_timeout", frame_timeout)):
        if not seconds > 0:
            raise ValueError(f"{name} must be more than 0 seconds, received {seconds!r}.")


def check_schedule(schedule: Sequence[int] | None) -> None:
    least, most = SCHEDULE_RANGE
    if any(not least <= characters <= most for characters in schedule or ()):
        raise ValueError(
            f"Each number of chunk_length_schedule must be from {least} to {most} characters, received "
            f"{list(schedule or ())!r}."
        )


def check_voice_settings(settings: Mapping[str, Any] | None) -> None:
    try:
        checked_voice(settings)
    except MuxError as error:
        raise ValueError(str(error)) from None
