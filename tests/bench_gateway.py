"""What the gateway costs, beside what else can stand in front of a service: `make bench-gateway`.

The service is mux's mock in a process of its own. It speaks at a pace, and writes into each 100 ms of audio
when it gave them; this process is all clients. Between them, one after the other: nothing; pipes that only
pass WebSocket messages on, made of the libraries that mux uses; HAProxy, if it is installed (`apt-get install
haproxy`); `mux serve` on both backends, with clients of the service's own dialect and of the other one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from typing import Any, NamedTuple

import anyio
import msgspec
import trio
import trio_websocket
import websockets.asyncio.client
import websockets.asyncio.server
from websockets.exceptions import ConnectionClosed

from mux.engines.base import Chunk, Job
from mux.engines.tone import ToneEngine
from mux.mock import serve_mock
from mux.server.run import run_program

SOCKETS = 4
CONTEXTS = 4
"""On each socket. 16 at once leave the gateway some of ElevenLabs' 4 times 5 slots."""
FRAMES = 40
"""In a turn, which is one segment."""
FRAME_BYTES = 4800
"""100 ms at 24 kHz."""
PACE = 4
"""Times the speed of speech."""
TURN_SECONDS = FRAMES * 0.1 / PACE
"""Also how long each row warms up."""
TEXT = "The quick brown fox jumps over the lazy dog and nobody knows why it does so."
VOICE = "1071"
PATHS = {
    "elevenlabs": f"/v1/text-to-speech/{VOICE}/multi-stream-input?output_format=pcm_24000",
    "kugelaudio": "/ws/tts/multi",
}
MARK = b"100ms at"

# --- the service ---------------------------------------------------------------------------------------


