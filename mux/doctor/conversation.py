"""One socket on which the doctor plays the app, and what it heard there."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import anyio
import msgspec

from mux.doctor.answers import cause_of_close, cause_of_error, explained
from mux.doctor.case import Case
from mux.doctor.findings import Finding, Step, found
from mux.doctor.patience import Patience
from mux.doctor.wires import Message, Wire, wire_of
from mux.exchange.model import Close, Exchange
from mux.exchange.model import Message as Passed
from mux.exchange.reading import Told, read_told
from mux.exchange.watch import ContextWatch, SocketWatch
from mux.links.transport import Disconnected, Ending, Transport, open_transport

__all__ = ["Conversation", "converse"]

MAX_MESSAGE = 32 * 1024 * 1024
"""Far more than clients take, so that a frame that is too big for them can be told from a lost socket."""
USUAL_LIMIT = 1024 * 1024
"""What Python's websockets takes, unless told otherwise."""
HEAD_BYTES = 4096
DEFAULT_TIMEOUT = 20.0
"""Seconds of silence that both services allow where nothing else was asked for."""

_encode = msgspec.json.Encoder().encode


class Conversation:
    """See the module. `watch` has what every context came to; `head` is the beginning of the audio."""

    def __init__(self, case: Case, transport: Transport) -> None:
        self.case = case
        self.wire: Wire = wire_of(case)
        self.watch = SocketWatch(Exchange(url=case.url, started=0.0))
        self.ending: Ending | None = None
        self.ended_at = 0.0
        self.ends: Counter[str] = Counter()
        """How often each context ended."""
        self.heads: list[Told] = []
        """What the first frames with audio said of it."""
        self.head = b""
        self.largest = 0
        """Bytes of the largest frame."""
        self.transport = transport
        self._began = anyio.current_time()

    @property
    def now(self) -> float:
        """Seconds since the socket was opened."""
        return anyio.current_time() - self._began

    def context(self, name: str) -> ContextWatch:
        """The newest context of that name; where there are no names, the only one."""
        name = name if self.watch.endpoint.multi else "-"
        for context in reversed(self.watch.contexts):
            if context.id == name:
                return context
        return ContextWatch(id=name, opened_at=self.now)  # nothing that counts as an opening was said

    async def say(self, *messages: Message) -> None:
        """Send; a socket that is gone is noticed by `hear`."""
        for message in messages:
            text = _encode(message).decode()
            self.watch.feed(Passed(self.now, "client", text))
            try:
                await self.transport.send(text)
            except Disconnected:
                return

    async def until(self, over: Callable[[], bool], deadline: Callable[[], float]) -> bool:
        """Hear, until `over`, or the socket's end, or the deadline (of `now`), which may move. Returns
        whether it is over."""
        while not over() and self.ending is None:
            with anyio.move_on_after(max(0.0, deadline() - self.now)) as scope:
                await self._hear()
            if scope.cancelled_caught:
                break
        return over()

    async def listen(self, seconds: float) -> None:
        """Hear for so long, or to the socket's end."""
        until = self.now + seconds
        await self.until(lambda: False, lambda: until)

    async def _hear(self) -> None:
        try:
            data = await self.transport.receive()
        except Disconnected as gone:
            self.ending, self.ended_at = gone.ending, self.now
            self.watch.end(Close(gone.code, gone.reason, "service", self.now))
            return
        text = data if isinstance(data, str) else data.decode(errors="replace")
        self.largest = max(self.largest, len(data))
        passed = Passed(self.now, "service", text)
        told = read_told(passed)
        if told.ended:
            self.ends[told.context or "-"] += 1
        if told.audio and len(self.head) < HEAD_BYTES:
            self.heads.append(told)
            self.head += _audio_of(text)
        self.watch.feed(passed)

    # --- what it means ------------------------------------------------------------------------------

    def failure(self, step: Step, name: str = "") -> list[Finding]:
        """Why the service gave up on a context, or on the socket: findings of its words, if it had any."""
        told = [Told(error=one.error, message=one.message) for one in self.watch.errors]
        context = self.context(name)
        if context.error:
            told.insert(0, Told(error=context.error, message=context.message))
        for one in told:
            if cause := cause_of_error(one.error, one.message):
                return explained(self.case, step, cause, *self._evidence(one), **self._facts())
        if self.ending is not None and (cause := cause_of_close(self.ending.code, self.ending.reason)):
            return explained(self.case, step, cause, *self._evidence(*told), **self._facts())
        if told:
            error = self.case.shown(told[0].message or told[0].error)
            return explained(self.case, step, "error_unscoped", *self._evidence(*told), error=error)
        return []

    def _facts(self) -> dict[str, object]:
        whole = self.ending is not None
        return {
            "seconds": self.case.inactivity_timeout or DEFAULT_TIMEOUT,
            "what": "the socket" if whole else "the context",
            "scope": ", and ended all of it" if whole else "",
            "number": self.watch.peak_contexts,
            "status": "500",
            "bytes": self.largest,
        }

    def _evidence(self, *told: Told) -> list[str]:
        said = [": ".join(dict.fromkeys(word for word in (one.error, one.message) if word)) for one in told]
        return [*said, *self.closed()]

    def closed(self) -> list[str]:
        """How the socket ended, if it did."""
        if self.ending is None:
            return []
        reason = f" ({self.case.shown(self.ending.reason)})" if self.ending.reason else ""
        return [f"close {self.ending.code}{reason} after {self.ended_at:.1f} s"]

    def oddities(self, step: Step) -> Iterable[Finding]:
        """What was not as it should be, though it may have gone well."""
        watch = self.watch
        if watch.unreadable_told:
            yield found(step, "frame_unreadable", f"{watch.unreadable_told} of them", verdict="warning")
        if self.largest > USUAL_LIMIT:
            yield found(step, "frame_too_big", verdict="warning", bytes=self.largest)
        if watch.stray_audio:
            yield found(step, "wrong_id", f"{watch.stray_audio} frames", verdict="warning")
        for context in watch.contexts:
            if context.audio_after_end:
                evidence = f"{context.audio_after_end} frames"
                yield found(step, "late_frames", evidence, verdict="warning", context=context.id)
            if self.ends[context.id] > 1:
                yield found(step, "end_twice", verdict="warning", context=context.id)


def _audio_of(text: str) -> bytes:
    try:
        return (msgspec.json.decode(text, type=_Audio).audio or b"")[:HEAD_BYTES]
    except (msgspec.DecodeError, RecursionError):
        return b""


class _Audio(msgspec.Struct):
    audio: bytes | None = None


@asynccontextmanager
async def converse(case: Case, patience: Patience) -> AsyncIterator[Conversation]:
    """Open a socket as the app does, for the length of the block.

    Raises:
        MuxError: it could not be opened.
    """
    async with open_transport(
        case.url,
        headers=case.headers,
        open_timeout=patience.handshake,
        max_message=MAX_MESSAGE,
        ssl_context=case.ssl_context,
    ) as transport:
        yield Conversation(case, transport)
