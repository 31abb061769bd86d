"""Everything that the mock can do wrong: a table by name, and a small class for each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import anyio
import msgspec

from mux.mock.handshakes import Denied, Handshake, Refused, Slow, TurnedAway
from mux.mock.vendors import Frame, Message

if TYPE_CHECKING:
    from mux.mock.armed import Strike
    from mux.mock.context import Context

__all__ = ["FAULTS", "Behaviour", "Kind", "Opportunity"]

Opportunity = Literal["handshake", "context", "frame"]

HELD_BYTES = 16 * 1024 * 1024
"""What a stalled context may hold back; above it, the whole socket waits for its end."""
EVERY_MS = 100.0
"""Of a context's audio: how often a fault of frames has its chance."""
RACE_SECONDS = 0.05
"""Text that came within this time of its context's close is overtaken by it."""


class Behaviour:
    """A fault in one context that it was drawn for. It sees what goes both ways, and hands on what shall."""

    def __init__(self, strike: Strike) -> None:
        self._strike = strike
        self._struck = False

    def strikes(self, context: Context) -> bool:
        """Whether it happens now: once, and not before its time."""
        if self._struck or context.spoken_ms < self._strike["after_ms"]:
            return False
        self._struck = self._strike.happens()
        return self._struck

    async def spoken(self, context: Context, frame: Frame) -> list[Frame]:
        """A frame of the server."""
        return [frame]

    def heard(self, context: Context, message: Message) -> list[Message]:
        """A message of the client."""
        return [message]


class _Closed(Behaviour):
    """The socket is closed, or (1006) its connection cut."""

    def __init__(self, code: int, strike: Strike) -> None:
        super().__init__(strike)
        self._code = code

    async def spoken(self, context: Context, frame: Frame) -> list[Frame]:
        if not self.strikes(context):
            return [frame]
        await context.socket.close(self._code, "" if self._code == 1000 else "mock fault")
        return []


class _ErrorWithoutId(Behaviour):
    """An error that says nobody's name. On ElevenLabs' wire the socket closes after it, on KugelAudio's the
    context falls silent."""

    async def spoken(self, context: Context, frame: Frame) -> list[Frame]:
        if self.strikes(context):
            message = "Something went wrong on our side (a mock fault)."
            await context.socket.emit(context.socket.vendor.error(message))
            if context.socket.dialect == "elevenlabs":
                await context.socket.close(1008, message)
        return [] if self._struck else [frame]


class _OutOfCredits(Behaviour):
    """Instead of the first audio comes the error of an account that is used up, and then the close."""

    async def spoken(self, context: Context, frame: Frame) -> list[Frame]:
        if frame.kind == "audio" and self.strikes(context):
            error, code = context.socket.vendor.out_of_credits()
            await context.socket.emit(error)
            await context.socket.close(code, error.data["message" if code == 1008 else "error"])
        return [] if self._struck else [frame]


class _Dropped(Behaviour):
    """Frames of some kinds never come."""

    def __init__(self, kinds: Collection[str], strike: Strike) -> None:
        super().__init__(strike)
        self._kinds = kinds

    async def spoken(self, context: Context, frame: Frame) -> list[Frame]:
        if frame.kind not in self._kinds:
            return [frame]
        self.strikes(context)
        return [] if self._struck else [frame]


class _FinalTwice(Behaviour):
    async def spoken(self, context: Context, frame: Frame) -> list[Frame]:
        return [frame, frame] if frame.kind == "end" and self.strikes(context) else [frame]


class _Stall(Behaviour):
    """The context says nothing for a while; what it would have said comes then."""

    def __init__(self, strike: Strike) -> None:
        super().__init__(strike)
        self._held: deque[Frame] = deque()
        self._size = 0
        self._over = anyio.Event()

    async def spoken(self, context: Context, frame: Frame) -> list[Frame]:
        if self.strikes(context):
            context.socket.later(self._strike["seconds"], lambda: self._go_on(context))
        if self._struck and self._size > HELD_BYTES:
            await self._over.wait()
        if not self._struck or self._over.is_set():
            return [frame]
        self._held.append(frame)
        self._size += len(frame.text)
        return []

    async def _go_on(self, context: Context) -> None:
        while self._held:
            await context.socket.emit(self._held.popleft(), context)
        self._over.set()