class Stamping(ToneEngine):
    """Gives a frame at its time, not before, with the time in it."""

    reads_itself = True

    @asynccontextmanager
    async def start(self, workers: int) -> AsyncIterator[list[Stamping]]:
        yield [self] * workers

    @asynccontextmanager
    async def speak(self, job: Job) -> AsyncIterator[AsyncIterator[Chunk]]:
        async with aclosing(self._chunks(job.text)) as chunks:
            yield chunks

    async def _chunks(self, text: str) -> AsyncGenerator[Chunk, None]:
        due, given = anyio.current_time(), 0
        for number in range(1, FRAMES + 1):
            characters = len(text) * number // FRAMES - given
            given += characters
            starts = tuple(range(0, 2400, 2400 // characters))[:characters] if characters else ()
            stamp = MARK + time.monotonic_ns().to_bytes(8, "little")
            yield Chunk(stamp.ljust(FRAME_BYTES, b"\x11"), starts)
            due += 0.1 / PACE
            await anyio.sleep_until(due)


async def serve_upstream(dialect: str) -> None:
    async with serve_mock(dialect, engine=Stamping()) as mock:  # type: ignore[arg-type]
        ready(mock.url)
        await anyio.sleep_forever()


def ready(url: str) -> None:
    print(f"ready {url}", flush=True)


# --- pipes ---------------------------------------------------------------------------------------------


async def pipe_on_asyncio(upstream: str) -> None:
    """The `websockets` library in both directions, without decoding a character."""
    plain: dict[str, Any] = {"compression": None, "ping_interval": None}

    async def forward(source: Any, sink: Any) -> None:
        with suppress(ConnectionClosed):
            while True:
                await sink.send(await source.recv(decode=False), text=True)
        await sink.close()

    async def handle(client: websockets.asyncio.server.ServerConnection) -> None:
        assert client.request is not None
        url = upstream + client.request.path
        async with websockets.asyncio.client.connect(url, proxy=None, **plain) as service:
            await asyncio.gather(forward(client, service), forward(service, client))

    async with websockets.asyncio.server.serve(handle, "127.0.0.1", 0, **plain) as server:
        ready(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await server.serve_forever()


async def pipe_on_trio(upstream: str) -> None:
    """The same with trio-websocket, which always decodes text."""

    async def forward(source: Any, sink: Any) -> None:
        with suppress(trio_websocket.ConnectionClosed):
            while True:
                await sink.send_message(await source.get_message())
        await sink.aclose()

    async def handle(request: trio_websocket.WebSocketRequest) -> None:
        client = await request.accept()
        connecting = trio_websocket.open_websocket_url(upstream + request.path)
        async with connecting as service, trio.open_nursery() as nursery:
            nursery.start_soon(forward, client, service)
            nursery.start_soon(forward, service, client)

    async with trio.open_nursery() as nursery:
        server = await nursery.start(trio_websocket.serve_websocket, handle, "127.0.0.1", 0, None)
        ready(f"ws://127.0.0.1:{server.port}")


HELPERS = {"upstream": serve_upstream, "pipe-asyncio": pipe_on_asyncio, "pipe-trio": pipe_on_trio}


# --- what stands between -------------------------------------------------------------------------------


class Hop(NamedTuple):
    """Something to connect to, and the process whose CPU is counted."""

    url: str
    pid: int


@contextmanager
def program(command: list[str], sign: str) -> Iterator[Hop]:
    """Start a program that says where it is in the last word of a line with `sign`."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = next((line for line in process.stdout if sign in line), None)
        if line is None:
            raise SystemExit(f"{command} ended.")
        url = line.split()[-1].removesuffix("/healthz").replace("http://", "ws://")
        yield Hop(url, process.pid)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def helper(name: str, argument: str) -> Any:
    return program([sys.executable, __file__, "--helper", name, argument], "ready")


def gateway(backend: str, dialect: str, upstream: str) -> Any:
    command = [sys.executable, "-m", "mux", "serve", "--port", "0", "--log-level", "error"]
    command += ["--backend", backend, "--engine", dialect, "--upstream-url", upstream]
    return program([*command, "--upstream-sockets", str(SOCKETS)], "health")


@contextmanager
def haproxy(mode: str, upstream: str) -> Iterator[Hop]:
    """HAProxy with one thread, as nothing else here has more."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lines = ["global", " nbthread 1", "defaults", f" mode {mode}", " timeout connect 5s"]
    lines += [" timeout client 60s", " timeout server 60s", " timeout tunnel 60s"]
    lines += ["listen pipe", f" bind 127.0.0.1:{port}", f" server mock {upstream.removeprefix('ws://')}"]
    with tempfile.NamedTemporaryFile("w", suffix=".cfg") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        process = subprocess.Popen(["haproxy", "-db", "-q", "-f", file.name])
        try:
            for _ in range(100):
                with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.05)
            yield Hop(f"ws://127.0.0.1:{port}", process.pid)
        finally:
            process.kill()
            process.wait()


def cpu_seconds(pid: int) -> float:
    """Of a process with all its threads, to the nanosecond (/proc/PID/stat counts in steps of 10 ms)."""
    return time.clock_gettime(~pid << 3 | 2)  # what clock_getcpuclockid(3) gives on Linux


# --- clients -------------------------------------------------------------------------------------------


class Heard(msgspec.Struct):
    """Any frame of either dialect."""

    audio: bytes | None = None
    contextId: str | None = None
    context_id: str | None = None
    isFinal: bool | None = None
    context_closed: bool | None = None
    error: str | None = None


class Figures(NamedTuple):
    cpu_us: float | None
    """Of the process between, per frame; None where there is none."""
    latency: list[float]
    """Milliseconds from the service's engine to a client, for each frame, sorted."""
    first: float
    """Milliseconds from text to the first audio, the median."""
    rate: float
    """Frames per second."""


class Clients:
    """All sockets and contexts, and what they measure once `measuring` is set."""

    def __init__(self, dialect: str, url: str) -> None:
        self.measuring = False
        self.latency: list[float] = []
        self.first: list[float] = []
        self._kugel = dialect == "kugelaudio"
        self._url = url + PATHS[dialect]
        self._decode = msgspec.json.Decoder(Heard).decode

    async def run(self, pid: int, seconds: float) -> Figures:
        tasks = [asyncio.create_task(self._socket()) for _ in range(SOCKETS)]
        await self._watch(tasks, TURN_SECONDS)
        before, began, self.measuring = cpu_seconds(pid), time.perf_counter(), True
        await self._watch(tasks, seconds)
        used, took, self.measuring = cpu_seconds(pid) - before, time.perf_counter() - began, False
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        cpu, rate = used / len(self.latency) * 1e6, len(self.latency) / took
        return Figures(cpu, sorted(self.latency), statistics.median(self.first), rate)

    async def _watch(self, tasks: list[asyncio.Task[None]], seconds: float) -> None:
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()

    async def _socket(self) -> None:
        async with websockets.asyncio.client.connect(
            self._url, compression=None, proxy=None, ping_interval=None, close_timeout=1
        ) as connection:
            asked: dict[str, float] = {}
            pcm: dict[str, bytearray] = {}
            turns = [
                asyncio.create_task(self._turn(connection, f"c{number}", asked, TURN_SECONDS))
                for number in range(CONTEXTS)
            ]
            try:
                while True:
                    message = await connection.recv(decode=False)
                    now = time.monotonic_ns()
                    frame = self._decode(message)
                    if frame.error is not None:
                        raise SystemExit(f"{self._url} says: {message.decode()}")
                    id = frame.context_id or frame.contextId or ""
                    if frame.audio:
                        if (began := asked.pop(id, None)) is not None and self.measuring:
                            self.first.append((now / 1e9 - began) * 1000)
                        self._read(pcm.setdefault(id, bytearray()), frame.audio, now)
                    if frame.isFinal or frame.context_closed:
                        if pcm.pop(id):
                            raise SystemExit(f"{self._url} gave a frame of its own making.")
                        turns.append(asyncio.create_task(self._turn(connection, id, asked, 0.1 / PACE)))
            finally:
                for turn in turns:
                    turn.cancel()

    async def _turn(self, connection: Any, id: str, asked: dict[str, float], within: float) -> None:
        """Say something at some time, so that not all contexts speak in step."""
        await asyncio.sleep(random.random() * within)
        voice = {"voice_settings": {"voice_id": int(VOICE)}} if self._kugel else {}
        message = {"text": TEXT, "context_id": id, "flush": True, **voice}
        asked[id] = time.monotonic()
        await connection.send(msgspec.json.encode(message).decode())
        await connection.send(msgspec.json.encode({"context_id": id, "close_context": True}).decode())

    def _read(self, pcm: bytearray, audio: bytes, now: int) -> None:
        pcm += audio
        while len(pcm) >= FRAME_BYTES:
            if not pcm.startswith(MARK):
                raise SystemExit(f"{self._url} changed the audio.")
            if self.measuring:
                stamp = int.from_bytes(pcm[8:16], "little")
                self.latency.append((now - stamp) / 1e6)
            del pcm[:FRAME_BYTES]


def measure(dialect: str, hop: Hop, seconds: float) -> Figures:
    return run_program(lambda: Clients(dialect, hop.url).run(hop.pid, seconds), "asyncio")


# --- the table -----------------------------------------------------------------------------------------


def quantile(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))]


