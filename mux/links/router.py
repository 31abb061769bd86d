"""Which context a received frame belongs to, and what waits there to be read.

A frame for an id that is not known, or whose context has ended, is counted and dropped: it can reach nobody
else. Each context buffers to a bound of its own, because one TCP stream cannot pause one context.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeAlias

import anyio
import msgspec

from mux.dialects.base import AudioFrame, ContextError, Flushed, SocketError
from mux.errors import Problem
from mux.protocol.messages import ContextClosed, Reason, Usage, Warning

__all__ = ["Ended", "Inbox", "Router"]


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a context ended. `usage` is None where the server does not tell it."""

    reason: Reason
    usage: Usage | None = None
    problem: Problem | None = None


class Inbox:
    """What has arrived for one context and was not read yet. One task reads, or a function listens; `limit`
    is in bytes."""

    def __init__(self, limit: int) -> None:
        self.ended: Ended | None = None
        self.received_bytes = 0
        self._limit = limit
        self._frames: deque[AudioFrame] = deque()
        self._waiting_bytes = 0
        self.confirmed = False
        """The service has said the end, or cannot any more: its slot is free."""
        self._confirmation: anyio.Event | None = None
        self._listener: Callable[[AudioFrame], None] | None = None
        self._flush_listener: Callable[[], None] | None = None
        self._muted = False
        self._problem: Problem | None = None
        self._changed: anyio.Event | None = None
        """There while somebody waits; it costs as much as filing a frame."""
        self._over: anyio.Event | None = None
        """The same for the end alone: whoever waits for that is not woken by every frame."""

    def put(self, frame: AudioFrame) -> bool:
        """File a frame; False if the context may not buffer that much more."""
        if self.ended is not None or self._muted:
            return True
        self.received_bytes += len(frame.audio)
        if self._listener is not None:
            self._listener(frame)
            return True
        self._frames.append(frame)
        self._waiting_bytes += len(frame.audio)
        self._wake()
        return self._waiting_bytes <= self._limit

    def flushed(self, context: str) -> None:
        """All that a flush asked for has come."""
        if self.ended is not None or self._muted:
            return
        if self._listener is None:
            self._frames.append(AudioFrame(context, b"", flushed=True))
            self._wake()
        elif self._flush_listener is not None:
            self._flush_listener()

    def listen(
        self, listener: Callable[[AudioFrame], None], flushed: Callable[[], None] | None = None
    ) -> None:
        """Hand frames to `listener` as they come, from before the first one on, and call `flushed` when a
        flush has been answered. The socket's reader calls them, so they may neither block nor raise; how much
        may wait is then theirs to bound. No task has to wake for a frame, which would cost several times as
        much as the call."""
        self._listener = listener
        self._flush_listener = flushed

    def fail(self, problem: Problem) -> None:
        """Remember why the end that is about to come comes."""
        self._problem = problem

    def end(self, reason: Reason, usage: Usage | None = None, problem: Problem | None = None) -> None:
        """Nothing follows. Only the first end counts."""
        if self.ended is None:
            problem = problem or self._problem
            if problem is not None and reason is Reason.COMPLETED:
                reason = Reason.FAILED
            self.ended = Ended(reason=reason, usage=usage, problem=problem)
            self._wake()
            if self._over is not None:
                self._over.set()

    def mute(self) -> None:
        """Forget the frames that were not read, and all that still come."""
        self._muted = True
        self._frames.clear()
        self._waiting_bytes = 0

    async def get(self) -> AudioFrame | None:
        """The next frame, in order, or None once the context has ended. Cancelling loses nothing."""
        while not self._frames:
            if self.ended is not None:
                return None
            await self._change()
        frame = self._frames.popleft()
        self._waiting_bytes -= len(frame.audio)
        return frame

    async def wait_ended(self) -> Ended:
        """Wait for the end, whatever still waits to be read."""
        if self.ended is None:
            self._over = self._over or anyio.Event()
            await self._over.wait()
        assert self.ended is not None
        return self.ended

    def confirm(self) -> None:
        """The service will say no more about it."""
        self.confirmed = True
        if self._confirmation is not None:
            self._confirmation.set()

    async def wait_confirmed(self) -> None:
        """Wait until the service has said the end, which this side may have done long before."""
        if not self.confirmed:
            self._confirmation = self._confirmation or anyio.Event()
            await self._confirmation.wait()

    async def _change(self) -> None:
        self._changed = self._changed or anyio.Event()
        await self._changed.wait()

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None


Routed: TypeAlias = AudioFrame | ContextError | ContextClosed | Flushed | SocketError | Warning


class Router:
    """The inboxes of one socket by wire id."""

    def __init__(self) -> None:
        self.filed = 0
        """Frames of audio that belonged to a context."""
        self.dropped = 0
        """Frames that belonged to no live context."""
        self.lost = 0
        """Contexts that had not ended when the socket did."""
        self.problem: Problem | None = None
        """Why the server is about to close the socket."""
        self.warnings: deque[Warning] = deque(maxlen=100)
        self._inboxes: dict[str, Inbox] = {}

    def add(self, id: str, inbox: Inbox) -> None:
        self._inboxes[id] = inbox

    def __len__(self) -> int:
        """How many contexts have not ended."""
        return sum(inbox.ended is None for inbox in self._inboxes.values())

    def route(self, received: Routed) -> str | None:
        """File what was received. Returns the id of a context that overflowed, if one did."""
        if isinstance(received, SocketError):
            self.problem = received.problem
            return None
        if isinstance(received, Warning):
            self.warnings.append(received)
            return None
        inbox = self._inboxes.get(received.context)
        if isinstance(received, Flushed):
            if inbox is not None:
                inbox.flushed(received.context)
        elif inbox is None or (inbox.ended is not None and not isinstance(received, ContextClosed)):
            self.dropped += 1
        elif isinstance(received, AudioFrame):
            self.filed += 1
            if not inbox.put(received):
                return received.context
        elif isinstance(received, ContextError):
            inbox.fail(received.problem)
        else:
            self._end(received, inbox)
        return None

    def end_one(self, id: str, reason: Reason, problem: Problem | None) -> None:
        """End a context from this side. Whatever still comes for it is dropped, but for its end."""
        if inbox := self._inboxes.get(id):
            inbox.end(reason, problem=problem)

    def end_all(self, problem: Problem) -> None:
        """The socket is gone."""
        self.lost = len(self)
        for inbox in self._inboxes.values():
            inbox.end(Reason.SOCKET_CLOSED, problem=self.problem or problem)
            inbox.confirm()
        self._inboxes.clear()

    def _end(self, closed: ContextClosed, inbox: Inbox) -> None:
        del self._inboxes[closed.context]
        inbox.end(closed.reason, closed.usage, closed.problem)
        inbox.confirm()
