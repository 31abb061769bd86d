"""A whole mux in memory, for tests: the server's core, the client and an engine, without a network.

On trio's virtual clock it is deterministic and takes no time. By default it speaks with the tone engine.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal
from urllib.parse import urlencode

import anyio
import anyio.abc

from mux.audio.formats import parse_format
from mux.client import Callbacks, Session
from mux.client.connect import open_session
from mux.config import Settings
from mux.dialects.base import ServerDialect
from mux.dialects.elevenlabs import ElevenLabsServer, parse_parameters
from mux.engines.base import Engine
from mux.engines.tone import ToneEngine
from mux.links.endpoint import Endpoint
from mux.links.memory import MemoryTransport, memory_pair
from mux.links.pool import BUFFER_BYTES
from mux.links.transport import Transport
from mux.protocol.voice import ContextSettings
from mux.server.kugelaudio.sockets import ENDPOINTS, serve_kugelaudio
from mux.server.service import Service, new_session_id, start_service
from mux.server.sockets import stream_dialect
from mux.tasks import owned_tasks

__all__ = ["MemoryServer", "memory_server"]


class MemoryServer:
    """A running service whose sockets are in-memory pairs."""

    def __init__(self, service: Service, tasks: anyio.abc.TaskGroup) -> None:
        self.service = service
        self.transports: list[MemoryTransport] = []
        """Of the sockets that `connect` opened."""
        self._tasks = tasks

    def open(
        self, endpoint: Literal["multi", "stream"] = "multi", /, *, voice: str = "default", **query: str
    ) -> MemoryTransport:
        """Open a socket of `multi-stream-input` (or with "stream" of `stream-input`) and return the client's
        end. `query` are the URL's parameters."""
        query = {"output_format": "pcm_24000", **query}
        parameters = parse_parameters(voice, query)
        client, server = memory_pair()
        session_id = new_session_id()
        if endpoint == "stream":
            dialect: ServerDialect = stream_dialect(self.service, parameters, session_id)
        else:
            dialect = ElevenLabsServer(sync_alignment=parameters.sync_alignment, session_id=session_id)
        self._tasks.start_soon(
            lambda: self.service.serve_socket(
                server,
                session_id,
                dialect,
                parameters.settings,
                parse_format(parameters.output_format),
                authenticated=self.service.keys.open,
            )
        )
        return client

    def open_kugelaudio(
        self, path: Literal["/ws/tts/multi", "/ws/tts/stream", "/ws/tts"] = "/ws/tts/multi"
    ) -> MemoryTransport:
        """Open one of KugelAudio's sockets and return the client's end."""
        client, server = memory_pair()
        self._tasks.start_soon(serve_kugelaudio, self.service, server, new_session_id(), ENDPOINTS[path])
        return client

    @asynccontextmanager
    async def connect(
        self,
        *,
        dialect: Literal["mux", "kugelaudio"] = "mux",
        reconnect: bool = False,
        sockets: int = 1,
        contexts_per_socket: int | None = None,
        slot_timeout: float = 5.0,
        buffer_bytes: int = BUFFER_BYTES,
        callbacks: Callbacks | None = None,
        output_format: str = "pcm_24000",
        settings: ContextSettings | None = None,
        **query: str,
    ) -> AsyncIterator[Session]:
        """Open a client session; see `mux.connect`. `query` are further parameters of a mux's URL. The
        transports of its sockets are in `transports`, the newest last."""

        @asynccontextmanager
        async def opened() -> AsyncIterator[Transport]:
            if dialect == "kugelaudio":
                transport = self.open_kugelaudio()
            else:
                transport = self.open(output_format=output_format, **{"sync_alignment": "true", **query})
            self.transports.append(transport)
            try:
                yield transport
            finally:
                with anyio.CancelScope(shield=True):
                    await transport.aclose()

        endpoint = Endpoint(
            name="memory",
            dialect=dialect,
            url="ws://memory?" + urlencode(query),
            output_format=output_format,
            settings=settings or ContextSettings(),
            contexts=contexts_per_socket,
            sockets=sockets,
            buffer_bytes=buffer_bytes,
            place_seconds=slot_timeout,
            patience=3 if reconnect else 1,
            reopen=reconnect,
            opener=opened,
        )
        async with open_session(endpoint, callbacks) as session:
            yield session


@asynccontextmanager
async def memory_server(
    engine: Engine | None = None, settings: Settings | None = None
) -> AsyncIterator[MemoryServer]:
    """Start a service for the length of the block; its sockets end with it."""
    async with (
        start_service(engine or ToneEngine(), settings or Settings(engine="tone")) as service,
        owned_tasks() as tasks,
    ):
        yield MemoryServer(service, tasks)
