"""From a session's events to frames: each context in its own format, each segment whole where the wire says
where it ends. The dialect here only notes what it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from mux.audio.converter import Converter
from mux.audio.formats import FORMATS
from mux.dialects.base import Sound
from mux.protocol.messages import (
    Alignment,
    Audio,
    Configured,
    ContextClosed,
    ContextOpened,
    Event,
    FlushDone,
    Reason,
    SegmentDone,
    SegmentStarted,
    SessionClosed,
    Usage,
)
from mux.protocol.voice import ContextSettings
from mux.server.sounding import Sounding

RATE = 22050
NOISE = np.random.default_rng(4).integers(-12000, 12000, RATE).astype("<i2").tobytes()
FORMAT_TOKENS = ["pcm_24000", "pcm_8000", "pcm_22050", "ulaw_8000", "alaw_8000", "mp3_44100_128"]


class Notes:
    """A dialect whose frames are what it was given: a `Sound`, or an event."""

    single = False

    def __init__(self, *, whole_segments: bool = False, silent: tuple[type, ...] = ()) -> None:
        self.whole_segments = whole_segments
        self._silent = silent

    def decode(self, data: str | bytes) -> list[Any]:
        return []

    def audio(self, sound: Sound) -> list[Any]:
        return [sound]

    def event(self, event: Event) -> list[Any]:
        return [] if isinstance(event, self._silent) else [event]


class Desk:
    """Feeds a `Sounding` and keeps its frames."""

    def __init__(self, output: str = "pcm_24000", **dialect: Any) -> None:
        self.sounding = Sounding(Notes(**dialect), FORMATS[output])
        self.frames: list[Any] = []
        self._at: dict[int, int] = {}

    def tell(self, *events: Event) -> list[Any]:
        """The frames of these events."""
        new: list[Any] = [frame for event in events for frame in self.sounding.frames(event)]
        self.frames += new
        return new

    def open(self, serial: int = 1, output_format: str | None = None, context: str = "a") -> None:
        self.tell(ContextOpened(context, serial, ContextSettings(output_format=output_format)))

    def speak(
        self, pcm: bytes, serial: int = 1, segment: int = 1, text: str = "", step: int = 2205
    ) -> list[Any]:
        """Speech in pieces of `step` samples; the first carries `text`."""
        new = []
        for at in range(0, len(pcm), 2 * step):
            position = self._at.get(serial, 0)
            piece = pcm[at : at + 2 * step]
            slices = slice_of(text) if text and at == 0 else None
            new += self.tell(Audio("a", serial, segment, piece, RATE, position, slices))
            self._at[serial] = position + len(piece) // 2
        return new

    def done(self, segment: int = 1, *, dry: bool, serial: int = 1) -> list[Any]:
        return self.tell(SegmentDone("a", serial, segment, dry))


def slice_of(text: str) -> Alignment:
    times = tuple(range(len(text)))
    return Alignment(text, times, tuple(time + 1 for time in times), 0)


def sounds(frames: Sequence[Any], serial: int = 1) -> list[Sound]:
    return [frame for frame in frames if isinstance(frame, Sound) and frame.serial == serial]


def joined(frames: Sequence[Any], serial: int = 1) -> bytes:
    return b"".join(sound.payload for sound in sounds(frames, serial))


def said(frames: Sequence[Any], serial: int = 1) -> str:
    return "".join(piece.text for sound in sounds(frames, serial) for piece in sound.slices)


def converted(pcm: bytes, token: str, step: int = 2205) -> bytes:
    """`pcm` on its own, from the first to the last byte."""
    converter = Converter(RATE, FORMATS[token])
    pieces = [converter.convert(pcm[at : at + 2 * step]) for at in range(0, len(pcm), 2 * step)]
    return b"".join([*pieces, converter.convert(b"", last=True)])


# --- formats -----------------------------------------------------------------------------------------


def test_each_context_speaks_in_its_own_format_and_says_which() -> None:
    desk = Desk("pcm_16000")
    tokens: list[str | None] = [None, *FORMAT_TOKENS]
    for serial, token in enumerate(tokens, 1):
        desk.open(serial, token)
    for at in range(0, len(NOISE), 4410):  # turn and turn about
        for serial in range(1, len(tokens) + 1):
            desk.speak(NOISE[at : at + 4410], serial)
    for serial, token in enumerate(tokens, 1):
        desk.done(dry=True, serial=serial)
        expected = FORMATS[token or "pcm_16000"]
        assert joined(desk.frames, serial) == converted(NOISE, token or "pcm_16000"), token
        assert {(sound.encoding, sound.sample_rate) for sound in sounds(desk.frames, serial)} == {
            (expected.codec, expected.sample_rate)
        }


def test_the_next_context_of_an_id_may_have_another_format() -> None:
    desk = Desk()
    desk.open(1, "pcm_8000")
    desk.speak(NOISE)
    desk.tell(ContextClosed("a", 1, Reason.CANCELLED, Usage()))
    desk.open(2, "ulaw_8000")
    desk.speak(NOISE, 2)
    desk.done(dry=True, serial=2)
    assert joined(desk.frames, 2) == converted(NOISE, "ulaw_8000"), "nothing of the old one is left in it"


def test_a_context_that_was_refused_has_no_format_and_its_end_is_told() -> None:
    end = ContextClosed("a", 1, Reason.FAILED, Usage())
    assert Desk().tell(end) == [end]


@pytest.mark.parametrize(
    "event",
    [
        ContextOpened("a", 1, ContextSettings()),
        SegmentStarted("a", 1, 1, "Hello.", "flush"),
        SegmentDone("a", 1, 1, True),
        SegmentDone("a", 1, 1, False),
        FlushDone("a", 1, 1),
        Configured(),
        SessionClosed(1000, ""),
    ],
)
@pytest.mark.parametrize("whole_segments", [False, True])
def test_what_is_not_speech_is_the_dialects(event: Event, whole_segments: bool) -> None:
    assert Desk(whole_segments=whole_segments).tell(event) == [event]


# --- where segments meet -----------------------------------------------------------------------------


@pytest.mark.parametrize("token", FORMAT_TOKENS)
def test_where_the_wire_says_where_a_segment_ends_all_of_it_goes_out_before(token: str) -> None:
    desk = Desk(whole_segments=True)
    desk.open(1, token)
    halves = [NOISE[: RATE + RATE % 2], NOISE[RATE + RATE % 2 :]]
    for segment, pcm in enumerate(halves, 1):
        spoken = desk.speak(pcm, segment=segment)
        *rest, done = desk.done(segment, dry=False)  # the next one is at work already
        assert isinstance(done, SegmentDone)
        assert {sound.segment for sound in sounds([*spoken, *rest])} == {segment}
        # It is as if it had been spoken alone: the conversion begins anew with each.
        assert joined([*spoken, *rest]) == converted(pcm, token)


@pytest.mark.parametrize("token", ["pcm_24000", "pcm_8000", "ulaw_8000"])
def test_then_a_segments_samples_are_its_seconds(token: str) -> None:
    desk = Desk(whole_segments=True)
    desk.open(1, token)
    width = 2 if token.startswith("pcm") else 1
    for segment, samples in enumerate((2205, 441, 1, 7000), 1):
        frames = [*desk.speak(NOISE[: 2 * samples], segment=segment), *desk.done(segment, dry=False)]
        exact = samples * FORMATS[token].sample_rate / RATE
        assert abs(len(joined(frames)) / width - exact) <= 1


@pytest.mark.parametrize("token", FORMAT_TOKENS)
def test_elsewhere_segments_are_one_stream(token: str) -> None:
    desk = Desk()
    desk.open(1, token)
    border = RATE + RATE % 2
    desk.speak(NOISE[:border], segment=1)
    assert desk.done(1, dry=False) == [SegmentDone("a", 1, 1, False)]
    desk.speak(NOISE[border:], segment=2)
    *_, done = desk.done(2, dry=True)
    assert isinstance(done, SegmentDone)
    assert np.array_equal(
        np.frombuffer(joined(desk.frames), "u1"), np.frombuffer(converted_in_two(NOISE, border, token), "u1")
    )


def converted_in_two(pcm: bytes, border: int, token: str) -> bytes:
    """One conversion, fed as two segments are."""
    converter = Converter(RATE, FORMATS[token])
    out = b""
    for half in (pcm[:border], pcm[border:]):
        out += b"".join(converter.convert(half[at : at + 4410]) for at in range(0, len(half), 4410))
    return out + converter.convert(b"", last=True)


@pytest.mark.parametrize("whole_segments", [False, True])
def test_a_context_with_no_more_to_say_holds_nothing_back(whole_segments: bool) -> None:
    desk = Desk("mp3_44100_128", whole_segments=whole_segments)
    desk.open()
    desk.speak(NOISE)
    *rest, done = desk.done(dry=True)
    assert rest
    assert isinstance(done, SegmentDone)
    assert joined(desk.frames) == converted(NOISE, "mp3_44100_128")


def test_a_turn_goes_out_before_its_end_is_said_and_only_if_it_is_said() -> None:
    for silent in ((), (FlushDone,)):
        desk = Desk(silent=silent)
        desk.open()
        desk.speak(NOISE)
        desk.done(dry=False)
        frames = desk.tell(FlushDone("a", 1, 1))
        if silent:
            assert frames == [], "its client need not know, so the stream goes on"
        else:
            assert isinstance(frames[-1], FlushDone)
            assert joined(desk.frames) == converted(NOISE, "pcm_24000")


# --- characters --------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole_segments", [False, True])
def test_characters_whose_audio_is_still_held_back_wait_for_it(whole_segments: bool) -> None:
    desk = Desk("mp3_44100_128", whole_segments=whole_segments)
    desk.open()
    assert desk.speak(NOISE[:200], text="He") == [], "mp3 holds back so little"
    desk.speak(NOISE[200:400], text="llo")
    first = sounds(desk.speak(NOISE[400:]))[0]
    assert [piece.text for piece in first.slices] == ["He", "llo"]
    desk.done(dry=True)
    assert said(desk.frames) == "Hello", "and none comes twice"


@pytest.mark.parametrize("whole_segments", [False, True])
def test_characters_without_audio_are_said_at_the_end(whole_segments: bool) -> None:
    desk = Desk("pcm_22050", whole_segments=whole_segments)
    desk.open()
    desk.speak(NOISE[:200], text="Hello")
    assert desk.tell(Audio("a", 1, 1, b"", RATE, 100, slice_of("."))) == []
    *rest, done = desk.done(dry=True)
    assert isinstance(done, SegmentDone)
    assert [(sound.payload, sound.segment, said([sound])) for sound in sounds(rest)] == [(b"", 1, ".")]


def test_of_whole_segments_no_character_goes_with_the_next_one() -> None:
    desk = Desk("mp3_44100_128", whole_segments=True)
    desk.open()
    for segment, text in enumerate(("One.", "Two."), 1):
        desk.speak(NOISE[:400], segment=segment, text=text)
        desk.done(segment, dry=False)
    assert [(sound.segment, said([sound])) for sound in sounds(desk.frames)] == [(1, "One."), (2, "Two.")]