class _StallSocket(Behaviour):
    """The whole socket says nothing for a while."""

    async def spoken(self, context: Context, frame: Frame) -> list[Frame]:
        if self.strikes(context):
            context.socket.pause(self._strike["seconds"])
        return [frame]


class _LateFrames(Behaviour):
    """The last audio of a context comes again, after its end."""

    _last: Frame | None = None

    async def spoken(self, context: Context, frame: Frame) -> list[Frame]:
        if frame.kind == "audio":
            self._last = frame
        elif frame.ends and self._last is not None and self.strikes(context):
            late = self._last
            context.socket.later(self._strike["seconds"], lambda: context.socket.emit(late))
        return [frame]


class _SlotLate(Behaviour):
    """The close takes effect late, and keeps the context's slot so long."""

    def heard(self, context: Context, message: Message) -> list[Message]:
        if message.closes and self.strikes(context):
            context.socket.hold(context.id, self._strike["seconds"])
        return [message]


class _CloseOvertakes(Behaviour):
    """What was said just before the close is lost; the context ends as if all were well."""

    def __init__(self, strike: Strike) -> None:
        super().__init__(strike)
        self._held: deque[Message] = deque()
        self._known = False
        """Whether the server has heard of the context."""

    def heard(self, context: Context, message: Message) -> list[Message]:
        if message.closes:
            return self._close(context, message)
        if message.speech.strip() or self._held:
            self._held.append(message)
            context.socket.later(RACE_SECONDS, lambda: self._hand_in(context))
            return []
        self._known = True
        return [message]

    def _close(self, context: Context, message: Message) -> list[Message]:
        lost = [*self._held, message] if message.speech.strip() else list(self._held)
        if not lost or not self.strikes(context):
            passed = [*self._held, message]
            self._held.clear()
            return passed
        self._held.clear()
        close = message.blank() if message.speech.strip() else message
        return [close] if self._known or close is not message else [lost[0].blank(), close]

    async def _hand_in(self, context: Context) -> None:
        if self._held:
            self._known = True
            context.socket.hand_in(self._held.popleft().text)


class _Frames(Behaviour):
    """Strikes at audio frames. How the server cuts its audio is a matter of timing, so every started 100 ms
    is an opportunity: it takes the frame in which they begin."""

    always_instead = False

    def __init__(self, strike: Strike) -> None:
        super().__init__(strike)
        self._seen = 0

    async def spoken(self, context: Context, frame: Frame) -> list[Frame]:
        drawn = False
        while self._strike["after_ms"] + self._seen * EVERY_MS < context.spoken_ms + frame.ms:
            self._seen += 1
            drawn |= self._strike.drawn(self._seen)
        if not (drawn and self._strike.happens()):
            return [frame]
        wrong = self.wrong(context, frame)
        if self.always_instead or self._strike["instead"]:
            return [wrong]
        return [msgspec.structs.replace(wrong, ms=0.0), frame]

    def wrong(self, context: Context, frame: Frame) -> Frame:
        raise NotImplementedError


class _WrongId(_Frames):
    def wrong(self, context: Context, frame: Frame) -> Frame:
        return context.socket.vendor.renamed(frame, f"{context.id}-wrong")


