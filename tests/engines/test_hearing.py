"""What a slot does while the socket's reader gives its audio on: it notices silence to the moment, and a bug
in whoever takes the audio costs nobody else anything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import anyio
import msgspec
import pytest

from mux.engines.base import Chunk, Job
from mux.engines.remote import QUIET, RemoteEngine, Upstream
from mux.errors import MuxError
from mux.links.endpoint import Endpoint, Pools
from mux.links.memory import MemoryTransport, memory_pair
from mux.tasks import owned_tasks

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]
AUDIO = '{"audio": "QUJDQUJD", "contextId": "mux.1"}'
END = '{"isFinal": true, "contextId": "mux.1"}'
CLOSE = '"close_context":true'

Script = Callable[[MemoryTransport], Awaitable[None]]


class Service(Upstream, frozen=True, kw_only=True):
    """A service whose sockets are in memory; what is said on its own end of them, a script says."""

    script: Script

    @property
    def endpoint(self) -> Endpoint:
        @asynccontextmanager
        async def opened() -> AsyncIterator[MemoryTransport]:
            client, server = memory_pair()
            async with owned_tasks() as tasks:
                tasks.start_soon(self.script, server)
                yield client

        return msgspec.structs.replace(super().endpoint, opener=opened)


async def speak(script: Script, take: Callable[[Chunk], None]) -> None:
    """Say "Hi.", once, while the service does what `script` says."""
    upstream = Service(name="s", dialect="elevenlabs", url="", voice="v", repair="fail", script=script)
    async with owned_tasks() as tasks:
        try:
            await RemoteEngine(upstream).slot(Pools(upstream.endpoint, tasks)).relay(Job("Hi."), take)
        finally:
            await anyio.sleep(0.1)


async def until(words: str, socket: MemoryTransport) -> float:
    """When the service is told `words`."""
    while words not in str(await socket.receive()):
        pass
    return anyio.current_time()


async def test_a_context_is_closed_when_nothing_has_followed_its_audio_for_a_while() -> None:
    waited = 0.0

    async def script(socket: MemoryTransport) -> None:
        nonlocal waited
        await until('"flush":true', socket)
        for pause in (0.7, 1.4, 1.0):
            await anyio.sleep(pause)
            await socket.send(AUDIO)
        last = anyio.current_time()
        waited = await until(CLOSE, socket) - last
        await socket.send(END)

    chunks: list[Chunk] = []
    await speak(script, chunks.append)
    assert waited == pytest.approx(QUIET)
    assert b"".join(bytes(chunk.pcm) for chunk in chunks) == b"ABCABC" * 3


@pytest.mark.parametrize("frames", [0, 1])
async def test_silence_is_a_stall_to_the_moment(frames: int) -> None:
    """After some audio the context is closed first, and that has its time too."""
    told: list[float] = []

    async def script(socket: MemoryTransport) -> None:
        begun = await until('"flush":true', socket)
        for _ in range(frames):
            await socket.send(AUDIO)
        for _ in range(frames + 1):
            told.append(await until(CLOSE, socket) - begun)

    with anyio.move_on_after(12), suppress(MuxError):
        await speak(script, lambda chunk: None)
    assert told == [pytest.approx(seconds) for seconds in ([QUIET, QUIET + 10] if frames else [10])]


async def test_a_bug_in_who_takes_the_audio_ends_the_segment_and_not_the_socket() -> None:
    ended: list[bool] = []

    async def script(socket: MemoryTransport) -> None:
        await until('"flush":true', socket)
        await socket.send(AUDIO)
        await socket.send(AUDIO)
        await until('"immediate":true', socket)
        ended.append(socket.closed is not None)

    def take(chunk: Chunk) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await speak(script, take)
    assert ended == [False], "its other contexts go on"
