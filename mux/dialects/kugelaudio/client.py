"""The KugelAudio wire as a client speaks it, on `/ws/tts/multi` of mux or of the vendor."""

from __future__ import annotations

import msgspec

from mux.dialects.base import AudioFrame, ContextError, Flushed, Received, SocketError, unreadable
from mux.dialects.kugelaudio.asking import Asking
from mux.dialects.kugelaudio.characters import Characters
from mux.dialects.kugelaudio.heard import (
    HeardFrame,
    closed,
    decode_frame,
    problem_of,
    sample_bytes,
    warning_of,
)
from mux.dialects.kugelaudio.reading import FORMATS, NOTHING
from mux.dialects.kugelaudio.wire import ClientMessage
from mux.errors import MuxError, Problem
from mux.protocol.messages import (
    DEFAULT_CONTEXT,
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
    Warning,
)
from mux.protocol.pcm import Encoded, Pcm, cut, decoded, joined
from mux.protocol.voice import ContextSettings, inherit

__all__ = ["KugelAudioClient"]

HELD_SECONDS = 0.02
"""What is held back, so that a chunk's last characters have audio to come with."""

_encode = msgspec.json.Encoder().encode


class KugelAudioClient:
    """One socket's wire. It keeps what it knows of the contexts that it opened.

    With `word_timestamps` the end of a context's newest audio is held back until its next frame that is not
    about words, because they come after the audio in which they are heard. Words that are later still ride on
    the next audio, or on a frame without any.

    Args:
        model: `model_id`; None: the service's own choice.
        output_format: the format of all audio of the socket, one of this wire's tokens.
        word_timestamps: ask for the times of words, and turn them into alignments.
        settings: what holds for contexts that say nothing else.
        undecoded: leave audio in base64 (`Encoded`), for those who pass it on.

    Raises:
        MuxError: `output_format` is none of this wire (`unsupported_format`).
    """

    def __init__(
        self,
        *,
        model: str | None = None,
        output_format: str = "pcm_24000",
        word_timestamps: bool = True,
        settings: ContextSettings = NOTHING,
        undecoded: bool = False,
    ) -> None:
        if output_format not in FORMATS:
            raise MuxError.of(
                "unsupported_format",
                f"KugelAudio has no format {output_format!r}. Ask for one of {', '.join(FORMATS)}.",
                allowed=tuple(FORMATS),
            )
        self.session_id: str | None = None
        """What the server calls this socket; mux tells it with the first context, the vendor does not."""
        self._sample_rate = FORMATS[output_format]
        self._timed = word_timestamps
        self._read = Encoded.read if undecoded else decoded
        self._asking = Asking(output_format, word_timestamps, inherit(ContextSettings(model=model), settings))
        self._contexts: dict[str, _Context] = {}

    # --- encoding ------------------------------------------------------------------------------------

    def encode(self, command: Command) -> str:
        message = _encode(self._message(command)).decode()
        if isinstance(command, Open):
            id = command.context
            self._contexts[id] = _Context(id, self._sample_rate, timed=self._timed)
        elif isinstance(command, Close) and command.immediate and command.context in self._contexts:
            self._contexts[command.context].reason = Reason.CANCELLED
        return message

    def _message(self, command: Command) -> ClientMessage:
        match command:
            case Open(context, settings):
                return self._asking.open(context, settings)
            case Configure(settings):
                return self._asking.configure(settings)
            case Text(context, text):
                return ClientMessage(text=text, context_id=context)
            case Flush(context):
                return ClientMessage(flush=True, context_id=context)
            case Close(context, immediate):
                return ClientMessage(close_context=True, context_id=context, immediate=immediate or None)
            case KeepAlive(context):
                return ClientMessage(text="", context_id=context)
            case CloseSocket():
                return ClientMessage(close_socket=True)
            case Invalid() | Notice():
                raise ValueError("these are a server's words")

    # --- decoding ------------------------------------------------------------------------------------

    def decode(self, data: str | bytes) -> list[Received]:
        try:
            return self._received(decode_frame(data))
        except (msgspec.DecodeError, RecursionError, ValueError) as error:  # base64 and UTF-8: ValueError
            return [unreadable(data, error)]

    def _received(self, frame: HeardFrame) -> list[Received]:
        self.session_id = frame.session_id or self.session_id
        audio = self._read(frame.audio)
        if frame.context_id is None:
            return _of_the_socket(frame, audio)
        context = self._contexts.get(frame.context_id)
        if context is None:  # it has ended; whoever routes this counts what came too late
            return [AudioFrame(frame.context_id, audio)] if audio else []
        received: list[Received] = [*context.hear(frame, audio)]
        if frame.final:
            received.append(Flushed(context.id))
        problem = problem_of(frame) if frame.error is not None else None
        if frame.warning is not None:
            warned = warning_of(frame)
            received.append(Warning(warned, context.id))
            # No error, so that the SDKs say it again after the close that follows; but it has ended.
            problem = warned if warned.code == "draining" else problem
        end = self._end(context, frame, problem)
        if end is not None:
            received += context.finish()
            del self._contexts[context.id]
        if problem is not None:
            received.append(ContextError(context.id, problem))
        return received if end is None else [*received, end]

    def _end(self, context: _Context, frame: HeardFrame, problem: Problem | None) -> ContextClosed | None:
        """The end of a context, if this frame is it.

        mux, which tells its session, ends all that it created with `context_closed`; the vendor may leave it
        at the error or the timeout.
        """
        last = self.session_id is None or not context.created
        if problem is not None:
            context.reason = Reason.FAILED
            last = last or frame.error is None
        elif frame.context_timeout:
            context.reason = Reason.TIMED_OUT
        elif frame.warning is not None and frame.usage:
            context.reason = Reason.SOCKET_CLOSED
            last = True
        else:
            last = False
        return closed(context.id, frame, context.reason) if last or frame.context_closed else None


