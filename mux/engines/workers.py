"""Synthesizers that are worker processes: the parent's end of the pipe.

A worker is a program that reads JSON lines and writes frames, as the top of `espeak_worker.py` defines them.
Whatever happens to it (a crash, a stall, a kill from outside) costs at most the job that it was speaking.
"""

from __future__ import annotations

import json
import signal
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import anyio
import anyio.abc
import anyio.lowlevel

from mux.engines.base import Chunk, Job
from mux.errors import MuxError

__all__ = ["HELLO", "Frame", "FrameParser", "WorkerSynthesizer", "hello_of"]

HELLO, BEGUN, AUDIO, END = range(4)
_HEADER = struct.Struct("<BIII")
_MAX_FRAME = 64 * 1024 * 1024
"""Bytes. Larger frames mean that something that is not a frame was read."""
_READ = 64 * 1024
_REAP_SECONDS = 1.0
_STDERR_BYTES = 2000
_ATTEMPTS = 3
"""Workers tried for one job that none of them has begun."""


class Frame(NamedTuple):
    kind: int
    job: int
    payload: bytes
    starts: tuple[int, ...]


class FrameParser:
    """Cuts a worker's bytes into frames. Holds at most one incomplete frame and what was fed with it."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next_frame(self) -> Frame | None:
        """Take the next complete frame.

        Raises:
            ValueError: the bytes are not frames.
        """
        if len(self._buffer) < _HEADER.size:
            return None
        kind, job, size, count = _HEADER.unpack_from(self._buffer)
        payload_end = _HEADER.size + size
        end = payload_end + 4 * count
        if kind > END or end > _MAX_FRAME:
            raise ValueError("it wrote something that is not a frame")
        if len(self._buffer) < end:
            return None
        payload = bytes(self._buffer[_HEADER.size : payload_end])
        starts = struct.unpack_from(f"<{count}I", self._buffer, payload_end)
        del self._buffer[:end]
        return Frame(kind, job, payload, starts)


class _Died(Exception):
    """The worker's stdout ended, or was not frames."""


class _Process:
    """One running worker."""

    def __init__(self, process: anyio.abc.Process) -> None:
        self._process = process
        self._parser = FrameParser()
        self.pid = process.pid
        self.in_step = True
        """False after an interrupted write: half an order may be in the pipe."""
        self._fault = ""
        """What it did that ended it, where its exit code does not tell."""

    @classmethod
    async def spawn(cls, command: Sequence[str]) -> _Process:
        # Shielded: a process must not start with nobody there to stop it. Starting takes milliseconds.
        with anyio.CancelScope(shield=True):
            process = await anyio.open_process(command)
        return cls(process)

    async def send(self, order: Mapping[str, object]) -> None:
        assert self._process.stdin is not None
        self.in_step = False
        try:
            await self._process.stdin.send(json.dumps(order).encode() + b"\n")
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            raise _Died from None
        self.in_step = True

    async def frame(self) -> Frame:
        """The next frame; always a checkpoint. A cancelled call has taken nothing."""
        assert self._process.stdout is not None
        await anyio.lowlevel.checkpoint()
        try:
            while (frame := self._parser.next_frame()) is None:
                self._parser.feed(await self._process.stdout.receive(_READ))
        except ValueError as error:
            self._fault = str(error)
            self._kill()
            raise _Died from None
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise _Died from None
        return frame

    async def stop(self, *, dying: bool = False) -> str:
        """End the process, reap it, and say how it ended and what it last wrote to stderr.

        One that is `dying` gets a second to tell its own exit code. Cannot be cancelled; killing takes
        milliseconds.
        """
        assert self._process.stderr is not None
        words = b""
        with anyio.CancelScope(shield=True):
            if dying:
                with anyio.move_on_after(_REAP_SECONDS):
                    await self._process.wait()
            self._kill()
            with anyio.move_on_after(_REAP_SECONDS), suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    words = (words + await self._process.stderr.receive(_READ))[-_STDERR_BYTES:]
            await self._process.aclose()
        ending = self._fault or _ending(self._process.returncode)
        return f"{ending}: {words.decode(errors='replace').strip()}" if words else ending

    def _kill(self) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()


def _ending(returncode: int | None) -> str:
    if returncode is None or returncode >= 0:
        return f"exit code {returncode}"
    with suppress(ValueError):
        return f"signal {-returncode}, {signal.Signals(-returncode).name}"
    return f"signal {-returncode}"


def hello_of(frame: Frame, engine: str) -> dict[str, Any]:
    """Read a worker's first frame.

    Raises:
        MuxError: `missing_dependency` or `engine_failed`, as the worker says in it.
    """
    if frame.kind != HELLO:
        raise MuxError.of("engine_failed", f"The {engine} worker did not begin with a hello frame.")
    hello: dict[str, Any] = json.loads(frame.payload)
    if "missing" in hello:
        raise MuxError.of(
            "missing_dependency", f"The {engine} engine has no library to speak with: {hello['missing']}."
        )
    if "failed" in hello:
        raise MuxError.of("engine_failed", f"The {engine} engine did not start: {hello['failed']}.")
    return hello


