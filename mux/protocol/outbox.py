"""What waits to be sent, per context, and whose turn it is.

Each context has a `Part`: its speech and its events in order. Events go out before anybody's speech, because
they are short and somebody waits for them; speech goes out in turns of one frame, so a context that has a lot
to say delays another one by no more than one round.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, NamedTuple, TypeVar

from mux.protocol.pcm import Piece, cut, joined

__all__ = ["Outbox", "Part", "Speech"]

Owner = TypeVar("Owner")


class Speech(NamedTuple):
    """Speech of one segment that waits: mono s16le."""

    segment: int
    pcm: Piece
    sample_rate: int


class Part(Generic[Owner]):
    """One context's share of an outbox; made by `Outbox.part`."""

    def __init__(self, owner: Owner, outbox: Outbox[Owner], held: bool) -> None:
        self.owner = owner
        self.waiting_bytes = 0
        self.waiting_seconds = 0.0
        self._outbox = outbox
        self._items: deque[object] = deque()
        self._held = held
        """An earlier context of the same id has not ended yet: nothing of this one may go out."""
        self.queued = False
        """Whether this part stands in one of the outbox's queues; kept by the outbox."""

    def push(self, item: object) -> None:
        """Add to the end: speech, or anything that stands for an event."""
        if isinstance(item, Speech):
            size = len(item.pcm)
            self.waiting_bytes += size
            self.waiting_seconds += size / 2 / item.sample_rate
        self._items.append(item)
        self._outbox.queue(self)

    def speaks(self) -> bool:
        """Whether speech, not an event, is next."""
        return isinstance(self._items[0], Speech)

    def ready(self) -> bool:
        return bool(self._items) and not self._held

    def take_event(self) -> object:
        item = self._items.popleft()
        assert not isinstance(item, Speech)
        return item

    def take_speech(self, most_ms: int) -> Speech:
        """The next frame: at most `most_ms` of one segment's speech, joined from what waits."""
        first = self._items.popleft()
        assert isinstance(first, Speech)
        segment, rate = first.segment, first.sample_rate
        most = rate * most_ms // 1000 * 2
        pieces = [first.pcm]
        size = len(first.pcm)
        while size < most and self._items:
            item = self._items[0]
            if not isinstance(item, Speech) or item.segment != segment or item.sample_rate != rate:
                break
            self._items.popleft()
            pieces.append(item.pcm)
            size += len(item.pcm)
        if size > most:
            last = pieces.pop()
            kept, rest = cut(last, len(last) - (size - most))
            pieces.append(kept)
            self._items.appendleft(Speech(segment, rest, rate))
            size = most
        self.waiting_bytes -= size
        self.waiting_seconds -= size / 2 / rate
        return Speech(segment, joined(pieces), rate)

    def release(self) -> None:
        """The earlier context of the same id has ended: this one may go out now."""
        self._held = False
        self._outbox.queue(self)

    def purge(self) -> None:
        """Drop everything that waits."""
        self._items.clear()
        self.waiting_bytes = 0
        self.waiting_seconds = 0.0
        self._outbox.forget(self)


class Outbox(Generic[Owner]):
    """All parts of one socket; a part that has something to send stands in exactly one of two queues."""

    def __init__(self) -> None:
        self._events: deque[Part[Owner]] = deque()
        self._turns: deque[Part[Owner]] = deque()

    def part(self, owner: Owner, held: bool = False) -> Part[Owner]:
        return Part(owner, self, held)

    def next(self) -> Part[Owner] | None:
        """Whose turn it is. Take one item from that part, then `queue` it again."""
        part = self._events.popleft() if self._events else self._turns.popleft() if self._turns else None
        if part is not None:
            part.queued = False
        return part

    def queue(self, part: Part[Owner]) -> None:
        """Let a part wait for its turn, if it has something to send and does not wait already."""
        if part.ready() and not part.queued:
            part.queued = True
            (self._turns if part.speaks() else self._events).append(part)

    def forget(self, part: Part[Owner]) -> None:
        if part.queued:
            part.queued = False
            (self._turns if part in self._turns else self._events).remove(part)

    def __bool__(self) -> bool:
        return bool(self._events or self._turns)
