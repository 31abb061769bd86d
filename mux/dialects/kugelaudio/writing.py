"""A server's frames, which the vendor's three sockets share."""

from __future__ import annotations

from typing import Any

import msgspec

from mux.dialects.base import Sound
from mux.dialects.kugelaudio.reading import (
    DEFAULT_SCHEDULE,
    UPDATABLE,
    NameVoice,
    checked_update,
    settings_of,
)
from mux.dialects.kugelaudio.wire import ClientMessage, Extras, Frame, WireUsage, Word
from mux.dialects.kugelaudio.words import Words
from mux.errors import Problem
from mux.protocol.limits import Limits
from mux.protocol.messages import (
    Configure,
    Configured,
    ContextClosed,
    ContextOpened,
    Event,
    Invalid,
    SegmentDone,
    SegmentStarted,
    SessionClosed,
    Usage,
    Warning,
)
from mux.protocol.pcm import json_value
from mux.protocol.voice import ContextSettings
from mux.usage import Price

__all__ = ["DEFAULTS", "ENCODINGS", "Track", "Writing", "encode"]

DEFAULTS = ContextSettings(
    output_format="pcm_24000",
    sentences=True,
    chunk_length_schedule=DEFAULT_SCHEDULE,
    flush_timeout=0.5,
    ssml=True,
    inactivity_timeout=20.0,
    model="kugel-3.5",
)
"""What holds where a client says nothing: "24000 (default, native)", `flush_timeout_ms` 500, tags obeyed."""
ENCODINGS = {"pcm": "pcm_s16le", "ulaw": "mulaw", "alaw": "alaw"}
_SAMPLE_BYTES = {"pcm": 2, "ulaw": 1, "alaw": 1}

_encode = msgspec.json.Encoder().encode


def encode(frame: Frame) -> str:
    return _encode(frame).decode()


class Track:
    """What was sent of one context, and of its chunk: its segment, in the words of this wire."""

    def __init__(self, settings: ContextSettings = DEFAULTS) -> None:
        self.settings = settings
        self.chunk = -1
        self.frames = 0
        self.chunks = 0
        self.samples = 0
        """Sent so far; times of chunks follow from it."""
        self.sample_rate = 1
        self.chunk_samples = 0
        self.told_final = True
        """Nothing was spoken since the last `final`."""
        self.made_in = 0.0
        """Seconds of synthesis so far."""
        self.words = Words(0)
        self.heard: list[Word] = []
        """Words that were heard and not told."""

    @property
    def seconds(self) -> float:
        """How long what was sent sounds."""
        return round(self.samples / self.sample_rate, 6)

    def begin(self, segment: int, text: str) -> None:
        """A chunk begins; chunks are counted from 0."""
        self.told_final = False
        self.chunk = segment - 1
        self.chunk_samples = 0
        self.words = Words(round(self.seconds * 1000))
        self.words.expect(text)

    def add(self, sound: Sound) -> int:
        """Audio goes out; returns its samples."""
        samples = len(sound.payload) // _SAMPLE_BYTES[sound.encoding]
        self.sample_rate = sound.sample_rate
        self.samples += samples
        self.chunk_samples += samples
        self.frames += 1
        return samples


