from collections.abc import Callable

import numpy as np
import pytest

from mux.audio.pcm import rms, samples


def test_samples_are_little_endian_and_not_copied() -> None:
    pcm = b"\x01\x00\xff\xff\x00\x80"
    view = samples(pcm)
    assert view.tolist() == [1, -1, -32768]
    assert np.shares_memory(view, np.frombuffer(pcm, dtype=np.uint8))


def test_half_a_sample_is_a_bug() -> None:
    with pytest.raises(ValueError, match="odd length of 3 bytes"):
        samples(b"abc")


def test_rms(tone: Callable[..., bytes]) -> None:
    assert rms(b"") == 0.0
    assert rms(bytes(200)) == 0.0
    assert rms(b"\x00\x80" * 100) == 32768.0
    assert rms(tone(24000, 24000, peak=16000.0)) == pytest.approx(16000 / 2**0.5, rel=1e-3)
