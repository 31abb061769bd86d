"""KugelAudio's way of asking in and of being refused."""

from __future__ import annotations

from contextlib import suppress

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket

from mux.errors import MuxError, Problem, close_reason
from mux.links.transport import Disconnected
from mux.server.accepted import AcceptedSocket
from mux.server.door import check_caller
from mux.server.refusals import refuse
from mux.server.service import Service

__all__ = ["admit", "error_response", "is_kugelaudio", "turn_away"]

_KEY_NAMES = ("api_key", "master_key", "token")
"""Where the SDKs put a key into a socket's query; a `token` may also be a single-use one."""


_OWN_PATHS = ("/ws/", "/kugelaudio/", "/v1/tts/", "/v1/normalize", "/v1/dictionaries", "/predict")


def admit(connection: HTTPConnection, service: Service) -> str | None:
    """Check everything that a handshake or a request's head tells; returns whose key it was (see
    `KeyRing.app`).

    Raises:
        MuxError: the refusal.
    """
    service.admit()
    query = connection.query_params
    token = query.get("token")
    app = service.tokens.app(token) if token else None
    if token and service.tokens.redeem(token):
        check_caller(connection, service)
        return app
    key = next(filter(None, map(query.get, _KEY_NAMES)), None)
    return check_caller(connection, service, key, required=True).app


def is_kugelaudio(connection: HTTPConnection) -> bool:
    """Whether a request comes from a client of this vendor, where its path does not say so: its SDKs do, and
    its documents carry the key in `authorization` or `x-api-key`, where ElevenLabs' say `xi-api-key`."""
    headers = connection.headers
    if "x-kugelaudio-sdk" in headers or connection.url.path.startswith(_OWN_PATHS):
        return True
    return "xi-api-key" not in headers and ("authorization" in headers or "x-api-key" in headers)


def error_response(problem: Problem, request_id: str) -> JSONResponse:
    """The vendor's error body."""
    body = {
        "error": problem.message,
        "error_code": problem.row.kugelaudio,
        "code": problem.row.http,
        "request_id": request_id,
    }
    headers = {"x-request-id": request_id}
    if problem.retry_after_ms is not None:
        seconds = -(-problem.retry_after_ms // 1000)
        body["retry_after"] = seconds
        headers["retry-after"] = str(seconds)
    return JSONResponse(body, status_code=problem.row.http, headers=headers)


async def turn_away(websocket: WebSocket, error: MuxError, session_id: str) -> None:
    """Refuse a handshake with an HTTP status; but a restart is told by a close with 1013, after which the
    SDKs connect again and send their turn there."""
    problem = error.problem
    if problem.code != "draining":
        await refuse(websocket, problem, session_id, error_response)
        return
    await websocket.accept(headers=[(b"x-request-id", session_id.encode())])
    with suppress(Disconnected):
        await AcceptedSocket(websocket).aclose(1013, close_reason(problem.message))