class Writing:
    """How events look on the wire.

    Args:
        name_voice: which voice a client's number means.
        session_id: named in error frames, as `request_id`.
        price: what usage is charged with.
    """

    single = False
    whole_segments = True
    defaults = DEFAULTS

    def __init__(
        self, *, name_voice: NameVoice = str, session_id: str = "", price: Price | None = None
    ) -> None:
        self._name_voice = name_voice
        self._session_id = session_id
        self._price = price or Price()
        self._six: dict[str, Any] = dict.fromkeys(UPDATABLE)
        """The parameters that `update_settings` may change, as they were last given."""
        self._tracks: dict[int, Track] = {}

    @staticmethod
    def limits(base: Limits) -> Limits:
        """The limits of a socket of this wire."""
        return msgspec.structs.replace(
            base,
            second_close_cancels=False,  # LiveKit's adapter closes after every chunk
            expiry_closes=True,
            answer_all=True,  # the SDK for Python waits 30 s for each answer
            voice_required=True,
            restart_at_rest=True,
        )

    # --- reading -----------------------------------------------------------------------------------

    def configured(self, message: ClientMessage) -> list[Configure] | Problem:
        """What a message's settings ask for the connection; nothing where there are none."""
        settings = settings_of(message, self._name_voice)
        if isinstance(settings, Problem):
            return settings
        self._six |= {name: value for name in UPDATABLE if (value := getattr(message, name)) is not None}
        return [Configure(settings)] if settings != ContextSettings() else []

    def updated(self, given: dict[str, Any]) -> Configure | Invalid:
        """`update_settings`: for what is begun after it."""
        fields = checked_update(given)
        if isinstance(fields, Problem):
            return Invalid(fields)
        configured = self.configured(ClientMessage(**fields))
        if isinstance(configured, Problem):
            return Invalid(configured)
        settings = configured[0].settings if configured else ContextSettings()
        return Configure(settings, answer=True)

    # --- writing -----------------------------------------------------------------------------------

    def frame(self, context: str | None, frame: Frame) -> str:
        """A frame as it is sent; `context` is whom it concerns, where the wire has names for that."""
        return encode(frame)

    def chunk_id(self, track: Track) -> int | None:
        """Which chunk a frame belongs to, where the wire counts them."""
        return track.chunk

    def audio(self, sound: Sound) -> list[str]:
        track = self._tracks[sound.serial]
        frames = []
        if sound.payload:
            frame = Frame(
                audio=json_value(sound.payload),
                enc=ENCODINGS[sound.encoding],
                idx=track.frames,
                sr=sound.sample_rate,
                samples=track.add(sound),
                chunk_id=self.chunk_id(track),
            )
            frames.append(self.frame(sound.context, frame))
        track.heard += track.words.feed(sound.slices)
        return frames

    def event(self, event: Event) -> list[str]:
        match event:
            case ContextOpened(serial=serial):
                self._tracks[serial] = Track(event.settings)
                return self.opened(event)
            case SegmentStarted(serial=serial):
                return self.started(event, self._tracks[serial])
            case SegmentDone(context, serial):
                track = self._tracks[serial]
                track.chunks += 1
                track.made_in += event.made_in
                track.heard += track.words.rest()
                return self._word_frame(context, track) + self.done(event, track)
            case ContextClosed(serial=serial):
                return self.closed(event, self._tracks.pop(serial, None))
            case Configured():
                return [self.frame(None, Frame(settings_updated=True, settings=self._six))]
            case Warning(problem, context):
                # An error ends a context for this wire's clients, so what ended nobody is none; but who asks
                # for something impossible waits for the answer.
                if problem.row.http == 200:
                    return [self.warning(context, problem)]
                return [self.error(problem, context)]
            case SessionClosed():
                return self.session_closed(event)
            case _:
                return []

    def opened(self, event: ContextOpened) -> list[str]:
        return []

    def started(self, event: SegmentStarted, track: Track) -> list[str]:
        track.begin(event.segment, event.text)
        frame = Frame(generation_started=True, chunk_id=track.chunk, text=event.text)
        return [self.frame(event.context, frame)]

    def done(self, event: SegmentDone, track: Track) -> list[str]:
        frame = Frame(
            chunk_complete=True,
            chunk_id=track.chunk,
            audio_seconds=round(track.chunk_samples / track.sample_rate, 6),
            gen_ms=round(event.made_in * 1000),
        )
        return [self.frame(event.context, frame)]

    def closed(self, event: ContextClosed, track: Track | None) -> list[str]:
        """A context's end; `track` is None if it was refused, or cancelled before anything was sent of it."""
        raise NotImplementedError

    def session_closed(self, event: SessionClosed) -> list[str]:
        """The socket's end. A restart is said by the close alone: the SDKs then send the turn again, which
        they would not do after an error."""
        if event.problem is None:
            return []
        if event.problem.row.close == 1012:
            return [self.warning(None, event.problem)]
        return [self.error(event.problem)]

    def warning(self, context: str | None, problem: Problem) -> str:
        return self.frame(context, Frame(warning=problem.message, code=problem.row.http, mux=problem))

    def error(self, problem: Problem, context: str | None = None) -> str:
        wait = problem.retry_after_ms
        frame = Frame(
            error=problem.message,
            error_code=problem.row.kugelaudio,
            code=problem.row.http,
            retry_after=None if wait is None else -(-wait // 1000),
            request_id=self._session_id or None,
            mux=problem,
        )
        return self.frame(context, frame)

    def usage(self, usage: Usage, track: Track | None = None) -> WireUsage:
        """What was sent, and what it costs; `track` is the context's."""
        cost = self._price.cost_cents(usage)
        return WireUsage(
            audio_seconds=round(usage.audio_sent_ms / 1000, 6),
            characters=usage.characters_sent,
            cost_cents=cost,
            currency=None if cost is None else self._price.currency,
            cost_unavailable=True if cost is None else None,
            model_id=track.settings.model if track else None,
        )

    def extras(self, event: ContextClosed) -> Extras:
        return Extras(event.reason.value, event.usage)

    def _word_frame(self, context: str, track: Track) -> list[str]:
        """A chunk's words, in one frame: the SDK for Python keeps only the last one that came."""
        words, track.heard = track.heard, []
        if not (words and track.settings.word_timestamps):
            return []
        return [self.frame(context, Frame(word_timestamps=words, chunk_id=self.chunk_id(track)))]
