"""From events to frames: speech is converted here, at the moment it is sent."""

from __future__ import annotations

from collections.abc import Sequence

from mux.audio.converter import Converter
from mux.audio.formats import AudioFormat
from mux.dialects.base import ServerDialect
from mux.protocol.messages import Alignment, Audio, ContextClosed, Event, FlushDone, SegmentDone

__all__ = ["Sounding"]


class Sounding:
    """The frames of one socket. Every context has a conversion of its own, which lasts over its segments, so
    that there is no click at a joint."""

    def __init__(self, dialect: ServerDialect, output: AudioFormat) -> None:
        self._dialect = dialect
        self._output = output
        self._voices: dict[int, _Voice] = {}

    def frames(self, event: Event) -> Sequence[str | bytes]:
        """What to send for an event; what is dropped before it comes here was never converted."""
        if isinstance(event, Audio):
            voice = self._voices.get(event.serial)
            if voice is None:
                voice = self._voices[event.serial] = _Voice(event.sample_rate, self._output)
            if event.alignment is not None:
                voice.slices.append(event.alignment)
            return self._audio(event.context, voice, voice.converter.convert(event.pcm))
        if isinstance(event, SegmentDone) and event.dry:
            return self._rest(event.context, event.serial)
        if isinstance(event, ContextClosed):
            self._voices.pop(event.serial, None)
        frames = self._dialect.event(event)
        if isinstance(event, FlushDone) and frames:
            # The client takes what follows for the next turn's, so all of this one goes out before.
            return [*self._rest(event.context, event.serial), *frames]
        return frames

    def _rest(self, context: str, serial: int) -> Sequence[str | bytes]:
        """What the conversion holds back."""
        if voice := self._voices.get(serial):
            return self._audio(context, voice, voice.converter.convert(b"", last=True), last=True)
        return ()

    def _audio(
        self, context: str, voice: _Voice, payload: bytes, *, last: bool = False
    ) -> Sequence[str | bytes]:
        if not payload and not (last and voice.slices):
            return ()
        slices, voice.slices = voice.slices, []
        frame = self._dialect.audio(context, payload, slices)
        return (frame,) if frame else ()


class _Voice:
    """One context's conversion; slices wait here until the encoder gives bytes for them."""

    def __init__(self, sample_rate: int, target: AudioFormat) -> None:
        self.converter = Converter(sample_rate, target)
        self.slices: list[Alignment] = []
