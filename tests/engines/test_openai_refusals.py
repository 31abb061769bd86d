from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from mux.engines.openai_refusals import refusal, retry_after_ms, said
from mux.errors import MuxError

SERVER = "The speech server example.com"


def error(status: int, body: object = None, **headers: str) -> MuxError:
    data = b"" if body is None else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return refusal(status, names, data, server=SERVER, asked="model 'm' and voice 'v'", private=("secret",))


@pytest.mark.parametrize(
    ("status", "code", "retryable", "remedy"),
    [
        (301, "upstream_error", False, "base URL"),
        (400, "upstream_error", False, "model 'm' and voice 'v'"),
        (401, "upstream_error", False, "API key"),
        (402, "upstream_error", False, "Top up"),
        (403, "upstream_error", False, "Check"),
        (404, "upstream_error", False, "/v1"),
        (408, "engine_failed", True, "Try again"),
        (413, "segment_too_long", False, "shorter"),
        (422, "upstream_error", False, "model 'm' and voice 'v'"),
        (429, "busy", True, "try again later"),
        (500, "engine_failed", True, "log"),
        (502, "engine_failed", True, "log"),
        (503, "busy", True, "try again later"),
        (599, "engine_failed", True, "log"),
    ],
)
def test_each_status_has_a_code_and_a_remedy(status: int, code: str, retryable: bool, remedy: str) -> None:
    found = error(status)
    assert (found.code, found.retryable) == (code, retryable)
    assert str(found).startswith(SERVER)
    assert str(status) in str(found)
    assert remedy in str(found)


def test_an_account_without_credit_is_not_told_to_try_again() -> None:
    found = error(429, {"error": {"message": "You exceeded your quota.", "code": "insufficient_quota"}})
    assert not found.retryable
    assert "credit" in str(found)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"error": {"message": "No such voice.", "type": "invalid_request_error"}}, "No such voice"),
        ({"error": "No such voice"}, "No such voice"),
        ({"detail": "No such voice"}, "No such voice"),
        ({"detail": {"error": "validation_error", "message": "No such voice"}}, "No such voice"),
        ({"detail": [{"loc": ["body", "voice"], "msg": "Field required"}]}, "voice: Field required"),
        ({"message": "No\n\tsuch\x00 voice"}, "No such voice"),
        ({"error": {"message": ["No such voice"]}}, "No such voice"),
        ({"error": {"code": 5}}, ""),
        ({"error": None}, ""),
        ([], ""),
        ("No such voice", "No such voice"),
        (5, ""),
    ],
)
def test_the_sentence_of_the_server_is_found_in_every_form(body: object, sentence: str) -> None:
    assert said(json.dumps(body).encode()) == sentence


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error": "\xff"}', b"[" * 5000, b'{"error": '])
def test_what_cannot_be_read_is_left_out(body: bytes) -> None:
    assert said(body) == ""


def test_a_long_sentence_is_cut() -> None:
    assert len(said(json.dumps({"error": "word " * 1000}).encode())) < 250


TEXT = "My card number is 4111 1111 1111 1111, please."


@pytest.mark.parametrize(
    "message",
    [
        f"cannot speak {TEXT!r}",
        f"cannot speak {TEXT[:20]}...",
        f"cannot speak {json.dumps(TEXT.upper())}",
        "cannot say: number\nis 4111-1111",
        "Incorrect API key: sk-proj-Zq81vXw***",
        "key SK_PROJ_Zq81vXw07mLk29",
    ],
)
def test_a_sentence_that_repeats_the_text_or_the_key_is_left_out(message: str) -> None:
    body = json.dumps({"error": {"message": message}}).encode()
    assert said(body)
    assert said(body, (TEXT, "sk-proj-Zq81vXw07mLk29")) == ""


def test_a_short_text_is_looked_for_whole() -> None:
    body = json.dumps({"error": "The voice 'bob' is not known"}).encode()
    assert said(body, ("Yes.",)) == "The voice 'bob' is not known"
    assert said(body, ("Bob!",)) == ""
    assert said(body, ("", "...")) == "The voice 'bob' is not known"


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3000),
        ({"retry-after": "0.25"}, 250),
        ({"retry-after": "3", "retry-after-ms": "120"}, 120),
        ({"retry-after": "-5"}, 0),
        ({"retry-after": "99999999"}, 3_600_000),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, 3_600_000),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "Wed, 21 Oct 99999 07:28:00 GMT"}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], wait: int | None) -> None:
    assert retry_after_ms(headers) == wait


def test_a_date_to_wait_for() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert retry_after_ms({"retry-after": date}) == pytest.approx(60_000, abs=2000)


def test_the_wait_is_passed_on() -> None:
    assert error(429, retry_after="7").problem.retry_after_ms == 7000
    assert error(429).problem.retry_after_ms == 1000
    assert error(500, retry_after="7").problem.retry_after_ms == 7000
    assert error(500).problem.retry_after_ms is None
