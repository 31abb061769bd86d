"""The ElevenLabs wire as a client speaks it, to mux or to the vendor."""

from __future__ import annotations

import msgspec

from mux.dialects.base import AudioFrame, ContextError, Received, SocketError, unreadable
from mux.dialects.elevenlabs.wire import ClientMessage, Extras, Facts, WireAlignment
from mux.errors import ERRORS, Problem
from mux.protocol.messages import (
    DEFAULT_CONTEXT,
    Alignment,
    Close,
    CloseSocket,
    Command,
    Configure,
    ContextClosed,
    Flush,
    Invalid,
    KeepAlive,
    Notice,
    Open,
    Reason,
    Text,
    Usage,
    Warning,
)
from mux.protocol.pcm import Encoded, decoded
from mux.protocol.voice import ContextSettings

__all__ = ["ElevenLabsClient"]


class _Hello(msgspec.Struct):
    """A mux's opening frame, as far as it matters here."""

    session_id: str


class _Frame(msgspec.Struct, kw_only=True):
    """Whatever a server of this wire may send, in one flat object."""

    audio: msgspec.Raw = msgspec.Raw()
    isFinal: bool | None = None
    alignment: WireAlignment | None = None
    contextId: str | None = None
    context_id: str | None = None
    error: str | None = None
    message: str | None = None
    warning: Facts | None = None
    mux: msgspec.Raw = msgspec.Raw()
    mux_hello: _Hello | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Frame).decode
_decode_extras = msgspec.json.Decoder(Extras).decode
_decode_facts = msgspec.json.Decoder(Facts).decode
_SPELLED = {row.elevenlabs: code for code, row in reversed(ERRORS.items())}


class ElevenLabsClient:
    """`multi-stream-input` of one socket, opened with `sync_alignment=true` as `query` says, so that times
    count from the context's start.

    Args:
        undecoded: leave audio in base64 (`Encoded`), for those who pass it on.
    """

    def __init__(self, *, undecoded: bool = False) -> None:
        self.session_id: str | None = None
        """What a mux calls this socket, if it was asked to (`mux_hello=true`)."""
        self._read = Encoded.read if undecoded else decoded

    def encode(self, command: Command) -> str:
        return _encode(self._message(command)).decode()

    def _message(self, command: Command) -> ClientMessage:
        match command:
            case Open(context, settings):
                return _with_settings(ClientMessage(text=" ", context_id=context), settings)
            case Configure(settings):
                return _with_settings(ClientMessage(text=" "), settings)
            case Text(context, text, trigger):
                return ClientMessage(text=text, context_id=context, try_trigger_generation=trigger or None)
            case Flush(context):
                return ClientMessage(context_id=context, flush=True)
            case Close(context, immediate):
                return ClientMessage(context_id=context, close_context=True, immediate=immediate or None)
            case KeepAlive(context):
                return ClientMessage(text="", context_id=context)
            case CloseSocket():
                return ClientMessage(close_socket=True)
            case Invalid() | Notice():
                raise ValueError("these are a server's words")

    def decode(self, data: str | bytes) -> list[Received]:
        try:
            frame = _decode(data)
            return self._received(frame)
        except (msgspec.DecodeError, RecursionError, ValueError) as error:  # base64 and UTF-8: ValueError
            return [unreadable(data, error)]

    def _received(self, frame: _Frame) -> list[Received]:
        id = frame.contextId or frame.context_id
        context = id or DEFAULT_CONTEXT
        received: list[Received] = []
        if frame.mux_hello is not None:
            self.session_id = frame.mux_hello.session_id
        if frame.error is not None:
            problem = _problem(frame)
            received.append(ContextError(context, problem) if id else SocketError(problem))
        if frame.warning is not None:
            received.append(Warning(_from_facts(frame.warning, "setting_ignored", ""), id))
        if audio := self._read(frame.audio):
            alignment = _alignment(frame.alignment) if frame.alignment else None
            received.append(AudioFrame(context, audio, alignment))
        if frame.isFinal:
            received.append(_closed(context, frame.mux))
        return received


def _with_settings(message: ClientMessage, settings: ContextSettings) -> ClientMessage:
    schedule = settings.chunk_length_schedule
    message.voice_settings = settings.voice_settings
    message.generation_config = {"chunk_length_schedule": schedule} if schedule else None
    message.voice_id = settings.voice
    message.language_code = settings.language
    message.inactivity_timeout = settings.inactivity_timeout
    return message


def _alignment(wire: WireAlignment) -> Alignment | None:
    if not len(wire.chars) == len(wire.charStartTimesMs) == len(wire.charDurationsMs):
        return None
    starts = tuple(wire.charStartTimesMs)
    ends = tuple([s + d for s, d in zip(starts, wire.charDurationsMs, strict=True)])
    if any(len(character) != 1 for character in wire.chars):  # an emoji can be several code points
        lengths = [len(character) for character in wire.chars]
        starts = tuple(start for start, n in zip(starts, lengths, strict=True) for _ in range(n))
        ends = tuple(end for end, n in zip(ends, lengths, strict=True) for _ in range(n))
    return Alignment("".join(wire.chars), starts, ends, origin=0)


def _closed(context: str, mux: msgspec.Raw) -> ContextClosed:
    """An end is an end, even when what another version adds to it cannot be understood."""
    try:
        extras = _decode_extras(mux)
        return ContextClosed(context, 0, Reason(extras.reason), extras.usage)
    except (msgspec.DecodeError, ValueError):
        return ContextClosed(context, 0, Reason.COMPLETED, Usage())


def _problem(frame: _Frame) -> Problem:
    message = frame.message or frame.error or "The server reported an error without a text."
    fallback = _SPELLED.get(frame.error or "", "upstream_error")
    if frame.error not in (None, *_SPELLED) and frame.message:
        message = f"{frame.error}: {frame.message}"  # a word that mux does not know may tell the app more
    if bytes(frame.mux) not in (b"", b"null"):
        return _from_facts(_decode_facts(frame.mux), fallback, message)
    return Problem(code=fallback, message=message)


def _from_facts(facts: Facts, fallback: str, message: str) -> Problem:
    return Problem(
        code=facts.code if facts.code in ERRORS else fallback,
        message=facts.message or message,
        limit=facts.limit,
        observed=facts.observed,
        retry_after_ms=facts.retry_after_ms,
        allowed=facts.allowed,
    )
