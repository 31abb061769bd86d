"""The WebSocket handshake, byte for byte: a library would say no more than that it failed."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

import anyio
import anyio.abc
import msgspec

from mux.doctor.answers import cause_of_status, explained, read_body
from mux.doctor.case import Case
from mux.doctor.findings import Finding, fine, found
from mux.doctor.patience import Patience
from mux.links.opening import Opening

__all__ = ["Answer", "judge", "shake_hands"]

HEAD_BYTES = 64 * 1024
BODY_BYTES = 16 * 1024
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 §1.3."""
CLOSE_FRAME = bytes([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8])
"""1000, under a mask of zeros (RFC 6455 §5.2 demands one of clients)."""
TLS_RECORDS = (0x15, 0x16)
"""What a TLS record may begin with: an alert, a handshake."""
PROXY_HEADERS = ("via", "server", "x-cache", "cf-ray", "x-trace-id", "x-request-id")
"""Which of an answer's headers say who gave it."""


class Answer(msgspec.Struct, frozen=True):
    """What came back. `status` is 0 where it was no HTTP: then `body` is what it was. `accepted` says that
    the accept key was the right one."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""
    accepted: bool = False
    ended: bool = False
    """The connection was at its end."""

    @property
    def told_by(self) -> list[str]:
        return [f"{name}: {self.headers[name]}" for name in PROXY_HEADERS if name in self.headers]


async def shake_hands(
    stream: anyio.abc.ByteStream, opening: Opening, patience: Patience
) -> tuple[Answer | None, float]:
    """Ask for a WebSocket, and say goodbye to it if there is one. Returns the answer, None if none came in
    time, and the seconds that it took. Closes the stream, also when cancelled."""
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    lines = [
        f"GET {opening.target} HTTP/1.1",
        f"Host: {opening.host_header}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        *(f"{name}: {value}" for name, value in opening.headers),
    ]
    request = "\r\n".join([*lines, "", ""]).encode()
    began = anyio.current_time()
    answer: Answer | None = None
    try:
        with anyio.move_on_after(patience.handshake):
            try:
                await stream.send(request)
                answer = await _read(stream, key)
                if answer.status == 101:
                    await stream.send(CLOSE_FRAME)
            except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                answer = answer or Answer(0, ended=True)
    finally:
        await anyio.aclose_forcefully(stream)
    return answer, anyio.current_time() - began


async def _read(stream: anyio.abc.ByteStream, key: str) -> Answer:
    data = b""
    while b"\r\n\r\n" not in data and len(data) < HEAD_BYTES:
        try:
            data += await stream.receive()
        except anyio.EndOfStream:
            return Answer(0, body=data[:80], ended=True)
        if not b"HTTP/".startswith(data[:5]) and not data.startswith(b"HTTP/"):
            return Answer(0, body=data[:80])
    head, _, body = data.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)
    }
    words = first.split(" ", 2)
    status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    if status != 101:
        length = headers.get("content-length", "")
        wanted = min(int(length), BODY_BYTES) if length.isdigit() else BODY_BYTES
        # Who keeps the connection open and tells no length would keep us; what has come is enough.
        with anyio.move_on_after(1.0):
            try:
                while len(body) < wanted:
                    body += await stream.receive()
            except anyio.EndOfStream:
                pass
    if "chunked" in headers.get("transfer-encoding", ""):
        body = body.partition(b"\r\n")[2].partition(b"\r\n")[0]
    expected = base64.b64encode(hashlib.sha1((key + GUID).encode(), usedforsecurity=False).digest()).decode()
    accepted = (
        headers.get("sec-websocket-accept") == expected and "websocket" in headers.get("upgrade", "").lower()
    )
    return Answer(status, headers, body, accepted)


def judge(
    case: Case, opening: Opening, answer: Answer | None, seconds: float, patience: Patience
) -> list[Finding]:
    """What an answer means; a single fine finding where it is as it should be."""
    if answer is None:
        return [found("handshake", "handshake_silent", seconds=patience.handshake)]
    if answer.status == 0:
        return [_not_http(opening, answer)]
    evidence = [f"HTTP {answer.status}", *answer.told_by]
    if answer.status == 101:
        return [_opened(answer, seconds, patience, evidence)]
    told = read_body(answer.body)
    if told.code or told.message:
        evidence.insert(1, ": ".join(word for word in (told.code, told.message) if word))
    if answer.status in (301, 302, 303, 307, 308):
        location = _without_query(answer.headers.get("location", "nowhere"))
        return [found("handshake", "redirected", *map(case.shown, evidence), location=case.shown(location))]
    if opening.tls is None and b"HTTPS port" in answer.body:
        return [found("handshake", "tls_needed", *map(case.shown, evidence), where=opening.where)]
    unreached = answer.status in (200, 204, 405, 426, 501) or (answer.status == 400 and not told.structured)
    if unreached:
        return [found("handshake", "upgrade_stripped", *map(case.shown, evidence), status=answer.status)]
    after = answer.headers.get("retry-after")
    if after is not None:
        evidence.append(f"Retry-After: {after}")
    cause = cause_of_status(answer.status, told.code, told.message)
    findings = explained(case, "handshake", cause, *evidence, status=answer.status)
    if cause == "path_not_found" and case.known:
        # A service that knows the path only for WebSockets says the same to a request without an upgrade.
        findings.append(found("handshake", "upgrade_stripped", verdict="warning", status=answer.status))
    return findings


def _opened(answer: Answer, seconds: float, patience: Patience, evidence: list[str]) -> Finding:
    if not answer.accepted:
        detail = "101 without the key that proves that a WebSocket server read the request"
        return found("handshake", "handshake_broken", *evidence, detail=detail)
    if seconds > patience.slow_handshake:
        return found("handshake", "handshake_slow", *evidence, verdict="warning", seconds=seconds)
    return fine("handshake", "The WebSocket was opened", *answer.told_by)


def _not_http(opening: Opening, answer: Answer) -> Finding:
    is_tls = opening.tls is None and (answer.body[:1] and answer.body[0] in TLS_RECORDS)
    if is_tls or (opening.tls is None and opening.port == 443):
        return found("handshake", "tls_needed", where=opening.where)
    if answer.ended and not answer.body:
        return found("handshake", "handshake_cut")
    return found("handshake", "not_http", f"it began with {answer.body[:16]!r}", where=opening.where)


def _without_query(location: str) -> str:
    """Which may hold the key."""
    return urlunsplit(urlsplit(location)._replace(query="", fragment=""))
