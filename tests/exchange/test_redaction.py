from __future__ import annotations

import base64
import json

import pytest

from mux.exchange.redaction import Redactor, audio_bytes, characters

KEY = "sk_0123456789abcdef"


@pytest.mark.parametrize(
    "name",
    ["api_key", "authorization", "single_use_token", "token", "xi_api_key", "xi-api-key", "master_key"],
)
def test_keys_are_hidden_in_urls_and_messages_and_wherever_they_are_quoted(name: str) -> None:
    redactor = Redactor()
    assert redactor.url(f"wss://h/p?a=1&{name}={KEY}&b=%2F") == f"wss://h/p?a=1&{name}=***&b=%2F"
    assert redactor.message(f"no such key: {KEY}") == "no such key: ***"
    redactor = Redactor()
    assert json.loads(redactor.message(json.dumps({"text": " ", name: KEY}))) == {"text": " ", name: "***"}
    assert KEY not in redactor.message(json.dumps({"error": f"{KEY} is unknown"}))


def test_a_key_is_found_behind_an_escape() -> None:
    assert KEY not in Redactor().message('{"xi\\u005fapi_key": "KEY"}'.replace("KEY", KEY))


def test_of_headers_only_known_ones_are_shown() -> None:
    redactor = Redactor()
    headers = [("Host", "h"), ("xi-api-key", KEY), ("Cookie", "session=abcdefgh"), ("User-Agent", "x")]
    headers += [("Sec-WebSocket-Protocol", f"one, token.{KEY}"), ("Server", "nginx")]
    shown = dict(redactor.headers(headers))
    assert shown == {
        "Host": "h",
        "xi-api-key": "***",
        "Cookie": "***",
        "User-Agent": "x",
        "Sec-WebSocket-Protocol": "***",
        "Server": "nginx",
    }
    assert redactor.message(f"told token.{KEY}") == "told ***"


def test_a_password_in_a_url_is_hidden() -> None:
    assert Redactor().url("ws://me:secret@h/p") == "ws://h/p"


def test_audio_is_elided_but_counted() -> None:
    audio = base64.b64encode(bytes(6540)).decode()
    shown = json.loads(Redactor().message(json.dumps({"audio": audio, "isFinal": None})))
    assert shown == {"audio": "<6540 bytes of audio>", "isFinal": None}
    assert audio_bytes(shown["audio"]) == audio_bytes(audio) == 6540
    assert Redactor().message(bytes(77)) == "<77 bytes of audio>"
    assert audio_bytes("no base64!") == 0


def test_audio_is_kept_when_asked_for_and_the_rest_stays_as_it_was() -> None:
    data = '{"audio":  "AAAA", "contextId":"a"}'
    assert Redactor(audio=True).message(data) == data
    assert Redactor(audio=True).message(b"\0\0\0") == "AAAA"


def test_text_is_elided_but_counted_when_asked_for() -> None:
    redactor = Redactor(text=False)
    said = {"text": "Hello there.", "context_id": "a", "inputs": [{"text": "you"}]}
    shown = json.loads(redactor.message(json.dumps(said)))
    assert shown == {"text": "<12 characters>", "context_id": "a", "inputs": [{"text": "<3 characters>"}]}
    assert characters(shown["text"]) == characters(said["text"]) == 12
    told = {
        "alignment": {"chars": ["H", "e"], "charStartTimesMs": [0, 1]},
        "word_timestamps": [{"word": "He"}],
    }
    assert "H" not in redactor.message(json.dumps(told))
    assert redactor.message("what is this") == "<12 characters>"


@pytest.mark.parametrize("text", ["", " "])
def test_blank_texts_are_signals_and_stay(text: str) -> None:
    data = json.dumps({"text": text})
    assert Redactor(text=False).message(data) == data


@pytest.mark.parametrize("data", ["[" * 5000, '"', "", "nul", '{"text": "\\ud800"}', "[1, null, true]"])
def test_whatever_comes_is_recorded(data: str) -> None:
    assert isinstance(Redactor().message(data), str)
    assert isinstance(Redactor(text=False).message(data), str)
