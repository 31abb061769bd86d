"""The mock as a whole: mux's own server with faults where its sockets meet the world."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
from starlette.types import ASGIApp, Receive, Scope, Send

from mux.config import Settings
from mux.engines.base import Engine
from mux.engines.tone import ToneEngine
from mux.mock.armed import Armed
from mux.mock.context import Context
from mux.mock.plan import Fault
from mux.mock.scenario import Scenario
from mux.mock.socket import MockSocket
from mux.mock.vendors import Dialect, vendor_of
from mux.server.app import create_app
from mux.server.listener import open_listener
from mux.server.run import serve
from mux.server.service import Service, start_service
from mux.tasks import owned_tasks

__all__ = ["HISTORY", "Mock", "mock_settings", "serve_mock"]

HISTORY = 10_000
"""Of how many contexts the mock remembers what was said in them."""


class Mock:
    """What happens at a mock, and the ASGI application that makes it happen. `url` is where it is, such as
    `ws://127.0.0.1:51234`.

    Args:
        keep_text: remember the text of contexts; without, nothing that is said stays in memory.
    """

    def __init__(self, service: Service, scenario: Scenario, url: str, *, keep_text: bool = False) -> None:
        self.url = url
        self.scenario = scenario
        self.handshakes = 0
        """That came, whatever became of them."""
        self.contexts = 0
        """That clients have opened since the start."""
        self.fired: Counter[str] = Counter()
        """How often each fault has struck."""
        self.history: deque[Context] = deque(maxlen=HISTORY)
        """The contexts in the order in which they were opened; see `Context`."""
        self._app: ASGIApp = create_app(service)
        self._armed = [
            Armed(fault, index, scenario.seed, self.fired) for index, fault in enumerate(scenario.faults)
        ]
        self._open: set[MockSocket] = set()
        self._past = 0
        self._keep_text = keep_text

    @property
    def sockets(self) -> int:
        """How many sockets were opened since the start."""
        return self._past + self.open_sockets

    @property
    def open_sockets(self) -> int:
        """How many sockets are open now."""
        return sum(socket.accepted for socket in self._open)

    def text(self, context: str) -> str:
        """What was received for an id, over all sockets, in the order in which its contexts were opened."""
        return "".join(one.text for one in self.history if one.id == context)

    def kill(self) -> int:
        """Cut all connections at once, as the end of a process does. Returns how many sockets it ended."""
        killed = [socket for socket in self._open if socket.accepted]
        for socket in list(self._open):
            socket.cut()
        return len(killed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        self.handshakes += 1
        dialect, path = self.scenario.dialect, scope["path"]
        query = dict(pair.partition("=")[::2] for pair in scope["query_string"].decode("latin-1").split("&"))
        socket = MockSocket(
            self.handshakes,
            dialect,
            vendor_of(dialect, path, query),
            self._armed,
            self.scenario.pace,
            self._note,
            keep_text=self._keep_text,
        )
        self._open.add(socket)
        try:
            await socket.run(self._app, scope, receive, send)
        finally:
            self._open.discard(socket)
            self._past += socket.accepted

    def _note(self, context: Context) -> None:
        self.contexts += 1
        self.history.append(context)


def mock_settings(dialect: Dialect) -> Settings:
    """The settings of the server inside: as harsh as ElevenLabs, or as KugelAudio is."""
    return Settings(
        engine="tone", profile="elevenlabs-strict" if dialect == "elevenlabs" else "mux", workers=64
    )


@asynccontextmanager
async def serve_mock(
    dialect: Dialect = "elevenlabs",
    faults: Sequence[Fault] = (),
    *,
    seed: int = 0,
    pace: float | None = None,
    scenario: Scenario | None = None,
    port: int = 0,
    engine: Engine | None = None,
) -> AsyncIterator[Mock]:
    """Serve a mock on this machine for the length of the block, on either backend.

    Args:
        scenario: says all of the above at once, which are then not read.
        port: TCP port; 0 takes a free one (`Mock.url` tells).
        engine: who speaks, if not the tone engine.

    Raises:
        MuxError: `invalid_config`, for an unknown fault or a port that is taken.

    Leaving the block, or cancelling it, cuts all connections.
    """
    scenario = scenario or Scenario(dialect=dialect, faults=tuple(faults), seed=seed, pace=pace)
    listener = open_listener("127.0.0.1", port)
    try:
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}"
        async with (
            start_service(engine or ToneEngine(), mock_settings(scenario.dialect)) as service,
            owned_tasks() as tasks,
        ):
            mock = Mock(service, scenario, url, keep_text=True)
            tasks.start_soon(serve, mock, listener, anyio.Event())
            yield mock
    finally:
        listener.close()
