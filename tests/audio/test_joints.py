"""What was encoded sounds as what went in, and where one segment follows another, nothing clicks."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from mux.audio.converter import Converter
from mux.audio.formats import FORMATS, AudioFormat

Samples = npt.NDArray[np.int32]
Decode = Callable[[bytes, AudioFormat], Samples]

RATE = 22050
TOKENS = [token for token in FORMATS if token != "mp3_44100"]
STREAMS = [token for token in TOKENS if FORMATS[token].codec != "wav"]
MP3_DELAY = 1105
"""Samples that a decoder gives before the first of ours: 576 of the encoder and 529 of the decoder."""

LEAST_DB = {"pcm": 90, "wav": 90, "ulaw": 30, "alaw": 30, "mp3": 14, "opus": 13}
"""Speech to noise. MP3 and Opus save bits where an ear does not notice, so theirs is low at low bit rates."""


def delay(format: AudioFormat) -> int:
    return MP3_DELAY if format.codec == "mp3" else 0


def plain(pcm: bytes, format: AudioFormat) -> Samples:
    """The same speech at the same rate, without a codec."""
    target = FORMATS[f"pcm_{format.sample_rate}"]
    return np.frombuffer(Converter(RATE, target).convert(pcm, last=True), "<i2").astype(np.int32)


def coded(converter: Converter, *segments: bytes) -> bytes:
    """Segments as they come, in pieces of 100 ms; only the end is `last`."""
    step = RATE // 10 * 2
    pieces = [segment[at : at + step] for segment in segments for at in range(0, len(segment), step)]
    return b"".join(converter.convert(piece) for piece in pieces) + converter.convert(b"", last=True)


def ratio(signal: Samples, heard: Samples) -> float:
    """Signal to noise in dB."""
    noise = (heard - signal).astype(float)
    power: float = np.mean(signal.astype(float) ** 2) / max(np.mean(noise**2), 1e-9)
    return float(10 * np.log10(power))


def steepest(heard: Samples) -> int:
    """The largest step from one sample to the next."""
    return int(np.max(np.abs(np.diff(heard))))


@pytest.mark.parametrize("token", TOKENS)
def test_speech_decodes_to_itself_in_its_place(token: str, sentences: list[bytes], decode: Decode) -> None:
    format = FORMATS[token]
    speech = plain(sentences[0] + sentences[1], format)
    heard = decode(coded(Converter(RATE, format), *sentences), format)
    padding = len(heard) - len(speech)
    if format.codec == "mp3":
        frame = 1152 if format.sample_rate >= 32000 else 576
        assert MP3_DELAY <= padding < MP3_DELAY + 2 * frame
    else:
        assert padding == 0
    heard = heard[delay(format) :][: len(speech)]
    assert ratio(speech, heard) > LEAST_DB[format.codec]
    shifted = [ratio(speech[9:-9], heard[9 + by : len(heard) - 9 + by]) for by in (-2, -1, 1, 2)]
    assert max(shifted) < ratio(speech[9:-9], heard[9:-9]), "not a sample early or late"


@pytest.mark.parametrize("token", TOKENS)
def test_two_sentences_join_as_one_speech(token: str, sentences: list[bytes], decode: Decode) -> None:
    format = FORMATS[token]
    one = decode(coded(Converter(RATE, format), b"".join(sentences)), format)
    two = decode(coded(Converter(RATE, format), *sentences), format)
    # Cut at other places the resampler rounds some samples the other way, and a codec makes more of that.
    assert len(one) == len(two)
    assert ratio(one, two) > 40


@pytest.mark.parametrize("token", STREAMS)
def test_a_tone_goes_on_over_a_joint(token: str, tone: Callable[..., bytes], decode: Decode) -> None:
    """Speech is quiet where sentences meet; here the joint is in the middle of a loud wave."""
    format = FORMATS[token]
    pcm = tone(RATE, RATE, hz=300.0, peak=12000.0)
    cut = 2 * 11013
    heard = decode(coded(Converter(RATE, format), pcm[:cut], pcm[cut:]), format)[delay(format) :]
    around = slice(int(0.45 * format.sample_rate), int(0.55 * format.sample_rate))
    assert steepest(heard[around]) <= 1.05 * steepest(plain(pcm, format)[around])


@pytest.mark.parametrize("token", STREAMS)
def test_after_a_last_the_next_sentence_comes_whole_and_without_a_click(
    token: str, sentences: list[bytes], decode: Decode
) -> None:
    format = FORMATS[token]
    converter = Converter(RATE, format)
    one, two = (coded(converter, sentence) for sentence in sentences)
    first, second = (plain(sentence, format) for sentence in sentences)
    heard = decode(one + two, format)[delay(format) :]
    begins = len(decode(one, format))
    gap = begins - len(first)
    if format.codec == "mp3":
        assert gap / format.sample_rate < (0.052 if format.sample_rate == 44100 else 0.078)
    else:
        assert gap == 0
    assert ratio(second, heard[begins:][: len(second)]) > LEAST_DB[format.codec]
    near = format.sample_rate // 20
    own = steepest(np.concatenate((first[-near:], second[:near])))
    assert steepest(heard[len(first) - near : begins + near]) <= 1.5 * own
