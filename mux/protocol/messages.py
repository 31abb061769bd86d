"""What crosses the core's border: commands in from the client, events out to it, effects out to the engine
side, reports in from there.

A context is named by its wire id (`context`), and by its `serial`: ids may be used again, serials never
are, so a late report for an ended context can never reach its successor.
"""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

import msgspec

from mux.errors import Problem
from mux.protocol.pcm import Pcm
from mux.protocol.voice import ContextSettings, VoiceSettings

DEFAULT_CONTEXT = "default"
"""The wire id of the context that messages without an id speak to."""


# --- commands: client to core -----------------------------------------------------------------------


class Configure(msgspec.Struct, frozen=True):
    """Settings for the connection: every context opened later inherits them. `Configured` answers it, where
    asked for."""

    settings: ContextSettings
    answer: bool = False


class Open(msgspec.Struct, frozen=True):
    """Open `context`, or give an open one its settings. Opening twice with the same settings is harmless.
    `anew` says that the client means a new context, whatever became of an earlier one of that id."""

    context: str
    settings: ContextSettings = ContextSettings()
    anew: bool = False


class Text(msgspec.Struct, frozen=True):
    """More text for `context`, which is opened by it where need be. `trigger` asks to speak now if enough
    text is waiting (`try_trigger_generation`). `voice` is who says it (None: whoever spoke last), for
    contexts in which several voices talk."""

    context: str
    text: str
    trigger: bool = False
    voice: str | None = None


class Flush(msgspec.Struct, frozen=True):
    """Speak all text that `context` has, whatever its length."""

    context: str


class Close(msgspec.Struct, frozen=True):
    """End `context`: what it accepted is still spoken, or, when `immediate`, nothing more is.

    With `answered` there is an end for each such message: if no context of that id is open (or with
    `immediate` always), an empty one is opened and ended, after all others of that id. `joins` lets the end
    of one that is being closed already be the answer, once.
    """

    context: str
    immediate: bool = False
    answered: bool = False
    joins: bool = False


class KeepAlive(msgspec.Struct, frozen=True):
    """`context` (or with None only the socket) is still wanted. Never opens anything."""

    context: str | None = None


class CloseSocket(msgspec.Struct, frozen=True):
    """End every context as `Close` does, then the socket."""


class Invalid(msgspec.Struct, frozen=True):
    """A message that could not be understood, or asked for something impossible; `context` is the id that
    it named, where that much could be read."""

    problem: Problem
    context: str | None = None


class Notice(msgspec.Struct, frozen=True):
    """Something in a message has no effect here; the client is told so, and nothing ends."""

    problem: Problem
    context: str | None = None


Command: TypeAlias = Configure | Open | Text | Flush | Close | KeepAlive | CloseSocket | Invalid | Notice


# --- effects: core to engine side --------------------------------------------------------------------


class Speak(msgspec.Struct, frozen=True):
    """Synthesise `text`. Answered by any number of `Spoken` and exactly one `SegmentEnded`. `normalize` and
    `ssml` say how the text is to be read."""

    serial: int
    segment: int
    text: str
    voice: str | None
    language: str | None
    settings: VoiceSettings
    normalize: bool = True
    ssml: bool = False


class Stop(msgspec.Struct, frozen=True):
    """Abandon this segment; its `SegmentEnded` is still owed."""

    serial: int
    segment: int


Effect: TypeAlias = Speak | Stop


# --- reports: engine side to core --------------------------------------------------------------------


class SpelledOut(msgspec.Struct, frozen=True):
    """What was really said in a chunk, where that differs from the text as it was sent ("five dollars" for
    "$5"): its characters, and the sample of the chunk at which each begins."""

    text: str
    starts: tuple[int, ...]


class Spoken(msgspec.Struct, frozen=True):
    """Speech of one segment, in order. `pcm` is mono s16le at `sample_rate`.

    `starts` maps the segment's next `len(starts)` characters (code points), in order, each to the sample of
    this chunk at which it begins, or to a negative number if it began earlier; starts never decrease; a
    character lasts until the next start, the last one until `until`, or the end of the chunk. `spelled`
    follows the same rules; a segment has it in all its chunks or in none.
    """

    serial: int
    segment: int
    pcm: Pcm
    sample_rate: int
    starts: tuple[int, ...] = ()
    spelled: SpelledOut | None = None
    until: int | None = None


