from __future__ import annotations

import anyio
import numpy as np
import pytest

from mux.engines.base import Chunk, Job
from mux.engines.tone import FREQUENCIES, ToneEngine, frequency_of
from mux.protocol.voice import VoiceSettings

pytestmark = pytest.mark.anyio


async def speak(engine: ToneEngine, job: Job) -> list[Chunk]:
    async with engine.start(1) as (synthesizer,), synthesizer.speak(job) as chunks:
        return [chunk async for chunk in chunks]


def loudest(pcm: bytes, sample_rate: int) -> float:
    wave = np.frombuffer(pcm, "<i2")
    return float(np.argmax(np.abs(np.fft.rfft(wave))) * sample_rate / len(wave))


@pytest.mark.parametrize("sample_rate", [8000, 22050, 24000])
@pytest.mark.parametrize("voice", [None, "alice", "bob", "21m00Tcm4TlvDq8ikWAM"])
async def test_the_loudest_frequency_tells_the_voice(voice: str | None, sample_rate: int) -> None:
    chunks = await speak(ToneEngine(sample_rate=sample_rate), Job("a" * 40, voice))
    for chunk in chunks[:3]:
        assert loudest(chunk.pcm, sample_rate) == pytest.approx(frequency_of(voice), abs=20)
    whole = b"".join(chunk.pcm for chunk in chunks)
    assert loudest(whole, sample_rate) == pytest.approx(frequency_of(voice), abs=1)


def test_voices_spread_over_the_frequencies_and_stay_the_same_in_every_process() -> None:
    assert len({frequency_of(f"voice {number}") for number in range(500)}) == len(FREQUENCIES)
    assert [frequency_of(voice) for voice in (None, "alice", "bob")] == [1300, 2650, 1600]


async def test_each_character_sounds_equally_long_and_white_space_is_silent() -> None:
    chunks = await speak(ToneEngine(sample_rate=8000, character_seconds=0.02), Job("ab cd\ne"))
    assert [chunk.starts for chunk in chunks] == [(0, 160, 320), (0, 160, 320), (0,)]
    whole = b"".join(chunk.pcm for chunk in chunks)
    pieces = [whole[begin : begin + 320] for begin in range(0, len(whole), 320)]
    assert [piece == bytes(320) for piece in pieces] == [False, False, True, False, False, True, False]


async def test_the_wave_does_not_jump_between_characters_and_chunks() -> None:
    chunks = await speak(ToneEngine(sample_rate=24000, character_seconds=0.0333), Job("a" * 200, "alice"))
    wave = np.frombuffer(b"".join(chunk.pcm for chunk in chunks), "<i2").astype(int)
    time = np.arange(len(wave)) / 24000
    assert np.abs(wave - 8000 * np.sin(2 * np.pi * frequency_of("alice") * time)).max() <= 1


async def test_the_same_job_gives_the_same_bytes_and_speed_divides_the_time() -> None:
    engine = ToneEngine(sample_rate=24000)
    first = await speak(engine, Job("same again"))
    assert first == await speak(engine, Job("same again"))
    fast = await speak(engine, Job("same again", settings=VoiceSettings(speed=1.2)))
    assert sum(len(chunk.pcm) for chunk in fast) == 10 * 1000 * 2


@pytest.mark.virtual_time
async def test_it_pretends_to_take_time() -> None:
    engine = ToneEngine(delay=2.0, chunk_delay=0.5)
    begin = anyio.current_time()
    times = []
    async with engine.start(1) as (synthesizer,), synthesizer.speak(Job("abc")) as chunks:
        async for _ in chunks:
            times.append(anyio.current_time() - begin)
    assert times == pytest.approx([2.0, 2.5, 3.0])
