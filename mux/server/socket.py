"""One WebSocket of the server: a reader, a writer and a timer around one `Session`.

The reader only decodes and files; it never waits for an engine. The writer is the only one that sends, and
pulls what it sends, so what was not pulled can still be dropped. Reports of engines come as plain calls on
the event loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import anyio

from mux.audio.formats import AudioFormat
from mux.dialects.base import Credentials, ServerDialect
from mux.engines.dispatch import Dispatcher, Speaking
from mux.errors import Problem, close_reason
from mux.links.transport import Disconnected, Transport
from mux.log import get_logger
from mux.protocol.messages import ContextClosed, Event, Report, SegmentEnded, SessionClosed, Speak
from mux.protocol.session import Session
from mux.server.auth import KeyRing
from mux.server.sounding import Sounding

__all__ = ["ServerSocket"]

log = get_logger("mux.socket")

SEND_SECONDS = 20.0
"""How long one frame may take to leave; a client that reads slower is cut off as `slow_consumer`."""
CUT_OFF_SECONDS = 1.0
"""How long closing such a client's socket may take."""


class ServerSocket:
    """Runs one client's socket from its acceptance to its end.

    Args:
        transport: the accepted socket.
        app: who opened it, if its key has told that already.
        authentication_seconds: within which the first message with a key must come; None if the handshake
            has settled that.
    """

    def __init__(
        self,
        transport: Transport,
        session: Session,
        dialect: ServerDialect,
        dispatcher: Dispatcher,
        output: AudioFormat,
        *,
        keys: KeyRing,
        app: str | None = None,
        authentication_seconds: float | None = None,
        on_closed: Callable[[ContextClosed], None] = lambda closed: None,
    ) -> None:
        self.session = session
        self._transport = transport
        self._dialect = dialect
        self._dispatcher = dispatcher
        self._sounding = Sounding(dialect, output)
        self._keys = keys
        self._authentication_seconds = authentication_seconds
        self._on_closed = on_closed
        self._app = app
        self._speaking: dict[tuple[int, int], Speaking] = {}
        self._to_send: anyio.Event | None = None
        """There while the writer has nothing to send."""
        self._sending_since = math.inf
        """When the frame that is being sent was begun."""
        self._writing = anyio.CancelScope()
        self._sent: anyio.Event | None = None
        """There while reading pauses, until something was sent."""
        self._rearm = anyio.Event()
        self._armed = math.inf
        self._connected = True
        self._refused = False

    async def run(self) -> None:
        """Serve until the socket is closed by either side.

        Cancelling drops the socket at once: its contexts end as `socket_closed`, its engines are stopped.
        """
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._time)
                if self._authentication_seconds is not None:
                    tasks.start_soon(self._await_key, self._authentication_seconds)
                tasks.start_soon(self._read)
                tasks.start_soon(self._watch)
                with self._writing:
                    await self._write()
                if self._writing.cancelled_caught:
                    await self._cut_off()
                tasks.cancel_scope.cancel()
        finally:
            self._hang_up()
            while event := self.session.next_event(anyio.current_time()):
                self._settle(self._sounding.settle(event))

    def wind_down(self, problem: Problem, end: SessionClosed) -> None:
        """Refuse new contexts with `problem`, and close with `end` when the running ones have ended. A socket
        whose one context runs ends with it, as ever: what was said to the end is no failure."""
        if not (self._dialect.single and self.session.live_contexts):
            self.session.wind_down(problem, end)
            self._pump()

    def fail(self, problem: Problem) -> None:
        """End every context and the socket with `problem`."""
        self.session.fail(problem, anyio.current_time())
        self._pump()

    # --- reading -------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            try:
                message = await self._transport.receive()
            except Disconnected:
                self._hang_up()
                return
            for command in self._dialect.decode(message):
                if self._refused:
                    break
                if isinstance(command, Credentials):
                    self._authenticate(command.key)
                elif self._authentication_seconds is not None:
                    self._refuse(KeyRing.missing())
                else:
                    self.session.receive(command, anyio.current_time())
            self._pump()
            while self.session.congested:
                self._sent = anyio.Event()
                await self._sent.wait()

    def _authenticate(self, key: str) -> None:
        if problem := self._keys.check(key):
            self._refuse(problem)
        else:
            self._authentication_seconds = None
            self._app = self._keys.app(key)

    async def _await_key(self, seconds: float) -> None:
        await anyio.sleep(seconds)
        if self._authentication_seconds is not None and not self._refused:
            self._refuse(
                Problem(
                    code="authentication_timeout",
                    message=f"No API key came within {seconds:g} s. Send it in a header, in the query, or in "
                    "the first message.",
                    limit=seconds,
                )
            )
            self._pump()

    def _refuse(self, problem: Problem) -> None:
        """Close the socket for lack of a good key; nothing that the client still says counts."""
        self._refused = True
        log.info("refused", session=self.session.id, code=problem.code)
        self.session.fail(problem, anyio.current_time())

    def _hang_up(self) -> None:
        """The client is gone, or must go."""
        if self._connected:
            self._connected = False
            self.session.disconnect(anyio.current_time())
            self._pump()

    # --- the clock -----------------------------------------------------------------------------------

    async def _time(self) -> None:
        while True:
            self._armed = self.session.next_deadline()
            with anyio.CancelScope(deadline=self._armed) as waiting:
                await self._rearm.wait()
            if waiting.cancelled_caught:
                self.session.tick(anyio.current_time())
                self._pump()

    # --- consequences --------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Act on what an input changed."""
        self._act()
        if self._to_send is not None:
            self._to_send.set()
            self._to_send = None

    def _act(self) -> None:
        """Give the engine side its work, and wake the clock if something is due earlier than it thinks."""
        for effect in self.session.take_effects():
            if isinstance(effect, Speak):
                self._speak(effect)
            elif speaking := self._speaking.get((effect.serial, effect.segment)):
                speaking.stop()
        if self.session.next_deadline() < self._armed:
            self._rearm.set()
            self._rearm = anyio.Event()

    def _speak(self, effect: Speak) -> None:
        serial, segment = effect.serial, effect.segment

        def take(report: Report) -> None:
            if isinstance(report, SegmentEnded):
                self._speaking.pop((serial, segment), None)
            self.session.report(report, anyio.current_time())
            self._pump()

        self._speaking[serial, segment] = self._dispatcher.submit(
            effect, lambda: self.session.due(serial), take, self._app
        )

    # --- writing -------------------------------------------------------------------------------------

    async def _write(self) -> None:
        """Send what there is, until the socket's end."""
        now = anyio.current_time()
        while True:
            event = self.session.next_event(now)
            if event is None:
                if not self._connected:
                    return
                self._to_send = anyio.Event()
                await self._to_send.wait()
                now = anyio.current_time()
                continue
            self._act()
            event = self._sounding.settle(event)
            self._settle(event)
            if not self._connected:
                continue
            try:
                for frame in self._sounding.frames(event):
                    self._sending_since = now
                    await self._transport.send(frame)
                    now = anyio.current_time()
            except Disconnected:
                self._hang_up()
            self._sending_since = math.inf
            if self._sent is not None:
                self._sent.set()
            if isinstance(event, SessionClosed):
                # A client that does not read can hold up its own close for ever.
                with anyio.move_on_after(SEND_SECONDS):
                    await self._transport.aclose(event.code, event.reason)
                return

    async def _watch(self) -> None:
        """Stop the writer when a frame takes too long. It looks when one might: a deadline for every frame
        would cost as much as encoding it."""
        while True:
            now = anyio.current_time()
            if now >= self._sending_since + SEND_SECONDS:
                self._writing.cancel()
                return
            await anyio.sleep_until(min(now, self._sending_since) + SEND_SECONDS)

    async def _cut_off(self) -> None:
        """End the socket of a client that does not read."""
        self._hang_up()
        log.warning("slow_consumer", session=self.session.id, seconds=SEND_SECONDS)
        # No error frame can follow half a frame; perhaps the close code gets through.
        with anyio.move_on_after(CUT_OFF_SECONDS):
            await self._transport.aclose(1013, f"slow_consumer: nothing was read for {SEND_SECONDS:g} s")

    def _settle(self, event: Event) -> None:
        """Account for an end; a socket that carries a single context ends with it."""
        if isinstance(event, ContextClosed):
            self._on_closed(event)
            if self._dialect.single:
                code, reason = (
                    (event.problem.row.close, event.problem.message) if event.problem else (1000, "")
                )
                self.session.finish(SessionClosed(code, close_reason(reason)), anyio.current_time())
