"""The three WebSocket endpoints."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from mux.audio.formats import FORMATS
from mux.dialects.kugelaudio import KugelAudioRequests, KugelAudioServer, KugelAudioStream
from mux.errors import MuxError
from mux.links.transport import Transport
from mux.server.accepted import AcceptedSocket
from mux.server.kugelaudio.door import admit, turn_away
from mux.server.service import Service, new_session_id

__all__ = ["ENDPOINTS", "serve_kugelaudio", "socket_routes"]

Dialect = KugelAudioServer | KugelAudioStream | KugelAudioRequests

ENDPOINTS: dict[str, type[Dialect]] = {
    "/ws/tts/multi": KugelAudioServer,
    "/ws/tts/stream": KugelAudioStream,
    "/ws/tts": KugelAudioRequests,
}


def socket_routes(service: Service) -> list[WebSocketRoute]:
    return [WebSocketRoute(path, _endpoint(service, wire)) for path, wire in ENDPOINTS.items()]


async def serve_kugelaudio(
    service: Service, transport: Transport, session_id: str, wire: type[Dialect], app: str | None = None
) -> None:
    """Serve one accepted socket until it ends. Cancelling drops it at once."""
    dialect = wire(name_voice=service.voice_numbers.name, session_id=session_id, price=service.price)
    await service.serve_socket(
        transport,
        session_id,
        dialect,
        dialect.defaults,
        FORMATS["pcm_24000"],
        authenticated=True,
        app=app,
        limits=dialect.limits(service.limits),
    )


def _endpoint(service: Service, wire: type[Dialect]) -> Callable[[WebSocket], Awaitable[None]]:
    async def serve(websocket: WebSocket) -> None:
        session_id = new_session_id()
        try:
            app = admit(websocket, service)
        except MuxError as error:
            await turn_away(websocket, error, session_id)
            return
        await websocket.accept(headers=[(b"x-request-id", session_id.encode())])
        await serve_kugelaudio(service, AcceptedSocket(websocket), session_id, wire, app)

    return serve
