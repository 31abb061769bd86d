"""A server's frames, which the vendor's sockets share."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mux.dialects.base import Sound
from mux.dialects.elevenlabs.wire import (
    ErrorFrame,
    Extras,
    Facts,
    ServerFrame,
    WarningFrame,
    WireAlignment,
)
from mux.errors import Problem
from mux.protocol.limits import Limits
from mux.protocol.messages import Alignment, ContextClosed, Event, SessionClosed, Warning
from mux.protocol.pcm import json_value

__all__ = ["Writing", "aligned", "facts_of", "hello_frame"]

_encode = msgspec.json.Encoder().encode


class Writing:
    """How events look on the wire.

    Args:
        sync_alignment: times count from the context's start (LiveKit adds nothing to them). Otherwise each
            frame's times count from the end of the previous frame's (Pipecat adds them up).
        session_id: named in error frames.
    """

    single = False
    whole_segments = False

    def __init__(self, *, sync_alignment: bool = False, session_id: str = "") -> None:
        self._absolute = sync_alignment
        self._session_id = session_id
        self._told = False
        """Whether the client has been told what has no effect here; once is enough."""

    def name(self, context: str | None) -> str | msgspec.UnsetType:
        """A context's id as it stands in frames."""
        return msgspec.UNSET if context is None else context

    def audio(self, sound: Sound) -> list[str]:
        slices = sound.slices
        alignment = self._alignment(slices)
        spelled = (
            self._alignment([piece.spelled or piece for piece in slices]) if _differs(slices) else alignment
        )
        frame = ServerFrame(
            audio=json_value(sound.payload),
            normalizedAlignment=spelled,
            alignment=alignment,
            contextId=self.name(sound.context),
        )
        return [_encode(frame).decode()]

    def hello(self, limits: Limits, timeout: float | None) -> str:
        """The opening frame for a client that asked for one (`mux_hello=true`)."""
        return hello_frame(self._session_id, limits, timeout)

    def event(self, event: Event) -> list[str]:
        match event:
            case ContextClosed():
                return self.closed(event)
            case Warning(problem, context):
                frame = WarningFrame(warning=facts_of(problem, ""), contextId=self.name(context))
                return [_encode(frame).decode()]
            case SessionClosed(problem=Problem() as problem):
                return [self.error(problem)]
            case _:
                return []

    def closed(self, event: ContextClosed) -> list[str]:
        """The error, if there is one, and then `isFinal` in a frame of its own: clients of this wire wait for
        it after refusals and interruptions too."""
        extras = Extras(event.reason.value, event.usage)
        final = self.final(event.context, extras)
        return [final] if event.problem is None else [self.error(event.problem, event.context), final]

    def final(self, context: str, extras: Extras | msgspec.UnsetType = msgspec.UNSET) -> str:
        """`isFinal`, in a frame of its own."""
        frame = ServerFrame(isFinal=True, contextId=self.name(context), mux=extras)
        return _encode(frame).decode()

    def error(self, problem: Problem, context: str | None = None) -> str:
        frame = ErrorFrame(
            message=problem.message,
            error=problem.row.elevenlabs,
            code=problem.row.close,
            contextId=self.name(context),
            mux=facts_of(problem, self._session_id),
        )
        return _encode(frame).decode()

    def _alignment(self, slices: Sequence[Alignment]) -> msgspec.Raw | None:
        lists = aligned(slices, absolute=self._absolute)
        return msgspec.Raw(_encode(WireAlignment(*lists))) if lists else None


def aligned(slices: Sequence[Alignment], *, absolute: bool) -> tuple[list[str], list[int], list[int]] | None:
    """Characters, starts and durations in ms, of some slices; None if they have no characters. Times count
    from the context's start, or from the end of the slice before the first one."""
    slices = [piece for piece in slices if piece.text]
    if not slices:
        return None
    origin = 0 if absolute else slices[0].origin
    chars: list[str] = []
    starts: list[int] = []
    durations: list[int] = []
    for piece in slices:
        chars.extend(piece.text)
        starts.extend([start - origin for start in piece.starts])
        durations.extend([end - start for start, end in zip(piece.starts, piece.ends, strict=True)])
        if piece.breaks:
            # "A trailing ' ' is appended to each generation's text": Pipecat ends a word only there.
            chars.append(" ")
            starts.append(piece.ends[-1] - origin)
            durations.append(0)
    return chars, starts, durations


def hello_frame(session_id: str, limits: Limits, timeout: float | None) -> str:
    facts = {
        "session_id": session_id,
        "contexts": limits.contexts,
        "draining": limits.draining,
        "unspoken_bytes": limits.unspoken_bytes,
        "inactivity_timeout": timeout,
    }
    return _encode({"mux_hello": facts}).decode()


def _differs(slices: Sequence[Alignment]) -> bool:
    """Whether something else was said than stands in the text."""
    return any(piece.spelled is not None for piece in slices)


def facts_of(problem: Problem, session_id: str) -> Facts:
    """The machine-readable part of an error or (without a session id) of a warning."""
    return Facts(
        code=problem.code,
        message=None if session_id else problem.message,
        limit=problem.limit,
        observed=problem.observed,
        retryable=problem.retryable,
        retry_after_ms=problem.retry_after_ms,
        allowed=problem.allowed,
        session_id=session_id or None,
    )
