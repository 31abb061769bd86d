"""Time to first audio, and CPU per audio frame, over real sockets on both backends: `make bench`.

The server runs as a program of its own; this process is the client. Latency is measured with contexts that
speak at the pace of a dialogue; CPU with contexts that ask for as much as they can get.
"""

from __future__ import annotations

import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

import mux

SENTENCE = "The quick brown fox jumps over the lazy dog, and nobody knows why it does so. "
FRAME_MS = 100


@contextmanager
def server(backend: str, engine: str) -> Iterator[tuple[str, int]]:
    """Start `mux serve` and give its URL and process id."""
    command = [sys.executable, "-m", "mux", "serve", "--port", "0", "--log-level", "error"]
    command += ["--backend", backend, "--engine", engine]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if "health" in line:
                yield line.split()[-1].removesuffix("/healthz"), process.pid
                break
    finally:
        process.terminate()
        process.wait(10)


def cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def first_audio(url: str, contexts: int, turns: int) -> list[float]:
    """Milliseconds from a sentence to its first audio, with `contexts` of one socket speaking at once."""
    found: list[float] = []
    async with mux.connect(url, output_format="pcm_24000") as session:

        async def speak(number: int) -> None:
            await anyio.sleep(random.random() * 0.5)
            for _ in range(turns):
                async with session.context(f"c{number}", voice=f"voice-{number}") as context:
                    began = time.perf_counter()
                    await context.send(SENTENCE)
                    await context.close()
                    heard = False
                    async for _chunk in context:
                        if not heard:
                            found.append((time.perf_counter() - began) * 1000)
                            heard = True
                await anyio.sleep(0.3 + random.random() * 0.4)

        async with anyio.create_task_group() as tasks:
            for number in range(contexts):
                tasks.start_soon(speak, number)
    return found


async def flood(url: str, pid: int, contexts: int, seconds: float) -> tuple[float, float]:
    """CPU microseconds of the server process per 100 ms of audio, and audio seconds per second."""
    audio = 0
    async with mux.connect(url, output_format="pcm_24000") as session:

        async def speak(number: int) -> None:
            nonlocal audio
            while True:
                async with session.context(f"c{number}", voice=f"voice-{number}") as context:
                    await context.send(SENTENCE * 10)
                    await context.close()
                    async for chunk in context:
                        audio += len(chunk.audio)

        before, began = cpu_seconds(pid), time.perf_counter()
        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as tasks:
                for number in range(contexts):
                    tasks.start_soon(speak, number)
        used, took = cpu_seconds(pid) - before, time.perf_counter() - began
    frames = audio / 2 / 24_000 * 1000 / FRAME_MS
    return used / frames * 1e6, audio / 2 / 24_000 / took


def main() -> None:
    random.seed(7)
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, espeak, pcm_24000")
    print("backend   contexts   first audio p50 / p99 ms   server CPU us per 100 ms frame   audio s/s")
    for backend in ("asyncio", "trio"):
        with server(backend, "espeak") as (url, pid):
            anyio.run(first_audio, url, 2, 3)
            for contexts, turns in ((1, 60), (20, 15)):
                times = sorted(anyio.run(first_audio, url, contexts, turns))
                cpu, rate = anyio.run(flood, url, pid, contexts, 5.0)
                p99 = times[min(len(times) - 1, int(len(times) * 0.99))]
                print(
                    f"{backend:<9} {contexts:>8}   {statistics.median(times):>8.1f} / {p99:<12.1f}   "
                    f"{cpu:>12.0f} {rate:>28.0f}"
                )


if __name__ == "__main__":
    main()
