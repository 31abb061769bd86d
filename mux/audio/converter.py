"""From an engine's PCM to the bytes that a client asked for."""

from __future__ import annotations

import numpy as np
import soxr

from mux.audio.formats import AudioFormat
from mux.audio.g711 import alaw_encode, ulaw_encode
from mux.audio.mp3 import Mp3Encoder
from mux.audio.pcm import samples

__all__ = ["Converter"]


class Converter:
    """One stream of speech: mono s16le at `source_rate` (Hz) in, `target` out.

    Resampling keeps its state between calls, so chunks join without a click, and output sample 0 is input
    sample 0: times need no shift. A stream of n samples becomes round(n * target rate / source rate)
    samples, however it was cut. Up to 90 ms are held back until `last`; mp3 holds back up to 95 ms more.
    """

    def __init__(self, source_rate: int, target: AudioFormat) -> None:
        self.source_rate = source_rate
        self.target = target
        self._resampler: soxr.ResampleStream | None = None
        self._mp3 = Mp3Encoder(target) if target.codec == "mp3" else None

    def convert(self, pcm: bytes, last: bool = False) -> bytes:
        """Take the next `pcm`, give what is ready (it may be nothing). With `last`, give all that was held
        back too; the next call begins a new stream. PCM at the rate that it has already is returned as is.

        Raises:
            ValueError: `pcm` has an odd length.
        """
        resampled = self._resample(pcm, last)
        if self._mp3 is not None:
            frames = self._mp3.encode(resampled)
            return frames + self._mp3.flush() if last else frames
        if self.target.codec == "ulaw":
            return ulaw_encode(resampled)
        if self.target.codec == "alaw":
            return alaw_encode(resampled)
        return resampled

    def _resample(self, pcm: bytes, last: bool) -> bytes:
        chunk = samples(pcm)
        if self.source_rate == self.target.sample_rate:
            return pcm
        if self._resampler is None:
            # A new one takes 20 to 60 us: as little as clearing an old one, and nothing can be left in it.
            self._resampler = soxr.ResampleStream(
                self.source_rate, self.target.sample_rate, 1, dtype="float32", quality="HQ"
            )
        # In floating point, because soxr dithers what it rounds itself, with a seed of its own: the same text
        # would not give the same bytes twice.
        resampled = self._resampler.resample_chunk(chunk.astype(np.float32), last=last)
        if last:
            self._resampler = None
        rounded: bytes = np.rint(resampled).clip(-32768, 32767).astype("<i2").tobytes()
        return rounded
