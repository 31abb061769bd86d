"""A context's place on a socket, and on the next one when that breaks."""

from __future__ import annotations

from collections import deque
from contextlib import suppress

import anyio
import anyio.abc
import msgspec

from mux.client.ledger import Ledger
from mux.errors import MuxError, Problem
from mux.links.endpoint import Pools
from mux.links.link import CANCEL_SECONDS, LinkContext
from mux.links.router import Ended
from mux.protocol.messages import Alignment, Reason, Usage
from mux.protocol.voice import ContextSettings
from mux.tasks import owned_tasks

__all__ = ["Holding"]

FRAME_SECONDS = 30.0
"""How long a closed context may stay silent before it is given up, where nobody says otherwise."""
LOOK_SECONDS = 10.0
"""How often a closed context is looked at, whether it is still heard of."""
QUIET, LONG_QUIET = 1.5, 5.0
"""Seconds after its last audio at which a context of ElevenLabs has said all: if its times do not tell, and
if they tell of text that was not spoken."""
GLANCE = 0.05
"""Seconds between two looks for that."""
FRUITLESS = 4
"""Attempts in a row that may bring no new audio, before what is unspoken is given up."""
BREAKS = frozenset(
    {"connection_lost", "draining", "socket_closing", "engine_failed", "engine_stalled", "timed_out"}
)
"""What another socket can help against."""


