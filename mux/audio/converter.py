"""From an engine's PCM to the bytes that a client asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import soxr

from mux.audio.formats import AudioFormat
from mux.audio.g711 import alaw_encode, ulaw_encode
from mux.audio.mp3 import Mp3Encoder
from mux.audio.opus import OpusEncoder
from mux.audio.pcm import samples
from mux.audio.riff import WavEncoder

__all__ = ["Converter"]


class Converter:
    """One stream of speech: mono s16le at `source_rate` (Hz) in, `target` out.

    Resampling keeps its state between calls, so chunks join without a click, and output sample 0 is input
    sample 0: times need no shift. A stream of n samples becomes round(n * target rate / source rate)
    samples, however it was cut. Up to 90 ms are held back until `last`; mp3 holds back up to 95 ms more, opus
    26.5 ms, wav everything.
    """

    def __init__(self, source_rate: int, target: AudioFormat) -> None:
        """Raises:
        MuxError: `missing_dependency`: `target` is an opus format, and PyAV is not installed.
        """
        self.source_rate = source_rate
        self.target = target
        self._resampler: soxr.ResampleStream | None = None
        self._taken = 0
        self._given = 0
        """Samples in and out of the resampler since it began."""
        self._encoder = _encoder(target)
        self.idle = source_rate == target.sample_rate and self._encoder is None
        """Whether all that `convert` does is to return what it gets."""

    @property
    def held_ms(self) -> float:
        """How much the resampler holds back, in ms of speech; what an encoder holds back is not counted."""
        return max(0.0, self._taken * 1000 / self.source_rate - self._given * 1000 / self.target.sample_rate)

    def convert(self, pcm: bytes, last: bool = False) -> bytes:
        """Take the next `pcm`, give what is ready (it may be nothing). With `last`, give all that was held
        back too; the next call begins a new stream. PCM at the rate that it has already is returned as is.

        Raises:
            ValueError: `pcm` has an odd length.
        """
        resampled = self._resample(pcm, last)
        if self._encoder is None:
            return resampled
        encoded = self._encoder.encode(resampled)
        return encoded + self._encoder.flush() if last else encoded

    def _resample(self, pcm: bytes, last: bool) -> bytes:
        if self.source_rate == self.target.sample_rate:
            if len(pcm) % 2:
                raise ValueError(f"pcm has an odd length of {len(pcm)} bytes")
            return pcm
        chunk = samples(pcm)
        if self._resampler is None:
            # A new one takes 20 to 60 us: as little as clearing an old one, and nothing can be left in it.
            self._resampler = soxr.ResampleStream(
                self.source_rate, self.target.sample_rate, 1, dtype="float32", quality="HQ"
            )
        # In floating point, because soxr dithers what it rounds itself, with a seed of its own: the same text
        # would not give the same bytes twice.
        resampled = self._resampler.resample_chunk(chunk.astype(np.float32), last=last)
        self._taken += len(chunk)
        self._given += len(resampled)
        if last:
            self._resampler = None
            self._taken = self._given = 0
        rounded: bytes = np.rint(resampled).clip(-32768, 32767).astype("<i2").tobytes()
        return rounded


class _Encoder(Protocol):
    def encode(self, pcm: bytes) -> bytes: ...

    def flush(self) -> bytes: ...


class _SampleBySample:
    """A code without a memory."""

    def __init__(self, encode: Callable[[bytes], bytes]) -> None:
        self.encode = encode

    def flush(self) -> bytes:
        return b""


def _encoder(target: AudioFormat) -> _Encoder | None:
    """What makes bytes of `target` from PCM at its rate; None if they are that PCM."""
    match target.codec:
        case "pcm":
            return None
        case "ulaw":
            return _SampleBySample(ulaw_encode)
        case "alaw":
            return _SampleBySample(alaw_encode)
        case "mp3":
            return Mp3Encoder(target)
        case "opus":
            assert target.bitrate_kbps is not None
            return OpusEncoder(target.bitrate_kbps)
        case "wav":
            return WavEncoder(target.sample_rate)
