"""mux's client beside the official SDKs and LiveKit's plugin, against one server: `make bench-clients`.

The server is a process of its own whose engine speaks at a pace, 100 ms of audio at a time, so every client
gets the same load: 16 voices at once, at 4 times speech. Each client is a process of its own, one after the
other, and all of that process's CPU is counted. Clients that hear one voice at a time per socket (elevenlabs,
kugelaudio) have 16 sockets; mux does that too, for comparison.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import anyio
import msgspec
from clients import ROWS, Row
from load import FEED_SECONDS, FRAME_BYTES, PACE, PLACES, SHORT, TEXT, TURN_SECONDS, Client, Tokens, serve_all

from mux.server.run import run_program

TURNS = 11
"""Whose first audio is timed, after one that is not."""
WINDOW = 0.5
"""CPU is measured in pieces of so many seconds, whose median counts: others use the machine, too."""
CLIENTS_PYTHON = Path(__file__).parents[2] / ".venv-clients/bin/python"
QUIET = {"DO_NOT_TRACK": "1", "PYTHONWARNINGS": "ignore"}
"""For SDKs that report home."""

# --- measuring -----------------------------------------------------------------------------------------


class Figures(msgspec.Struct):
    first_ms: float
    """From text to the first audio, in turns after the first; the median."""
    token_us: float
    """From one token to the next that is taken."""
    token_cpu_us: float | None
    """CPU for it, with all that was queued; None if not one token was taken to its end."""
    frames: int
    """100 ms of audio each, that were given to the app."""
    cpu_us: float
    """For each of them."""


async def measure(row: Row, url: str, seconds: float) -> Figures:
    async with row.open(url) as client:
        first = await first_audio(client)
        tokens = Tokens()
        with anyio.move_on_after(FEED_SECONDS + 1):
            await client.feed(tokens)
        took = (tokens.ended or time.perf_counter()) - tokens.began
        frames, cpu = await listen(client, seconds)
        token_cpu = tokens.cpu / tokens.given * 1e6 if tokens.cpu else None
        return Figures(first, took / tokens.given * 1e6, token_cpu, round(frames), cpu * 1e6)


async def first_audio(client: Client) -> float:
    times = []
    for _ in range(TURNS + 1):
        heard: list[float] = []
        began = time.perf_counter()
        await client.say(0, SHORT, lambda _, heard=heard: heard.append(time.perf_counter()))  # type: ignore[misc]
        times.append((heard[0] - began) * 1000)
    return statistics.median(times[1:])


async def listen(client: Client, seconds: float) -> tuple[float, float]:
    """Frames, and CPU seconds for each, with all places speaking, turn after turn."""
    received = [0] * PLACES
    over = False

    async def speak(place: int) -> None:
        def heard(audio: int) -> None:
            received[place] += audio

        await anyio.sleep(random.random() * TURN_SECONDS)
        while not over:
            await client.say(place, TEXT, heard)

    costs = []
    async with anyio.create_task_group() as tasks:
        for place in range(PLACES):
            tasks.start_soon(speak, place)
        await anyio.sleep(TURN_SECONDS)
        before = sum(received)
        for _ in range(round(seconds / WINDOW)):
            audio, cpu = sum(received), time.process_time()
            await anyio.sleep(WINDOW)
            costs.append((time.process_time() - cpu) / (sum(received) - audio) * FRAME_BYTES)
        frames = (sum(received) - before) / FRAME_BYTES
        over = True
    return frames, statistics.median(costs)


def run_one(index: int, loop: str, url: str, seconds: float) -> None:
    random.seed(7)
    backend = "trio" if loop == "trio" else "asyncio"
    options = {"use_uvloop": loop == "uvloop"} if backend == "asyncio" else {}
    figures = anyio.run(measure, ROWS[index], url, seconds, backend=backend, backend_options=options)
    print(msgspec.json.encode(figures).decode())


# --- the table -----------------------------------------------------------------------------------------


WIDTHS = (9, 10, 8, 10, 12, 11, 10)
HEADS = ("loop", "sockets", "frames", "us/frame", "us/token", "CPU us", "first ms")


def line(name: str, *cells: str) -> None:
    print(
        name.ljust(34) + "".join(cell.rjust(width) for cell, width in zip(cells, WIDTHS, strict=True)),
        flush=True,
    )


def compare(index: int, loop: str, url: str, seconds: float) -> None:
    """One client in a process of its own: with this interpreter, or that of `make clients`."""
    row = ROWS[index]
    python = sys.executable if find_spec(row.module) else str(CLIENTS_PYTHON)
    if not Path(python).exists():
        print(f"{row.name}: left out, {row.module} is not installed here (`make bench-clients` does that)")
        return
    command = [python, str(Path(__file__).parent), "--one", str(index), loop, url, "--seconds", str(seconds)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ | QUIET)
    if result.returncode:
        raise SystemExit(f"{row.name} on {loop} failed:\n{result.stderr}")
    figures = msgspec.json.decode(result.stdout.splitlines()[-1], type=Figures)
    blocked = figures.token_cpu_us is None
    line(
        row.name,
        loop if row.module != "elevenlabs" else "threads",
        row.sockets,
        str(figures.frames),
        f"{figures.cpu_us:.0f}",
        f"{'over ' if blocked else ''}{figures.token_us:.0f}",
        "" if blocked else f"{figures.token_cpu_us:.0f}",
        f"{figures.first_ms:.1f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="under load, for each client, at least 0.5"
    )
    parser.add_argument("--loops", nargs="+", default=["asyncio", "trio"], help="asyncio, uvloop, trio")
    parser.add_argument("--only", default="", help="clients with this in their name")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--one", nargs=3, metavar=("ROW", "LOOP", "URL"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        run_program(serve_all, "asyncio")
    elif arguments.one:
        row, loop, url = arguments.one
        run_one(int(row), loop, url, arguments.seconds)
    else:
        compare_all(arguments.loops, arguments.only, arguments.seconds)


def compare_all(loops: list[str], only: str, seconds: float) -> None:
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load before {os.getloadavg()[0]:.1f}")
    print(f"{PLACES} voices at {PACE} times speech, pcm_24000, frames of 100 ms")
    command = [sys.executable, str(Path(__file__).parent), "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = f"ws://127.0.0.1:{int(server.stdout.readline())}"
            line("", *HEADS)
            for loop in loops:
                for index, row in enumerate(ROWS):
                    once = row.module == "elevenlabs" and loop != loops[0]
                    if only in row.name and not once and (loop != "trio" or row.module == "mux"):
                        compare(index, loop, url, seconds)
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
