"""A session that outlives the tasks that speak over it."""

from __future__ import annotations

import anyio
import anyio.lowlevel

from mux.client.session import Session, told_as_speech_error
from mux.links.endpoint import Endpoint, Pools
from mux.protocol.voice import ContextSettings
from mux.tasks import owned_tasks

__all__ = ["Line"]

CLOSE_SECONDS = 2.0
"""How long a service may take to close its sockets at the end of a call, as in Patter."""


class Line:
    """The sockets to one endpoint; `run` is their task. They end with it, and with its loop."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.loop = anyio.lowlevel.current_token()
        self.doubted = False
        """It was silent when it should have spoken: others may go on, what is new had better take another."""
        self.closing = False
        self.closed = False
        self._session: Session | None = None
        self._pools: Pools | None = None
        self._open = anyio.Event()
        self._close = anyio.Event()
        self._closed = anyio.Event()

    async def run(self) -> None:
        """Hold the sockets until `close`, or until cancelled."""
        try:
            async with owned_tasks() as tasks:
                self._pools = Pools(self.endpoint, tasks)
                self._session = Session(self._pools, tasks)
                self._open.set()
                await self._close.wait()
                with anyio.move_on_after(CLOSE_SECONDS):
                    await self._session.close()
        finally:
            self.closing = self.closed = True
            self._closed.set()

    async def session(self) -> Session:
        """The session, whose sockets are opened when they are needed."""
        await self._open.wait()
        assert self._session is not None
        return self._session

    async def warm(self) -> None:
        """Have a socket open. Raises `SpeechError` if there is none to be had."""
        await self._open.wait()
        assert self._pools is not None
        with told_as_speech_error():
            await self._pools.get(ContextSettings()).first()

    @property
    def speaking(self) -> bool:
        return self._session is not None and bool(self._session.active_contexts)

    def retire(self) -> None:
        """Close without waiting for it."""
        self.closing = True
        self._close.set()

    async def close(self) -> None:
        """Close the sockets; waits at most about 2 s. Cancelling does not stop the closing."""
        self.retire()
        await self._closed.wait()