class _Malformed(_Frames):
    def wrong(self, context: Context, frame: Frame) -> Frame:
        return Frame(frame.text[: len(frame.text) // 2])


class _Oversized(_Frames):
    """The frame itself, blown up with white space: who takes frames of this size loses nothing."""

    always_instead = True

    def wrong(self, context: Context, frame: Frame) -> Frame:
        return msgspec.structs.replace(frame, text=frame.text.ljust(int(self._strike["bytes"])))


class Kind(msgspec.Struct, frozen=True):
    """A row of the table.

    `what` the client sees, and what a client that stands it `shows`. `parameters` are the fields of a plan
    that mean something here, with their defaults. `make` gives the behaviour.
    """

    opportunity: Opportunity
    what: str
    shows: str
    make: Callable[[Any], Behaviour | Handshake]
    parameters: dict[str, float | bool] = {}


MID_WORD: dict[str, float | bool] = {"after_ms": 100.0}
"""Two characters of the tone engine."""
_REPLAY = "unspoken text is spoken on another socket"


def _closed(code: int, what: str, shows: str) -> Kind:
    return Kind("context", what, shows, partial(_Closed, code), MID_WORD)


def _denied(status: int, what: str, shows: str, **parameters: float) -> Kind:
    return Kind("handshake", what, shows, partial(Denied, status), parameters)


FAULTS: dict[str, Kind] = {
    # at the handshake
    "unauthorized": _denied(401, "HTTP 401 instead of 101", "a wrong key is told as such, not tried again"),
    "forbidden": _denied(403, "HTTP 403 instead of 101", "the same for a key that may not"),
    "too_many_requests": _denied(
        429, "HTTP 429 with Retry-After", "the wait is honoured, the others wait in order", seconds=1.0
    ),
    "slow_handshake": Kind(
        "handshake", "the 101 comes late", "opening has a deadline", Slow, {"seconds": 3.0}
    ),
    "refused": Kind(
        "handshake", "the connection is cut before any answer", "back-off with jitter, a breaker", Refused
    ),
    "turned_away": Kind(
        "handshake",
        "101, then a close at once (1008 and an error, or KugelAudio's 1013)",
        "a socket that opens is not yet one that works",
        TurnedAway,
    ),
    # slots and ends
    "slot_late": Kind(
        "context",
        "the close takes effect late; the slot stays taken",
        "slots are counted until the end was confirmed",
        _SlotLate,
        {"seconds": 1.0},
    ),
    "close_overtakes": Kind(
        "context",
        "text that came within 50 ms of the close is lost; the end comes without its audio",
        "an end without audio for text is noticed, and the text spoken again",
        _CloseOvertakes,
    ),
    "zero_audio": Kind(
        "context",
        "no audio; the end comes as ever",
        "an empty success is a failure",
        partial(_Dropped, ("audio",)),
    ),
    "out_of_credits": Kind(
        "context",
        "an error that the account is used up, and the close (1008, KugelAudio: 4003), instead of audio",
        "an empty account is told as such, and not tried again",
        _OutOfCredits,
    ),
    "final_never": Kind(
        "context",
        "all the audio, and never an end",
        "a missing end has a deadline",
        partial(_Dropped, ("final", "end")),
    ),
    "final_twice": Kind(
        "context", "the end comes twice", "one end each, and not the next one's", _FinalTwice
    ),
    "late_frames": Kind(
        "context",
        "audio of a context after its end",
        "late frames go nowhere",
        _LateFrames,
        {"seconds": 0.05},
    ),
    # in mid-word
    "error_without_id": Kind(
        "context",
        "an error that names no context; then 1008 (ElevenLabs), or silence (KugelAudio)",
        "no error is swallowed",
        _ErrorWithoutId,
        MID_WORD,
    ),
    "close_1000": _closed(1000, "a clean close in mid-word", "a cut that looks like an end is none"),
    "close_1006": _closed(1006, "the TCP connection is cut in mid-word", _REPLAY),
    "close_1008": _closed(1008, "1008 in mid-word", "the fault of one is not everybody's"),
    "close_1011": _closed(1011, "1011 in mid-word", _REPLAY),
    "close_1012": _closed(1012, "1012 (service restart) in mid-word", _REPLAY),
    "close_1013": _closed(1013, "1013 (try again later) in mid-word", f"{_REPLAY}, later"),
    "stall": Kind(
        "context",
        "the context falls silent, and goes on later",
        "silence has a deadline; other contexts go on",
        _Stall,
        MID_WORD | {"seconds": 15.0},
    ),
    "stall_socket": Kind(
        "context",
        "the whole socket falls silent, and goes on later",
        "a socket that says nothing is left",
        _StallSocket,
        MID_WORD | {"seconds": 15.0},
    ),
    # frames
    "wrong_id": Kind(
        "frame",
        "an audio frame comes under an id that nobody has",
        "no frame is guessed to be somebody's",
        _WrongId,
        {"after_ms": 0.0, "instead": False},
    ),
    "oversized_frame": Kind(
        "frame",
        "an audio frame of many bytes (with spaces at its end)",
        "a limit that is met is told",
        _Oversized,
        {"after_ms": 0.0, "bytes": 5_000_000},
    ),
    "malformed_json": Kind(
        "frame",
        "half a JSON object in a frame of its own",
        "what cannot be read ends nobody silently",
        _Malformed,
        {"after_ms": 0.0, "instead": False},
    ),
}
