"""The ASGI application: which path speaks what.

A socket that cannot be served is refused at its handshake with an HTTP status and a JSON body: a client that
is accepted and closed at once can hang for ever (`livekit-plugins-elevenlabs` does).
"""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from mux.server.catalogue import catalogue_routes
from mux.server.refusals import error_response, not_found, refuse
from mux.server.service import Service, new_session_id
from mux.server.sockets import dialogue, multi_stream_input, stream_input
from mux.server.speech import Speech

__all__ = ["create_app"]

SPEECH = "/v1/text-to-speech/{voice_id}"
DIALOGUE = "/v1/text-to-dialogue"
PATHS = {
    "GET /healthz": "200 while serving, 503 while draining",
    f"WebSocket {SPEECH}/multi-stream-input": "many contexts on one socket",
    f"WebSocket {SPEECH}/stream-input": "one context",
    f"WebSocket {DIALOGUE}/[multi-]stream-input": "several voices in one context",
    f"POST {SPEECH}[/stream][/with-timestamps]": "speech as the answer to a request",
    "GET /v1/voices, /v2/voices, /v1/models, /v1/user": "what there is",
}


def create_app(service: Service) -> ASGIApp:
    """Make the application around a running service; it can be mounted in any ASGI application."""

    async def healthz(request: Request) -> Response:
        body = {
            "status": "draining" if service.draining else "ok",
            "sockets": service.sockets,
            "contexts": service.contexts,
        }
        return JSONResponse(body, status_code=503 if service.draining else 200)

    async def no_socket(websocket: WebSocket) -> None:
        await refuse(websocket, not_found(websocket, PATHS), new_session_id())

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            WebSocketRoute(f"{SPEECH}/multi-stream-input", multi_stream_input(service)),
            WebSocketRoute(f"{SPEECH}/stream-input", stream_input(service)),
            WebSocketRoute(f"{DIALOGUE}/multi-stream-input", dialogue(service, single=False)),
            WebSocketRoute(f"{DIALOGUE}/stream-input", dialogue(service, single=True)),
            *_speech_routes(service),
            *catalogue_routes(service),
            WebSocketRoute("/{path:path}", no_socket),
        ],
        exception_handlers={HTTPException: _http_error},
    )


def _speech_routes(service: Service) -> list[Route]:
    return [
        Route(
            f"{SPEECH}{streaming}{timing}",
            Speech(service, timed=bool(timing), whole=not streaming),
            methods=["POST"],
        )
        for streaming in ("", "/stream")
        for timing in ("", "/with-timestamps")
    ]


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return error_response(not_found(request, PATHS), new_session_id())
    return JSONResponse(
        {"detail": {"type": "invalid_request", "message": error.detail, "status": error.detail}},
        status_code=error.status_code,
        headers=error.headers,
    )