class SegmentEnded(msgspec.Struct, frozen=True):
    """The engine is done with a segment: completely, or with a `problem`, or because it was stopped."""

    serial: int
    segment: int
    problem: Problem | None = None


Report: TypeAlias = Spoken | SegmentEnded


# --- events: core to client --------------------------------------------------------------------------


class Reason(Enum):
    """Why a context ended."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    FAILED = "failed"
    SOCKET_CLOSED = "socket_closed"


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What one context used. Characters are code points; `audio_generated_ms` is always the sum of sent
    and dropped."""

    characters_accepted: int = 0
    characters_synthesised: int = 0
    characters_sent: int = 0
    audio_generated_ms: float = 0.0
    audio_sent_ms: float = 0.0
    audio_dropped_ms: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        names = self.__struct_fields__
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in names})


class Alignment(msgspec.Struct, frozen=True):
    """The characters that begin in one audio frame, on the context's audio clock in ms.

    `starts` and `ends` are as long as `text`. `origin` is where the previous slice ended, so that
    `starts[i] - origin` are times relative to it. `breaks` says that the last character ends a segment
    without white space, though what follows is another word. `spelled` is what was really said, where that
    differs from the text; `text` may be empty then.
    """

    text: str
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    origin: int
    breaks: bool = False
    spelled: Alignment | None = None


class ContextOpened(msgspec.Struct, frozen=True):
    context: str
    serial: int
    settings: ContextSettings


class SegmentStarted(msgspec.Struct, frozen=True):
    """`cut` says why the segment was cut where it was: schedule, auto, trigger, flush, pause, close, timeout,
    voice, longest or (inside a word) length."""

    context: str
    serial: int
    segment: int
    text: str
    cut: str


class Audio(msgspec.Struct, frozen=True):
    """One frame of speech: mono s16le at `sample_rate`; it starts at sample `position` of its context."""

    context: str
    serial: int
    segment: int
    pcm: Pcm
    sample_rate: int
    position: int
    alignment: Alignment | None


class SegmentDone(msgspec.Struct, frozen=True):
    """All speech of a segment was pulled. `dry` says that the context has no more to say for now: a
    converter must give up what it holds back, so that no tail waits for the next segment. `made_in` is how
    many seconds its engine took, with the wait for a free one."""

    context: str
    serial: int
    segment: int
    dry: bool
    made_in: float = 0.0


class FlushDone(msgspec.Struct, frozen=True):
    """All speech that the context's `number`-th flush asked for has been sent."""

    context: str
    serial: int
    number: int


class ContextClosed(msgspec.Struct, frozen=True):
    """The end of a context, and the last event that carries its serial. `problem` is there when the
    context did not end as its client wished; `asked` says that the client had told it to close; `answers`
    that it was there only to answer a `Close`."""

    context: str
    serial: int
    reason: Reason
    usage: Usage
    problem: Problem | None = None
    asked: bool = False
    answers: Close | None = None


class NotThere(msgspec.Struct, frozen=True):
    """A flush or (with `flush` false) a close for an id under which no context is left: nothing to do."""

    context: str
    flush: bool


class Configured(msgspec.Struct, frozen=True):
    """A `Configure` that wanted an answer has taken effect."""


class Warning(msgspec.Struct, frozen=True):
    """Something milder than an end: a clamped setting, a message that had no effect."""

    problem: Problem
    context: str | None = None


class SessionClosed(msgspec.Struct, frozen=True):
    """Close the socket with `code` now; nothing follows."""

    code: int
    reason: str
    problem: Problem | None = None


Event: TypeAlias = (
    ContextOpened
    | SegmentStarted
    | Audio
    | SegmentDone
    | FlushDone
    | ContextClosed
    | NotThere
    | Configured
    | Warning
    | SessionClosed
)
