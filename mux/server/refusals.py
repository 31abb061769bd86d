"""How the door says no: an HTTP status and a JSON body, for plain requests and for handshakes alike."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket

from mux.errors import Problem, close_reason
from mux.log import get_logger

__all__ = ["error_response", "not_found", "refuse"]

log = get_logger("mux.door")

_KINDS = {
    401: "authentication_error",
    403: "authorization_error",
    404: "not_found",
    405: "invalid_request",
    429: "rate_limit_error",
    500: "internal_error",
    502: "internal_error",
    503: "service_unavailable",
    504: "internal_error",
}


async def refuse(
    websocket: WebSocket,
    problem: Problem,
    session_id: str,
    body: Callable[[Problem, str], JSONResponse] | None = None,
) -> None:
    """Answer a handshake with an error instead of 101; `body` makes it (ElevenLabs')."""
    log.info("refused", session=session_id, code=problem.code)
    if "websocket.http.response" in websocket.scope.get("extensions", {}):
        await websocket.send_denial_response((body or error_response)(problem, session_id))
    else:  # another ASGI server than ours: it answers 403 to a close before the accept
        await websocket.close(problem.row.close, close_reason(problem.message))


def error_response(problem: Problem, request_id: str) -> JSONResponse:
    """ElevenLabs' error body, with all the fields that one or other of its versions has."""
    headers = {"x-trace-id": request_id}
    if problem.retry_after_ms is not None:
        headers["retry-after"] = str(-(-problem.retry_after_ms // 1000))
    body = {"detail": [_validation(problem)] if problem.row.http == 422 else _detail(problem, request_id)}
    return JSONResponse(body, status_code=problem.row.http, headers=headers)


def _detail(problem: Problem, request_id: str) -> dict[str, Any]:
    detail: dict[str, Any] = {
        "type": _KINDS.get(problem.row.http, "validation_error"),
        "code": problem.code,
        "message": problem.message,
        "status": problem.row.elevenlabs,
        "request_id": request_id,
        "retryable": problem.retryable,
    }
    return detail if problem.param is None else {**detail, "param": problem.param}


def _validation(problem: Problem) -> dict[str, Any]:
    """A 422 has FastAPI's shape. msgspec's sentence says which field it is about."""
    cause = str(problem.observed)
    missing = re.search(r"missing required field `(\w+)`", cause)
    place = re.search(r"at `\$\.([\w.]+)`", cause)
    found = missing or place
    name = found[1] if found else problem.param
    return {
        "type": "missing" if missing else "value_error",
        "loc": ["body", *(name.split(".") if name else ())],
        "msg": "Field required" if missing else problem.message,
        "input": None,
    }


def not_found(connection: HTTPConnection, paths: Mapping[str, str]) -> Problem:
    """Nothing is served there; `paths` is what exists."""
    exists = "; ".join(f"{path} ({what})" for path, what in paths.items())
    path = connection.url.path
    # LiveKit's base URL ends in /v1, Pipecat's does not: the two most likely slips.
    hint = " The base URL has one /v1 too many." if "/v1/v1/" in path else ""
    if path.endswith("stream-input") and not path.startswith("/v1/"):
        hint = " The base URL lacks its /v1."
    message = f"Nothing is served at {path[:200]!r}.{hint} What exists: {exists}."
    return Problem(code="not_found", message=message, allowed=tuple(paths))
