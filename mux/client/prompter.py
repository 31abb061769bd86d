"""Has the turns of a dialogue spoken ahead of time, but not too far ahead."""

from __future__ import annotations

from collections import deque

import anyio
import anyio.abc

from mux.client.context import Context
from mux.client.dialogue_turn import DialogueTurn
from mux.client.errors import SpeechError
from mux.client.feeding import is_between_sentences, pieces_of
from mux.client.session import Session

__all__ = ["Prompter"]

PACE = 65.0
"""Ms of audio that a character is expected to give, until a turn has shown how much it is."""
QUIET_SECONDS = 3.0
"""After so long without any audio nothing more is expected of the text that was sent."""
RECENT = 1000
"""Characters that are looked at to find the end of a sentence."""


class Prompter:
    """Opens a context for each turn, in order, and feeds it, as long as what is sent now would be heard
    within the look-ahead.

    Args:
        look_ahead: seconds of audio that may wait.
        contexts: how many may be open at a time.
    """

    def __init__(
        self, session: Session, tasks: anyio.abc.TaskGroup, *, look_ahead: float, contexts: int
    ) -> None:
        self.order: deque[DialogueTurn] = deque()
        """The turns that are not over."""
        self._session = session
        self._tasks = tasks
        self._look_ahead_ms = look_ahead * 1000
        self._contexts = contexts
        self._waiting: deque[DialogueTurn] = deque()
        """Those that have no context yet."""
        self._speaking = 0
        """Contexts that are open."""
        self._characters = 0
        self._audio_ms = 0.0
        """Of the turns that were completed."""
        self._changed = anyio.Event()

    def add(self, turn: DialogueTurn) -> None:
        """A further turn."""
        self.order.append(turn)
        if not turn.complete:
            self._waiting.append(turn)
        self.wake()

    def remove(self, *turns: DialogueTurn) -> None:
        """These are over."""
        for turn in turns:
            self.order.remove(turn)
            if turn in self._waiting:
                self._waiting.remove(turn)
        self.wake()

    async def changed(self) -> None:
        """Wait until something may be different."""
        await self._changed.wait()

    def wake(self) -> None:
        """Something is different."""
        self._changed.set()
        self._changed = anyio.Event()

    # --- tasks ---------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Open the contexts of the turns in their order, each when it is near."""
        while True:
            turn = self._waiting[0] if self._waiting else None
            if turn is None or self._speaking >= self._contexts or self._is_full(turn):
                await self.changed()
                continue
            self._waiting.popleft()
            self._speaking += 1
            self._tasks.start_soon(self._speak, turn)

    async def _speak(self, turn: DialogueTurn) -> None:
        """One turn's context, from its opening to its end."""
        try:
            with turn.scope:
                async with self._session.context(turn.name, **turn.options) as turn.context:
                    await self._exchange(turn, turn.context)
        except SpeechError as error:  # it could not be opened
            turn.error = error
        turn.is_fed = turn.complete = True
        self._speaking -= 1
        self.wake()

    async def _exchange(self, turn: DialogueTurn, context: Context) -> None:
        most = self._session.endpoint.buffer_bytes
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._feed, turn, context)
            while (chunk := await context.next_chunk()) is not None:
                turn.put(chunk, anyio.current_time())
                self.wake()
                while turn.waiting_bytes > most:
                    await self.changed()
            tasks.cancel_scope.cancel()
        turn.error = turn.error or context.error
        turn.usage = context.usage
        if context.error is None:
            self._characters += turn.sent
            self._audio_ms += turn.received_ms

    async def _feed(self, turn: DialogueTurn, context: Context) -> None:
        """Give a turn its text. What was sent will be spoken whether anybody reads it or not, so this stops
        after a sentence when enough waits to be heard."""
        try:
            async with pieces_of(turn.source) as pieces:
                async for piece in pieces:
                    turn.came(piece)
                    if self._is_full(turn) and is_between_sentences(turn.sent_last(RECENT), piece):
                        await context.flush()
                        await self._room(turn)
                    await context.send(piece)
                    turn.gave(piece, anyio.current_time())
        except Exception as error:
            if context.ended is not None:
                return  # its reader is told why
            turn.error = error
        turn.is_fed = True
        self.wake()
        await context.close()

    # --- how far ahead -------------------------------------------------------------------------------

    def _is_full(self, turn: DialogueTurn) -> bool:
        """Whether what is sent for this turn now would be heard only after the look-ahead."""
        pace = self._pace
        lead = 0.0
        for earlier in self.order:
            lead += earlier.lead_ms(pace)
            if lead >= self._look_ahead_ms:
                return True
            if earlier is turn:
                break
            if not earlier.is_fed:  # it may still have much to say
                return True
        return False

    async def _room(self, turn: DialogueTurn) -> None:
        """Wait until the turn is no longer full."""
        while self._is_full(turn):
            quiet_from = turn.moved_at + QUIET_SECONDS
            if not turn.coming_ms(self._pace):
                await self.changed()
            elif anyio.current_time() >= quiet_from:
                turn.settle()  # it was spoken faster than expected
            else:
                with anyio.move_on_at(quiet_from):
                    await self.changed()

    @property
    def _pace(self) -> float:
        return self._audio_ms / self._characters if self._audio_ms and self._characters else PACE
