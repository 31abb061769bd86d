"""ITU-T G.711: mu-law and A-law, s16le to one byte a sample and back, by table.

The tables agree with the standard library's `audioop` (gone since Python 3.13) for every input.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from mux.audio.pcm import samples

__all__ = ["alaw_decode", "alaw_encode", "ulaw_decode", "ulaw_encode"]

_Bytes = npt.NDArray[np.uint8]
_Samples = npt.NDArray[np.int16]


def ulaw_encode(pcm: bytes) -> bytes:
    """Mono s16le to mu-law: one byte a sample.

    Raises:
        ValueError: `pcm` has an odd length.
    """
    return _encode(pcm, _ulaw_table())


def alaw_encode(pcm: bytes) -> bytes:
    """Mono s16le to A-law: one byte a sample.

    Raises:
        ValueError: `pcm` has an odd length.
    """
    return _encode(pcm, _alaw_table())


def ulaw_decode(data: bytes) -> bytes:
    """Mu-law to mono s16le: two bytes for each byte."""
    return _ulaw_values()[np.frombuffer(data, dtype=np.uint8)].tobytes()


def alaw_decode(data: bytes) -> bytes:
    """A-law to mono s16le: two bytes for each byte."""
    return _alaw_values()[np.frombuffer(data, dtype=np.uint8)].tobytes()


def _encode(pcm: bytes, table: _Bytes) -> bytes:
    codes: _Bytes = table[samples(pcm).view(np.uint16)]
    return codes.tobytes()


def _all_samples() -> npt.NDArray[np.int32]:
    """Every sample in the order of its unsigned 16-bit pattern: 0 .. 32767, -32768 .. -1."""
    return np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)


def _segments(magnitudes: npt.NDArray[np.int32], first: int) -> npt.NDArray[np.int32]:
    """The segment (0 to 7) of each magnitude: segment 0 ends below `first`, each next one twice as high."""
    ends = first << np.arange(7)
    return np.searchsorted(ends, magnitudes, side="right").astype(np.int32)


@cache
def _ulaw_table() -> _Bytes:
    fourteen_bits = _all_samples() >> 2
    # Biased by 33 so that every segment begins at a power of two; 8,191 is the end of the last.
    magnitude = np.minimum(np.abs(fourteen_bits) + 33, 8191)
    segment = _segments(magnitude, 64)
    code = segment << 4 | (magnitude >> (segment + 1)) & 0x0F
    mask = np.where(fourteen_bits < 0, 0x7F, 0xFF)
    return np.asarray(code ^ mask, dtype=np.uint8)


@cache
def _alaw_table() -> _Bytes:
    thirteen_bits = _all_samples() >> 3
    magnitude = np.where(thirteen_bits < 0, ~thirteen_bits, thirteen_bits)
    segment = _segments(magnitude, 32)
    code = segment << 4 | (magnitude >> np.maximum(segment, 1)) & 0x0F
    mask = np.where(thirteen_bits < 0, 0x55, 0xD5)
    return np.asarray(code ^ mask, dtype=np.uint8)


@cache
def _ulaw_values() -> _Samples:
    code = ~np.arange(256, dtype=np.uint8)
    segment = (code >> 4 & 0x07).astype(np.int32)
    magnitude = (((code & 0x0F).astype(np.int32) << 3) + 0x84 << segment) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype("<i2")


@cache
def _alaw_values() -> _Samples:
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    segment = (code >> 4 & 0x07).astype(np.int32)
    step = ((code & 0x0F).astype(np.int32) << 4) + 8
    magnitude = np.where(segment == 0, step, step + 0x100 << np.maximum(segment - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype("<i2")
