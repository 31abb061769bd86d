"""A request's body coming in, and an answer's going out."""

from __future__ import annotations

from contextlib import aclosing
from typing import Protocol

import anyio
from starlette.requests import Request
from starlette.types import Receive, Send

from mux.errors import MuxError
from mux.links.transport import Disconnected, Ending

__all__ = ["HttpBody", "read_body"]

BODY_SECONDS = 10.0
"""How long a request's body may take to arrive."""


async def read_body(request: Request, most: int) -> bytes:
    """A request's body, of at most `most` bytes.

    Raises:
        MuxError: `text_too_long`, or `unprocessable` if it does not come in time.
        ClientDisconnect: the client is gone.
    """
    body = bytearray()
    with anyio.move_on_after(BODY_SECONDS) as patience:
        async with aclosing(request.stream()) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) > most:
                    raise MuxError.of("text_too_long", f"The body has more than {most} bytes.", limit=most)
    if patience.cancelled_caught:
        raise MuxError.of("unprocessable", f"The body did not come within {BODY_SECONDS:g} s.")
    return bytes(body)


class _Answer(Protocol):
    @property
    def length(self) -> int | None:
        """The answer's bytes, where they are known before the first one is sent."""
        ...


class HttpBody:
    """The answer's body as a `Transport`: a message sent is a piece of it, closing with 1000 is its end. With
    any other close it breaks off, so that nobody takes a part for all of it."""

    def __init__(
        self, receive: Receive, send: Send, answer: _Answer, content_type: str, headers: dict[str, str]
    ) -> None:
        self.closed: Ending | None = None
        self.started = False
        self._receive = receive
        self._send = send
        self._answer = answer
        self._headers = {"content-type": content_type, **headers}
        self._asked = False
        self._began = anyio.current_time()

    async def receive(self) -> str | bytes:
        """The request, once; then nothing until the client hangs up."""
        if not self._asked:
            self._asked = True
            return b""
        while self.closed is None:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.closed = Ending(1006)
        raise Disconnected(self.closed)

    async def send(self, message: str | bytes) -> None:
        if self.closed is not None:
            raise Disconnected(self.closed)
        data = message.encode() if isinstance(message, str) else message
        try:
            if not self.started:
                self.started = True
                await self._send(self._start())
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
        except OSError:
            self.closed = Ending(1006)
            raise Disconnected(self.closed) from None
        # An ASGI server may take everything without a pause; others want to speak too.
        await anyio.lowlevel.checkpoint()

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        if self.closed is not None:
            return
        self.closed = Ending(code, reason, local=True)
        if self.started and code == 1000:
            await self._send({"type": "http.response.body", "body": b""})

    def _start(self) -> dict[str, object]:
        waited = round((anyio.current_time() - self._began) * 1000)
        headers = {**self._headers, "tts-latency-ms": str(waited)}
        if self._answer.length is not None:
            headers["content-length"] = str(self._answer.length)
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        return {"type": "http.response.start", "status": 200, "headers": raw}