class Table:
    """Rows for one upstream, with what is added to a client that is connected directly."""

    def __init__(self, direct: Figures) -> None:
        self._direct = direct
        self._pipe: float | None = None
        self._say("between", "CPU us/frame", "x pipe", "added ms p50 / p99", "first ms")
        whole = f"{quantile(direct.latency, 0.5):.2f} / {quantile(direct.latency, 0.99):.2f}"
        self._say("nothing (in all, not added)", "", "", whole, f"{direct.first:.2f}")

    def row(self, name: str, figures: Figures, *, pipe: bool = False) -> None:
        """Print a row; with `pipe`, the one that later rows are compared with."""
        direct = self._direct
        if pipe:
            self._pipe = figures.cpu_us
        cpu = ratio = ""
        if figures.cpu_us is not None:
            cpu = f"{figures.cpu_us:.0f}"
            ratio = f"{figures.cpu_us / self._pipe:.2f}" if self._pipe else ""
        added = (quantile(figures.latency, share) - quantile(direct.latency, share) for share in (0.5, 0.99))
        # Who is slower than that cannot keep up with the service: the latency is then that of a queue.
        slow = "" if figures.rate > 0.9 * direct.rate else f"  only {figures.rate:.0f} frames/s"
        both = " / ".join(f"{ms:.2f}" for ms in added)
        self._say(name, cpu, ratio, both, f"{figures.first - direct.first:.2f}{slow}")

    def _say(self, name: str, cpu: str, ratio: str, added: str, first: str) -> None:
        print(f"  {name:<32}{cpu:>14}{ratio:>8}{added:>20}{first:>10}", flush=True)


def compare(dialect: str, seconds: float) -> None:
    """Everything in front of one upstream."""
    other = next(name for name in PATHS if name != dialect)
    with helper("upstream", dialect) as upstream:
        direct = measure(dialect, upstream, seconds)
        speed = f"{direct.rate:.0f} frames/s of 100 ms, {SOCKETS} sockets of {CONTEXTS} contexts"
        print(f"\nupstream {dialect}, pcm_24000, {speed}")
        table = Table(direct)
        with helper("pipe-asyncio", upstream.url) as hop:
            table.row("pipe, websockets", measure(dialect, hop, seconds), pipe=True)
        with helper("pipe-trio", upstream.url) as hop:
            table.row("pipe, trio-websocket", measure(dialect, hop, seconds))
        if shutil.which("haproxy"):
            for mode in ("http", "tcp"):
                with haproxy(mode, upstream.url) as hop:
                    table.row(f"HAProxy, mode {mode}", measure(dialect, hop, seconds))
        else:
            print("  HAProxy: left out, it is not installed (apt-get install haproxy)")
        for backend in ("asyncio", "trio"):
            with gateway(backend, dialect, upstream.url) as hop:
                for client in (dialect, other):
                    table.row(f"mux {backend}, client {client}", measure(client, hop, seconds))
        # How far from zero that is says what the figures above are good for.
        table.row("nothing, once more", measure(dialect, upstream, seconds)._replace(cpu_us=None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each row, at least 1")
    parser.add_argument("--helper", nargs=2, metavar=("NAME", "ARGUMENT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.helper:
        name, argument = arguments.helper
        run_program(lambda: HELPERS[name](argument), "trio" if name == "pipe-trio" else "asyncio")
        return
    random.seed(7)
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load before {os.getloadavg()[0]:.1f}")
    for dialect in PATHS:
        compare(dialect, arguments.seconds)


if __name__ == "__main__":
    main()
