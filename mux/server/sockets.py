"""The WebSocket endpoints."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Literal

from starlette.websockets import WebSocket

from mux.dialects.elevenlabs import (
    DIALOGUE_SCHEDULE,
    ElevenLabsDialogue,
    ElevenLabsServer,
    ElevenLabsStream,
    Parameters,
)
from mux.errors import MuxError, Problem
from mux.links.transport import Disconnected
from mux.protocol.voice import ContextSettings, clamp_timeout, inherit
from mux.server.accepted import AcceptedSocket
from mux.server.door import admit
from mux.server.refusals import refuse
from mux.server.service import Service, new_session_id

__all__ = ["dialogue", "multi_stream_input", "stream_dialect", "stream_input"]

Endpoint = Callable[[WebSocket], Awaitable[None]]
Dialect = ElevenLabsServer | ElevenLabsStream | ElevenLabsDialogue
LATE = frozenset({"invalid_api_key", "unknown_voice", "model_not_found", "unsupported_format"})
"""What the vendor tells only after it has accepted the socket; so does the strict profile."""


def multi_stream_input(service: Service) -> Endpoint:
    """Many contexts on one socket."""

    def dialect(parameters: Parameters, session_id: str) -> Dialect:
        return ElevenLabsServer(sync_alignment=parameters.sync_alignment, session_id=session_id)

    return _endpoint(service, "socket", dialect)


def stream_input(service: Service) -> Endpoint:
    """One context, whose end is the socket's."""
    return _endpoint(service, "socket", partial(stream_dialect, service))


def stream_dialect(service: Service, parameters: Parameters, session_id: str) -> ElevenLabsStream:
    """What a socket of `stream_input` speaks."""
    wanted = service.settings.final_after_flush
    auto_mode = bool(parameters.settings.auto_mode)
    return ElevenLabsStream(
        sync_alignment=parameters.sync_alignment,
        session_id=session_id,
        final_after_flush=wanted == "always" or (wanted == "auto_mode" and auto_mode),
    )


def dialogue(service: Service, *, single: bool) -> Endpoint:
    """Contexts in which several voices talk; with `single` only one."""
    return _endpoint(
        service,
        "dialogue",
        lambda parameters, session_id: ElevenLabsDialogue(single=single, session_id=session_id),
        ContextSettings(chunk_length_schedule=DIALOGUE_SCHEDULE),
    )


def _endpoint(
    service: Service,
    kind: Literal["socket", "dialogue"],
    speaking: Callable[[Parameters, str], Dialect],
    settings: ContextSettings = ContextSettings(),  # noqa: B008
) -> Endpoint:
    async def serve(websocket: WebSocket) -> None:
        session_id = new_session_id()
        try:
            admission = admit(websocket, service, kind)
        except MuxError as error:
            await _turn_away(websocket, service, error.problem, session_id)
            return
        # `x-trace-id` is where the vendor's clients look for the id that support will ask for.
        await websocket.accept(headers=[(b"x-trace-id", session_id.encode())])
        parameters = admission.parameters
        dialect = speaking(parameters, session_id)
        transport = AcceptedSocket(websocket)
        if parameters.hello:
            with suppress(Disconnected):
                timeout = clamp_timeout(parameters.settings.inactivity_timeout)
                await transport.send(dialect.hello(service.limits, timeout))
        await service.serve_socket(
            transport,
            session_id,
            dialect,
            inherit(parameters.settings, settings),
            admission.output,
            authenticated=admission.authenticated,
            app=admission.app,
        )

    return serve


async def _turn_away(websocket: WebSocket, service: Service, problem: Problem, session_id: str) -> None:
    if not (service.strict and problem.code in LATE):
        await refuse(websocket, problem, session_id)
        return
    await websocket.accept(headers=[(b"x-trace-id", session_id.encode())])
    transport = AcceptedSocket(websocket)
    with suppress(Disconnected):
        await transport.send(ElevenLabsServer(session_id=session_id).error(problem))
    await transport.aclose(1008, problem.message)
