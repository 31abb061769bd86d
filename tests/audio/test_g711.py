import warnings

import numpy as np
import pytest

from mux.audio.g711 import alaw_decode, alaw_encode, ulaw_decode, ulaw_encode

EVERY_SAMPLE = np.arange(-32768, 32768).astype("<i2").tobytes()
EVERY_BYTE = bytes(range(256))

# Golden values, made with audioop of Python 3.11.
SAMPLES = [0, 1, -1, 3, -4, 100, -100, 1000, -1000, 8000, -8000, 32767, -32768, 32635, -32124]
ULAW = bytes.fromhex("ffff7eff7ef272ce4ea02080008000")
ALAW = bytes.fromhex("d5d555d555d353fa7a8a0aaa2aaa2a")
CODES = bytes([0x00, 0x01, 0x55, 0x7F, 0x80, 0xAA, 0xD5, 0xFF])
FROM_ULAW = [-32124, -31100, -716, 0, 32124, 5372, 716, 0]
FROM_ALAW = [-5504, -5248, -8, -848, 5504, 32256, 8, 848]


def test_golden_values() -> None:
    pcm = np.array(SAMPLES, dtype="<i2").tobytes()
    assert ulaw_encode(pcm) == ULAW
    assert alaw_encode(pcm) == ALAW
    assert np.frombuffer(ulaw_decode(CODES), "<i2").tolist() == FROM_ULAW
    assert np.frombuffer(alaw_decode(CODES), "<i2").tolist() == FROM_ALAW


def test_equal_to_the_standard_library_for_every_input() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        audioop = pytest.importorskip("audioop", reason="audioop left the standard library in Python 3.13")
    assert ulaw_encode(EVERY_SAMPLE) == audioop.lin2ulaw(EVERY_SAMPLE, 2)
    assert alaw_encode(EVERY_SAMPLE) == audioop.lin2alaw(EVERY_SAMPLE, 2)
    assert ulaw_decode(EVERY_BYTE) == audioop.ulaw2lin(EVERY_BYTE, 2)
    assert alaw_decode(EVERY_BYTE) == audioop.alaw2lin(EVERY_BYTE, 2)


def test_a_decoded_byte_encodes_to_itself() -> None:
    assert alaw_encode(alaw_decode(EVERY_BYTE)) == EVERY_BYTE
    # mu-law has two zeros: 0x7F is -0 and becomes +0.
    assert ulaw_encode(ulaw_decode(EVERY_BYTE)) == EVERY_BYTE.replace(b"\x7f", b"\xff")


def test_the_error_is_within_half_a_step() -> None:
    exact = np.frombuffer(EVERY_SAMPLE, "<i2").astype(int)
    for decoded in (ulaw_decode(ulaw_encode(EVERY_SAMPLE)), alaw_decode(alaw_encode(EVERY_SAMPLE))):
        error = np.abs(np.frombuffer(decoded, "<i2").astype(int) - exact)
        # Each segment has 16 steps and begins at a power of two (less mu-law's bias of 132); up to 8 are
        # lost before, with the bits that the codes do not see.
        assert np.all(error <= (np.abs(exact) + 132) / 32 + 8)


@pytest.mark.parametrize("code", [ulaw_encode, alaw_encode])
def test_lengths(code: object) -> None:
    assert callable(code)
    assert code(b"") == b""
    assert len(code(bytes(400))) == 200
    with pytest.raises(ValueError, match="odd length"):
        code(b"\x00")
