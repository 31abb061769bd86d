from __future__ import annotations

import gc
import os
from contextlib import suppress
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import pytest
from httpcore._backends.auto import AutoBackend
from openai_stub import (
    PCM,
    QUICK,
    TEXT,
    RawServer,
    Stream,
    ToneServer,
    head,
    say,
    served,
    speaking,
    start_failure,
    started,
    until_left,
    whole,
)

from mux.config import Settings
from mux.engines.base import Job, Synthesizer
from mux.engines.openai_http import OpenAiEngine
from mux.errors import MuxError
from mux.server.tls import open_tls

pytestmark = pytest.mark.anyio
linux = pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="counts sockets in /proc")


def endless(left: anyio.Event, before: bytes = b"") -> RawServer:
    """Speaks for ever on its first POST, and properly afterwards."""

    async def speak(stream: Stream, asked: dict[str, Any]) -> None:
        if left.is_set():
            await stream.send(whole(PCM))
            return
        try:
            await stream.send(before)
            while before:
                await stream.send(b"1000\r\n" + bytes(0x1000) + b"\r\n")
            await until_left(stream)
        finally:
            left.set()

    return RawServer(speak)


@pytest.mark.parametrize("chunks_heard", [0, 1, 3])
async def test_the_server_sees_at_once_that_a_listener_has_left(chunks_heard: int) -> None:
    left = anyio.Event()
    server = endless(left, head(content_type="audio/pcm", transfer_encoding="chunked"))
    async with server.served() as url, started(url) as synthesizer:
        with anyio.fail_after(1):
            async with synthesizer.speak(Job(TEXT)) as chunks:
                for _ in range(chunks_heard):
                    await anext(chunks)
            await left.wait()
        assert await say(synthesizer) == PCM
        assert server.open == 1


async def test_the_server_sees_at_once_that_a_waiting_listener_was_cancelled() -> None:
    left = anyio.Event()
    server = endless(left)
    async with server.served() as url, started(url) as synthesizer:
        with anyio.fail_after(1):
            with anyio.move_on_after(0.05):
                await say(synthesizer)
            await left.wait()
        assert await say(synthesizer) == PCM
        assert server.open == 1


async def test_what_was_cancelled_is_never_taken_for_complete() -> None:
    async def speak(stream: Stream, asked: dict[str, Any]) -> None:
        await stream.send(head(content_type="audio/pcm", content_length=100) + b"1234")
        await until_left(stream)

    async with speaking(RawServer(speak)) as chunks:
        assert (await anext(chunks)).pcm == b"1234"
        with anyio.move_on_after(0.02):
            await anext(chunks)
        with pytest.raises(MuxError, match="broken off"):
            await anext(chunks)


def open_sockets() -> int:
    names = []
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            names.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return sum(name.startswith("socket:") for name in names)


async def until_open_sockets(count: int) -> None:
    gc.collect()
    with anyio.fail_after(2):
        while open_sockets() > count:  # noqa: ASYNC110 - the server closes its ends in its own time
            await anyio.sleep(0.01)


@linux
@pytest.mark.parametrize("secure", [False, True])
async def test_cancelling_after_any_step_leaves_nothing_behind(
    secure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connecting included: every other round begins without a connection."""
    with open_tls(Settings(tls_self_signed=secure)) as tls:
        if tls is not None:
            monkeypatch.setenv("SSL_CERT_FILE", str(tls.trust))
        async with served(ToneServer().app, tls=tls and tls.context) as url:
            before = open_sockets()
            async with started(url) as synthesizer:
                alone = await say(synthesizer)
                finished = [await _cancelled_after(steps, synthesizer, alone) for steps in range(100)]
                assert True in finished
                assert False in finished
            await until_open_sockets(before)


async def _cancelled_after(steps: int, synthesizer: Synthesizer, alone: bytes) -> bool:
    finished = False
    if steps % 2:
        async with synthesizer.speak(Job(TEXT * 20)):
            pass
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_cancel_after, steps // 2, tasks.cancel_scope)
        await say(synthesizer)
        finished = True
        tasks.cancel_scope.cancel()
    assert await say(synthesizer) == alone
    return finished


@linux
async def test_being_cancelled_at_the_moment_of_connecting_costs_nobody_a_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scope = anyio.CancelScope()
    connect = AutoBackend.connect_tcp

    async def connect_and_cancel(*args: Any, **options: Any) -> Any:
        stream = await connect(*args, **options)
        scope.cancel()
        return stream

    async with served(ToneServer().app) as url, started(url, deadlines=QUICK) as synthesizer:
        before = open_sockets()
        async with synthesizer.speak(Job(TEXT)):
            pass
        with monkeypatch.context() as patched, scope:
            patched.setattr(AutoBackend, "connect_tcp", connect_and_cancel)
            await say(synthesizer)
        assert scope.cancelled_caught
        assert await say(synthesizer)
        await until_open_sockets(before)


async def _cancel_after(steps: int, scope: anyio.CancelScope) -> None:
    for _ in range(steps):
        await anyio.lowlevel.checkpoint()
    scope.cancel()
    await anyio.sleep_forever()


@linux
async def test_cancelling_the_start_after_any_step_leaves_nothing_behind() -> None:
    async with served(ToneServer(voices=["a"]).app) as url:
        before = open_sockets()
        for steps in range(0, 60, 3):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_cancel_after, steps, tasks.cancel_scope)
                async with OpenAiEngine(base_url=url).start(2):
                    tasks.cancel_scope.cancel()
        await until_open_sockets(before)


async def test_a_server_whose_certificate_nobody_vouches_for_is_not_spoken_to() -> None:
    server = ToneServer()
    with open_tls(Settings(tls_self_signed=True)) as tls:
        assert tls is not None
        async with served(server.app, tls=tls.context) as url:
            found = await start_failure(url)
    assert found.code == "engine_failed"
    assert "SSL_CERT_FILE" in str(found)
    assert not server.paths
