"""`/ws/tts/stream` as a server speaks it: one turn after the other, on one socket.

A turn is a context; the next one's frames wait until the last one's end was sent, because all of them have
the same id, which no frame tells.
"""

from __future__ import annotations

import msgspec

from mux.dialects.base import Decoded
from mux.dialects.kugelaudio.reading import UNREADABLE, decode_message, unreadable
from mux.dialects.kugelaudio.wire import Frame
from mux.dialects.kugelaudio.writing import DEFAULTS, Track, Writing
from mux.errors import Problem
from mux.protocol.messages import (
    DEFAULT_CONTEXT,
    Close,
    CloseSocket,
    ContextClosed,
    Event,
    Invalid,
    KeepAlive,
    Reason,
    SegmentStarted,
    Text,
    Usage,
)

__all__ = ["KugelAudioStream"]

TURN = DEFAULT_CONTEXT
"""Every turn's id: the one that blank text does not open."""
IDLE_SECONDS = 5.0
"""A turn whose client sends nothing for so long is spoken and ended, with a warning."""

TURN_DEFAULTS = msgspec.structs.replace(DEFAULTS, inactivity_timeout=IDLE_SECONDS)


class KugelAudioStream(Writing):
    """One socket; see `Writing` for the arguments.

    Every flush, close and cancel is answered, also where there is no turn: its client waits.
    """

    defaults = TURN_DEFAULTS
    _unanswered = Usage()
    """What turns used that have ended without an answer yet: they failed, or were cancelled."""
    _cancels = 0
    """Cancels that were not answered yet: their answers are those of all turns that end before them."""
    _warned = False

    def decode(self, data: str | bytes) -> list[Decoded]:
        try:
            message = decode_message(data)
        except UNREADABLE as error:
            return [Invalid(unreadable(data, error).problem)]
        commands: list[Decoded] = []
        if message.update_settings is not None:
            commands.append(self.updated(message.update_settings))
        message.inactivity_timeout = None  # a turn's is the vendor's
        text = message.text or ""
        configured = self.configured(message)
        if isinstance(configured, Problem):
            commands.append(Invalid(configured, TURN if text.strip() else None))
        else:
            commands += configured
        if text:
            commands.append(Text(TURN, text))
        if message.keep_alive:
            commands.append(KeepAlive(TURN))
        if message.cancel:
            self._cancels += 1
            commands.append(Close(TURN, immediate=True, answered=True))
        elif message.flush:
            commands.append(Close(TURN, answered=True))
        elif message.close or message.end_session or message.close_socket:
            # The SDK for JavaScript says it after a flush, too, and takes the next end for the answer.
            commands.append(Close(TURN, answered=True, joins=True))
        if message.close_socket:
            commands.append(CloseSocket())
        return commands

    def event(self, event: Event) -> list[str]:
        frames = super().event(event)
        if isinstance(event, SegmentStarted) and event.cut == "timeout":
            self._warned = True
            return [self.frame(None, Frame(warning=_IDLE)), *frames]
        return frames

    def closed(self, event: ContextClosed, track: Track | None) -> list[str]:
        warned, self._warned = self._warned, False
        problem = event.problem
        if problem is not None and problem.code == "draining":
            return [self.warning(None, problem)]
        self._unanswered += event.usage
        if event.reason is Reason.SOCKET_CLOSED:
            return []  # how the socket ends says it all
        if event.reason is Reason.FAILED and problem is not None:
            ended = event.asked and not self._cancels
            return [self.error(problem), *([self._ended(event, track)] if ended else [])]
        if event.reason is Reason.CANCELLED and event.answers is not None and event.answers.immediate:
            self._cancels -= 1
            return [self._interrupted()]
        if event.reason is Reason.CANCELLED or self._cancels:
            return []
        frames = [] if event.answers else [self.frame(None, _totalled(Frame(final=True), track))]
        if event.reason is Reason.TIMED_OUT and not warned:
            frames.insert(0, self.frame(None, Frame(warning=_IDLE)))
        return [*frames, self._ended(event, track)]

    def _interrupted(self) -> str:
        usage, self._unanswered = self._unanswered, Usage()
        return self.frame(None, Frame(interrupted=True, usage=self.usage(usage)))

    def _ended(self, event: ContextClosed, track: Track | None) -> str:
        usage, self._unanswered = self._unanswered, Usage()
        frame = Frame(session_closed=True, mux=self.extras(event))
        if usage == Usage():
            # Of an end without a turn the SDKs would take any numbers for the last turn's.
            return self.frame(None, frame)
        frame.usage = self.usage(usage, track)
        return self.frame(None, _totalled(frame, track))


def _totalled(frame: Frame, track: Track | None) -> Frame:
    """Say how much was sent of a turn."""
    track = track or Track()
    frame.total_audio_seconds = track.seconds
    frame.total_text_chunks = track.chunks
    frame.total_audio_chunks = track.frames
    return frame


_IDLE = f"No text came for {IDLE_SECONDS:g} s: the turn was flushed and ended. End turns with flush or close."
