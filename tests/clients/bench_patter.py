"""Patter's own ElevenLabs voice and mux's, five texts one after the other: on `mux mock`, which does as
ElevenLabs does, and on mux itself, both with the tone engine.

    DO_NOT_TRACK=1 .venv-clients/bin/python tests/clients/bench_patter.py

Each runs on this machine as it is, and again with a network between that takes 25 ms each way. There is no
TLS here, which costs one round trip more for each socket.
"""

from __future__ import annotations

import asyncio
import statistics
import time
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

warnings.simplefilter("ignore")

from getpatter.providers import elevenlabs_ws_tts as patter  # noqa: E402

from mux.cli.local import local_server  # noqa: E402
from mux.client.patter import ElevenLabsWebSocketTTS  # noqa: E402
from mux.config import Settings  # noqa: E402
from mux.mock import serve_mock  # noqa: E402

TEXT = "Hello there, this is one sentence of an answer."
TURNS, ROUNDS = 5, 5
DELAY = 0.025


@asynccontextmanager
async def network(url: str, delay: float) -> AsyncIterator[tuple[str, list[float]]]:
    """What stands between here and there: bytes arrive `delay` s later, a connection takes a round trip.
    Gives the near end's URL, and when each connection came."""
    came: list[float] = []
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            loop.call_later(delay, writer.write, data)
        loop.call_later(delay, writer.close)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(loop.time())
        await asyncio.sleep(2 * delay)
        there = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(carry(reader, there[1]), carry(there[0], writer))

    server = await asyncio.start_server(accept, "127.0.0.1")
    yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", came
    server.close()


async def turns(tts: Any) -> list[tuple[float, float]]:
    """For each text: ms until its first audio, and until its end."""
    took = []
    for _ in range(TURNS):
        begun, first = time.perf_counter(), None
        async for _ in tts.synthesize(TEXT):
            first = first or time.perf_counter()
        assert first is not None
        took.append(((first - begun) * 1000, (time.perf_counter() - begun) * 1000))
    await tts.close()
    return took


@asynccontextmanager
async def service(name: str) -> AsyncIterator[str]:
    if name == "mux mock":
        async with serve_mock("elevenlabs") as mock:
            yield mock.url
    else:
        async with local_server(Settings(engine="tone")) as url:
            yield url


def voice(whose: str, at: str, url: str) -> Any:
    if whose == "Patter's":
        patter._WS_BASE = f"{url}/v1/text-to-speech"
        return patter.ElevenLabsWebSocketTTS("any")
    return ElevenLabsWebSocketTTS("any", base_url=url, dialect="elevenlabs" if at == "mux mock" else None)


async def main() -> None:
    print(f"{TURNS} texts, median of {ROUNDS} rounds; ms")
    row = "{:10}{:>12}  {:10}{:>8}{:>11}{:>8}{:>9}".format
    print(row("service", "round trip", "voice", "sockets", "1st audio", "of 2nd", "its end"))
    for at in ("mux mock", "mux serve"):
        for delay in (0.0, DELAY):
            for whose in ("Patter's", "mux's"):
                rounds, sockets = [], []
                for _ in range(ROUNDS):
                    async with service(at) as there, network(there, delay) as (url, came):
                        rounds.append(await turns(voice(whose, at, url)))
                        sockets.append(len(came))
                first, second = (statistics.median(run[turn][0] for run in rounds) for turn in (0, 1))
                end = statistics.median(run[1][1] for run in rounds)
                times = (f"{took:.1f}" for took in (first, second, end))
                print(row(at, f"{2000 * delay:g}", whose, max(sockets), *times))


asyncio.run(main())
