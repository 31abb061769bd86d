"""Two ends of a connection in memory: a transport for whole links and servers in virtual time.

Nothing here depends on the network or on real time, so on trio's virtual clock a run is the same every time.
"""

from __future__ import annotations

from collections import deque

import anyio
import anyio.lowlevel

from mux.links.transport import LOST, MAX_MESSAGE, BaseTransport, Disconnected, Ending

__all__ = ["MemoryTransport", "memory_pair"]

UNREAD_BYTES = 65536


def memory_pair(
    *, unread_bytes: int = UNREAD_BYTES, max_message: int = MAX_MESSAGE
) -> tuple[MemoryTransport, MemoryTransport]:
    """Return two connected ends. A send waits while the other end has more than `unread_bytes` bytes to
    read; a message of more than `max_message` bytes ends the connection with 1009, by its receiver."""
    end = MemoryTransport(unread_bytes, max_message)
    return end, end._peer


class MemoryTransport(BaseTransport):
    """One end; see `Transport`. `cut` and `hang` are what networks do."""

    def __init__(self, unread_bytes: int, max_message: int, peer: MemoryTransport | None = None) -> None:
        """Without a `peer` the other end is made too."""
        super().__init__()
        self._peer: MemoryTransport = peer or MemoryTransport(unread_bytes, max_message, self)
        self._unread_bytes = unread_bytes
        self._max_message = max_message
        self._inbox: deque[tuple[str | bytes, int]] = deque()
        self._unread = 0
        self._ended: Ending | None = None
        """How the connection ended for this end; what it noticed of it is `closed`."""
        self._hung = False
        self._changed = anyio.Event()
        """Set, and replaced, when something happened that somebody may wait for."""
        self._sending = anyio.Lock()

    def cut(self) -> None:
        """Lose the connection: both ends learn of 1006 and nothing else; what was delivered can be read."""
        for end in (self, self._peer):
            end._end(Ending(LOST, "the connection was lost"))

    def hang(self) -> None:
        """Fall silent for ever: this end reads no byte and answers no ping and no close frame any more."""
        self._hung = True

    async def _send(self, message: str | bytes) -> None:
        size = len(message.encode() if isinstance(message, str) else message)
        async with self._sending:
            while self._ended is None and self._peer._unread > self._unread_bytes:
                await self._changed.wait()
            if self._ended is not None:
                raise Disconnected(self._ended)
            self._peer._deliver(message, size)

    async def _receive(self) -> str | bytes:
        await anyio.lowlevel.checkpoint()
        while not self._inbox or self._hung:
            if self._ended is not None:
                raise Disconnected(self._ended)
            await self._changed.wait()
        message, size = self._inbox.popleft()
        self._unread -= size
        self._peer._notify()
        return message

    async def _ping(self) -> None:
        await anyio.lowlevel.checkpoint()
        while self._ended is None and self._peer._hung:
            await self._changed.wait()
        if self._ended is not None:
            raise Disconnected(self._ended)

    async def _close(self, code: int, reason: str) -> Ending:
        await anyio.lowlevel.checkpoint()
        while self._ended is None and self._peer._hung:
            await self._changed.wait()
        self._peer._end(Ending(code, reason, received=True))
        self._end(Ending(code, reason, received=True, local=True))
        assert self._ended is not None
        return self._ended

    async def _abort(self) -> None:
        self.cut()

    def _deliver(self, message: str | bytes, size: int) -> None:
        if size > self._max_message:
            reason = f"a message of {size} bytes exceeds the limit of {self._max_message}"
            self._end(Ending(1009, reason, received=True, local=True))
            self._peer._end(Ending(1009, reason, received=True))
            return
        self._inbox.append((message, size))
        self._unread += size
        self._notify()

    def _end(self, ending: Ending) -> None:
        if self._ended is None:
            self._ended = ending
            self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
