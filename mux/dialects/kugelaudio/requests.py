"""`/ws/tts` as a server speaks it: whole requests, one after the other, on one socket.

A request is a context. Answers carry no id: "responses are matched FIFO", so all requests have the same one
here, and each answer waits until the one before has ended.
"""

from __future__ import annotations

from collections import deque

import msgspec

from mux.dialects.base import Decoded
from mux.dialects.kugelaudio.reading import UNREADABLE, NameVoice, decode_message, settings_of, unreadable
from mux.dialects.kugelaudio.wire import Frame
from mux.dialects.kugelaudio.words import Words
from mux.dialects.kugelaudio.writing import Track, Writing
from mux.errors import Problem
from mux.protocol.limits import Limits
from mux.protocol.messages import (
    Close,
    CloseSocket,
    ContextClosed,
    ContextOpened,
    Invalid,
    Open,
    Reason,
    SegmentDone,
    SegmentStarted,
    SessionClosed,
    Text,
)
from mux.usage import Price

__all__ = ["LONGEST_TEXT", "KugelAudioRequests"]

REQUEST = "request"
"""Every request's id."""
LONGEST_TEXT = 10_000
"""Characters of one request."""
PIPELINED = 200
"""Requests that may wait for the answers of others."""


class KugelAudioRequests(Writing):
    """One socket; see `Writing` for the arguments."""

    def __init__(
        self, *, name_voice: NameVoice = str, session_id: str = "", price: Price | None = None
    ) -> None:
        super().__init__(name_voice=name_voice, session_id=session_id, price=price)
        self._indents: deque[int] = deque()
        """With how many blanks each request begins that was not opened yet: unspoken, but counted."""

    @staticmethod
    def limits(base: Limits) -> Limits:
        return msgspec.structs.replace(Writing.limits(base), draining=PIPELINED)

    def decode(self, data: str | bytes) -> list[Decoded]:
        try:
            message = decode_message(data)
        except UNREADABLE as error:
            # It takes its place among the answers.
            return self._refused(unreadable(data, error).problem)
        commands: list[Decoded] = []
        if message.update_settings is not None:
            updated = self.updated(message.update_settings)
            commands += self._refused(updated.problem) if isinstance(updated, Invalid) else [updated]
        text = message.text or ""
        if not text.strip():
            if message.text is not None or not (commands or message.close_socket or message.keep_alive):
                commands += self._refused(_NO_TEXT)
        elif len(text) > LONGEST_TEXT:
            commands += self._refused(_too_long(len(text)))
        else:
            settings = settings_of(message, self._name_voice)
            if isinstance(settings, Problem):
                commands += self._refused(settings)
            else:
                self._indents.append(len(text) - len(text.lstrip()))
                commands += [Open(REQUEST, settings, anew=True), Text(REQUEST, text), Close(REQUEST)]
        if message.close_socket:
            commands.append(CloseSocket())
        return commands

    def _refused(self, problem: Problem) -> list[Decoded]:
        self._indents.append(0)
        return [Invalid(problem, REQUEST), Close(REQUEST)]

    def opened(self, event: ContextOpened) -> list[str]:
        self._tracks[event.serial].words = Words(0, self._indents.popleft())
        return []

    def chunk_id(self, track: Track) -> int | None:
        return None

    def started(self, event: SegmentStarted, track: Track) -> list[str]:
        # Times and places of words count in the whole request.
        track.words.expect(event.text)
        return []

    def done(self, event: SegmentDone, track: Track) -> list[str]:
        return []

    def closed(self, event: ContextClosed, track: Track | None) -> list[str]:
        if track is None:
            self._indents.popleft()
        problem = event.problem
        if problem is not None:
            return [self.warning(None, problem) if problem.code == "draining" else self.error(problem)]
        if event.reason is not Reason.COMPLETED or track is None:
            return []
        made_in = round(track.made_in, 3)
        frame = Frame(
            final=True,
            chunks=track.frames,
            total_samples=track.samples,
            dur_ms=round(track.seconds * 1000),
            gen_ms=round(made_in * 1000),
            rtf=round(made_in / track.seconds, 4) if track.seconds else 0.0,
            usage=self.usage(event.usage, track),
            mux=self.extras(event),
        )
        return [self.frame(None, frame)]

    def session_closed(self, event: SessionClosed) -> list[str]:
        if event.problem is not None:
            return super().session_closed(event)
        return [self.frame(None, Frame(session_closed=True))]


_NO_TEXT = Problem(
    code="invalid_message",
    message=f"text must have 1 to {LONGEST_TEXT} characters, and not only blanks.",
    param="text",
)


def _too_long(length: int) -> Problem:
    return Problem(
        code="invalid_message",
        message=f"text has {length} characters, at most {LONGEST_TEXT} may be spoken in one request. Send it "
        "in parts, or use /ws/tts/stream.",
        limit=LONGEST_TEXT,
        observed=length,
        param="text",
    )
