"""Recordings as HAR 1.2 files, with WebSocket messages the way Chrome writes them (`_webSocketMessages`):
browsers' developer tools open what is written here, and what Chrome, Firefox, Playwright and mitmproxy export
can be read.

Chrome's form knows no close code; `_webSocketClose` {code, reason, by, at} stands beside it. `at` and `time`
as Chrome has it: seconds, since the exchange began and since 1970.
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import msgspec

from mux.errors import MuxError
from mux.exchange.model import Close, Exchange, Message, Recording
from mux.exchange.redaction import Redactor

__all__ = ["read_har", "write_har"]

BINARY = 2
"""The opcode of a binary message (RFC 6455 §5.2)."""
MILLISECONDS = 1e11
"""A time since 1970 above this cannot be in seconds: some exporters count in ms."""


class _Pair(msgspec.Struct):
    name: str = ""
    value: str = ""


class _Content(msgspec.Struct):
    size: float = 0
    mimeType: str | None = "x-unknown"
    text: str | msgspec.UnsetType | None = msgspec.UNSET


class _Request(msgspec.Struct):
    method: str = "GET"
    url: str = ""
    httpVersion: str = "HTTP/1.1"
    cookies: list[Any] = msgspec.field(default_factory=list)
    headers: list[_Pair] = msgspec.field(default_factory=list)
    queryString: list[_Pair] = msgspec.field(default_factory=list)
    headersSize: float = -1
    bodySize: float = -1


class _Response(msgspec.Struct):
    status: int = 0
    statusText: str = ""
    httpVersion: str = "HTTP/1.1"
    cookies: list[Any] = msgspec.field(default_factory=list)
    headers: list[_Pair] = msgspec.field(default_factory=list)
    content: _Content = msgspec.field(default_factory=_Content)
    redirectURL: str = ""
    headersSize: float = -1
    bodySize: float = -1


class _Message(msgspec.Struct):
    type: Literal["send", "receive"]
    time: float
    opcode: int
    data: str


class _Entry(msgspec.Struct, omit_defaults=True):
    startedDateTime: str
    request: _Request
    response: _Response
    time: float | None = None
    cache: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    timings: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    resource_type: str = msgspec.field(name="_resourceType", default="")
    messages: list[_Message] | None = msgspec.field(name="_webSocketMessages", default=None)
    close: Close | None = msgspec.field(name="_webSocketClose", default=None)
    dropped: int = msgspec.field(name="_webSocketMessagesDropped", default=0)
    failure: str = msgspec.field(name="_failure", default="")


class _Log(msgspec.Struct, omit_defaults=True):
    entries: list[_Entry]
    version: str | msgspec.UnsetType = msgspec.UNSET
    creator: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    comment: str = ""


class _File(msgspec.Struct):
    log: _Log


_decoder = msgspec.json.Decoder(_File)


def write_har(recording: Recording) -> bytes:
    """The file's content. It holds what the recording holds: redact before."""
    log = _Log(
        [_entry(exchange) for exchange in recording.exchanges],
        version="1.2",
        creator={"name": "mux tap", "version": "1"},
        comment="\n".join(recording.notes),
    )
    return msgspec.json.format(msgspec.json.encode(_File(log)), indent=1)


def read_har(data: bytes, name: str = "The file") -> Recording:
    """Read a recording of whoever wrote it. Keys are taken out, should they still be in it; audio stays.

    Raises:
        MuxError: `invalid_config`: this is not a HAR file; the sentence begins with `name`.
    """
    try:
        log = _decoder.decode(data).log
        exchanges = [_exchange(entry) for entry in log.entries]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise MuxError.of(
            "invalid_config",
            f"{name} cannot be read as a HAR file ({error}). Give one that `mux tap` or a browser's network "
            "panel has written, or give a log with --log.",
        ) from None
    return Recording(exchanges=exchanges, notes=log.comment.splitlines())


def _entry(exchange: Exchange) -> _Entry:
    last = exchange.messages[-1].at if exchange.messages else 0.0
    time = round((last if exchange.ended is None else exchange.ended) * 1000, 3)
    started = datetime.fromtimestamp(exchange.started, UTC)
    entry = _Entry(
        started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        _Request(
            method=exchange.method,
            url=exchange.url,
            headers=_pairs(exchange.request_headers),
            queryString=_pairs(list(exchange.query.items())),
        ),
        _Response(
            status=exchange.status or 0,
            headers=_pairs(exchange.response_headers),
            content=_Content(
                size=exchange.body_bytes,
                mimeType=next((v for n, v in exchange.response_headers if n.lower() == "content-type"), ""),
                text=exchange.body or msgspec.UNSET,
            ),
        ),
        time=time,
        cache={},
        timings={"send": 0, "wait": 0, "receive": time},
        failure=exchange.failure,
        dropped=exchange.dropped,
        close=exchange.close,
    )
    if exchange.websocket:
        entry.resource_type = "websocket"
        entry.messages = [
            _Message(
                "send" if message.by == "client" else "receive",
                round(exchange.started + message.at, 6),
                BINARY if message.binary else 1,
                message.data,
            )
            for message in exchange.messages
        ]
    return entry


def _exchange(entry: _Entry) -> Exchange:
    redactor = Redactor(audio=True)
    started = datetime.fromisoformat(entry.startedDateTime).timestamp()
    parts = urlsplit(entry.request.url)
    websocket = (
        entry.messages is not None
        or entry.resource_type == "websocket"
        or parts.scheme in ("ws", "wss")
        or entry.response.status == 101
    )
    if websocket:
        parts = parts._replace(scheme={"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme))
    url = redactor.url(urlunsplit(parts))
    request_headers = redactor.headers((pair.name, pair.value) for pair in entry.request.headers)
    messages = deque(
        Message(
            at=round(_seconds(message.time) - started, 6),
            by="client" if message.type == "send" else "service",
            data=message.data if message.opcode == BINARY else redactor.message(message.data),
            binary=message.opcode == BINARY,
        )
        for message in entry.messages or ()
        if message.opcode in (1, BINARY)
    )
    return Exchange(
        url=url,
        started=started,
        method=entry.request.method,
        websocket=websocket,
        request_headers=request_headers,
        status=entry.response.status or (101 if messages else None),
        response_headers=redactor.headers((pair.name, pair.value) for pair in entry.response.headers),
        body=redactor.message(entry.response.content.text or ""),
        body_bytes=max(0, int(entry.response.content.size)),
        failure=entry.failure,
        messages=messages,
        dropped=entry.dropped,
        close=entry.close,
        ended=None if entry.time is None else round(entry.time / 1000, 6),
    )


def _seconds(time: float) -> float:
    return time / 1000 if time > MILLISECONDS else time


def _pairs(pairs: list[tuple[str, str]]) -> list[_Pair]:
    return [_Pair(name, value) for name, value in pairs]
