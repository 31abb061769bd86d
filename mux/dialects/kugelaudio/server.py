"""`/ws/tts/multi` as a server speaks it: many contexts on one socket."""

from __future__ import annotations

from mux.dialects.base import Decoded
from mux.dialects.kugelaudio.reading import UNREADABLE, decode_message, unreadable, voice_settings_of
from mux.dialects.kugelaudio.wire import ClientMessage, Frame
from mux.dialects.kugelaudio.writing import Track, Writing, encode
from mux.errors import Problem
from mux.protocol.messages import (
    Close,
    CloseSocket,
    ContextClosed,
    ContextOpened,
    Event,
    Flush,
    FlushDone,
    Invalid,
    KeepAlive,
    NotThere,
    Open,
    Reason,
    SessionClosed,
    Text,
    Usage,
)

__all__ = ["KugelAudioServer"]


class KugelAudioServer(Writing):
    """One socket; see `Writing` for the arguments."""

    _started = False
    _total = Usage()

    def decode(self, data: str | bytes) -> list[Decoded]:
        try:
            message = decode_message(data)
        except UNREADABLE as error:
            return [unreadable(data, error)]
        commands: list[Decoded] = []
        if message.update_settings is not None:
            commands.append(self.updated(message.update_settings))
        configured = self.configured(message)
        if isinstance(configured, Problem):
            commands.append(Invalid(configured, message.context_id or None))
            if message.context_id and message.close_context:
                commands.append(Close(message.context_id, bool(message.immediate)))
        else:
            commands += configured
            if message.context_id:
                commands += self._context(message.context_id, message)
            elif message.text and not message.text.isspace():
                commands.append(Invalid(_NO_ID))
        if message.close_socket:
            commands.append(CloseSocket())
        return commands

    def _context(self, id: str, message: ClientMessage) -> list[Decoded]:
        commands: list[Decoded] = []
        text = message.text
        if message.voice_settings is not None:
            settings = voice_settings_of(message.voice_settings, self._name_voice)
            if isinstance(settings, Problem):
                commands.append(Invalid(settings, id))
            else:
                commands.append(Open(id, settings, anew=True))
        if text:
            commands.append(Text(id, text))
        elif not (commands or message.flush or message.close_context):
            commands.append(KeepAlive(id))
        if message.flush:
            commands.append(Flush(id))
        if message.close_context:
            commands.append(Close(id, bool(message.immediate)))
        return commands

    def frame(self, context: str | None, frame: Frame) -> str:
        frame.context_id = context
        return encode(frame)

    def event(self, event: Event) -> list[str]:
        match event:
            case FlushDone(context, serial):
                self._tracks[serial].told_final = True
                return [self.frame(context, Frame(final=True))]
            case NotThere(context, flush):
                return [self.frame(context, Frame(final=True) if flush else Frame(context_closed=True))]
            case _:
                return super().event(event)

    def opened(self, event: ContextOpened) -> list[str]:
        frames = [self.frame(event.context, Frame(context_created=True))]
        if not self._started:
            # Not at the socket's start: after it, the SDK for JavaScript sends no settings any more.
            self._started = True
            started = Frame(session_started=True, session_id=self._session_id)
            frames.insert(0, self.frame(None, started))
        return frames

    def closed(self, event: ContextClosed, track: Track | None) -> list[str]:
        id, problem = event.context, event.problem
        self._total += event.usage
        closed = Frame(context_closed=True, usage=self.usage(event.usage, track), mux=self.extras(event))
        if problem is not None and problem.code == "draining":
            # The close that follows makes the SDKs send it again elsewhere; an end would not.
            return [self.warning(id, problem)]
        match event.reason:
            case Reason.COMPLETED:
                frames = [Frame(final=True), closed]
            case Reason.TIMED_OUT:
                frames = [Frame(context_timeout=True), closed]
                if not (track is None or track.told_final):
                    frames.insert(0, Frame(final=True))
            case Reason.SOCKET_CLOSED:
                # Clients would take its end for the end of its speech.
                frames = [Frame(warning="The context ends with its socket.", usage=closed.usage)]
            case _:
                frames = [closed]
        if track is None and problem is None:
            frames.insert(0, Frame(context_created=True))  # cancelled before it could be said
        elif track is None:
            frames = []  # refused: it never was
        ends = [self.frame(id, frame) for frame in frames]
        if problem is not None and event.reason is Reason.FAILED:
            return [self.error(problem, id), *ends]
        return ends

    def session_closed(self, event: SessionClosed) -> list[str]:
        if event.problem is not None:
            return super().session_closed(event)
        usage = self.usage(self._total)
        frame = Frame(session_closed=True, total_audio_seconds=usage.audio_seconds, usage=usage)
        return [self.frame(None, frame)]


_NO_ID = Problem(
    code="unreadable_message",
    message="Text on this socket needs a context_id. Add one, or use /ws/tts/stream.",
    param="context_id",
)
