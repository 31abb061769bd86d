"""What happens to jobs when worker processes misbehave. The worker here is a small program of its own that
does as its job's text says."""

from __future__ import annotations

import os
import signal
import struct
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mux.engines.base import Chunk, Job
from mux.engines.workers import Frame, FrameParser, WorkerSynthesizer
from mux.errors import MuxError

pytestmark = pytest.mark.anyio

PROGRAM = r"""
import json, os, struct, sys, time
out = sys.stdout.buffer
def frame(kind, job, payload=b"", starts=()):
    out.write(struct.pack("<BIII", kind, job, len(payload), len(starts)) + payload)
    out.write(struct.pack("<%dI" % len(starts), *starts))
    out.flush()
how = sys.argv[1] if len(sys.argv) > 1 else ""
if how == "crash": sys.exit("no such thing as a worker")
if how == "junk": out.write(b"\xffHello, I am not a frame"); out.flush(); time.sleep(60)
if how == "silent": time.sleep(60)
if how == "failed": frame(0, 0, b'{"failed": "bad day"}'); sys.exit()
if how == "missing": frame(0, 0, b'{"missing": "libx"}'); sys.exit()
frame(0, 0, b'{"sample_rate": 8000}')
for line in sys.stdin:
    order = json.loads(line)
    if "abort" in order: continue
    job, text = order["job"], order["text"].removeprefix("zap:")
    if text == "die early": os._exit(9)
    frame(1, job)
    if text == "stall": time.sleep(60)
    if text == "die": os._exit(7)
    frame(2, job, b"ab" * len(text), range(len(text)))
    if text == "die later": os._exit(8)
    if text == "junk": out.write(b"\xff" * 13); out.flush(); time.sleep(60)
    while text == "endless": frame(2, job, bytes(3000), [0])
    frame(3, job, b'{"error": "I refuse"}' if text == "refuse" else b"{}")
"""


def synthesizer(*how: str, stall: float = 5.0, abort: float = 5.0) -> WorkerSynthesizer:
    command = [sys.executable, "-S", "-E", "-c", PROGRAM, *how]
    return WorkerSynthesizer("test", command, lambda job: {"text": job.text}, stall=stall, abort=abort)


@asynccontextmanager
async def running(*, stall: float = 5.0, abort: float = 5.0) -> AsyncGenerator[WorkerSynthesizer, None]:
    worker = synthesizer(stall=stall, abort=abort)
    await worker.start()
    try:
        yield worker
    finally:
        await worker.aclose()
        assert worker.pid is None


async def speak(worker: WorkerSynthesizer, text: str) -> list[Chunk]:
    async with worker.speak(Job(text)) as chunks:
        return [chunk async for chunk in chunks]


async def failure(worker: WorkerSynthesizer, text: str) -> MuxError:
    with pytest.raises(MuxError) as caught:
        await speak(worker, text)
    assert text not in str(caught.value)
    return caught.value


HELLO = [Chunk(b"ab" * 5, (0, 1, 2, 3, 4))]


def alive(pid: int | None) -> bool:
    assert pid is not None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_crash_fails_the_job_that_caused_it_and_no_other() -> None:
    async with running() as worker:
        for text, code in (("zap:die", 7), ("zap:die later", 8)):
            before = worker.pid
            error = await failure(worker, text)
            assert error.code == "engine_failed"
            assert f"exit code {code}" in str(error)
            assert await speak(worker, "hello") == HELLO
            assert worker.pid != before
            assert not alive(before)


async def test_what_was_spoken_before_a_crash_is_delivered() -> None:
    async with running() as worker:
        received = []
        async with worker.speak(Job("die later")) as chunks:
            received.append(await anext(chunks))
            with pytest.raises(MuxError):
                await anext(chunks)
        assert received == [Chunk(b"ab" * 9, tuple(range(9)))]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals on Windows")
async def test_a_worker_killed_between_jobs_is_replaced_and_the_next_job_is_spoken() -> None:
    async with running() as worker:
        for _ in range(3):
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)
            assert await speak(worker, "hello") == HELLO


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals on Windows")
async def test_a_worker_killed_in_mid_job_fails_that_job_and_says_the_signal() -> None:
    async with running() as worker:
        async with worker.speak(Job("endless")) as chunks:
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)
            with pytest.raises(MuxError, match="signal 9, SIGKILL") as caught:
                [chunk async for chunk in chunks]
        assert caught.value.code == "engine_failed"
        assert await speak(worker, "hello") == HELLO


