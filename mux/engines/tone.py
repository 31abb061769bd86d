"""An engine of tones, in-process and exact to the bit: for tests and simulations.

Every character sounds equally long. What frequency it has tells whose voice it is.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import lru_cache
from hashlib import sha256

import anyio

from mux.engines.base import Chunk, Job, Synthesizer, Voice
from mux.errors import MuxError

__all__ = ["FREQUENCIES", "ToneEngine", "frequency_of"]

CHUNK_SECONDS = 0.06
FREQUENCIES = tuple(range(300, 3500, 50))
"""Hz. 50 Hz apart: 40 ms of audio tell them apart; all of them pass through telephone formats."""
_AMPLITUDE = 8000


def frequency_of(voice: str | None) -> int:
    """The frequency in Hz of a voice id, the same everywhere and always."""
    digest = sha256((voice or "").encode("utf-8", "surrogatepass")).digest()
    return FREQUENCIES[int.from_bytes(digest[:8]) % len(FREQUENCIES)]


@lru_cache(maxsize=len(FREQUENCIES))
def _second(frequency: int, sample_rate: int) -> bytes:
    """One second of a tone, s16le: a whole number of periods, so it repeats without a jump."""
    wave = [
        round(_AMPLITUDE * math.sin(math.tau * ((frequency * sample) % sample_rate) / sample_rate))
        for sample in range(sample_rate)
    ]
    return array("h", wave).tobytes()


class ToneEngine:
    """Speaks any text in any voice and language. Lengths: `character_seconds` for each character at speed 1;
    white space is silent. It pretends to cost `delay` seconds before a segment's first chunk and
    `chunk_delay` before each further one."""

    name = "tone"
    reads_itself = False

    def __init__(
        self,
        sample_rate: int = 24000,
        character_seconds: float = 0.05,
        delay: float = 0.0,
        chunk_delay: float = 0.0,
    ) -> None:
        self.sample_rate = sample_rate
        self.character_seconds = character_seconds
        self.delay = delay
        self.chunk_delay = chunk_delay

    def voices(self) -> Sequence[Voice]:
        return (
            Voice(id="tone", name="Tone", language="und", description="A tone. Any other id is another."),
        )

    def check(self, voice: str | None, language: str | None) -> str | None:
        return None

    def language(self, voice: str | None, language: str | None) -> str:
        return language or "und"

    @asynccontextmanager
    async def start(self, workers: int) -> AsyncGenerator[Sequence[Synthesizer], None]:
        yield [_ToneSynthesizer(self) for _ in range(workers)]


class _ToneSynthesizer:
    def __init__(self, engine: ToneEngine) -> None:
        self._engine = engine
        self._busy = False

    @asynccontextmanager
    async def speak(self, job: Job) -> AsyncGenerator[AsyncIterator[Chunk], None]:
        if self._busy:
            raise RuntimeError("a synthesizer speaks one job at a time")
        self._busy = True
        try:
            async with aclosing(self._chunks(job)) as chunks:
                yield chunks
        finally:
            self._busy = False

    async def _chunks(self, job: Job) -> AsyncGenerator[Chunk, None]:
        if not job.text.strip():
            raise MuxError.of("empty_synthesis", "The tone engine has nothing to say for blank text.")
        engine = self._engine
        rate = engine.sample_rate
        length = max(1, round(engine.character_seconds * rate / job.settings.speed))
        together = max(1, int(CHUNK_SECONDS * rate) // length)
        wave = _second(frequency_of(job.voice), rate)
        delay = engine.delay
        for first in range(0, len(job.text), together):
            await anyio.sleep(delay)
            delay = engine.chunk_delay
            characters = job.text[first : first + together]
            pcm = b"".join(
                bytes(2 * length)
                if character.isspace()
                else _piece(wave, (first + number) * length % rate, length)
                for number, character in enumerate(characters)
            )
            yield Chunk(pcm, tuple(range(0, len(characters) * length, length)))


def _piece(wave: bytes, begin: int, length: int) -> bytes:
    pieces = wave[2 * begin :] + wave * (length * 2 // len(wave) + 1)
    return pieces[: 2 * length]
