"""Turns of several voices, spoken side by side and heard one after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import msgspec

from mux.audio.formats import FORMATS
from mux.client.context import Chunk
from mux.client.dialogue_turn import DialogueTurn
from mux.client.errors import speech_error
from mux.client.playhead import Playhead
from mux.client.prompter import Prompter
from mux.client.session import Session, checked_voice, told_as_speech_error
from mux.errors import Problem
from mux.protocol.voice import VoiceSettings
from mux.tasks import owned_tasks

__all__ = ["Dialogue", "Interrupted", "dialogue"]

QUEUED_BYTES = 64 * 1024 * 1024
"""Text and clips that may wait."""
REMEMBERED = 100
"""Turns that were released and may still be playing."""


class Interrupted(msgspec.Struct, frozen=True):
    """What an interruption found. Of `turn`, which was being heard (None: nobody was), `spoken` is the text
    that was heard and `unspoken` the rest, `spoken_ms` the audio that was heard and `unspoken_ms` what else
    had come of it. `dropped` are the turns of which nothing was heard, in order."""

    turn: DialogueTurn | None
    spoken: str
    unspoken: str
    spoken_ms: float
    unspoken_ms: float
    dropped: tuple[DialogueTurn, ...]


class Dialogue:
    """A queue of turns; made by `dialogue`. Any task may say, end and interrupt; one reads the audio."""

    def __init__(self, session: Session, prompter: Prompter, voices: Mapping[str, str]) -> None:
        self._output_format = session.endpoint.output_format
        self._bytes_per_ms = _bytes_per_ms(self._output_format)
        self._prompter = prompter
        self._voices = dict(voices)
        self._order = prompter.order
        """The turns that are not over; the first one is being released."""
        self._over: deque[DialogueTurn] = deque(maxlen=REMEMBERED)
        """Turns that were wholly released, and may not have been heard."""
        self._queued = 0
        self._playhead = Playhead()
        self._ended = False

    # --- what is to be said --------------------------------------------------------------------------

    def say(
        self,
        name: str,
        text: str | AsyncIterable[str],
        *,
        voice: str | None = None,
        language: str | None = None,
        settings: VoiceSettings | Mapping[str, Any] | None = None,
    ) -> DialogueTurn:
        """Have a text spoken after all that was said before. Does not wait.

        Args:
            name: who speaks.
            text: all of it, or an iterator that writes it (a model's tokens), which is read when all text
                before it has been written and its turn is near. What it raises is told in the turn's place.
            voice: None: the one of `voices` for this name, or else the session's.

        Raises:
            SpeechError: a setting is out of its range (`Refused`), too much waits (`OverLimit`), or the
                dialogue was ended.
        """
        with told_as_speech_error(name):
            checked_voice(settings)
        options = {"voice": voice or self._voices.get(name), "language": language, "settings": settings}
        turn = DialogueTurn(name, text, options, self._bytes_per_ms, self._release)
        turn.is_fed = turn.complete = isinstance(text, str) and not text.strip()
        self._add(turn)
        return turn

    def clip(self, audio: bytes, text: str = "", *, name: str = "clip") -> DialogueTurn:
        """Have audio that exists already heard after all that was said before: bytes in the session's output
        format, and what they say. Does not wait. How much of its text was heard is told by its length.

        Raises:
            SpeechError: as `say` does; or these are no whole samples (`Refused`).
        """
        if len(audio) % 2 and self._output_format.startswith("pcm"):
            message = f"A clip of 16-bit samples has an even number of bytes, received {len(audio)}."
            raise speech_error(Problem(code="invalid_message", message=message), context=name)
        turn = DialogueTurn(name, text, {}, self._bytes_per_ms, self._release)
        turn.put_clip(audio)
        self._add(turn)
        return turn

    def end(self) -> None:
        """That was all: iterations that `stay` end after the last turn."""
        self._ended = True
        self._prompter.wake()

    def drop(self) -> None:
        """The dialogue is over: nobody is to wait for more."""
        self._ended = True
        for turn in self._order:
            turn.stop()
        self._prompter.remove(*self._order)

    def _add(self, turn: DialogueTurn) -> None:
        if self._ended:
            message = "This dialogue was ended; begin another one."
            raise speech_error(Problem(code="closed_early", message=message), context=turn.name)
        if self._queued + turn.weight > QUEUED_BYTES:
            message = f"More than {QUEUED_BYTES} bytes of text and clips wait. Read the audio, then say more."
            raise speech_error(
                Problem(code="slow_consumer", message=message, limit=QUEUED_BYTES), context=turn.name
            )
        self._queued += turn.weight
        self._prompter.add(turn)

    # --- what is heard -------------------------------------------------------------------------------

    def audio(self, *, stay: bool = False) -> AsyncIterator[Chunk]:
        """All audio in order, without a gap: chunks that bear the name of who speaks.

        Ends when all that was said is released; with `stay` it waits for more, until `end`. A turn that
        failed raises its error in its place, after what came of it; iterate again, and it goes on with the
        next turn. Who does not read lets `look_ahead` seconds wait, and no more is spoken.
        """
        return _Audio(_Turns(self, stay=stay))

    def turns(self, *, stay: bool = False) -> AsyncIterator[DialogueTurn]:
        """The same turn by turn: iterate over each for its audio, which raises the turn's error at its end.
        Whoever asks for the next turn does not want the rest of the one before."""
        return _Turns(self, stay=stay)

    @property
    def played_ms(self) -> float:
        """How much of what was released a listener has heard, if the player began at once and keeps speaking
        pace. What was dropped by interruptions does not count."""
        return self._playhead.at(anyio.current_time())

    async def next_turn(self, *, stay: bool) -> DialogueTurn | None:
        """The turn that is to be released, or None when there will be none."""
        while not self._order:
            if self._ended or not stay:
                return None
            await self._prompter.changed()
        return self._order[0]

    def leave(self, turn: DialogueTurn) -> None:
        """Nobody wants the rest of this turn."""
        if not turn.is_over:
            turn.stop()
            self._finish(turn)

    async def _release(self, turn: DialogueTurn) -> Chunk | None:
        """The next audio of a turn when it is the first one; None when it is over."""
        await anyio.lowlevel.checkpoint()
        while not turn.is_over:
            if turn is self._order[0]:
                if chunk := turn.take():
                    if turn.begins_ms is None:
                        turn.begins_ms = self._playhead.released
                    self._playhead.release(len(chunk.audio) / self._bytes_per_ms, anyio.current_time())
                    self._prompter.wake()
                    return chunk
                if turn.complete:
                    turn.is_over = True
                    self._finish(turn)
                    break
            await self._prompter.changed()
        return None

    def _finish(self, turn: DialogueTurn) -> None:
        self._prompter.remove(turn)
        self._queued -= turn.weight
        self._over.append(turn)

    # --- interruptions -------------------------------------------------------------------------------

    async def interrupt(self, played_ms: float | None = None) -> Interrupted:
        """Interrupt (barge-in): the turn that is being heard and all after it are dropped. No audio is
        released from the moment of the call; what is said from then on is heard next.

        Args:
            played_ms: how much the player has really played of all that was released, in ms from the start of
                the dialogue, without what it dropped at earlier interruptions. None: `played_ms`, which takes
                it that the player began at once and keeps speaking pace.

        Returns when the service has confirmed the end of every context (or did not within 5 s). Cancelling
        does not take it back.
        """
        now = anyio.current_time()
        at = self._playhead.at(now) if played_ms is None else played_ms
        at = min(max(at, 0.0), self._playhead.released)
        unheard = [turn for turn in (*self._over, *self._order) if not _was_heard(turn, at)]
        told = _told(unheard, at)
        contexts = [turn.context for turn in unheard if turn.context is not None and not turn.complete]
        for turn in unheard:
            turn.stop()
        self._prompter.remove(*self._order)
        self._over.clear()
        self._queued = 0
        self._playhead.cut(at, now)
        async with anyio.create_task_group() as tasks:
            for context in contexts:
                tasks.start_soon(context.cancel)
        return told


class _Turns(AsyncIterator[DialogueTurn]):
    def __init__(self, dialogue: Dialogue, *, stay: bool) -> None:
        self._dialogue = dialogue
        self._stay = stay
        self._last: DialogueTurn | None = None

    async def __anext__(self) -> DialogueTurn:
        if self._last is not None:
            self._dialogue.leave(self._last)
        self._last = await self._dialogue.next_turn(stay=self._stay)
        if self._last is None:
            raise StopAsyncIteration
        return self._last


class _Audio(AsyncIterator[Chunk]):
    def __init__(self, turns: _Turns) -> None:
        self._turns = turns
        self._turn: DialogueTurn | None = None

    async def __anext__(self) -> Chunk:
        while True:
            if self._turn is None:
                self._turn = await anext(self._turns)
            try:
                return await anext(self._turn)
            except StopAsyncIteration:
                self._turn = None


def _was_heard(turn: DialogueTurn, at: float) -> bool:
    """All of it; a ms more or less is the player's rounding."""
    return turn.is_over and (turn.begins_ms is None or turn.begins_ms + turn.released_ms <= at + 1)


def _told(unheard: list[DialogueTurn], at: float) -> Interrupted:
    turn = unheard[0] if unheard else None
    if turn is None or turn.begins_ms is None or turn.begins_ms >= at:
        return Interrupted(None, "", "", 0.0, 0.0, tuple(unheard))
    spoken_ms = at - turn.begins_ms
    return Interrupted(
        turn, *turn.split(spoken_ms), spoken_ms, turn.received_ms - spoken_ms, tuple(unheard[1:])
    )


def _bytes_per_ms(output_format: str) -> float:
    format = FORMATS.get(output_format)
    exact = format.bytes_per_ms if format is not None else None
    if exact is not None:
        return exact
    if format is None or format.bitrate_kbps is None:
        message = f"A dialogue has to know how long audio lasts, and {output_format!r} does not tell. "
        raise speech_error(Problem(code="unsupported_format", message=message + "Ask for pcm, ulaw or mp3."))
    return format.bitrate_kbps / 8


@asynccontextmanager
async def dialogue(
    session: Session,
    *,
    look_ahead: float = 30.0,
    contexts: int = 3,
    voices: Mapping[str, str] | None = None,
) -> AsyncIterator[Dialogue]:
    """Speak a dialogue over a session, for the length of the block.

    >>> async with mux.dialogue(session, voices={"wolf": "en-us-klatt4"}) as dialogue:
    ...     dialogue.say("wolf", "Little pig, let me come in.")
    ...     async for chunk in dialogue.audio():
    ...         await play(chunk.audio)

    Args:
        look_ahead: seconds of audio that may wait to be heard. Text is sent sentence by sentence, and no more
            when so much is in hand: what was sent would be spoken, and paid, also if it is dropped.
        contexts: how many may be open at a time: the turn that is heard, and those that are prepared.
        voices: what voice each name speaks with.

    Leaving the block drops what was not read.

    Raises:
        SpeechError: a value is out of its range (`Refused`).
    """
    if not look_ahead > 0 or contexts < 1:
        message = f"look_ahead must be over 0 s, contexts at least 1; received {look_ahead:g} and {contexts}."
        raise speech_error(Problem(code="invalid_setting", message=message))
    endpoint = session.endpoint
    contexts = min(contexts, endpoint.most_contexts * endpoint.sockets)
    async with owned_tasks() as tasks:
        prompter = Prompter(session, tasks, look_ahead=look_ahead, contexts=contexts)
        tasks.start_soon(prompter.run)
        running = Dialogue(session, prompter, voices or {})
        try:
            yield running
        finally:
            running.drop()
