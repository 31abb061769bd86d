"""One turn of a dialogue: what it has to say, and what of its audio has come and was released."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Any

import anyio

from mux.client.context import Chunk, Context
from mux.protocol.messages import Usage

__all__ = ["DialogueTurn"]

CLIP_MS = 100
"""In pieces of this length a clip is released, so that it can be interrupted."""


class DialogueTurn:
    """A turn, spoken or a clip; made by `Dialogue.say` and `Dialogue.clip`. Iterate over it for its audio:
    that waits until all earlier turns are over.

    Attributes:
        name: who speaks; the chunks bear it, too.
        text: what is said; where it comes from an iterator, what came so far.
        interrupted: it was broken off, or dropped before it was heard.
        error: why it failed: a `SpeechError`, or what the iterator of its text raised.
        usage: what it used, when it is complete; None for clips.
    """

    def __init__(
        self,
        name: str,
        source: str | AsyncIterable[str],
        options: dict[str, Any],
        bytes_per_ms: float,
        release: Callable[[DialogueTurn], Awaitable[Chunk | None]],
    ) -> None:
        self.name = name
        self.source = source
        self.options = options
        """How its context is opened."""
        self.text = source if isinstance(source, str) else ""
        self.interrupted = False
        self.error: Exception | None = None
        self.usage: Usage | None = None
        self.is_fed = False
        """All of its text was sent."""
        self.complete = False
        """No more audio will come."""
        self.is_over = False
        """No more audio will be released."""
        self.weight = 1024 + len(self.text)
        """Bytes that it counts for while it waits."""
        self.scope = anyio.CancelScope()
        """Of the task that has it spoken."""
        self.context: Context | None = None
        self.sent = 0
        """Characters that its context was given."""
        self.begins_ms: float | None = None
        """Where it begins in all that was released; None until it does."""
        self.moved_at = 0.0
        """When text was last sent or audio came, in loop time."""
        self._release = release
        self._bytes_per_ms = bytes_per_ms
        self._chunks: deque[Chunk] = deque()
        self._received = 0
        self._released = 0
        self._aligned = 0
        """Characters whose audio has come, as far as alignments tell."""
        self._settled = 0
        """Characters that nothing more is expected of."""

    # --- what is known -------------------------------------------------------------------------------

    @property
    def received_ms(self) -> float:
        """How much of its audio has come, in ms; by the bit rate where the format is compressed."""
        return self._received / self._bytes_per_ms

    @property
    def released_ms(self) -> float:
        """How much of its audio was given to who iterates."""
        return self._released / self._bytes_per_ms

    @property
    def waiting_bytes(self) -> int:
        """Audio that has come and was not released."""
        return self._received - self._released

    def coming_ms(self, pace: float) -> float:
        """How much audio is expected of the text that was sent, at `pace` ms a character."""
        if self.complete:
            return 0.0
        spoken = self._aligned or self.received_ms / pace
        return max(0.0, self.sent - max(spoken, self._settled)) * pace

    def lead_ms(self, pace: float) -> float:
        """How much it has in hand: what waits, and what is coming."""
        return self.waiting_bytes / self._bytes_per_ms + self.coming_ms(pace)

    def split(self, played_ms: float) -> tuple[str, str]:
        """(spoken, unspoken): its text as a listener knows it who has heard `played_ms` of its audio. A word
        that was broken off counts as unspoken."""
        if self.context is not None:
            rest = self.context.split(played_ms)[1] + self.text[self.sent :]
            at = len(self.text) - len(rest)
        elif self.complete and self.received_ms:  # a clip: nobody knows better
            at = int(len(self.text) * min(1.0, played_ms / self.received_ms))
            while 0 < at < len(self.text) and not self.text[at].isspace():
                at -= 1
        else:
            at = 0
        return self.text[:at], self.text[at:]

    # --- text ----------------------------------------------------------------------------------------

    def came(self, piece: str) -> None:
        """This is to be sent next."""
        if not isinstance(self.source, str):
            self.text += piece

    def gave(self, piece: str, now: float) -> None:
        """It was sent."""
        self.sent += len(piece)
        self.moved_at = now

    def sent_last(self, characters: int) -> str:
        """The end of what was sent."""
        return self.text[max(0, self.sent - characters) : self.sent]

    # --- audio ---------------------------------------------------------------------------------------

    def put(self, chunk: Chunk, now: float) -> None:
        """Audio has come."""
        self._chunks.append(chunk)
        self._received += len(chunk.audio)
        self._aligned += len(chunk.alignment.text) if chunk.alignment is not None else 0
        self.moved_at = now

    def put_clip(self, audio: bytes) -> None:
        """This is all of its audio."""
        size = max(1, round(self._bytes_per_ms * CLIP_MS) // 2) * 2
        for at in range(0, len(audio), size):
            self.put(Chunk(self.name, audio[at : at + size], None), 0.0)
        self.weight += len(audio)
        self.is_fed = self.complete = True

    def take(self) -> Chunk | None:
        """The next audio, if some waits."""
        if not self._chunks:
            return None
        chunk = self._chunks.popleft()
        self._released += len(chunk.audio)
        return chunk

    def settle(self) -> None:
        """Nothing more is expected of what was sent so far."""
        self._settled = self.sent

    def stop(self) -> None:
        """Nobody wants any more of it."""
        self.interrupted = self.is_over = True
        self._chunks.clear()
        self.scope.cancel()

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        """The next audio, as soon as it is this turn's. The iteration ends with the turn, and at once when it
        is interrupted. Cancelling loses nothing.

        Raises:
            Exception: its `error`, after all audio that came before.
        """
        chunk = await self._release(self)
        if chunk is not None:
            return chunk
        if self.error is not None and not self.interrupted:
            raise self.error
        raise StopAsyncIteration
