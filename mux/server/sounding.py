"""From events to frames: speech is converted here, at the moment it is sent."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mux.audio.converter import Converter
from mux.audio.formats import FORMATS, AudioFormat
from mux.dialects.base import ServerDialect, Sound
from mux.protocol.messages import (
    Alignment,
    Audio,
    ContextClosed,
    ContextOpened,
    Event,
    FlushDone,
    SegmentDone,
)
from mux.protocol.pcm import Pcm

__all__ = ["Sounding"]


class Sounding:
    """The frames of one socket. Every context has a conversion of its own, which lasts over its segments, so
    that there is no click at a joint.

    Args:
        output: the format of contexts that ask for none.
    """

    def __init__(self, dialect: ServerDialect, output: AudioFormat) -> None:
        self._dialect = dialect
        self._output = output
        self._voices: dict[int, _Voice] = {}

    def settle(self, event: Event) -> Event:
        """Take out of the usage in an end what the conversion still held back: it never goes out."""
        if not isinstance(event, ContextClosed):
            return event
        voice = self._voices.get(event.serial)
        held = 0.0 if voice is None or voice.converter is None else voice.converter.held_ms
        if not held:
            return event
        usage = event.usage
        sent, dropped = usage.audio_sent_ms - held, usage.audio_dropped_ms + held
        usage = msgspec.structs.replace(usage, audio_sent_ms=sent, audio_dropped_ms=dropped)
        return msgspec.structs.replace(event, usage=usage)

    def frames(self, event: Event) -> Sequence[str | bytes]:
        """What to send for an event; what is dropped before it comes here was never converted."""
        match event:
            case Audio():
                voice = self._voices.get(event.serial)
                assert voice is not None, "a context that was not opened speaks"
                return self._speech(voice, event)
            case SegmentDone():
                if event.dry or self._dialect.whole_segments:
                    return [*self._rest(event.serial), *self._dialect.event(event)]
            case FlushDone():
                # The client takes what follows for the next turn's, so all of this one goes out before.
                if frames := self._dialect.event(event):
                    return [*self._rest(event.serial), *frames]
                return ()
            case ContextOpened():
                token = event.settings.output_format
                self._voices[event.serial] = _Voice(event, FORMATS[token] if token else self._output)
            case ContextClosed():
                self._voices.pop(event.serial, None)
        return self._dialect.event(event)

    def _speech(self, voice: _Voice, event: Audio) -> Sequence[str | bytes]:
        if voice.converter is None:
            voice.converter = Converter(event.sample_rate, voice.target)
        if event.alignment is not None:
            voice.slices.append(event.alignment)
        voice.segment = event.segment
        converter = voice.converter
        payload = event.pcm if converter.idle else converter.convert(bytes(event.pcm))
        return self._dialect.audio(voice.sound(payload)) if payload else ()

    def _rest(self, serial: int) -> Sequence[str | bytes]:
        """What the conversion holds back."""
        voice = self._voices.get(serial)
        if voice is None or voice.converter is None:
            return ()
        payload = voice.converter.convert(b"", last=True)
        return self._dialect.audio(voice.sound(payload)) if payload or voice.slices else ()


class _Voice:
    """One context's conversion; slices wait here until the encoder gives bytes for them."""

    def __init__(self, opened: ContextOpened, target: AudioFormat) -> None:
        self.target = target
        self.converter: Converter | None = None
        self.slices: list[Alignment] = []
        self.segment = 0
        self._context = opened.context
        self._serial = opened.serial

    def sound(self, payload: Pcm) -> Sound:
        slices, self.slices = self.slices, []
        target = self.target
        return Sound(
            self._context, self._serial, self.segment, payload, target.codec, target.sample_rate, slices
        )
