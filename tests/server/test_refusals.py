"""The shapes of an error answer, which the vendor's clients read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.requests import HTTPConnection

from mux.errors import ERRORS, Problem
from mux.server.refusals import error_response, not_found

PATHS = {"GET /this": "what it is", "POST /that": "what that is"}


def answered(problem: Problem) -> tuple[int, dict[str, str], Any]:
    response = error_response(problem, "0123abcd")
    return response.status_code, dict(response.headers), json.loads(bytes(response.body))["detail"]


@pytest.mark.parametrize("code", [code for code, row in ERRORS.items() if row.http != 422])
def test_every_failure_has_all_the_fields_of_the_vendors_body(code: str) -> None:
    status, headers, detail = answered(Problem(code=code, message="What happened."))
    row = ERRORS[code]
    assert status == row.http
    assert headers["content-type"] == "application/json"
    assert headers["x-trace-id"] == detail["request_id"] == "0123abcd"
    assert "retry-after" not in headers
    assert (detail["code"], detail["status"], detail["retryable"]) == (code, row.elevenlabs, row.retryable)
    assert detail["message"] == "What happened."
    assert "param" not in detail


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("invalid_api_key", "authentication_error"),
        ("origin_refused", "authorization_error"),
        ("voice_not_found", "not_found"),
        ("busy", "rate_limit_error"),
        ("draining", "service_unavailable"),
        ("engine_failed", "internal_error"),
        ("invalid_parameter", "validation_error"),
    ],
)
def test_the_kind_of_failure(code: str, kind: str) -> None:
    assert answered(Problem(code=code, message="."))[2]["type"] == kind


def test_the_parameter_to_blame_is_named() -> None:
    assert answered(Problem(code="invalid_parameter", message=".", param="seed"))[2]["param"] == "seed"


@pytest.mark.parametrize(("milliseconds", "seconds"), [(1, "1"), (1000, "1"), (1001, "2"), (30_000, "30")])
def test_when_to_come_again_is_said_in_whole_seconds_never_too_early(milliseconds: int, seconds: str) -> None:
    _, headers, _ = answered(Problem(code="busy", message=".", retry_after_ms=milliseconds))
    assert headers["retry-after"] == seconds


@pytest.mark.parametrize(
    ("facts", "kind", "loc", "message"),
    [
        (
            {"observed": "Object missing required field `text`"},
            "missing",
            ["body", "text"],
            "Field required",
        ),
        ({"observed": "Expected `int`, got `str` - at `$.seed`"}, "value_error", ["body", "seed"], "What."),
        ({"observed": "JSON is malformed"}, "value_error", ["body"], "What."),
        ({"param": "text"}, "value_error", ["body", "text"], "What."),
    ],
)
def test_a_body_that_cannot_be_processed_has_fastapis_shape(
    facts: dict[str, str], kind: str, loc: list[str], message: str
) -> None:
    status, _, detail = answered(Problem(code="unprocessable", message="What.", **facts))  # type: ignore[arg-type]
    assert (status, detail) == (422, [{"type": kind, "loc": loc, "msg": message, "input": None}])


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/v1/v1/text-to-speech/a/stream-input", "one /v1 too many"),
        ("/text-to-speech/a/multi-stream-input", "lacks its /v1"),
        ("/v1/text-to-speak", None),
    ],
)
def test_nothing_there_names_what_is_and_the_likely_slip(path: str, hint: str | None) -> None:
    scope = {"type": "http", "path": path, "headers": [], "server": ("h", 80), "scheme": "http"}
    problem = not_found(HTTPConnection(scope), PATHS)
    assert problem.row.http == 404
    assert all(known in problem.message for known in [path, *PATHS])
    assert ("base URL" in problem.message) is (hint is not None)
    assert (hint or "") in problem.message
