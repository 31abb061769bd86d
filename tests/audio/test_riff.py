import io
import wave
from collections.abc import Callable

import pytest

from mux.audio.riff import WavEncoder


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
def test_the_file_has_the_right_sizes_and_reads_back(rate: int, tone: Callable[..., bytes]) -> None:
    pcm = tone(rate, 1001)
    encoder = WavEncoder(rate)
    assert encoder.encode(pcm[:500]) == b"", "the header cannot be written yet"
    assert encoder.encode(pcm[500:]) == b""
    data = encoder.flush()
    assert len(data) == 44 + len(pcm)
    assert int.from_bytes(data[4:8], "little") == len(data) - 8
    assert int.from_bytes(data[40:44], "little") == len(pcm)
    with wave.open(io.BytesIO(data)) as file:
        assert file.getparams()[:4] == (1, 2, rate, 1001)
        assert file.readframes(2000) == pcm


def test_the_same_file_as_the_standard_library_writes(tone: Callable[..., bytes]) -> None:
    pcm = tone(24000, 100)
    expected = io.BytesIO()
    with wave.open(expected, "wb") as file:
        file.setparams((1, 2, 24000, 0, "NONE", ""))
        file.writeframes(pcm)
    encoder = WavEncoder(24000)
    encoder.encode(pcm)
    assert encoder.flush() == expected.getvalue()


def test_a_file_is_given_once() -> None:
    encoder = WavEncoder(8000)
    assert encoder.flush() == b""
    encoder.encode(b"ab")
    assert encoder.flush()[44:] == b"ab"
    assert encoder.flush() == b""
    encoder.encode(b"cd")
    assert encoder.flush()[44:] == b"cd"


def test_half_a_sample_is_a_bug() -> None:
    with pytest.raises(ValueError, match="odd length"):
        WavEncoder(8000).encode(b"abc")
