from __future__ import annotations

import io
import sys
import wave
from collections.abc import Callable, Iterator

import anyio
import av
import numpy as np
import numpy.typing as npt
import pytest

from mux.audio import opus
from mux.audio.formats import AudioFormat
from mux.audio.g711 import alaw_decode, ulaw_decode
from mux.engines.base import Job
from mux.engines.espeak import EspeakEngine

Samples = npt.NDArray[np.int32]

SENTENCES = ("The quick brown fox jumps over the lazy dog.", " Nobody else went out that day.")


def _tone(sample_rate: int, count: int, hz: float = 997.0, peak: float = 16000.0) -> bytes:
    time = np.arange(count) / sample_rate
    return np.round(peak * np.sin(2 * np.pi * hz * time)).astype("<i2").tobytes()


@pytest.fixture(scope="session")
def tone() -> Callable[..., bytes]:
    """`tone(sample_rate, count, hz, peak)`: a sine of `count` samples as mono s16le."""
    return _tone


@pytest.fixture(scope="session")
def sentences() -> list[bytes]:
    """Two sentences, spoken by espeak: mono s16le at 22,050 Hz."""

    async def speak() -> list[bytes]:
        spoken = []
        async with EspeakEngine().start(1) as (synthesizer,):
            for text in SENTENCES:
                async with synthesizer.speak(Job(text)) as chunks:
                    spoken.append(b"".join([chunk.pcm async for chunk in chunks]))
        return spoken

    return anyio.run(speak)


@pytest.fixture(scope="session")
def decode() -> Callable[[bytes, AudioFormat], Samples]:
    """`decode(data, format)`: the samples that somebody else's decoder finds in ours: FFmpeg's for MP3
    and Opus. G.711 is decoded by our own tables, which have their own tests."""
    return _decode


def _decode(data: bytes, format: AudioFormat) -> Samples:
    match format.codec:
        case "ulaw":
            data = ulaw_decode(data)
        case "alaw":
            data = alaw_decode(data)
        case "wav":
            with wave.open(io.BytesIO(data)) as file:
                assert file.getframerate() == format.sample_rate
                data = file.readframes(file.getnframes())
        case "mp3" | "opus":
            return _ffmpeg(data, format)
    return np.frombuffer(data, "<i2").astype(np.int32)


def _ffmpeg(data: bytes, format: AudioFormat) -> Samples:
    with av.open(io.BytesIO(data), format={"opus": "ogg"}.get(format.codec, format.codec)) as file:
        frames = list(file.decode(audio=0))
    assert {(frame.sample_rate, frame.layout.name) for frame in frames} == {(format.sample_rate, "mono")}
    floats = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    return np.rint(32768 * floats).astype(np.int32)


@pytest.fixture
def without_pyav(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if PyAV were not installed."""
    monkeypatch.setitem(sys.modules, "av", None)
    opus.warm.cache_clear()
    yield
    opus.warm.cache_clear()
