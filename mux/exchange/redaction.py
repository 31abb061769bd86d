"""What a recording must not hold: keys never; audio and spoken text as the user decides.

What is taken out leaves a marker that says how much it was, so that who reads a recording later can still
count characters and milliseconds.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, quote_plus, urlsplit, urlunsplit

import msgspec

from mux.links.opening import SECRET_PARAMETER

__all__ = ["HIDDEN", "Redactor", "audio_bytes", "characters"]

HIDDEN = "***"
SHORTEST_SECRET = 6
"""Shorter words stand in ordinary text too: only their own fields are hidden then."""

HARMLESS = {
    "host",
    "user-agent",
    "accept",
    "accept-encoding",
    "accept-language",
    "connection",
    "upgrade",
    "origin",
    "date",
    "server",
    "via",
    "age",
    "vary",
    "content-type",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "retry-after",
    "location",
    "cache-control",
    "x-request-id",
    "request-id",
    "x-trace-id",
    "x-region",
    "cf-ray",
    "sec-websocket-version",
    "sec-websocket-extensions",
    "x-forwarded-for",
    "x-forwarded-proto",
    "www-authenticate",
    "allow",
}
"""Headers whose values a recording keeps. A list of those to hide would miss the next vendor's."""

AUDIO_FIELDS = frozenset({"audio", "audio_base64"})
TEXT_FIELDS = frozenset({"text", "word", "previous_text", "next_text"})
MARKER = re.compile(r"<(\d+) (bytes of audio|characters)>")


class Redactor:
    """Hides what one exchange must not show.

    It remembers the keys that it has seen, and takes them out of everything that comes later: services quote
    them in their refusals.

    Args:
        audio: keep the audio itself.
        text: keep what was spoken, and the words of alignments.
    """

    def __init__(self, *, audio: bool = False, text: bool = True) -> None:
        self._audio = audio
        self._text = text
        self._secrets: list[str] = []

    def url(self, url: str) -> str:
        parts = urlsplit(url)
        pairs = [
            (name, self._hide(value) if SECRET_PARAMETER.search(name) else value)
            for name, value in parse_qsl(parts.query, keep_blank_values=True)
        ]
        query = "&".join(f"{quote_plus(name)}={quote_plus(value, safe='*')}" for name, value in pairs)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path, query, ""))

    def headers(self, headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        return [
            (name, self._shown(value) if name.lower() in HARMLESS else self._hide_words(value))
            for name, value in headers
        ]

    def message(self, data: str | bytes) -> str:
        """A message as it is recorded; a binary one is audio, in base64."""
        if isinstance(data, bytes):
            return base64.b64encode(data).decode() if self._audio else _audio_marker(len(data))
        try:
            found = msgspec.json.decode(data)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return self._shown(data) if self._text else _text_marker(data)
        hidden = self._json(found)
        return self._shown(data if hidden is found else msgspec.json.encode(hidden).decode())

    def _json(self, value: Any) -> Any:
        """The same object where nothing in it had to be hidden."""
        if isinstance(value, dict):
            hidden = {name: self._field(name, inner) for name, inner in value.items()}
            return value if all(hidden[name] is value[name] for name in value) else hidden
        if isinstance(value, list):
            items = [self._json(inner) for inner in value]
            return value if all(new is old for new, old in zip(items, value, strict=True)) else items
        return value

    def _field(self, name: str, value: Any) -> Any:
        if isinstance(value, str):
            if SECRET_PARAMETER.search(name):
                return self._hide(value)
            if name in AUDIO_FIELDS and value and not self._audio:
                return _audio_marker(_decoded(value))
            # Blank texts are signals: an empty one ends a stream, a space keeps it alive.
            if name in TEXT_FIELDS and value.strip() and not self._text:
                return _text_marker(value)
        if name in ("chars", "characters") and isinstance(value, list) and not self._text:
            return [_text_marker("".join(map(str, value)))]
        return self._json(value)

    def _hide_words(self, value: str) -> str:
        for word in value.replace(",", " ").split():
            self._hide(word)
        return HIDDEN

    def _hide(self, secret: str) -> str:
        if len(secret) >= SHORTEST_SECRET and secret not in self._secrets:
            self._secrets.append(secret)
            self._secrets.sort(key=len, reverse=True)  # a key may begin with another one
        return HIDDEN

    def _shown(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text


def audio_bytes(data: str) -> int:
    """How many bytes of audio a field or binary message stands for, elided or not."""
    if marker := MARKER.fullmatch(data):
        return int(marker[1])
    return _decoded(data)


def characters(text: str) -> int:
    """How many characters a text stands for, replaced by its length or not."""
    if (marker := MARKER.fullmatch(text)) and marker[2] == "characters":
        return int(marker[1])
    return len(text)


def _audio_marker(count: int) -> str:
    return f"<{count} bytes of audio>"


def _text_marker(text: str) -> str:
    return f"<{len(text)} characters>"


def _decoded(encoded: str) -> int:
    """What base64 decodes to, in bytes; 0 for what is not base64."""
    try:
        return len(binascii.a2b_base64(encoded, strict_mode=True))
    except (ValueError, binascii.Error):
        return 0
