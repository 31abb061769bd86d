"""An accepted WebSocket of the ASGI server as a `Transport`."""

from __future__ import annotations

from starlette.websockets import WebSocket, WebSocketDisconnect

from mux.errors import close_reason
from mux.links.transport import Disconnected, Ending

__all__ = ["AcceptedSocket"]


class AcceptedSocket:
    """See `mux.links.transport.Transport`."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self.closed: Ending | None = None

    async def send(self, message: str | bytes) -> None:
        if self.closed is not None:
            raise Disconnected(self.closed)
        try:
            if isinstance(message, str):
                await self._websocket.send_text(message)
            else:
                await self._websocket.send_bytes(message)
        except (WebSocketDisconnect, RuntimeError, OSError):
            raise self._gone(1006, "") from None

    async def receive(self) -> str | bytes:
        if self.closed is not None:
            raise Disconnected(self.closed)
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise self._gone(message.get("code") or 1006, message.get("reason") or "")
        text: str | None = message.get("text")
        if text is not None:
            return text
        data: bytes = message["bytes"]
        return data

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        if self.closed is not None:
            return
        self.closed = Ending(code, reason, local=True)
        try:
            await self._websocket.close(code, close_reason(reason))
        except (WebSocketDisconnect, RuntimeError, OSError):
            # It was gone before it was told.
            return

    def _gone(self, code: int, reason: str) -> Disconnected:
        self.closed = self.closed or Ending(code, reason, received=code != 1006)
        return Disconnected(self.closed)
