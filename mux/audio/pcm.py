"""Raw speech inside mux: mono, signed 16 bit, little endian ("s16le"), as bytes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["rms", "samples"]


def samples(pcm: bytes) -> npt.NDArray[np.int16]:
    """The samples of `pcm`, without copying: shape (len(pcm) / 2,), read-only.

    Raises:
        ValueError: `pcm` ends inside a sample. Our own code cuts PCM, so this is a bug, not bad input.
    """
    if len(pcm) % 2:
        raise ValueError(f"pcm has an odd length of {len(pcm)} bytes; s16le samples have 2 bytes each")
    return np.frombuffer(pcm, dtype="<i2")


def rms(pcm: bytes) -> float:
    """Root mean square of `pcm`, 0.0 to 32768.0; silence and nothing at all give 0.0."""
    if not pcm:
        return 0.0
    return float(np.sqrt(np.mean(np.square(samples(pcm), dtype=np.float64))))
