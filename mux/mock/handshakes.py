"""What goes wrong before a socket is open."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from mux.mock.armed import Strike
    from mux.mock.socket import MockSocket

__all__ = ["Denied", "Handshake", "Refused", "Slow", "TurnedAway"]


class Handshake(ABC):
    """A fault of one handshake that it was drawn for."""

    def __init__(self, strike: Strike) -> None:
        self._strike = strike

    @abstractmethod
    async def meet(self, socket: MockSocket) -> bool:
        """Do it; returns whether the socket may still be opened."""


class Denied(Handshake):
    """An HTTP status instead of 101."""

    def __init__(self, status: int, strike: Strike) -> None:
        super().__init__(strike)
        self._status = status

    async def meet(self, socket: MockSocket) -> bool:
        wait = round(self._strike["seconds"]) if self._status == 429 else None
        await socket.deny(self._status, "The mock refuses this handshake.", wait)
        return False


class Slow(Handshake):
    async def meet(self, socket: MockSocket) -> bool:
        await anyio.sleep(self._strike["seconds"])
        return True


class Refused(Handshake):
    async def meet(self, socket: MockSocket) -> bool:
        await socket.refuse()
        return False


class TurnedAway(Handshake):
    async def meet(self, socket: MockSocket) -> bool:
        frame, code, reason = socket.vendor.turned_away()
        await socket.accept()
        if frame is not None:
            await socket.emit(frame)
        await socket.close(code, reason)
        return False
