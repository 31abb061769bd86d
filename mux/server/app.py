"""The ASGI application: which path speaks what, and who is let in.

A socket that cannot be served is refused at its handshake with an HTTP status and a JSON body: a client that
is accepted and closed at once can hang for ever (`livekit-plugins-elevenlabs` does).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect

from mux.audio.formats import parse_format
from mux.dialects.elevenlabs import ElevenLabsServer, Parameters, parse_parameters
from mux.errors import MuxError, Problem
from mux.links.transport import Disconnected, Ending
from mux.log import get_logger
from mux.server.auth import check_origin, key_in_headers
from mux.server.service import Service, new_session_id

__all__ = ["create_app"]

log = get_logger("mux.door")

SOCKET_PATH = "/v1/text-to-speech/{voice_id}/multi-stream-input"
PATHS = {
    "GET /healthz": "200 while serving, 503 while draining",
    f"WebSocket {SOCKET_PATH}": "ElevenLabs multi-context text-to-speech",
}


def create_app(service: Service) -> ASGIApp:
    """Make the application around a running service; it can be mounted in any ASGI application."""

    async def multi_stream_input(websocket: WebSocket) -> None:
        session_id = new_session_id()
        try:
            parameters, authenticated = _admit(websocket, service)
            output = parse_format(parameters.output_format)
        except MuxError as error:
            await _refuse(websocket, error.problem, session_id)
            return
        # `x-trace-id` is where the vendor's clients look for the id that support will ask for.
        await websocket.accept(headers=[(b"x-trace-id", session_id.encode())])
        dialect = ElevenLabsServer(sync_alignment=parameters.sync_alignment, session_id=session_id)
        transport = _Accepted(websocket)
        if parameters.hello:
            with suppress(Disconnected):
                await transport.send(dialect.hello(service.limits, parameters.settings.inactivity_timeout))
        await service.serve_socket(
            transport, session_id, dialect, parameters.settings, output, authenticated=authenticated
        )

    async def healthz(request: Request) -> Response:
        body = {
            "status": "draining" if service.draining else "ok",
            "sockets": service.sockets,
            "contexts": service.contexts,
        }
        return JSONResponse(body, status_code=503 if service.draining else 200)

    async def nothing_here(websocket: WebSocket) -> None:
        await _refuse(websocket, _not_found(websocket), new_session_id())

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            WebSocketRoute(SOCKET_PATH, multi_stream_input),
            WebSocketRoute("/{path:path}", nothing_here),
        ],
        exception_handlers={HTTPException: _http_error},
    )


def _admit(websocket: WebSocket, service: Service) -> tuple[Parameters, bool]:
    """Check everything that the handshake tells; returns its parameters, and whether its key has been seen.

    Raises:
        MuxError: the refusal.
    """
    service.admit()
    headers = websocket.headers
    check_origin(headers.get("origin"), headers.get("host"), service.settings.allowed_origins)
    parameters = parse_parameters(websocket.path_params["voice_id"], websocket.query_params)
    key = key_in_headers(headers) or parameters.key
    if key is not None and (problem := service.keys.check(key)):
        raise MuxError(problem)
    settings = parameters.settings
    if reason := service.engine.check(settings.voice, None):
        raise MuxError.of("unknown_voice", reason)
    if reason := service.engine.check(settings.voice, settings.language):
        raise MuxError.of("unsupported_language", reason)
    if parameters.unknown:
        log.info("unknown_parameters_ignored", names=parameters.unknown)
    return parameters, key is not None or service.keys.open


async def _refuse(websocket: WebSocket, problem: Problem, session_id: str) -> None:
    log.info("refused", session=session_id, code=problem.code)
    await websocket.send_denial_response(_error_response(problem, session_id))


def _error_response(problem: Problem, request_id: str) -> JSONResponse:
    """The vendor's error body, with all the fields that one or other of its versions has."""
    headers = {"x-trace-id": request_id}
    if problem.retry_after_ms is not None:
        headers["retry-after"] = str(-(-problem.retry_after_ms // 1000))
    detail: dict[str, Any] = {
        "type": _KINDS.get(problem.row.http, "invalid_request"),
        "code": problem.code,
        "message": problem.message,
        "status": problem.row.elevenlabs,
        "request_id": request_id,
        "retryable": problem.retryable,
    }
    return JSONResponse({"detail": detail}, status_code=problem.row.http, headers=headers)


_KINDS = {
    401: "authentication_error",
    403: "authorization_error",
    404: "not_found",
    429: "rate_limit_error",
    500: "internal_error",
    503: "service_unavailable",
}


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return _error_response(_not_found(request), new_session_id())
    return JSONResponse(
        {"detail": {"type": "invalid_request", "message": error.detail, "status": error.detail}},
        status_code=error.status_code,
        headers=error.headers,
    )


def _not_found(connection: HTTPConnection) -> Problem:
    exists = "; ".join(f"{path} ({what})" for path, what in PATHS.items())
    path = connection.url.path
    # LiveKit's base URL ends in /v1, Pipecat's does not: the two most likely slips.
    hint = " The base URL has one /v1 too many." if "/v1/v1/" in path else ""
    if path.endswith("-stream-input") and not path.startswith("/v1/"):
        hint = " The base URL lacks its /v1."
    message = f"Nothing is served at {path[:200]!r}.{hint} What exists: {exists}."
    return Problem(code="not_found", message=message, allowed=tuple(PATHS))


class _Accepted:
    """An accepted WebSocket as a `Transport`."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self.closed: Ending | None = None

    async def send(self, message: str) -> None:
        if self.closed is not None:
            raise Disconnected(self.closed)
        try:
            await self._websocket.send_text(message)
        except (WebSocketDisconnect, RuntimeError, OSError):
            raise self._gone(1006, "") from None

    async def receive(self) -> str | bytes:
        if self.closed is not None:
            raise Disconnected(self.closed)
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise self._gone(message.get("code") or 1006, message.get("reason") or "")
        text: str | None = message.get("text")
        if text is not None:
            return text
        data: bytes = message["bytes"]
        return data

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        if self.closed is not None:
            return
        self.closed = Ending(code, reason, local=True)
        try:
            await self._websocket.close(code, reason)
        except (WebSocketDisconnect, RuntimeError, OSError):
            # It was gone before it was told.
            return

    def _gone(self, code: int, reason: str) -> Disconnected:
        self.closed = self.closed or Ending(code, reason, received=code != 1006)
        return Disconnected(self.closed)
