"""One socket of the mock: it stands between the web server and mux's own application, sees every frame in
both directions, and lets the faults have their way."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import anyio
import anyio.abc
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as Event

from mux.errors import close_reason
from mux.mock.armed import Armed
from mux.mock.context import Context
from mux.mock.cut import cut
from mux.mock.faults import Behaviour
from mux.mock.handshakes import Handshake
from mux.mock.vendors import Dialect, Frame, Message, Vendor
from mux.tasks import owned_tasks

__all__ = ["MockSocket"]

HELD_CHARACTERS = 1_000_000
"""What is kept from the server, of one context; above it, all of it is handed on."""
CLOSE_SECONDS = 1.0
"""How long a close frame may take to leave; then the connection is cut."""


class MockSocket:
    """See the module. `number` counts the mock's handshakes from 1.

    Args:
        opened: told of each context that the client opens.
    """

    def __init__(
        self,
        number: int,
        dialect: Dialect,
        vendor: Vendor,
        armed: Sequence[Armed],
        pace: float | None,
        opened: Callable[[Context], None],
        *,
        keep_text: bool,
    ) -> None:
        self.number = number
        self.dialect = dialect
        self.vendor = vendor
        self.accepted = False
        self._armed = [one for one in armed if one.fault.fits(number)]
        self._pace = pace
        self._opened = opened
        self._keep_text = keep_text
        self._contexts: dict[str, deque[Context]] = {}
        """By id; more than one where an id is used again before the server is done with it."""
        self._count = 0
        self._fitting: Counter[Armed] = Counter()
        self._inbox: deque[str] = deque()
        self._holding: dict[str, deque[str]] = {}
        """Messages that are kept from the server, by the id of their context."""
        self._waiting = anyio.CancelScope()
        self._over: int | None = None
        """The code with which this side ended the socket."""
        self._ended = anyio.Event()
        self._pending = 0
        self._settled = anyio.Event()
        self._resumes_at = 0.0
        self._lock = anyio.Lock()

    async def run(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the socket to its end, which is also the end of every delayed frame."""
        self._scope, self._read, self._write = scope, receive, send
        try:
            async with owned_tasks() as self._tasks:
                if await self._shake_hands():
                    await app(scope, self._receive, self._send)
        finally:
            self._end(1006)

    # --- what a fault can do ---------------------------------------------------------------------------

    async def emit(self, frame: Frame, context: Context | None = None) -> None:
        """Send a frame past all faults. Once the socket has ended it is dropped."""
        while (wait := self._resumes_at - anyio.current_time()) > 0 and self._over is None:
            await self._sleep(wait)
        async with self._lock:
            if self._over is not None:
                return
            if context is not None:
                context.sent_ms += frame.ms
                context.ends += frame.ends
            await self._write({"type": "websocket.send", "text": frame.text})

    async def close(self, code: int, reason: str = "") -> None:
        """Close the socket; 1006 cuts its connection. The server's side sees the client go."""
        if code == 1006:
            self.cut()
            return
        if self._end(code):
            with anyio.move_on_after(CLOSE_SECONDS), suppress(OSError):
                async with self._lock:
                    await self._write(
                        {"type": "websocket.close", "code": code, "reason": close_reason(reason)}
                    )
                return
            self._cut()

    def cut(self) -> None:
        """Cut the connection at once."""
        if self._end(1006):
            self._cut()

    def _cut(self) -> None:
        cut(tuple(self._scope["client"][:2]), tuple(self._scope["server"][:2]))

    async def refuse(self) -> None:
        """Cut the connection before the handshake is answered."""
        self.cut()
        await self._write({"type": "websocket.close"})  # which nobody reads; but the web server wants one

    async def accept(self) -> None:
        """Open the socket without the server."""
        await self._write({"type": "websocket.accept"})
        self.accepted = True

    async def deny(self, status: int, message: str, retry_after: int | None = None) -> None:
        """Answer the handshake with an HTTP status."""
        headers = [(b"content-type", b"application/json")]
        if retry_after is not None:
            headers.append((b"retry-after", str(retry_after).encode()))
        body = self.vendor.denial(status, message, retry_after)
        start = {"type": "websocket.http.response.start", "status": status, "headers": headers}
        await self._write(start)
        await self._write({"type": "websocket.http.response.body", "body": body})

    def later(self, seconds: float, act: Callable[[], Awaitable[None]]) -> None:
        """Do something after a time. The server's own close waits for it."""

        async def wait() -> None:
            try:
                await self._sleep(seconds)
                with suppress(OSError):
                    await act()
            finally:
                self._pending -= 1
                self._settled.set()
                self._settled = anyio.Event()

        self._pending += 1
        self._tasks.start_soon(wait)

    def pause(self, seconds: float) -> None:
        """Send nothing for a time."""
        self._resumes_at = max(self._resumes_at, anyio.current_time() + seconds)

    def hold(self, id: str, seconds: float) -> None:
        """Keep all messages of a context from the server for a time."""
        self._holding.setdefault(id, deque())

        async def release() -> None:
            self._release(id)

        self.later(seconds, release)

    def _release(self, id: str) -> None:
        for text in self._holding.pop(id, ()):
            self.hand_in(text)

    def hand_in(self, text: str) -> None:
        """Let the server hear something now."""
        self._inbox.append(text)
        self._waiting.cancel()

    # --- the handshake ----------------------------------------------------------------------------------

    async def _shake_hands(self) -> bool:
        if ("/ws/tts" in self._scope["path"]) != (self.dialect == "kugelaudio"):
            await self.deny(404, f"This mock speaks {self.dialect}, which has no such path.")
            return False
        for one in self._armed:
            if one.kind.opportunity == "handshake":
                strike = one.strike(self.number)
                if strike.drawn(self.number) and strike.happens():
                    fault = one.kind.make(strike)
                    assert isinstance(fault, Handshake)
                    if not await fault.meet(self):
                        return False
        return True

    # --- from the client --------------------------------------------------------------------------------

    async def _receive(self) -> Event:
        while True:
            if self._over is not None:
                return {"type": "websocket.disconnect", "code": self._over, "reason": ""}
            if self._inbox:
                return {"type": "websocket.receive", "text": self._inbox.popleft()}
            with anyio.CancelScope() as self._waiting:
                event = await self._read()
                text = event.get("text")
                if event["type"] != "websocket.receive" or text is None:
                    return event
                self._hear(text)

    def _hear(self, text: str) -> None:
        message = self.vendor.heard(text)
        context = self._context_of(message)
        if context is None:
            self._inbox.append(text)
            return
        if self._keep_text:
            context.hear(message.speech)
        context.closed = context.closed or message.closes
        messages = [message]
        for fault in context.faults:
            messages = [passed for one in messages for passed in fault.heard(context, one)]
        held = self._holding.get(context.id)
        (self._inbox if held is None else held).extend(one.text for one in messages)
        if held is not None and sum(map(len, held)) > HELD_CHARACTERS:
            self._release(context.id)

    def _context_of(self, message: Message) -> Context | None:
        if message.context is None:
            return None
        same = self._contexts.setdefault(message.context, deque())
        if same and not (same[-1].closed and message.opens):
            return same[-1]
        if not message.opens:
            return None
        self._count += 1
        context = Context(self, message.context, self._count)
        same.append(context)
        self._opened(context)
        self._deal(context)
        return context

    def _deal(self, context: Context) -> None:
        """Draw the faults of a new context."""
        for one in self._armed:
            if one.kind.opportunity == "handshake" or not one.fault.fits(self.number, context.id):
                continue
            strike = one.strike(self.number, context.number)
            self._fitting[one] += 1
            if one.kind.opportunity == "frame" or strike.drawn(self._fitting[one]):
                fault = one.kind.make(strike)
                assert isinstance(fault, Behaviour)
                context.faults.append(fault)

    # --- from the server --------------------------------------------------------------------------------

    async def _send(self, event: Event) -> None:
        if self._over is not None:
            return
        text: str | None = event.get("text")
        if event["type"] == "websocket.send" and text is not None:
            await self._say(self.vendor.spoken(text))
            return
        if event["type"] == "websocket.accept":
            self.accepted = True
        elif event["type"] == "websocket.close":
            while self._pending and self._over is None:
                await self._settled.wait()
            await self.close(event.get("code", 1000), event.get("reason") or "")
            return
        await self._write(event)

    async def _say(self, frame: Frame) -> None:
        if self.dialect == "elevenlabs" and frame.kind in ("error", "warning"):
            # The vendor has no warnings, and all of its errors end the socket.
            if frame.kind == "error":
                await self.emit(frame)
                await self.close(1008, frame.data["message"])
            return
        same = self._contexts.get(frame.context) if frame.context is not None else None
        if not same:
            await self.emit(frame)
            return
        context = same[0]
        if frame.ends:
            same.popleft()
            if not same:
                del self._contexts[context.id]
        if self._pace and frame.ms:
            await self._keep_pace(context, frame.ms / 1000 / self._pace)
        frames = [frame]
        for fault in context.faults:
            frames = [passed for one in frames for passed in await fault.spoken(context, one)]
        context.spoken_ms += frame.ms
        for one in frames:
            await self.emit(one, context)

    async def _keep_pace(self, context: Context, seconds: float) -> None:
        due = max(context.due, anyio.current_time())
        context.due = due + seconds
        await self._sleep(due - anyio.current_time())

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but not beyond the socket's end."""
        with anyio.move_on_after(seconds):
            await self._ended.wait()

    def _end(self, code: int) -> bool:
        """Note the end; whether it is the first."""
        if self._over is not None:
            return False
        self._over = code
        self._ended.set()
        self._settled.set()
        self._waiting.cancel()
        return True
