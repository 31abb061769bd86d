"""What a service's refusals, errors and closes mean: from its own words to a cause of the table."""

from __future__ import annotations

from typing import Any

import msgspec

from mux.doctor.case import Case
from mux.doctor.findings import Finding, Step, found

__all__ = ["cause_of_close", "cause_of_error", "cause_of_status", "explained"]

ERRORS = {
    "invalid_api_key": "key_refused",
    "unauthorized": "key_refused",
    "authentication_required": "key_missing",
    "voice_id_does_not_exist": "voice_unknown",
    "voice_not_found": "voice_unknown",
    "unknown_voice": "voice_unknown",
    "missing_voice": "voice_missing",
    "missing_voice_id": "voice_missing",
    "model_not_found": "model_not_found",
    "unsupported_model": "model_not_here",
    "model_unavailable": "try_later",
    "output_format_not_allowed": "format_refused",
    "unsupported_format": "format_refused",
    "quota_exceeded": "quota_exceeded",
    "insufficient_credits": "quota_exceeded",
    "payment_required": "quota_exceeded",
    "max_active_conversations": "too_many_contexts",
    "too_many_contexts": "too_many_contexts",
    "too_many_concurrent_requests": "rate_limited",
    "concurrent_limit_exceeded": "rate_limited",
    "rate_limit_exceeded": "rate_limited",
    "rate_limited": "rate_limited",
    "busy": "rate_limited",
    "system_busy": "try_later",
    "draining": "try_later",
    "input_timeout_exceeded": "input_timeout",
    "invalid_input_message": "invalid_message",
    "validation_error": "invalid_message",
    "voice_settings_changed": "settings_changed",
    "internal_error": "service_failed",
    "empty_audio": "silent_success",
    "empty_synthesis": "silent_success",
    "subscription_required": "forbidden",
    "detected_unusual_activity": "forbidden",
    "origin_refused": "forbidden",
    "not_found": "path_not_found",
}
"""The services' words for what went wrong, in small letters."""
SENTENCES = {
    "voice_settings field must be": "settings_changed",
    "simultaneous contexts": "too_many_contexts",
    "not received a new text input": "input_timeout",
    "exceeds your quota": "quota_exceeded",
    "Invalid API key": "key_refused",
    "authentication methods": "key_missing",
    "A voice with": "voice_unknown",
    "something went wrong": "service_failed",
    "could not parse input": "invalid_message",
}
"""The same in sentences: some errors, and all close reasons, have no word. In any case of letters."""
CLOSES = {
    1009: "frame_too_big",
    1011: "service_failed",
    1012: "service_restarting",
    1013: "try_later",
    4000: "service_failed",
    4001: "key_refused",
    4003: "quota_exceeded",
    4029: "rate_limited",
    4500: "try_later",
}
"""Close codes that say why by themselves."""
STATUSES = {
    401: "key_refused",
    402: "quota_exceeded",
    403: "forbidden",
    404: "path_not_found",
    408: "handshake_cut",
    429: "rate_limited",
    503: "try_later",
}

STEPS: dict[str, Step] = {
    "key_refused": "key",
    "key_missing": "key",
    "key_unusable": "key",
    "forbidden": "key",
    "quota_exceeded": "key",
    "voice_unknown": "voice",
    "voice_missing": "voice",
    "model_not_found": "model",
    "model_not_here": "model",
    "format_refused": "format",
    "too_many_contexts": "contexts",
}
"""What a cause is about, wherever it came to light."""


def cause_of_error(code: str, message: str = "") -> str | None:
    """The cause behind an error's code (`error`, `error_code` or `status`) and sentence; None if unknown."""
    return _in_sentence(message) or ERRORS.get(code.lower()) or _in_sentence(code)


def cause_of_close(code: int, reason: str = "") -> str | None:
    """The cause behind a close frame; None where neither its code nor its reason says anything."""
    return _in_sentence(reason) or CLOSES.get(code)


def cause_of_status(status: int, code: str = "", message: str = "") -> str:
    """The cause behind an HTTP status instead of 101, with the code and sentence in its body, if any."""
    told = cause_of_error(code, message)
    if told is not None and not (told == "path_not_found" and status != 404):
        return told
    if status in STATUSES:
        return STATUSES[status]
    return "service_failed" if status >= 500 else "rejected"


def explained(case: Case, step: Step, cause: str, *evidence: str, **facts: Any) -> list[Finding]:
    """The findings for a cause. A refused key has more than one where the service has regions, and no key was
    refused where none was given."""
    if cause in ("key_refused", "forbidden") and case.key is None and not case.key_in_query:
        cause = "key_missing"
    elif cause == "key_missing" and case.key is None and case.key_in_query:
        cause = "query_stripped"
    step = STEPS.get(cause, step)
    given: dict[str, Any] = {
        "host": case.host,
        "path": case.path,
        "model": _named(case.model),
        "voice": _named(case.voice),
        "header": "xi-api-key" if case.dialect == "elevenlabs" else "Authorization: Bearer",
        "limit": case.endpoint.limit or 1,
        "siblings": ", ".join(case.siblings),
        "seconds": 0.0,
        "what": "it",
        "status": "",
        "number": case.endpoint.limit or 1,
        "scope": "",
        "error": "no explanation",
        "bytes": "many",
        "detail": "the key is in the URL, but the service has seen none",
    } | facts
    findings = [found(step, cause, *map(case.shown, evidence), **given)]
    if cause in ("key_refused", "forbidden") and case.siblings:
        findings.append(found("key", "region", verdict="warning", **given))
    return findings


def _in_sentence(message: str) -> str | None:
    message = message.lower()
    return next((cause for words, cause in SENTENCES.items() if words.lower() in message), None)


def _named(name: str | None) -> str:
    return f" {name}" if name else ""


class Told(msgspec.Struct, frozen=True):
    """What a refusal's body says."""

    code: str = ""
    message: str = ""
    structured: bool = False


def read_body(body: bytes) -> Told:
    """The code and sentence in a JSON error body of either vendor (or anybody's); nothing of a web page."""
    try:
        found_: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return Told()
    if isinstance(found_, dict) and isinstance(found_.get("detail"), dict | str):
        found_ = found_["detail"]
    if isinstance(found_, str):
        return Told(message=found_)
    if not isinstance(found_, dict):
        return Told()
    words = [found_.get(name) for name in ("error_code", "status", "code", "error")]
    code = next((word for word in words if isinstance(word, str) and " " not in word), "")
    sentences = [found_.get(name) for name in ("message", "error")]
    message = next((sentence for sentence in sentences if isinstance(sentence, str)), "")
    return Told(code, message, structured=bool(code))
