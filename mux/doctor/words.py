"""What frameworks, libraries and services write into logs when something is wrong, and which cause it means.

Only what a program wrote counts: a page of advice that lists error codes is no evidence for any of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from mux.doctor.answers import ERRORS, SENTENCES, cause_of_close, cause_of_status
from mux.doctor.findings import Finding, found

__all__ = ["LONGEST_TIMEOUT", "Clue", "blame", "clues"]

LONGEST_TIMEOUT = 180
"""Seconds: "inactivity_timeout ... can be up to 180"."""

DEFAULTS: dict[str, Any] = {
    "bytes": "too many",
    "count": "Several",
    "detail": "see above",
    "error": "without a code",
    "header": "xi-api-key",
    "host": "of the service",
    "limit": 5,
    "location": "another address",
    "model": "",
    "number": "that was opened last",
    "path": "in the URL",
    "scope": "",
    "seconds": 20.0,
    "siblings": "see the vendor's list",
    "status": "5xx",
    "voice": "",
    "what": "the context or socket",
    "when": "",
    "where": "the address in the URL",
}
"""What stands in a sentence where a log or recording does not tell."""


def blame(
    cause: str,
    *evidence: str,
    verdict: Literal["problem", "warning"] = "problem",
    context: str | None = None,
    **facts: Any,
) -> Finding:
    """A finding about a file; facts that nobody knows are told in general words."""
    return found("file", cause, *evidence, verdict=verdict, context=context, **(DEFAULTS | facts))


class Clue(msgspec.Struct, frozen=True):
    """A cause that some words mean. `sure`: they state it; otherwise they are what it looks like."""

    cause: str
    words: str
    sure: bool
    facts: dict[str, Any]


STATED = {
    "timeout_over_max": r"""inactivity_?timeout["']?\s*[:=]\s*["']?(?P<seconds>\d+(?:\.\d+)?)""",
    "model_not_here": r"""model(?:_?id)?["']?\s*[:=]\s*["']?(?P<model>eleven_v3\w*)"""
    r"|Model '?(?P<unsupported>[\w.-]+)'? is not supported on the text-to-speech websocket",
    "model_not_found": r"model with model ID '?(?P<missing>[\w.-]+)'? does not exist",
    "settings_changed": "can only be set in the first message",
    "too_many_contexts": r"contexts per WebSocket connection exceeded \((?P<limit>\d+)\)"
    r"|Too many concurrent contexts|Max contexts limit reached",
    "input_timeout": r"new text input within the timeout of (?P<idle>[\d.]+) seconds",
    "voice_unknown": r"voice with voice_id (?P<voice>\w+) does not exist",
    "service_restarting": r"ServerRestarting\w*|service restart",
    "starved_loop": r"keepalive ping timeout|ping/pong timed out|pong timeout",
    "frame_too_big": r"message too big|PayloadTooBig|over size limit|frame exceeds limit",
    "shared_reader": r"cannot call recv while another coroutine|Concurrent call to receive",
    "dns_failed": r"gaierror|Name or service not known|in name resolution|ENOTFOUND|nodename nor servname",
    "tcp_refused": r"ECONNREFUSED|ConnectionRefused\w*|Connection refused|Connect call failed",
    "tls_expired": r"certificate has expired|CERT_HAS_EXPIRED",
    "tls_name": r"certificate is not valid for|[Hh]ostname mismatch|ERR_TLS_CERT_ALTNAME_INVALID",
    "tls_untrusted": r"self[- ]signed certificate|unable to get (?:local )?issuer cert|SELF_SIGNED_CERT",
    "tls_not_spoken": r"WRONG_VERSION_NUMBER|wrong version number",
    "handshake_silent": r"timed out during opening handshake|[Hh]andshake has timed out",
}
SYMPTOMS = {
    "unclosed_session": r"Unclosed client session|Unclosed connector",
    "connection_cut": r"no close frame received or sent|(?:code|close|closed with|closed)\W{1,3}1006\b",
    "answer_never_ends": r"no frame for [\d.]+ ?s",
    "retry_says_nothing": r"no audio frames were pushed",
}
HANDSHAKE = re.compile(
    r"(?:rejected WebSocket connection: HTTP|Unexpected server response:|WSServerHandshakeError:"
    r"|Handshake status|APIStatusError\b[^\n]{0,200}?status_code=|\bHTTP)"
    r"[ =]?(?P<status>[2-5]\d\d)\b(?! OK)"
)
CLOSE = re.compile(
    r"(?:received|status_code=|close_?code|closed?(?: with)?(?: code)?|code)[\"':= (]{0,4}"
    r"(?P<code>1\d{3}|4[05]\d\d)\b(?:[^\n]{0,3}\([\w ]*\))?[\s,:]*(?P<reason>[^\n;]{0,130})"
)
CODE = re.compile(
    r"""(?:error|error_code|code|status|reason)["']?\s*[:=(]\s*["']?(?P<code>"""
    + "|".join(sorted(map(re.escape, ERRORS), key=len, reverse=True))
    + r")\b",
    re.IGNORECASE,
)
SENTENCE = re.compile("|".join(map(re.escape, SENTENCES)), re.IGNORECASE)
_STATED = {cause: re.compile(pattern, re.IGNORECASE) for cause, pattern in STATED.items()}
_SYMPTOMS = {cause: re.compile(pattern, re.IGNORECASE) for cause, pattern in SYMPTOMS.items()}


