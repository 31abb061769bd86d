"""What an OpenAI-compatible server means by an HTTP status, in mux's words.

What the server itself says goes into the sentence only if it repeats neither the key nor the text that was
to be spoken: sentences are logged.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from mux.errors import MuxError

__all__ = ["DETAIL_BYTES", "refusal", "retry_after_ms", "said"]

DETAIL_BYTES = 16 * 1024
"""How much of a refusal's body is worth reading."""
_DETAIL_CHARACTERS = 240
_LONGEST_WAIT_MS = 3_600_000
_TELLING_RUN = 12
"""So many letters and digits in a row, found in a sentence too, are a quotation."""


def refusal(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    server: str,
    asked: str = "",
    private: tuple[str, ...] = (),
) -> MuxError:
    """The error for an answer that is not a success.

    `server` names the server at the start of a sentence, `asked` is what was asked of it ("model 'x' and
    voice 'y'"), `private` are strings that must not be repeated.
    """
    detail = said(body, private)
    quoted = f": {detail}" if detail else ""
    wait = retry_after_ms(headers)
    said_so = f"{server} answered HTTP {status}{quoted}"
    if status == 401:  # servers quote parts of the key here
        return _final(
            f"{server} does not accept the API key (HTTP 401). Give a key that is valid there, without "
            "quotes or spaces."
        )
    if status == 402 or (status == 429 and b"insufficient_quota" in body):
        return _final(f"{server} has no credit left for this API key (HTTP {status}). Top up the account.")
    if status in (429, 503):
        return MuxError.of(
            "busy",
            f"{said_so}. It takes no more work at the moment; try again later or use fewer workers.",
            retry_after_ms=1000 if wait is None else wait,
        )
    if status == 408 or status >= 500:
        return MuxError.of(
            "engine_failed",
            f"{said_so}. Try again; its own log may say why it failed.",
            retry_after_ms=wait,
        )
    if status == 413:
        return MuxError.of("segment_too_long", f"{said_so}. Send shorter pieces of text.")
    if 300 <= status < 400:
        return _final(f"{said_so}, a redirection. Give the base URL that it leads to.")
    if status in (404, 405):
        return _final(f"{said_so}. Check the base URL (most end in /v1)" + (f", {asked}." if asked else "."))
    return _final(f"{said_so}. Check {asked or 'the base URL'}.")


def _final(message: str) -> MuxError:
    return MuxError.of("upstream_error", message)


def said(body: bytes, private: tuple[str, ...] = ()) -> str:
    """The sentence in a JSON answer that explains it, on one line; "" if there is none, or if it repeats
    something `private`."""
    try:
        found = _sentence(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in found).split())
    if any(_quotes(line, secret) for secret in private):
        return ""
    cut = line[:_DETAIL_CHARACTERS]
    return (cut if cut == line else cut + "...").rstrip(".")


def _sentence(value: Any) -> str:
    """OpenAI: {"error": {"message"}}; FastAPI: {"detail": "..."} or {"detail": {"message"}}, or for invalid
    fields {"detail": [{"loc", "msg"}]}."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        for name in ("error", "message", "detail", "msg"):
            inner = value.get(name)
            # Kokoro-FastAPI's {"error": "invalid_model", "message": ...}: the sentence says more.
            if inner and not (name == "error" and isinstance(inner, str) and "message" in value):
                sentence = _sentence(inner)
                where = value.get("loc")
                if name == "msg" and isinstance(where, list) and where:
                    return f"{where[-1]}: {sentence}"
                return sentence
    if isinstance(value, list) and value:
        return _sentence(value[0])
    return ""


def _quotes(line: str, secret: str) -> bool:
    plain, hidden = _letters(line), _letters(secret)
    return any(
        hidden[begin : begin + _TELLING_RUN] in plain
        for begin in range(max(1, len(hidden) - _TELLING_RUN + 1))
        if hidden
    )


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text)).casefold()


def retry_after_ms(headers: Mapping[str, str]) -> int | None:
    """How long a server asks to wait, from 0 to an hour: `retry-after-ms` (OpenAI), or `Retry-After` as
    seconds or a date (RFC 9110 §10.2.3)."""
    for name, unit in (("retry-after-ms", 1.0), ("retry-after", 1000.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            wait = float(value) * unit
        except ValueError:
            try:
                date = parsedate_to_datetime(value)
            except ValueError:
                continue
            wait = (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds() * 1000
        if wait == wait:  # not NaN
            return int(min(max(wait, 0), _LONGEST_WAIT_MS))
    return None
