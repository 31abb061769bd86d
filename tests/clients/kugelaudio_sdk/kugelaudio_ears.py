"""How tests listen with the kugelaudio SDK."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from itertools import pairwise
from typing import Any

import pytest

sdk = pytest.importorskip("kugelaudio", reason="`make clients` installs the SDK")
errors = pytest.importorskip("kugelaudio.exceptions")
models = pytest.importorskip("kugelaudio.models")
streaming = pytest.importorskip("kugelaudio.streaming")

MARKS = [
    pytest.mark.clients,
    pytest.mark.espeak,
    # its own: it asks websockets for the code and reason of a close in an old way
    pytest.mark.filterwarnings("ignore:ConnectionClosed:DeprecationWarning"),
]
VOICE, OTHER = 1071, 1072
SENTENCES = [
    "Hello there, this is the first sentence.",
    "And here comes another one, a bit longer than the first.",
]
TEXT = " ".join(SENTENCES)
LONG = "This one will be interrupted after a moment, because the user speaks up. " * 60
SORRY = "Sorry, go ahead please."
PROMPTLY = 1.0
"""Seconds; a server that does not say the end of a turn costs this SDK 2 s."""


class Heard:
    """Audio of one turn as the SDK gives it, and when it came."""

    def __init__(self, bytes_per_sample: int = 2) -> None:
        self._width = bytes_per_sample
        self.audio = b""
        self.indexes: list[int] = []
        self.seconds = 0.0
        self.ended = self.last = time.monotonic()

    def add(self, chunk: Any) -> None:
        assert len(chunk.audio) == self._width * chunk.samples
        self.audio += chunk.audio
        self.indexes.append(chunk.index)
        self.seconds += chunk.duration_seconds
        self.last = time.monotonic()

    async def all(self, chunks: AsyncIterator[Any], *, until: float | None = None) -> Heard:
        async with aclosing(chunks) as speech:  # type: ignore[type-var]
            async for chunk in speech:
                self.add(chunk)
                if until is not None and self.seconds >= until:
                    break
        self.ended = time.monotonic()
        assert all(other == one + 1 for one, other in pairwise(self.indexes))
        return self


async def listen(chunks: AsyncIterator[Any], *, until: float | None = None) -> Heard:
    return await Heard().all(chunks, until=until)


class Words:
    """What `on_word_timestamps` told, as one list of words in order."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def __call__(self, *told: Any) -> None:
        self.heard += told[-1]

    def check(self, sentences: list[str], seconds: float) -> None:
        """Every word once and in order; times and places count from the beginning of each sentence, which
        is spoken as a chunk of its own."""
        assert [word.word for word in self.heard] == " ".join(sentences).split()
        words = iter(self.heard)
        spoken = 0
        for sentence in sentences:
            chunk = [next(words) for _ in sentence.split()]
            assert [sentence[word.char_start : word.char_end] for word in chunk] == sentence.split()
            assert 0 <= chunk[0].start_ms < 300
            assert all(word.start_ms < word.end_ms for word in chunk)
            assert all(one.end_ms <= other.start_ms for one, other in pairwise(chunk))
            spoken += chunk[-1].end_ms
        assert 1000 * seconds - 1500 < spoken <= 1000 * seconds + 1


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(main(), 40))  # type: ignore[arg-type]


@asynccontextmanager
async def opened(base: str, key: str = "any") -> AsyncIterator[Any]:
    client = sdk.KugelAudio(api_key=key, api_url=base)
    try:
        yield client
    finally:
        await client.aclose()


def tokens(text: str) -> Iterator[str]:
    for word in text.split():
        yield word + " "


def approx(seconds: float) -> Any:
    return pytest.approx(seconds, rel=0.1)


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another `mux serve`: its process and its base URL."""
    command = [sys.executable, "-W", "error", "-m", "mux", "serve", "--port", "0", "--log-level", "warning"]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            health = next(line for line in process.stdout if "healthz" in line).split()[-1]
            yield process, health.removesuffix("/healthz")
        finally:
            process.terminate()
    assert process.returncode == 0
