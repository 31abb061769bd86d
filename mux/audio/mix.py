"""Several voices on one timeline: a dialogue as its listener hears it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mux.audio.pcm import samples

__all__ = ["Track"]


class Track:
    """A mono timeline at `sample_rate` (Hz) on which clips are laid. Where clips overlap they add up, and
    what is too loud saturates."""

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self._clips: list[tuple[int, npt.NDArray[np.int16]]] = []
        self._length = 0

    def __len__(self) -> int:
        """Samples from the start to the end of the clip that ends last."""
        return self._length

    def add(self, pcm: bytes, at: int) -> int:
        """Lay a clip (mono s16le at the track's rate) with its first sample on sample `at`; return the
        sample after its last.

        Raises:
            ValueError: `pcm` has an odd length, or `at` is negative.
        """
        if at < 0:
            raise ValueError(f"a clip cannot start before the track does, at sample {at}")
        clip = samples(pcm)
        end = at + len(clip)
        self._clips.append((at, clip))
        self._length = max(self._length, end)
        return end

    def pcm(self) -> bytes:
        """The whole track as mono s16le, silent where no clip lies."""
        timeline = np.zeros(self._length, dtype=np.int32)
        for at, clip in self._clips:
            timeline[at : at + len(clip)] += clip
        return np.clip(timeline, -32768, 32767).astype("<i2").tobytes()
