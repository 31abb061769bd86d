"""The ASGI application: which path speaks what.

A socket that cannot be served is refused at its handshake with an HTTP status and a JSON body: a client that
is accepted and closed at once can hang for ever (`livekit-plugins-elevenlabs` does).
"""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match, Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Scope
from starlette.websockets import WebSocket

from mux.errors import Problem
from mux.server.catalogue import catalogue_routes
from mux.server.kugelaudio.catalogue import Catalogue
from mux.server.kugelaudio.door import error_response as kugelaudio_error
from mux.server.kugelaudio.door import is_kugelaudio
from mux.server.kugelaudio.sockets import socket_routes
from mux.server.kugelaudio.speech import Generate
from mux.server.refusals import error_response, not_found, refuse
from mux.server.service import Service, new_session_id
from mux.server.sockets import dialogue, multi_stream_input, stream_input
from mux.server.speech import Speech

__all__ = ["create_app"]

SPEECH = "/v1/text-to-speech/{voice_id}"
DIALOGUE = "/v1/text-to-dialogue"
PATHS = {
    "GET /healthz, /health, /ready": "200 while serving, 503 while draining",
    f"WebSocket {SPEECH}/multi-stream-input": "many contexts on one socket",
    f"WebSocket {SPEECH}/stream-input": "one context",
    f"WebSocket {DIALOGUE}/[multi-]stream-input": "several voices in one context",
    f"POST {SPEECH}[/stream][/with-timestamps]": "speech as the answer to a request",
    "GET /v1/voices, /v2/voices, /v1/models, /v1/user": "what there is",
    "WebSocket /ws/tts/multi, /ws/tts/stream, /ws/tts": "the same in KugelAudio's protocol",
    "POST /v1/tts/generate, /v1/normalize": "KugelAudio's, too",
    "/11labs/..., /kugelaudio/...": "the paths of one vendor only",
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
        body = kugelaudio_error if is_kugelaudio(websocket) else None
        await refuse(websocket, not_found(websocket, PATHS), new_session_id(), body)

    nowhere = WebSocketRoute("/{path:path}", no_socket)
    health = [Route(path, healthz) for path in ("/healthz", "/health", "/ready")]
    elevenlabs = _elevenlabs_routes(service)
    kugelaudio = _kugelaudio_routes(service)
    return Starlette(
        routes=[
            *health,
            # The same paths, told apart by what the request says.
            *_shared(kugelaudio),
            *elevenlabs,
            *kugelaudio,
            Mount("/11labs", routes=[*health, *elevenlabs, nowhere]),
            Mount("/kugelaudio", routes=[*health, *kugelaudio, nowhere]),
            nowhere,
        ],
        exception_handlers={HTTPException: _http_error},
    )


class _Shared(Route):
    """A path that both vendors have, for the requests of one."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http" and is_kugelaudio(HTTPConnection(scope)):
            return super().matches(scope)
        return Match.NONE, {}


def _shared(kugelaudio: list[BaseRoute]) -> list[BaseRoute]:
    return [
        _Shared(route.path, route.endpoint, methods=["GET"])
        for route in kugelaudio
        if isinstance(route, Route) and route.path.startswith(("/v1/voices", "/v1/models"))
    ]


def _elevenlabs_routes(service: Service) -> list[BaseRoute]:
    return [
        WebSocketRoute(f"{SPEECH}/multi-stream-input", multi_stream_input(service)),
        WebSocketRoute(f"{SPEECH}/stream-input", stream_input(service)),
        WebSocketRoute(f"{DIALOGUE}/multi-stream-input", dialogue(service, single=False)),
        WebSocketRoute(f"{DIALOGUE}/stream-input", dialogue(service, single=True)),
        *_speech_routes(service),
        *catalogue_routes(service),
    ]


def _kugelaudio_routes(service: Service) -> list[BaseRoute]:
    catalogue = Catalogue(service)
    return [
        *socket_routes(service),
        Route("/v1/tts/generate", Generate(service), methods=["POST"]),
        Route("/predict", Generate(service), methods=["POST"]),
        Route("/v1/normalize", catalogue.normalize, methods=["POST"]),
        Route("/v1/voices", catalogue.voices),
        Route("/v1/voices/{voice_id}", catalogue.voice),
        Route("/v1/models", catalogue.models),
    ]


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
        problem = not_found(request, PATHS)
    else:
        allowed = (error.headers or {}).get("Allow", "")
        message = f"{request.method} is not allowed here. Allowed: {allowed}."
        problem = Problem(code="method_not_allowed", message=message, param="method")
    respond = kugelaudio_error if is_kugelaudio(request) else error_response
    response = respond(problem, new_session_id())
    response.headers.update(error.headers or {})
    return response
