"""The WebSocket endpoints."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

from starlette.websockets import WebSocket

from mux.dialects.elevenlabs import ElevenLabsServer, ElevenLabsStream, Parameters
from mux.errors import MuxError
from mux.links.transport import Disconnected
from mux.server.accepted import AcceptedSocket
from mux.server.door import admit
from mux.server.refusals import refuse
from mux.server.service import Service, new_session_id

__all__ = ["multi_stream_input", "stream_input"]

Endpoint = Callable[[WebSocket], Awaitable[None]]
Speaking = Callable[[Parameters, str], ElevenLabsServer | ElevenLabsStream]


def multi_stream_input(service: Service) -> Endpoint:
    """Many contexts on one socket."""
    return _endpoint(
        service,
        lambda parameters, session_id: ElevenLabsServer(
            sync_alignment=parameters.sync_alignment, session_id=session_id
        ),
    )


def stream_input(service: Service) -> Endpoint:
    """One context, whose end is the socket's."""

    def dialect(parameters: Parameters, session_id: str) -> ElevenLabsStream:
        wanted = service.settings.final_after_flush
        return ElevenLabsStream(
            sync_alignment=parameters.sync_alignment,
            session_id=session_id,
            final_after_flush=wanted == "always"
            or (wanted == "auto_mode" and bool(parameters.settings.auto_mode)),
        )

    return _endpoint(service, dialect)


def _endpoint(service: Service, speaking: Speaking) -> Endpoint:
    async def serve(websocket: WebSocket) -> None:
        session_id = new_session_id()
        try:
            admission = admit(websocket, service, "socket")
        except MuxError as error:
            await refuse(websocket, error.problem, session_id)
            return
        # `x-trace-id` is where the vendor's clients look for the id that support will ask for.
        await websocket.accept(headers=[(b"x-trace-id", session_id.encode())])
        parameters = admission.parameters
        dialect = speaking(parameters, session_id)
        transport = AcceptedSocket(websocket)
        if parameters.hello:
            with suppress(Disconnected):
                await transport.send(dialect.hello(service.limits, parameters.settings.inactivity_timeout))
        await service.serve_socket(
            transport,
            session_id,
            dialect,
            parameters.settings,
            admission.output,
            authenticated=admission.authenticated,
            normalize=parameters.normalize,
        )

    return serve
