"""Which request heads we accept: h11 with stricter rules, used by both ASGI servers.

Each server has its own way to fail on a strange head (one ends the process on a non-ASCII header, one waits
for ever, both lose bytes), so a head is judged here, before the server's own code sees it.
"""

from __future__ import annotations

import base64
import binascii
from http import HTTPStatus

import h11
import msgspec

from mux.log import get_logger
from mux.server.limits import Limits

__all__ = ["Head"]

_log = get_logger("mux.server")

_HOP_BY_HOP = {b"connection", b"upgrade", b"http2-settings", b"sec-websocket-extensions"}
"""Headers that are not passed on as they came. Extensions are left out so that no compression is ever
negotiated: it costs 2 to 35 times the CPU of a frame, and speech does not get smaller. An upgrade to
anything but a WebSocket is ignored, as RFC 9110 §7.8 allows ("A server MAY ignore a received Upgrade header
field"); Java's HttpClient asks for h2c by default."""
_ASCII = {b"host", b"transfer-encoding"}


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Head(h11.Connection):
    """The server's side of one HTTP/1.1 connection. Malformed and oversized heads, and impossible WebSocket
    handshakes, raise `h11.RemoteProtocolError` in `next_event`; `refusal()` is then the answer."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=limits.head_bytes)
        self.limits = limits
        self.reason = _Refused(400, "The request is not valid HTTP/1.1.")

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """The next event of the peer, as h11 gives it, with requests normalised.

        Raises:
            h11.RemoteProtocolError: the peer broke HTTP, or our rules; `error_status_hint` is the status.
        """
        try:
            event = super().next_event()
            return self._judge(event) if isinstance(event, h11.Request) else event
        except h11.RemoteProtocolError as error:
            # h11's own text may show a header's value, so it is neither logged nor sent.
            status = error.error_status_hint
            self.reason = _too_large(self.limits) if status == 431 else _Refused(status, self.reason.message)
            raise self._logged() from None
        except _Refused as reason:
            self.reason = reason
            raise self._logged() from None

    def _logged(self) -> h11.RemoteProtocolError:
        _log.info("request_refused", status=self.reason.status, reason=self.reason.message)
        return h11.RemoteProtocolError(self.reason.message, error_status_hint=self.reason.status)

    def refusal(self) -> bytes:
        """A whole HTTP response that says why the request is refused (JSON, `connection: close`); nothing
        once another response has begun."""
        if self.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return b""
        status = HTTPStatus(self.reason.status)
        detail = {
            "type": "invalid_request",
            "code": "invalid_request",
            "status": "invalid_request",
            "message": self.reason.message,
        }
        body = msgspec.json.encode({"detail": detail})
        lines = [
            f"HTTP/1.1 {status.value} {status.phrase}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            "connection: close",
        ]
        if status is HTTPStatus.UPGRADE_REQUIRED:
            lines += ["upgrade: websocket", "sec-websocket-version: 13"]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def _judge(self, request: h11.Request) -> h11.Request:
        sizes = [len(name) + len(value) + 4 for name, value in request.headers]
        target = len(request.target)
        if (
            sum(sizes) + target > self.limits.head_bytes
            or max(target, *sizes, 0) > self.limits.head_line_bytes
            or len(sizes) > self.limits.headers
        ):
            raise _too_large(self.limits)
        if request.http_version not in (b"1.1", b"1.0"):
            raise _Refused(505, "Only HTTP/1.1 is spoken here.")
        for name, value in request.headers:
            if (name in _ASCII or name.startswith(b"sec-websocket-")) and not value.isascii():
                raise _Refused(400, f"The header {name.decode()} must be ASCII.")
        headers = [(name, value) for name, value in request.headers if name not in _HOP_BY_HOP]
        if _wants_websocket(request):
            self._judge_handshake(request)
            headers += [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]
        elif b"close" in _tokens(request, b"connection"):
            headers.append((b"connection", b"close"))
        return h11.Request(
            method=request.method, target=request.target, headers=headers, http_version=request.http_version
        )

    def _judge_handshake(self, request: h11.Request) -> None:
        # RFC 6455 §4.1 and §4.2.1
        if request.method != b"GET" or request.http_version != b"1.1":
            raise _Refused(400, "A WebSocket is opened by GET with HTTP/1.1.")
        if _values(request, b"transfer-encoding") or any(
            length != b"0" for length in _values(request, b"content-length")
        ):
            raise _Refused(400, "A WebSocket handshake has no body.")
        if _values(request, b"sec-websocket-version") != [b"13"]:
            raise _Refused(426, "Sec-WebSocket-Version must be 13.")
        keys = _values(request, b"sec-websocket-key")
        if len(keys) != 1 or not _is_nonce(keys[0]):
            raise _Refused(400, "Sec-WebSocket-Key must be given once, as 16 bytes in base64.")
        if self.trailing_data[0]:
            # Frames before the answer may not be sent, and would be lost without a word.
            raise _Refused(400, "Nothing may follow a WebSocket handshake before its answer.")


def _too_large(limits: Limits) -> _Refused:
    return _Refused(
        431,
        f"A request head may have {limits.head_bytes} bytes, {limits.head_line_bytes} in one line,"
        f" and {limits.headers} headers.",
    )


def _values(request: h11.Request, name: bytes) -> list[bytes]:
    return [value for header, value in request.headers if header == name]


def _tokens(request: h11.Request, name: bytes) -> set[bytes]:
    return {token.strip().lower() for value in _values(request, name) for token in value.split(b",")}


def _wants_websocket(request: h11.Request) -> bool:
    return b"websocket" in _tokens(request, b"upgrade") and b"upgrade" in _tokens(request, b"connection")


def _is_nonce(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        return False