async def test_workers_that_always_die_before_they_begin_are_given_up() -> None:
    async with running() as worker:
        error = await failure(worker, "zap:die early")
        assert error.code == "engine_failed"
        assert "exit code 9" in str(error)
        assert await speak(worker, "hello") == HELLO


async def test_a_stalled_worker_is_replaced() -> None:
    async with running(stall=0.1) as worker:
        before = worker.pid
        assert (await failure(worker, "zap:stall")).code == "engine_stalled"
        assert not alive(before)
        worker._stall = 5.0  # a fresh interpreter takes longer than 0.1 s to begin
        assert await speak(worker, "hello") == HELLO


async def test_a_worker_that_does_not_stop_is_killed_at_the_deadline() -> None:
    async with running(abort=0.05) as worker:
        before = worker.pid
        async with worker.speak(Job("endless")) as chunks:
            async for _ in chunks:
                break
        assert not alive(before)
        assert await speak(worker, "hello") == HELLO


async def test_junk_in_the_pipe_fails_the_job_and_replaces_the_worker() -> None:
    async with running() as worker:
        assert (await failure(worker, "zap:junk")).code == "engine_failed"
        assert await speak(worker, "hello") == HELLO


async def test_a_refusal_keeps_the_worker() -> None:
    async with running() as worker:
        before = worker.pid
        error = await failure(worker, "zap:refuse")
        assert (error.code, "I refuse" in str(error)) == ("engine_failed", True)
        assert (await failure(worker, "zap:")).code == "empty_synthesis"
        assert await speak(worker, "hello") == HELLO
        assert worker.pid == before


async def test_a_worker_that_nobody_listens_to_waits_in_the_pipe() -> None:
    async with running(abort=0.2) as worker, worker.speak(Job("endless")) as chunks:
        async for _ in chunks:
            break
        await anyio.sleep(0.05)
        assert worker._process is not None
        assert len(worker._process._parser._buffer) < 256 * 1024


@pytest.mark.parametrize(
    ("how", "code", "says"),
    [
        ("crash", "engine_failed", "exit code 1: no such thing as a worker"),
        ("junk", "engine_failed", "ended while starting .it wrote something that is not a frame"),
        ("failed", "engine_failed", "bad day"),
        ("missing", "missing_dependency", "libx"),
    ],
)
async def test_a_worker_that_does_not_start_says_why(how: str, code: str, says: str) -> None:
    worker = synthesizer(how)
    with pytest.raises(MuxError, match=says) as caught:
        await worker.start()
    assert caught.value.code == code
    assert worker.pid is None


async def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    worker = WorkerSynthesizer("test", [str(tmp_path / "none")], lambda job: {})
    with pytest.raises(MuxError, match="none") as caught:
        await worker.start()
    assert caught.value.code == "engine_failed"


async def test_cancelling_a_start_leaves_no_process() -> None:
    worker = synthesizer("silent")
    with anyio.move_on_after(0.05) as scope:
        await worker.start()
    assert scope.cancelled_caught
    assert worker.pid is None


async def test_cancelling_at_any_moment_leaves_the_worker_right() -> None:
    async with running() as worker:
        begin = time.perf_counter()
        await speak(worker, "hello")
        whole = time.perf_counter() - begin
        for step in range(20):
            with anyio.move_on_after(whole * step / 15):
                await speak(worker, "some longer text")
            assert await speak(worker, "hello") == HELLO


FRAMES = st.lists(
    st.builds(
        Frame,
        st.integers(0, 3),
        st.integers(0, 2**32 - 1),
        st.binary(max_size=40),
        st.lists(st.integers(0, 2**32 - 1), max_size=5).map(tuple),
    ),
    max_size=6,
)


@given(FRAMES, st.integers(1, 50))
def test_frames_survive_any_cutting(frames: list[Frame], size: int) -> None:
    data = b"".join(
        struct.pack("<BIII", frame.kind, frame.job, len(frame.payload), len(frame.starts))
        + frame.payload
        + struct.pack(f"<{len(frame.starts)}I", *frame.starts)
        for frame in frames
    )
    parser, received = FrameParser(), []
    for begin in range(0, len(data), size):
        parser.feed(data[begin : begin + size])
        while (frame := parser.next_frame()) is not None:
            received.append(frame)
    assert received == frames