class WorkerSynthesizer:
    """A `Synthesizer` whose jobs are spoken by a worker process, which it restarts whenever it has to.

    `command` is the program, `order` turns a job into the fields of its JSON line (and may raise MuxError).
    A worker's hello has to come within `patience` seconds. No frame for `stall` seconds while one is awaited
    ends the job as `engine_stalled`; a worker that does not confirm an abort within `abort` seconds is
    killed. Reading ahead is bounded by the pipe and one frame.
    """

    def __init__(
        self,
        engine: str,
        command: Sequence[str],
        order: Callable[[Job], Mapping[str, object]],
        *,
        patience: float = 20.0,
        stall: float = 10.0,
        abort: float = 1.0,
    ) -> None:
        self.hello: dict[str, Any] = {}
        """What the running worker said of itself; empty before `start`."""
        self._engine = engine
        self._command = command
        self._order = order
        self._patience = patience
        self._stall = stall
        self._abort = abort
        self._process: _Process | None = None
        self._number = 0
        self._busy = False

    @property
    def pid(self) -> int | None:
        """The worker's process id, while there is a worker."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the worker and read its hello. If cancelled, no process is left.

        Raises:
            MuxError: `missing_dependency` or `engine_failed`.
        """
        try:
            self._process = await _Process.spawn(self._command)
        except OSError as error:
            raise MuxError.of(
                "engine_failed", f"The {self._engine} worker cannot be run ({self._command[0]}: {error})."
            ) from error
        try:
            with anyio.fail_after(self._patience):
                self.hello = hello_of(await self._process.frame(), self._engine)
        except (_Died, TimeoutError) as error:
            how = await self._stop(dying=isinstance(error, _Died))
            late = "ended" if isinstance(error, _Died) else f"said nothing for {self._patience:g} s"
            raise MuxError.of(
                "engine_failed", f"The {self._engine} worker {late} while starting ({how})."
            ) from None
        except BaseException:
            await self._stop()
            raise

    async def aclose(self) -> None:
        """Stop the worker. Cannot be cancelled; takes milliseconds."""
        if self._process is not None:
            await self._stop()

    @asynccontextmanager
    async def speak(self, job: Job) -> AsyncGenerator[AsyncIterator[Chunk], None]:
        """See `Synthesizer.speak`. Entering waits until a worker has begun the job; one that is found dead is
        replaced first."""
        if self._busy:
            raise RuntimeError("a synthesizer speaks one job at a time")
        order = self._order(job)
        self._busy = True
        speech = _Speech(self)
        try:
            await speech.begin(order)
            yield speech
        finally:
            try:
                await speech.leave()
            finally:
                self._busy = False

    async def _running(self) -> _Process:
        if self._process is None:
            await self.start()
        assert self._process is not None
        return self._process

    async def _stop(self, *, dying: bool = False) -> str:
        assert self._process is not None
        process, self._process = self._process, None
        return await process.stop(dying=dying)


class _Speech:
    """The chunks of one job, and the care for the worker that speaks it."""

    def __init__(self, owner: WorkerSynthesizer) -> None:
        self._owner = owner
        self._number = 0
        self._spoke = False
        self._over = True
        """No frames of this job are to come."""

    async def begin(self, order: Mapping[str, object]) -> None:
        owner = self._owner
        for _ in range(_ATTEMPTS):
            process = await owner._running()
            owner._number += 1
            self._number = owner._number
            self._over = False
            dying = True
            try:
                with anyio.fail_after(owner._stall):
                    await process.send({**order, "job": self._number})
                    if (await self._frame(process)).kind == BEGUN:
                        return
            except _Died:
                pass
            except TimeoutError:
                dying = False
            # It was dead, or stuck, before it had seen this job, so the job is not to blame.
            self._over = True
            how = await owner._stop(dying=dying)
        raise MuxError.of(
            "engine_failed",
            f"{_ATTEMPTS} {owner._engine} workers in a row ended before they could speak; the last: {how}.",
        )

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        """The next chunk. A cancelled call loses nothing."""
        if self._over:
            raise StopAsyncIteration
        owner = self._owner
        process = owner._process
        assert process is not None
        try:
            with anyio.fail_after(owner._stall):
                frame = await self._frame(process)
        except _Died:
            self._over = True
            how = await owner._stop(dying=True)
            raise MuxError.of(
                "engine_failed",
                f"The {owner._engine} engine's process died while speaking this text ({how}). "
                "The text was skipped; change it if this happens again.",
            ) from None
        except TimeoutError:
            self._over = True
            await owner._stop()
            raise MuxError.of(
                "engine_stalled",
                f"The {owner._engine} engine gave no audio for {owner._stall:g} s and was restarted. "
                "The rest of the text was skipped.",
                limit=owner._stall,
            ) from None
        if frame.kind == AUDIO:
            self._spoke = self._spoke or bool(frame.payload)
            return Chunk(frame.payload, frame.starts)
        self._over = True
        error = json.loads(frame.payload).get("error")
        if error is not None:
            raise MuxError.of("engine_failed", f"The {owner._engine} engine refused this text: {error}.")
        if not self._spoke:
            raise MuxError.of("empty_synthesis", f"The {owner._engine} engine made no audio of this text.")
        raise StopAsyncIteration

    async def leave(self) -> None:
        """Stop the job if it is still being spoken, so that the worker is ready for the next one. Cannot be
        cancelled; takes at most `abort` seconds."""
        owner = self._owner
        process = owner._process
        if self._over or process is None:
            return
        self._over = True
        dying = False
        with anyio.CancelScope(shield=True):
            if process.in_step:
                try:
                    with anyio.fail_after(owner._abort):
                        await process.send({"abort": self._number})
                        while (await self._frame(process)).kind != END:
                            pass
                    return
                except _Died:
                    dying = True
                except TimeoutError:
                    pass
            await owner._stop(dying=dying)

    async def _frame(self, process: _Process) -> Frame:
        while (frame := await process.frame()).job != self._number:
            pass
        return frame