class _Context:
    """What is known of one context, and the audio that waits for its words."""

    def __init__(self, id: str, sample_rate: int, *, timed: bool) -> None:
        self.id = id
        self.created = False
        """The server has said so."""
        self.reason = Reason.COMPLETED
        """Why it ends, if the server ends it without saying why."""
        self._sample_rate = sample_rate
        self._characters = Characters() if timed else None
        self._held: Pcm | None = None

    def hear(self, frame: HeardFrame, audio: Pcm | None) -> list[AudioFrame]:
        """The audio that this frame brings (`audio`) or lets go."""
        self.created = self.created or bool(frame.context_created)
        characters = self._characters
        if characters is None:
            return [AudioFrame(self.id, audio)] if audio else []
        if frame.generation_started:
            characters.begin(frame.chunk_id, frame.text or "")
        if audio:
            samples, rate = len(audio) // sample_bytes(frame), frame.sr or self._sample_rate
            characters.audio(frame.chunk_id, samples, rate)
        if frame.word_timestamps:
            characters.words(frame.chunk_id, frame.word_timestamps)
            if self._held is not None and not audio:
                return []  # more of them may come
        if frame.chunk_complete:
            characters.complete(frame.chunk_id)
        if audio:
            self._held = audio if self._held is None else joined([self._held, audio])
        if not (audio and self._held and characters.expecting):
            return self._release()
        tail = min(len(audio), round(rate * HELD_SECONDS) * sample_bytes(frame))
        ready, waiting = cut(self._held, len(self._held) - tail)
        self._held = joined([ready])
        released = self._release() if self._held else []
        self._held = joined([waiting])
        return released

    def finish(self) -> list[AudioFrame]:
        """Nothing more comes: what is held back, with the last characters."""
        if self._characters is not None:
            self._characters.finish()
        return self._release()

    def _release(self) -> list[AudioFrame]:
        alignment = self._characters.take() if self._characters is not None else None
        held, self._held = self._held, None
        if held is None and alignment is None:
            return []
        return [AudioFrame(self.id, held or b"", alignment)]


def _of_the_socket(frame: HeardFrame, audio: Pcm | None) -> list[Received]:
    if frame.error is not None:
        return [SocketError(problem_of(frame))]
    if frame.warning is not None:
        return [Warning(warning_of(frame))]
    return [AudioFrame(DEFAULT_CONTEXT, audio)] if audio else []
