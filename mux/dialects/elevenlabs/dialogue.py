"""`text-to-dialogue` sockets as a server speaks them: contexts in which several voices talk.

A family of its own beside the other sockets: snake_case on both sides, an explicit first message with the
voices, lines instead of text. `is_final_audio_for_turn` answers each flush, `is_final` ends a context.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mux.dialects.base import Credentials, Decoded, Sound
from mux.dialects.elevenlabs.reading import UNREADABLE, unreadable
from mux.dialects.elevenlabs.wire import Extras, Facts
from mux.dialects.elevenlabs.writing import aligned, facts_of, hello_frame
from mux.errors import Problem
from mux.protocol.limits import Limits
from mux.protocol.messages import (
    Close,
    CloseSocket,
    ContextClosed,
    Event,
    Flush,
    FlushDone,
    Invalid,
    KeepAlive,
    Open,
    SessionClosed,
    Text,
    Warning,
)
from mux.protocol.pcm import json_value
from mux.protocol.voice import ContextSettings, voice_settings

__all__ = ["DIALOGUE_SCHEDULE", "ElevenLabsDialogue"]

DIALOGUE_SCHEDULE = (40, 120, 160, 250, 290)
"""These sockets begin to speak with about 40 characters."""
MOST_VOICES = 10
ONLY = "dialogue"
"""The id of the one context of the single socket; it never stands in a frame."""


class _Line(msgspec.Struct):
    text: str
    voice_id: str | None = None
    new_turn: bool | None = None


class _Message(msgspec.Struct, kw_only=True):
    context_id: str | None = None
    voices: list[str] | None = None
    voice_settings: Any = None
    inputs: list[_Line] | None = None
    flush: bool | None = None
    close_context: bool | None = None
    immediate: bool | None = None
    close_socket: bool | None = None
    keep_alive: bool | None = None
    xi_api_key: str | None = None
    authorization: str | None = None


class _Alignment(msgspec.Struct, frozen=True):
    chars: list[str]
    char_start_times_ms: list[int]
    char_durations_ms: list[int]


class _Frame(msgspec.Struct, kw_only=True, omit_defaults=True):
    audio: bytes | msgspec.Raw | None = None
    alignment: _Alignment | None = None
    normalized_alignment: _Alignment | None = None
    is_final_audio_for_turn: bool | None = None
    is_final: bool | None = None
    message: str | None = None
    error: str | None = None
    code: int | None = None
    param: str | None = None
    warning: Facts | None = None
    context_id: str | None = None
    mux: Extras | Facts | None = None


_decode = msgspec.json.Decoder(_Message, strict=False).decode
_encode = msgspec.json.Encoder().encode


class ElevenLabsDialogue:
    """One dialogue socket.

    Args:
        single: `stream-input`, with one context and without ids.
        session_id: named in error frames.
    """

    whole_segments = False

    def __init__(self, *, single: bool = False, session_id: str = "") -> None:
        self.single = single
        self._ended = False
        """The single socket's client has said its last word."""
        self._flushes = 0
        """How many flushes that client asked for."""
        self._session_id = session_id

    def decode(self, data: str | bytes) -> list[Decoded]:
        try:
            message = _decode(data)
        except UNREADABLE as error:
            invalid = unreadable(data, error)
            if self.single:
                invalid = Invalid(invalid.problem, ONLY)
            return [] if self._ended else [invalid]
        if self._ended:
            return []
        commands: list[Decoded] = []
        if key := message.xi_api_key or message.authorization:
            commands.append(Credentials(key))
        id = ONLY if self.single else message.context_id or None
        if id is not None:
            said = self._context(id, message)
            self._flushes += sum(isinstance(command, Flush) for command in said)
            commands += said
        elif not message.close_socket:
            commands.append(Invalid(_NO_ID))
        if message.close_socket and self.single:
            # The context's end is the socket's, so that a failure until then decides how it closes.
            self._ended = True
            commands += [Open(ONLY), Flush(ONLY), Close(ONLY)]
        elif message.close_socket:
            commands.append(CloseSocket())
        return commands

    def _context(self, id: str, message: _Message) -> list[Decoded]:
        settings = voice_settings(message.voice_settings)
        if isinstance(settings, Problem):
            return [Invalid(settings, id)]
        if message.voices and len(message.voices) > MOST_VOICES:
            return [Invalid(_too_many_voices(len(message.voices)), id)]
        commands: list[Decoded] = []
        if message.voices or settings:
            first = message.voices[0] if message.voices else None
            commands.append(Open(id, ContextSettings(voice=first, voice_settings=settings or None)))
        for line in message.inputs or ():
            if line.new_turn:
                commands.append(Flush(id))
            commands.append(Text(id, line.text, voice=line.voice_id or None))
        if message.flush:
            commands.append(Flush(id))
        if message.close_context:
            commands.append(Close(id, bool(message.immediate)))
        return commands or [KeepAlive(id)]

    def audio(self, sound: Sound) -> list[str]:
        # Times restart at 0 in every message, whatever was asked for: both clients add them up.
        plain = aligned(sound.slices, absolute=False)
        spelled = aligned([piece.spelled or piece for piece in sound.slices], absolute=False)
        frame = self._frame(
            sound.context,
            audio=json_value(sound.payload),
            alignment=_Alignment(*plain) if plain else None,
            normalized_alignment=_Alignment(*spelled) if spelled else None,
        )
        return [frame]

    def hello(self, limits: Limits, timeout: float | None) -> str:
        """The opening frame for a client that asked for one (`mux_hello=true`)."""
        return hello_frame(self._session_id, limits, timeout)

    def event(self, event: Event) -> list[str]:
        match event:
            case FlushDone(number=number) if self.single and number > self._flushes:
                return []  # nobody asked for it: the end itself follows
            case FlushDone(context):
                return [self._frame(context, is_final_audio_for_turn=True)]
            case ContextClosed():
                extras = Extras(event.reason.value, event.usage)
                final = self._frame(event.context, is_final=True, mux=extras)
                if event.problem is None:
                    return [final]
                failed = self.error(event.problem, event.context)
                return [failed] if self.single else [failed, final]
            case Warning(problem, context):
                return [self._frame(context, warning=facts_of(problem, ""))]
            case SessionClosed(problem=Problem() as problem):
                return [self.error(problem)]
            case _:
                return []

    def error(self, problem: Problem, context: str | None = None) -> str:
        return self._frame(
            context,
            message=problem.message,
            error=problem.row.elevenlabs,
            code=problem.row.close,
            param=problem.param,
            mux=facts_of(problem, self._session_id),
        )

    def _frame(self, context: str | None, **fields: Any) -> str:
        return _encode(_Frame(context_id=None if self.single else context, **fields)).decode()


_NO_ID = Problem(
    code="unreadable_message",
    message="A message here needs a context_id, unless it only says close_socket. Add one.",
    param="context_id",
)


def _too_many_voices(count: int) -> Problem:
    return Problem(
        code="invalid_setting",
        message=f"voices has {count} entries, at most {MOST_VOICES} may talk in one context.",
        limit=MOST_VOICES,
        observed=count,
        param="voices",
    )
