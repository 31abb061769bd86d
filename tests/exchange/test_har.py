from __future__ import annotations

import json
from collections import deque

import pytest

from mux.errors import MuxError
from mux.exchange import Close, Exchange, Message, Recording, read_har, write_har

KEY = "sk_0123456789abcdef"


def recording() -> Recording:
    socket = Exchange(
        url="wss://api.example/v1/text-to-speech/anne/multi-stream-input?auto_mode=true",
        started=1_790_000_000.125,
        request_headers=[("Host", "api.example"), ("xi-api-key", "***")],
        status=101,
        messages=deque(
            [
                Message(0.5, "client", '{"text":"Hello. ","context_id":"a"}'),
                Message(0.75, "service", '{"audio":"<6 bytes of audio>","contextId":"a"}'),
                Message(0.8, "service", "<6 bytes of audio>", binary=True),
            ]
        ),
        close=Close(1008, "too many", "service", 0.9),
        ended=1.0,
        dropped=2,
    )
    request = Exchange(
        url="https://api.example/v1/voices",
        started=1_790_000_001.0,
        method="GET",
        websocket=False,
        status=401,
        response_headers=[("content-type", "application/json")],
        body='{"detail":"no"}',
        body_bytes=15,
        ended=0.25,
    )
    failed = Exchange(url="wss://api.example/x", started=1_790_000_002.0, failure="not there", ended=0.0)
    return Recording(exchanges=[socket, request, failed], notes=["The 3 oldest exchanges were dropped."])


def test_what_is_written_can_be_read() -> None:
    assert read_har(write_har(recording())) == recording()


def test_the_file_is_what_browsers_open() -> None:
    log = json.loads(write_har(recording()))["log"]
    assert log["version"] == "1.2"
    assert log["creator"]["name"]
    entry = log["entries"][0]
    assert entry["startedDateTime"] == "2026-09-21T14:13:20.125Z"
    assert entry["_resourceType"] == "websocket"
    assert entry["_webSocketMessages"][0] == {
        "type": "send",
        "time": 1_790_000_000.625,
        "opcode": 1,
        "data": '{"text":"Hello. ","context_id":"a"}',
    }
    assert entry["_webSocketMessages"][2]["opcode"] == 2
    assert entry["_webSocketClose"] == {"code": 1008, "reason": "too many", "by": "service", "at": 0.9}
    for entry in log["entries"]:
        assert entry["request"].keys() >= {
            "method",
            "url",
            "httpVersion",
            "cookies",
            "headers",
            "queryString",
        }
        assert entry["response"].keys() >= {"status", "statusText", "headers", "content", "redirectURL"}
        assert entry["response"]["content"].keys() >= {"size", "mimeType"}
        assert entry.keys() >= {"startedDateTime", "time", "request", "response", "cache", "timings"}


def test_what_others_export_can_be_read_and_loses_its_keys() -> None:
    exported = {
        "log": {
            "version": "1.2",
            "creator": {"name": "another"},
            "pages": [],
            "entries": [
                {
                    "startedDateTime": "2026-09-21T16:13:20.125+02:00",
                    "time": 12.5,
                    "request": {
                        "method": "GET",
                        "url": f"https://api.example/ws/tts/multi?api_key={KEY}",
                        "headers": [{"name": "Authorization", "value": f"Bearer {KEY}"}],
                        "headersSize": -1,
                    },
                    "response": {"status": 101, "statusText": "Switching Protocols", "content": {}},
                    "_priority": "High",
                    "_webSocketMessages": [
                        {
                            "type": "send",
                            "time": 1_790_000_001.125,
                            "opcode": 1,
                            "data": f'{{"token":"{KEY}"}}',
                        },
                        {"type": "receive", "time": 1_790_000_002_125.0, "opcode": 2, "data": "AAAA"},
                        {"type": "receive", "time": 1_790_000_003.0, "opcode": 8, "data": ""},
                    ],
                }
            ],
        }
    }
    (exchange,) = read_har(json.dumps(exported).encode()).exchanges
    assert exchange.websocket
    assert exchange.url == "wss://api.example/ws/tts/multi?api_key=***"
    assert list(exchange.messages) == [
        Message(1.0, "client", '{"token":"***"}'),
        Message(2.0, "service", "AAAA", binary=True),
    ]
    assert exchange.close is None
    assert KEY not in repr(exchange)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"a log",
        b"{}",
        b'{"log": {"entries": 5}}',
        b"\xff\xfe",
        b'{"log": {"entries": [{"startedDateTime": "today", "request": {}, "response": {}}]}}',
        b"[" * 5000,
    ],
)
def test_what_is_no_har_file_is_named(data: bytes) -> None:
    with pytest.raises(MuxError, match=r"this\.har cannot be read as a HAR file"):
        read_har(data, "this.har")
