"""The table of causes: every row is whole, and provoked by a test."""

from __future__ import annotations

import ast
import string
from pathlib import Path

import pytest

from mux.doctor.answers import (
    CLOSES,
    ERRORS,
    SENTENCES,
    STATUSES,
    STEPS,
    cause_of_close,
    cause_of_error,
    cause_of_status,
    explained,
    read_body,
)
from mux.doctor.case import read_case
from mux.doctor.causes import CAUSES
from mux.doctor.findings import Finding, fine, found, skipped

HERE = Path(__file__)


def test_every_cause_is_provoked_by_a_test() -> None:
    """The other tests of this folder name the cause that they expect to be found."""
    named = {
        node.value
        for path in HERE.parent.glob("test_*.py")
        if path != HERE
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert CAUSES.keys() - named == set()


@pytest.mark.parametrize("cause", CAUSES)
def test_a_row_is_one_sentence_and_a_remedy(cause: str) -> None:
    row = CAUSES[cause]
    for text in (row.sentence, row.remedy):
        assert text[0].isupper() or text[0] == "{"
        assert text.endswith((".", "}."))
        assert "  " not in text
    assert ". " not in row.sentence


def test_every_word_of_a_service_means_a_cause() -> None:
    for table in (ERRORS, SENTENCES, CLOSES, STATUSES):
        assert set(table.values()) <= CAUSES.keys()
    assert STEPS.keys() <= CAUSES.keys()


@pytest.mark.parametrize(
    "cause",
    sorted({*ERRORS.values(), *SENTENCES.values(), *CLOSES.values(), *STATUSES.values(), "rejected"}),
)
def test_whatever_a_service_says_can_be_told(cause: str) -> None:
    """No field of a sentence is missing, and none is left."""
    case = read_case("wss://api.elevenlabs.io/v1", voice="anne", api_key="sesame")
    for finding in explained(case, "speech", cause, "seen with sesame"):
        assert "{" not in finding.sentence + str(finding.remedy)
        assert "sesame" not in repr(finding)


@pytest.mark.parametrize(
    ("code", "message", "cause"),
    [
        ("invalid_api_key", "Invalid API key", "key_refused"),
        ("UNAUTHORIZED", "Invalid key", "key_refused"),
        ("UNAUTHORIZED", "None of the authentication methods were found.", "key_missing"),
        ("max_active_conversations", "", "too_many_contexts"),
        ("", "Maximum simultaneous contexts per WebSocket connection exceeded (5).", "too_many_contexts"),
        ("This request exceeds your quota of 1.", "", "quota_exceeded"),
        ("gremlins", "Gremlins in the works", None),
    ],
)
def test_errors(code: str, message: str, cause: str | None) -> None:
    assert cause_of_error(code, message) == cause


def test_closes() -> None:
    assert cause_of_close(1008, "A voice with voice_id x does not exist.") == "voice_unknown"
    assert cause_of_close(1013, "") == "try_later"
    assert cause_of_close(1008, "") is None
    assert cause_of_close(1000, "") is None


def test_statuses() -> None:
    assert cause_of_status(401) == "key_refused"
    assert cause_of_status(400, "unsupported_model") == "model_not_here"
    assert cause_of_status(404, "voice_not_found") == "voice_unknown"
    assert cause_of_status(403, "not_found") == "forbidden"
    assert cause_of_status(500) == cause_of_status(502) == "service_failed"
    assert cause_of_status(503) == "try_later"
    assert cause_of_status(418) == "rejected"


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (
            b'{"detail": {"status": "quota_exceeded", "message": "No credits."}}',
            "quota_exceeded",
            "No credits.",
        ),
        (b'{"detail": {"code": "not_found", "status": "voice_not_found"}}', "voice_not_found", ""),
        (b'{"error": "No key", "error_code": "UNAUTHORIZED", "code": 401}', "UNAUTHORIZED", "No key"),
        (b'{"detail": "Not Found"}', "", "Not Found"),
        (b"<html>Bad gateway</html>", "", ""),
        (b"[1, 2", "", ""),
        (b'{"detail": [{"msg": "Field required"}]}', "", ""),
    ],
)
def test_bodies(body: bytes, code: str, message: str) -> None:
    told = read_body(body)
    assert (told.code, told.message) == (code, message)


def test_findings() -> None:
    finding = found("dns", "dns_failed", "no such name", host="h.test")
    assert finding.verdict == "problem"
    assert finding.sentence == "The name h.test cannot be found."
    assert finding.took(0.12345).seconds == 0.123
    assert fine("tcp", "It answers").verdict == "ok"
    assert skipped("tls", "Not tried").remedy is None
    with pytest.raises(KeyError):
        found("dns", "dns_failed")
    assert Finding(step="key", verdict="ok", sentence="well").evidence == ()


def test_a_sentence_has_only_fields_with_a_name() -> None:
    for row in CAUSES.values():
        for _, field, _, _ in string.Formatter().parse(row.sentence + row.remedy):
            assert field is None or field.isidentifier()