class Holding:
    """The task of one context (`live`), and what it knows.

    Args:
        replay: whether another socket is to be found when one is lost.
        silence_timeout: seconds for which a closed context may be silent.
    """

    def __init__(
        self,
        name: str,
        pools: Pools,
        settings: ContextSettings,
        ledger: Ledger,
        *,
        keepalive: bool,
        replay: bool,
        silence_timeout: float,
    ) -> None:
        self.inner: LinkContext | None = None
        """Its newest place."""
        self.ended: Ended | None = None
        self.closing = False
        """No more text is to come."""
        self.is_read = False
        """Its reader has come to its end, or will not come."""
        self.saved: deque[tuple[bytes, Alignment | None]] = deque()
        """What came on sockets that have broken, and was not read yet."""
        self._name = name
        self._pools = pools
        self.settings = settings
        self._ledger = ledger
        self._keepalive = keepalive
        self._replay = replay
        self._silence_timeout = silence_timeout
        self._places = 0
        self._received_bytes = 0
        """From all places."""
        self._stopped_at: float | None = None
        """When it was cancelled."""
        self._changed = anyio.Event()
        self._tasks: anyio.abc.TaskGroup | None = None
        self._placing = anyio.CancelScope()

    @property
    def usable(self) -> LinkContext | None:
        """Its place, if there is one now."""
        return self.inner if self.inner is not None and self.inner.inbox.ended is None else None

    async def change(self) -> None:
        """Wait until it has another place, or has ended."""
        await self._changed.wait()

    async def wait_placed(self) -> None:
        """Wait until it has its first place, or has ended without any."""
        while self.inner is None and self.ended is None:
            await self.change()

    def close(self) -> None:
        """That was all."""
        self.closing = True
        if inner := self.usable:
            self._close(inner)

    def stop(self) -> None:
        """Cancel, and forget what was not read."""
        self.closing = True
        if self._stopped_at is None:
            self._stopped_at = anyio.current_time()
        self.saved.clear()
        if inner := self.usable:
            inner.cancel()
        elif self.ended is None:
            self._placing.cancel()  # it is on its way to another socket
        elif self.inner is not None:
            self.inner.inbox.mute()

    async def live(self) -> None:
        """Hold a place on a socket until the context has ended. Cancelling ends it."""
        ended = Ended(reason=Reason.SOCKET_CLOSED, problem=_LEFT)
        try:
            async with owned_tasks() as self._tasks:
                with self._placing:
                    ended = await self._hold_places()
            if self._placing.cancelled_caught:
                ended = Ended(reason=Reason.CANCELLED)
            elif self._stopped_at is not None and not self._is_told:
                ended = msgspec.structs.replace(ended, reason=Reason.CANCELLED, problem=None)
        except MuxError as error:
            ended = Ended(reason=Reason.FAILED, problem=error.problem)
        finally:
            self.ended = self._counted(ended)
            self._wake()

    def _counted(self, ended: Ended) -> Ended:
        """With usage as counted here, if the service told none, or each of several sockets a part of it."""
        if self._places < 2 and self._is_told and ended.usage is not None:
            return ended
        received = self._ledger.ms(self._received_bytes) or 0.0
        usage = Usage(
            characters_accepted=self._ledger.characters, audio_generated_ms=received, audio_sent_ms=received
        )
        return msgspec.structs.replace(ended, usage=usage)

    # --- one place after the other -------------------------------------------------------------------

    async def _hold_places(self) -> Ended:
        fruitless, before = 0, 0
        pool = self._pools.get(self.settings)
        parts: list[str] = []
        while True:
            async with pool.context(self._name, self.settings, keepalive=self._keepalive) as inner:
                await self._go_on(inner, parts)
                ended = await self._until_ended(inner)
            self._received_bytes += inner.inbox.received_bytes
            if ended.problem is not None and ended.problem.code == "timed_out":
                pool.retire(inner)  # nothing more is to be expected of that socket
            if not self._replay or self._stopped_at is not None or not _broke(ended):
                return ended
            # What came before the break is still to be read, in its order.
            while (frame := await inner.inbox.get()) is not None:
                self.saved.append(self._ledger.heard(bytes(frame.audio), frame.alignment))
            fruitless = 0 if self._ledger.received_bytes > before else fruitless + 1
            before = self._ledger.received_bytes
            rest = self._ledger.resume()
            if rest is None or fruitless >= FRUITLESS:
                return ended
            parts = rest
            if self.closing and before and not any(part.strip() for part in parts):
                return Ended(reason=Reason.COMPLETED)  # all but its end had come

    async def _go_on(self, inner: LinkContext, parts: list[str]) -> None:
        """Take a place, and say there what is unspoken."""
        with suppress(MuxError):  # it may break at once; its inbox tells
            for number, part in enumerate(parts):
                if number:
                    inner.flush()
                if part:
                    await inner.send(part)
        self.inner = inner
        self._places += 1
        if self.closing:
            self._close(inner)
        self._wake()

    async def _until_ended(self, inner: LinkContext) -> Ended:
        """Wait for the end at one place; one that stays silent after it was closed is given up, and one that
        does not confirm a cancel."""
        received, since = 0, anyio.current_time()
        while True:
            now = anyio.current_time()
            if inner.inbox.received_bytes > received or not inner.closing:
                received, since = inner.inbox.received_bytes, now
            patience = max(since, inner.said_at) + self._silence_timeout
            if self._stopped_at is not None:
                patience = self._stopped_at + CANCEL_SECONDS
            if now >= patience:
                inner.link.give_up(inner.wire_id, self._silent())
            with anyio.move_on_at(min(patience, now + LOOK_SECONDS)):
                return await inner.inbox.wait_ended()

    # --- its end -------------------------------------------------------------------------------------

    @property
    def _is_told(self) -> bool:
        """Whether the service tells how a context ended, and what it used, and speaks to the end what was
        closed: all but ElevenLabs do."""
        return self._pools.endpoint.dialect != "elevenlabs"

    def _close(self, inner: LinkContext) -> None:
        """Say that this was all. ElevenLabs drops then what was not flushed, and may drop what it has not
        spoken yet: there the end is said when everything has come."""
        if self._is_told:
            inner.close()
        elif not inner.closing and self._tasks is not None:
            inner.flush()
            self._tasks.start_soon(self._close_at_the_end, inner)

    async def _close_at_the_end(self, inner: LinkContext) -> None:
        received, since = inner.inbox.received_bytes, anyio.current_time()
        while inner.inbox.ended is None and not inner.closing:
            now = anyio.current_time()
            if inner.inbox.received_bytes > received:
                received, since = inner.inbox.received_bytes, now
            quiet = QUIET if self._ledger.unspoken is None else LONG_QUIET
            patience = quiet if received else self._silence_timeout
            if self._ledger.is_all_spoken or now >= since + patience:
                inner.close()
            await anyio.sleep(GLANCE)

    def _silent(self) -> Problem:
        message = f"Context {self._name!r} was closed, but nothing came for {self._silence_timeout:g} s."
        return Problem(code="timed_out", message=message, limit=self._silence_timeout)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


def _broke(ended: Ended) -> bool:
    return ended.reason is Reason.SOCKET_CLOSED or (
        ended.problem is not None and ended.problem.code in BREAKS
    )


_LEFT = Problem(code="closed_early", message="This side has left the session; open another one.")
