"""One message of either dialect, read without judging it: whatever a client or service sent, there is a
`Said` or a `Told`. Services themselves refuse bad messages; who explains a recording must read them."""

from __future__ import annotations

from typing import Any

import msgspec

from mux.exchange.model import Message
from mux.exchange.redaction import audio_bytes, characters

__all__ = ["Said", "Told", "read_said", "read_told"]


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What a client said. `text` is None where it sent none; `characters` counts it, also where the recording
    left it out."""

    readable: bool = True
    context: str | None = None
    text: str | None = None
    characters: int = 0
    flush: bool = False
    close_context: bool = False
    immediate: bool = False
    cancel: bool = False
    end_turn: bool = False
    close_socket: bool = False
    keep_alive: bool = False
    voice_settings: dict[str, Any] | None = None
    inactivity_timeout: float | None = None
    output_format: str | None = None
    sample_rate: int | None = None
    keyed: bool = False
    """It carried a key."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a service told. `audio` is in bytes, `sample_rate`, `samples` and `encoding` where it said so."""

    readable: bool = True
    context: str | None = None
    audio: int = 0
    samples: int | None = None
    sample_rate: int | None = None
    encoding: str | None = None
    created: bool = False
    flushed: bool = False
    ended: str = ""
    """The word with which it ended a context or turn, such as `isFinal`."""
    interrupted: bool = False
    session_ended: bool = False
    error: str = ""
    """The code of an error, as the service spells it."""
    message: str = ""
    """Its sentence."""
    warning: str = ""


def read_said(message: Message) -> Said:
    found = _object(message)
    if found is None:
        return Said(readable=False)
    text = _text(found, "text")
    spoken = [text or ""]
    if isinstance(inputs := found.get("inputs"), list):  # text-to-dialogue
        spoken += [_text(one, "text") or "" for one in inputs if isinstance(one, dict)]
        text = "".join(spoken)
    settings = found.get("voice_settings")
    return Said(
        context=_id(found),
        text=text,
        characters=sum(map(characters, spoken)),
        flush=found.get("flush") is True,
        close_context=found.get("close_context") is True,
        immediate=found.get("immediate") is True,
        cancel=found.get("cancel") is True,
        end_turn=found.get("close") is True or found.get("end_session") is True,
        close_socket=found.get("close_socket") is True,
        keep_alive=found.get("keep_alive") is True,
        voice_settings=settings if isinstance(settings, dict) else None,
        inactivity_timeout=_number(found.get("inactivity_timeout")),
        output_format=_text(found, "output_format"),
        sample_rate=_whole(found.get("sample_rate")),
        keyed=any(name in found for name in ("xi_api_key", "xi-api-key", "authorization")),
    )


def read_told(message: Message) -> Told:
    if message.binary:  # a service that sends audio as it is
        return Told(audio=audio_bytes(message.data))
    found = _object(message)
    if found is None:
        return Told(readable=False)
    ends = ("isFinal", "is_final", "context_closed", "context_timeout")
    error = found.get("error")
    if isinstance(error, dict):
        error = error.get("code") or error.get("message") or "error"
    sentence = _text(found, "message") or (error if isinstance(error, str) else "")
    warning = found.get("warning")
    if isinstance(warning, dict):
        warning = warning.get("code") or "warning"
    return Told(
        context=_id(found),
        audio=audio_bytes(audio) if (audio := _text(found, "audio")) else 0,
        samples=_whole(found.get("samples")),
        sample_rate=_whole(found.get("sr")),
        encoding=_text(found, "enc"),
        created=found.get("context_created") is True,
        flushed=found.get("final") is True or found.get("is_final_audio_for_turn") is True,
        ended=next((name for name in ends if found.get(name) is True), ""),
        interrupted=found.get("interrupted") is True,
        session_ended=found.get("session_closed") is True,
        error=str(found.get("error_code") or error) if error else "",
        message=sentence if error else "",
        warning=str(warning) if warning else "",
    )


def _object(message: Message) -> dict[str, Any] | None:
    if message.binary:
        return None
    try:
        found = msgspec.json.decode(message.data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return found if isinstance(found, dict) else None


def _id(found: dict[str, Any]) -> str | None:
    given = found.get("context_id", found.get("contextId"))
    return None if given is None else str(given)


def _text(found: dict[str, Any], name: str) -> str | None:
    value = found.get(name)
    return value if isinstance(value, str) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
