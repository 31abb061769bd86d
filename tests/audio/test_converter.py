from collections.abc import Callable, Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mux.audio.converter import Converter
from mux.audio.formats import FORMATS
from mux.audio.g711 import alaw_encode, ulaw_encode

PCM = sorted(token for token, format in FORMATS.items() if format.codec == "pcm")
CHUNKS = st.lists(st.integers(0, 1500), max_size=12)
"""Lengths of consecutive chunks, in samples."""

NOISE = np.random.default_rng(7).integers(-12000, 12000, 20000).astype("<i2").tobytes()


def stream(converter: Converter, pcm: bytes, lengths: Iterable[int]) -> list[bytes]:
    """Convert `pcm` cut at `lengths`, the rest of it last."""
    outputs = []
    at = 0
    for length in lengths:
        outputs.append(converter.convert(pcm[at : at + 2 * length]))
        at += 2 * length
    outputs.append(converter.convert(pcm[at:], last=True))
    return outputs


def difference(left: bytes, right: bytes) -> int:
    a, b = (np.frombuffer(pcm, "<i2").astype(int) for pcm in (left, right))
    assert len(a) == len(b)
    return int(np.max(np.abs(a - b), initial=0))


@settings(max_examples=40, deadline=None)
@given(
    lengths=CHUNKS,
    source=st.sampled_from([16000, 22050, 24000]),
    token=st.sampled_from(PCM),
    empty_end=st.booleans(),
)
def test_lengths_are_exact_and_joints_silent_however_the_stream_is_cut(
    lengths: list[int], source: int, token: str, empty_end: bool
) -> None:
    target = FORMATS[token]
    pcm = NOISE[: 2 * (sum(lengths) + (0 if empty_end else 333))]
    outputs = stream(Converter(source, target), pcm, lengths)
    assert all(len(output) % 2 == 0 for output in outputs)
    converted = b"".join(outputs)
    exact = len(pcm) / 2 * target.sample_rate / source
    assert abs(len(converted) / 2 - round(exact)) <= 1
    assert difference(converted, Converter(source, target).convert(pcm, last=True)) <= 2


@pytest.mark.parametrize(
    ("source", "token"), [(22050, "pcm_24000"), (22050, "pcm_8000"), (24000, "pcm_44100")]
)
def test_a_sine_in_random_chunks_is_the_sine_in_one(
    source: int, token: str, tone: Callable[..., bytes]
) -> None:
    pcm = tone(source, source)
    lengths = np.random.default_rng(3).integers(1, 2000, 15).tolist()
    pieces = b"".join(stream(Converter(source, FORMATS[token]), pcm, lengths))
    assert difference(pieces, Converter(source, FORMATS[token]).convert(pcm, last=True)) <= 2


@pytest.mark.parametrize("token", [token for token in PCM if token != "pcm_22050"])
def test_a_resampled_tone_is_clean_and_not_shifted(token: str, tone: Callable[..., bytes]) -> None:
    target = FORMATS[token]
    out = Converter(22050, target).convert(tone(22050, 22050, hz=997.0, peak=30000.0), last=True)
    heard = np.frombuffer(out, "<i2")[target.sample_rate // 10 : -target.sample_rate // 10].astype(float)
    at = (np.arange(len(heard)) + target.sample_rate // 10) / target.sample_rate
    # Against the tone as it should be, phase included: a shift of 1/100 sample would fail too.
    noise = heard - 30000.0 * np.sin(2 * np.pi * 997.0 * at)
    assert 10 * np.log10(np.mean(heard**2) / np.mean(noise**2)) > 80


def test_what_the_target_cannot_carry_is_removed_not_folded(tone: Callable[..., bytes]) -> None:
    out = Converter(22050, FORMATS["pcm_8000"]).convert(tone(22050, 22050, hz=6500.0), last=True)
    assert np.max(np.abs(np.frombuffer(out, "<i2")[800:-800].astype(int))) <= 3


def test_the_same_rate_passes_through_without_a_copy() -> None:
    converter = Converter(24000, FORMATS["pcm_24000"])
    pcm = NOISE[:4000]
    assert converter.convert(pcm) is pcm
    assert converter.convert(pcm, last=True) is pcm


@pytest.mark.parametrize(("token", "encode"), [("ulaw_8000", ulaw_encode), ("alaw_8000", alaw_encode)])
def test_g711_is_the_resampled_stream_encoded(
    token: str, encode: Callable[[bytes], bytes], tone: Callable[..., bytes]
) -> None:
    pcm = tone(22050, 4410)
    linear = stream(Converter(22050, FORMATS["pcm_8000"]), pcm, [700, 1, 900])
    coded = stream(Converter(22050, FORMATS[token]), pcm, [700, 1, 900])
    assert coded == [encode(piece) for piece in linear]
    assert len(b"".join(coded)) == 1600


@pytest.mark.parametrize("token", ["pcm_24000", "ulaw_8000", "mp3_44100_128", "wav_24000"])
def test_after_last_a_new_stream_begins(token: str, tone: Callable[..., bytes]) -> None:
    converter = Converter(22050, FORMATS[token])
    pcm = tone(22050, 5000)
    first = stream(converter, pcm, [1000, 1000])
    assert first[-1], "the tail was held back, and is given up"
    assert stream(converter, pcm, [1000, 1000]) == first


@pytest.mark.parametrize(
    "token", ["pcm_22050", "pcm_24000", "ulaw_8000", "mp3_44100_128", "opus_48000_64", "wav_24000"]
)
def test_a_stream_of_nothing_is_nothing(token: str) -> None:
    converter = Converter(22050, FORMATS[token])
    assert converter.convert(b"") == b""
    assert converter.convert(b"", last=True) == b""
    assert converter.convert(b"", last=True) == b""


@pytest.mark.parametrize(
    "token", ["pcm_22050", "pcm_24000", "alaw_8000", "mp3_44100_128", "opus_48000_64", "wav_22050"]
)
def test_half_a_sample_is_a_bug(token: str) -> None:
    with pytest.raises(ValueError, match="odd length"):
        Converter(22050, FORMATS[token]).convert(b"\x00" * 2205)


def test_too_loud_saturates_instead_of_wrapping() -> None:
    square = np.repeat(np.tile([32767, -32768], 50), 40).astype("<i2").tobytes()
    out = Converter(22050, FORMATS["pcm_44100"]).convert(square, last=True)
    middle = np.frombuffer(out, "<i2").reshape(-1, 80)[1:-1]
    assert np.all(middle[::2, 20:60] < -20000)
    assert np.all(middle[1::2, 20:60] > 20000)


def test_the_same_speech_gives_the_same_bytes(tone: Callable[..., bytes]) -> None:
    pcm = tone(22050, 22050)
    kept = [Converter(22050, FORMATS["pcm_24000"]) for _ in range(20)]
    assert len({converter.convert(pcm, last=True) for converter in kept}) == 1


def test_overshoot_saturates_instead_of_wrapping() -> None:
    square = np.repeat(np.tile(np.array([32767, -32768], "<i2"), 100), 40).tobytes()
    out = np.frombuffer(Converter(22050, FORMATS["pcm_24000"]).convert(square, last=True), "<i2").astype(int)
    assert np.count_nonzero(np.diff(np.sign(out))) <= 200  # a wrapped sample would change its sign
    assert (out == 32767).sum() > 100
    assert (out == -32768).sum() > 100