def clues(line: str) -> Iterator[Clue]:
    """The causes that one line of a log names: what was asked for and what programs say first, then codes."""
    for cause, pattern in _STATED.items():
        if (match := pattern.search(line)) and (facts := _facts(cause, match)) is not None:
            yield Clue(cause, match[0], True, facts)
    if match := CODE.search(line):
        yield Clue(ERRORS[match["code"].lower()], match[0], True, {})
    if match := SENTENCE.search(line):
        yield Clue(next(c for w, c in SENTENCES.items() if w.lower() == match[0].lower()), match[0], True, {})
    if match := HANDSHAKE.search(line):
        status = int(match["status"])
        if status >= 400:
            yield Clue(cause_of_status(status), f"HTTP {status}", True, {"status": status})
        else:
            cause = "redirected" if 300 <= status < 400 else "upgrade_stripped"
            yield Clue(cause, f"HTTP {status}", True, {"status": f"HTTP {status}"})
    if match := CLOSE.search(line):
        code, reason = int(match["code"]), match["reason"].strip()
        named = cause_of_close(code, reason) or ("policy" if code == 1008 else None)
        if named is not None and not (code == 1011 and _STATED["starved_loop"].search(line)):
            yield Clue(named, match[0].strip(), True, {})
    for cause, pattern in _SYMPTOMS.items():
        if match := pattern.search(line):
            yield Clue(cause, match[0], False, {})


def _facts(cause: str, match: re.Match[str]) -> dict[str, Any] | None:
    """What the match tells; None if it is in order after all."""
    named = match.groupdict()
    match cause:
        case "timeout_over_max":
            seconds = float(named["seconds"])
            return (
                {"seconds": f"{seconds:g}", "limit": LONGEST_TIMEOUT} if seconds > LONGEST_TIMEOUT else None
            )
        case "model_not_here":
            return {"model": named["model"] or named["unsupported"]}
        case "model_not_found":
            return {"model": f" {named['missing']}"}
        case "voice_unknown":
            return {"voice": f" {named['voice']}"}
        case "input_timeout":
            return {"seconds": float(named["idle"].rstrip("."))}
        case "too_many_contexts" if named["limit"]:
            limit = int(named["limit"])
            return {"number": limit + 1, "limit": limit, "scope": f", which may have {limit}"}
    return {}
