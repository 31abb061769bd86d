"""A recording: the exchanges between clients and a service, as they are kept in memory and in files."""

from __future__ import annotations

from collections import deque
from typing import Literal, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import msgspec

__all__ = ["LOST", "UNSTATED", "Close", "Exchange", "Message", "Recording", "Side"]

Side: TypeAlias = Literal["client", "service"]

LOST = 1006
"""No close frame came: the connection was cut (RFC 6455 §7.1.5)."""
UNSTATED = 1005
"""A close frame without a code (RFC 6455 §7.1.5)."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """One WebSocket message. `at` is in seconds since its exchange began; `data` is the text, or the base64
    of a binary message. Keys are already out of it, mostly the audio too (`mux.exchange.redaction`)."""

    at: float
    by: Side
    data: str
    binary: bool = False


class Close(msgspec.Struct, frozen=True):
    """How a socket ended: the code and reason of the first close frame, and whose it was. 1006 means that
    the connection was cut without one; 1005 that it carried no code."""

    code: int
    reason: str
    by: Side
    at: float


class Exchange(msgspec.Struct, kw_only=True):
    """One request and what became of it: a WebSocket with its messages, or plain HTTP without."""

    url: str
    """The service's, without keys."""
    started: float
    """Seconds since 1970."""
    method: str = "GET"
    websocket: bool = True
    request_headers: list[tuple[str, str]] = msgspec.field(default_factory=list)
    """All names; values only of those that are known to be harmless."""
    status: int | None = None
    """The answer's HTTP status; 101 for a WebSocket that was opened; None while, or if, there was none."""
    response_headers: list[tuple[str, str]] = msgspec.field(default_factory=list)
    body: str = ""
    """Of a refusal (status 400 and above), its first 4 KiB."""
    body_bytes: int = 0
    """Of an HTTP answer."""
    failure: str = ""
    """Why the service could not be reached or the answer was cut short; "" if nothing is known of that."""
    messages: deque[Message] = msgspec.field(default_factory=deque)
    dropped: int = 0
    """The oldest messages that the recording no longer holds."""
    close: Close | None = None
    ended: float | None = None
    """Seconds since it began; None while it goes on, and in files that do not say."""

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    @property
    def query(self) -> dict[str, str]:
        """The parameters in the URL; of repeated ones the last."""
        return dict(parse_qsl(urlsplit(self.url).query, keep_blank_values=True))


class Recording(msgspec.Struct, kw_only=True):
    """Exchanges in the order in which they began, and remarks on what is not in it."""

    exchanges: list[Exchange] = msgspec.field(default_factory=list)
    notes: list[str] = msgspec.field(default_factory=list)
