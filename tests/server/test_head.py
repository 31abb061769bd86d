"""Heads without a network; what each server makes of them is in test_run."""

from __future__ import annotations

import h11
import pytest

from mux.server.head import Head
from mux.server.limits import Limits

HANDSHAKE = (
    b"GET /v1/x?a=b HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nXi-Api-Key: k\r\n\r\n"
)


def events(data: bytes, step: int, limits: Limits | None = None) -> list[object]:
    """Everything that comes of `data`, fed in pieces of `step` bytes."""
    head = Head(limits or Limits())
    found: list[object] = []
    for start in range(0, len(data), step):
        head.receive_data(data[start : start + step])
        while True:
            try:
                event = head.next_event()
            except h11.RemoteProtocolError as error:
                answer = head.refusal().split()
                return [
                    *found,
                    error.error_status_hint if int(answer[1]) == error.error_status_hint else answer,
                ]
            if event in (h11.NEED_DATA, h11.PAUSED):
                break
            found.append(event)
    return found


def request(data: bytes) -> h11.Request:
    found = events(data, len(data))[0]
    assert isinstance(found, h11.Request)
    return found


@pytest.mark.parametrize("step", [1, 7, 10_000])
@pytest.mark.parametrize(
    ("data", "first"),
    [
        (HANDSHAKE, h11.Request),
        (HANDSHAKE.replace(b"Version: 13", b"Version: 8"), int),
        (HANDSHAKE.replace(b"Host: x", b"Host: \xff"), int),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", int),
        (b"PRI * HTTP/2.0\r\n\r\n", int),
    ],
)
def test_the_verdict_does_not_depend_on_how_the_bytes_arrive(data: bytes, first: type, step: int) -> None:
    found = events(data, step)
    assert isinstance(found[0], first)
    assert found == events(data, len(data))


def test_a_handshake_arrives_without_extensions_and_with_one_spelling_of_its_upgrade() -> None:
    headers = list(request(HANDSHAKE).headers)
    assert b"sec-websocket-extensions" not in dict(headers)
    assert [value for name, value in headers if name == b"connection"] == [b"Upgrade"]
    assert dict(headers)[b"upgrade"] == b"websocket"
    assert dict(headers)[b"xi-api-key"] == b"k"


@pytest.mark.parametrize("dropped", [b"Upgrade: WebSocket\r\n", b"Connection: keep-alive, Upgrade\r\n"])
def test_half_an_upgrade_is_a_plain_request(dropped: bytes) -> None:
    headers = dict(request(HANDSHAKE.replace(dropped, b"")).headers)
    assert b"upgrade" not in headers
    assert b"connection" not in headers


def test_a_plain_request_keeps_its_wish_to_close() -> None:
    headers = dict(request(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close, TE\r\n\r\n").headers)
    assert headers[b"connection"] == b"close"


@pytest.mark.parametrize(
    ("limits", "padding"),
    [
        (Limits(head_bytes=500), 300),
        (Limits(head_line_bytes=200), 200),
        (Limits(headers=7), 1),
    ],
)
def test_limits_hold_for_whole_heads_and_for_unfinished_ones(limits: Limits, padding: int) -> None:
    padded = HANDSHAKE.replace(b"Host: x", b"Host: x\r\nPad: " + b"p" * padding)
    assert events(padded, len(padded), limits) == [431]
    assert events(padded, 1, limits) == [431]
    plain = HANDSHAKE[:-2].replace(b"Xi-Api-Key: k\r\n", b"") + b"\r\n"
    assert isinstance(events(plain, 1, limits)[0], h11.Request)


def test_a_refusal_shows_nothing_of_the_request() -> None:
    head = Head(Limits())
    head.receive_data(HANDSHAKE.replace(b"Xi-Api-Key: k", b"Xi-Api-Key: secret\x00"))
    with pytest.raises(h11.RemoteProtocolError) as refused:
        head.next_event()
    assert "secret" not in str(refused.value)
    assert b"secret" not in head.refusal()
