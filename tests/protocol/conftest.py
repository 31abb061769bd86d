"""A session with an engine that answers on request, for tests of the core. No clock, no tasks: time is
`bench.now`. Audio is made at 1000 samples a second, so that samples are milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mux.errors import Problem
from mux.protocol.limits import Limits
from mux.protocol.messages import (
    Audio,
    Command,
    Effect,
    Event,
    Open,
    SegmentEnded,
    Speak,
    Spoken,
    Stop,
    Text,
)
from mux.protocol.session import Session
from mux.protocol.voice import ContextSettings

RATE = 1000


class Bench:
    def __init__(self, limits: Limits | None = None, settings: ContextSettings | None = None, **more: Any):
        self.session = Session(settings or ContextSettings(), limits=limits, **more)
        self.now = 0.0
        self.told: list[Effect] = []
        """Everything the engine side was told, in order."""
        self.owed: list[Speak] = []
        """Segments whose end the engine has not reported."""

    # --- the client ---

    def send(self, *commands: Command) -> None:
        for command in commands:
            self.session.receive(command, self.now)
        self.look()

    def say(self, context: str, text: str) -> None:
        """Text in a context that has no buffer: it is a segment at once."""
        self.send(Open(context, ContextSettings(auto_mode=True)), Text(context, text))

    def pull(self, most: int = 10_000) -> list[Event]:
        events: list[Event] = []
        while len(events) < most and (event := self.session.next_event(self.now)) is not None:
            events.append(event)
        self.look()
        return events

    # --- the engine ---

    def look(self) -> None:
        """Take what the engine side was told; needed only after calling the session itself."""
        effects = self.session.take_effects()
        self.told += effects
        self.owed += [effect for effect in effects if isinstance(effect, Speak)]

    @property
    def spoken(self) -> list[str]:
        return [effect.text for effect in self.told if isinstance(effect, Speak)]

    @property
    def stopped(self) -> list[Stop]:
        return [effect for effect in self.told if isinstance(effect, Stop)]

    def chunk(self, speak: Speak, samples: int = 100, starts: Sequence[int] = ()) -> None:
        pcm = b"\1\0" * samples
        self.session.report(Spoken(speak.serial, speak.segment, pcm, RATE, tuple(starts)), self.now)
        self.look()

    def end(self, speak: Speak, problem: Problem | None = None) -> None:
        self.owed.remove(speak)
        self.session.report(SegmentEnded(speak.serial, speak.segment, problem), self.now)
        self.look()

    def speak(self, samples_each: int = 10) -> None:
        """Speak the oldest owed segment, `samples_each` samples a character, in one chunk."""
        speak = self.owed[0]
        length = len(speak.text) * samples_each
        self.chunk(speak, length, range(0, length, samples_each))
        self.end(speak)

    # --- time, and all together ---

    def tick(self, now: float) -> None:
        self.now = now
        self.session.tick(now)
        self.look()

    def run(self) -> list[Event]:
        """Let the engine speak and the client read until nothing is left to do."""
        events = self.pull()
        while self.owed:
            self.speak()
            events += self.pull()
        return events


@pytest.fixture
def make_bench() -> Callable[..., Bench]:
    return Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def of() -> Callable[..., list[Any]]:
    """Pick the events of one kind: `of(events, Audio)`, and of one context: `of(events, Audio, "a")`."""

    def pick(events: list[Event], kind: Any = object, context: str | None = None) -> list[Any]:
        return [
            event
            for event in events
            if isinstance(event, kind) and (context is None or getattr(event, "context", None) == context)
        ]

    return pick


@pytest.fixture
def heard() -> Callable[..., str]:
    """The characters that a context's audio carried."""

    def join(events: list[Event], context: str) -> str:
        return "".join(
            event.alignment.text
            for event in events
            if isinstance(event, Audio) and event.context == context and event.alignment is not None
        )

    return join
