"""The ElevenLabs wire as a server speaks it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from mux.dialects.base import Credentials, Decoded
from mux.dialects.elevenlabs.wire import (
    ClientMessage,
    ErrorFrame,
    Extras,
    Facts,
    ServerFrame,
    WarningFrame,
    WireAlignment,
)
from mux.errors import Problem
from mux.protocol.limits import Limits
from mux.protocol.messages import (
    DEFAULT_CONTEXT,
    Alignment,
    Close,
    CloseSocket,
    Configure,
    ContextClosed,
    Event,
    Flush,
    Invalid,
    KeepAlive,
    Open,
    SessionClosed,
    Text,
    Warning,
)
from mux.protocol.voice import SCHEDULE_RANGE, ContextSettings, voice_settings

__all__ = ["ElevenLabsServer"]

UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeError)
"""All that msgspec raises for what a peer sends: RecursionError on deep nesting, UnicodeError on bad UTF-8
or half a surrogate pair."""

_MOST_SCHEDULE = 50
_NOTHING = ContextSettings()
_encode = msgspec.json.Encoder().encode
# Lax: some clients send "true" and "0.5" as strings.
_decode_message = msgspec.json.Decoder(ClientMessage, strict=False).decode


class _Id(msgspec.Struct):
    """The id alone, of a message that is otherwise unreadable."""

    context_id: Any = None
    contextId: Any = None


_decode_id = msgspec.json.Decoder(_Id).decode


class ElevenLabsServer:
    """`multi-stream-input` of one socket.

    Args:
        sync_alignment: times count from the context's start (LiveKit adds nothing to them). Otherwise each
            frame's times count from the end of the previous frame's (Pipecat adds them up).
        session_id: named in error frames.
    """

    def __init__(self, *, sync_alignment: bool = False, session_id: str = "") -> None:
        self._absolute = sync_alignment
        self._session_id = session_id

    def decode(self, data: str | bytes) -> list[Decoded]:
        try:
            message = _decode_message(data)
            settings = _settings(message)
        except UNREADABLE as error:
            return [_unreadable(data, error)]
        commands: list[Decoded] = []
        if key := message.xi_api_key or message.xi_api_key_dashed or message.authorization:
            commands.append(Credentials(key))
        if message.close_socket:
            return [*commands, CloseSocket()]
        id = message.context_id or message.context_id_camel or None
        if isinstance(settings, Problem):
            return [*commands, Invalid(settings, id)]
        text = message.text
        if id is None:
            if text is not None and not text.strip():
                if not message.flush:
                    # A context-less init sets up the connection; a context-less "" or " " is a keepalive.
                    said = Configure(settings) if settings != _NOTHING else KeepAlive()
                    return [*commands, said]
                text = None  # the default context opens only for something to say
            id = DEFAULT_CONTEXT
        if text:
            if settings != _NOTHING:
                commands.append(Open(id, settings))
            commands.append(Text(id, text, bool(message.try_trigger_generation)))
        elif not (message.flush or message.close_context):
            # "ignored by the server but its presence resets the inactivity timeout" (KeepContextAlive)
            commands.append(KeepAlive(id))
        if message.flush:
            commands.append(Flush(id))
        if message.close_context:
            commands.append(Close(id, bool(message.immediate)))
        return commands

    def audio(self, context: str, payload: bytes, slices: Sequence[Alignment]) -> str:
        # The two alignments are equal: nothing is spelt out that the text does not have.
        alignment = msgspec.Raw(_encode(self._alignment(slices))) if slices else None
        frame = ServerFrame(
            audio=payload, normalizedAlignment=alignment, alignment=alignment, contextId=context
        )
        return _encode(frame).decode()

    def hello(self, limits: Limits, timeout: float | None) -> str:
        """The opening frame for a client that asked for one (`mux_hello=true`)."""
        facts = {
            "session_id": self._session_id,
            "contexts": limits.contexts,
            "draining": limits.draining,
            "unspoken_bytes": limits.unspoken_bytes,
            "inactivity_timeout": timeout,
        }
        return _encode({"mux_hello": facts}).decode()

    def event(self, event: Event) -> list[str]:
        match event:
            case ContextClosed():
                return self._closed(event)
            case Warning(problem, context):
                return [_encode(WarningFrame(warning=_facts(problem, ""), contextId=context)).decode()]
            case SessionClosed(problem=Problem() as problem):
                return [self._error(problem)]
            case _:
                return []

    def _closed(self, event: ContextClosed) -> list[str]:
        """The error, if there is one, and then `isFinal` in a frame of its own: clients of this wire wait for
        it after refusals and interruptions too."""
        extras = Extras(event.reason.value, event.usage)
        final = _encode(ServerFrame(isFinal=True, contextId=event.context, mux=extras)).decode()
        return [final] if event.problem is None else [self._error(event.problem, event.context), final]

    def _error(self, problem: Problem, context: str | None = None) -> str:
        frame = ErrorFrame(
            message=problem.message,
            error=problem.row.elevenlabs,
            code=problem.row.close,
            contextId=context,
            mux=_facts(problem, self._session_id),
        )
        return _encode(frame).decode()

    def _alignment(self, slices: Sequence[Alignment]) -> WireAlignment:
        origin = 0 if self._absolute else slices[0].origin
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
        return WireAlignment(chars, starts, durations)


def _settings(message: ClientMessage) -> ContextSettings | Problem:
    """The settings in a message; what is `{}` or null was not given."""
    voice = voice_settings(message.voice_settings)
    if isinstance(voice, Problem):
        return voice
    config = message.generation_config or message.generator_config
    given = config.get("chunk_length_schedule") if isinstance(config, dict) else None
    schedule = _schedule(message.chunk_length_schedule if given is None else given)
    if isinstance(schedule, Problem):
        return schedule
    timeout = message.inactivity_timeout
    if timeout is not None and math.isnan(timeout):  # it came as a string
        return Problem(
            code="invalid_setting",
            message="inactivity_timeout must be a number of seconds. Correct it or leave it out.",
            observed="nan",
        )
    return ContextSettings(
        voice=message.voice_id or None,
        language=message.language_code or None,
        voice_settings=voice or None,
        chunk_length_schedule=schedule,
        inactivity_timeout=timeout,
    )


def _schedule(given: Any) -> tuple[int, ...] | Problem | None:
    if given is None or given == []:
        return None
    low, high = SCHEDULE_RANGE
    if isinstance(given, list) and len(given) <= _MOST_SCHEDULE:
        numbers = [int(n) for n in given if isinstance(n, (int, float)) and low <= n <= high]
        if len(numbers) == len(given):
            return tuple(numbers)
    allowed = f"a list of at most {_MOST_SCHEDULE} numbers from {low} to {high}"
    return Problem(
        code="invalid_setting",
        message=f"chunk_length_schedule must be {allowed}. Correct it or leave it out.",
        limit=allowed,
        observed=str(given)[:40],
    )


def _unreadable(data: str | bytes, error: Exception) -> Invalid:
    """The smallest thing to blame: the context whose id can be read, else only the message."""
    try:
        ids = _decode_id(data)
        id = ids.context_id or ids.contextId
    except UNREADABLE:
        id = None
    if not isinstance(id, str) or not id:
        id = None
    # msgspec's own sentence names the field and the type, never the value.
    cause = str(error) if isinstance(error, msgspec.DecodeError) else type(error).__name__
    return Invalid(
        Problem(
            code="invalid_message" if id else "unreadable_message",
            message="Could not parse input message, make sure it is a json and follows the schema outlined "
            f"in protocol. ({cause[:200]})",
        ),
        id,
    )


def _facts(problem: Problem, session_id: str) -> Facts:
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
