"""Cancelling at every single step: of a client's whole conversation, of one call of it, and of the server's
side of its socket.

A run of the scenario is a fixed number of task steps; each test cancels one run after every step there is.
Whatever the moment, nothing may be left behind, and the next socket works.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from mux.audio.formats import parse_format
from mux.client import Context, dialogue
from mux.client.connect import session_over
from mux.config import Settings
from mux.dialects.elevenlabs import ElevenLabsServer, parse_parameters
from mux.engines.base import Chunk, Job, Synthesizer
from mux.engines.tone import ToneEngine
from mux.errors import MuxError
from mux.links.memory import MemoryTransport, memory_pair
from mux.links.transport import Disconnected
from mux.protocol.messages import Reason
from mux.protocol.voice import ContextSettings
from mux.server.service import Service
from mux.testing import MemoryServer, memory_server

# trio shuffles who runs next; seeded, a number of steps is the same moment in every run.
trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[attr-defined]

SETTLED = 60.0
"""Seconds after which all deadlines of the service have passed."""
SOON = 0.02
"""Seconds in which everything has stopped: less than one segment of speech takes."""


class CountingEngine(ToneEngine):
    """A tone engine that knows how many of its synthesizers are at work."""

    speaking = 0

    @asynccontextmanager
    async def start(self, workers: int) -> AsyncGenerator[Sequence[Synthesizer], None]:
        async with super().start(workers) as synthesizers:
            yield [_Counting(self, synthesizer) for synthesizer in synthesizers]


class _Counting:
    def __init__(self, engine: CountingEngine, inner: Synthesizer) -> None:
        self.engine, self.inner = engine, inner

    @asynccontextmanager
    async def speak(self, job: Job) -> AsyncGenerator[AsyncIterator[Chunk], None]:
        self.engine.speaking += 1
        try:
            async with self.inner.speak(job) as chunks:
                yield chunks
        finally:
            self.engine.speaking -= 1


class CancelAfter(trio.abc.Instrument):
    """Cancels a scope after a number of steps of any tasks, counted from `start`."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.taken = 0
        self.scope: trio.CancelScope | None = None

    def start(self, scope: trio.CancelScope) -> None:
        self.scope = scope

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.scope is not None:
            self.taken += 1
            if self.taken == self.steps:
                self.scope.cancel()


Side = Callable[[MemoryServer, CancelAfter, list[Context]], Awaitable[None]]


# --- the scenario ------------------------------------------------------------------------------------


async def converse(transport: MemoryTransport, contexts: list[Context]) -> None:
    """Two contexts at once, one of them cancelled in mid-speech, then another one, and a proper end."""
    async with (
        session_over(transport, settings=ContextSettings(inactivity_timeout=1.0)) as session,
        trio.open_nursery() as nursery,
    ):

        async def listen() -> None:
            async with session.context("long", voice="bob") as context:
                contexts.append(context)
                await context.send("Some words, and then ")
                await context.send("some more. ")
                await context.flush()
                await trio.sleep(1.2)  # a keepalive
                await context.close()
                with trio.move_on_after(0.05):
                    await context.wait_ended()
                async for _ in context:
                    pass

        nursery.start_soon(listen)
        async with session.context("barge-in") as context:
            contexts.append(context)
            await context.send("This is going to be interrupted soon. ")
            await context.flush()
            await anext(context)
            await context.cancel()
        async with session.context("left") as context:
            contexts.append(context)
            await context.send("And this is just left. ")
            await context.flush()


async def still_works(server: MemoryServer) -> None:
    async with server.connect(output_format="pcm_8000") as session, session.context() as context:
        await context.send("Next, please.")
        await context.close()
        assert len(b"".join([chunk.audio async for chunk in context])) == 13 * 160


async def cancel_client(server: MemoryServer, cancel: CancelAfter, contexts: list[Context]) -> None:
    transport = server.open(output_format="pcm_8000", sync_alignment="true")
    try:
        with trio.CancelScope() as scope:
            cancel.start(scope)
            await converse(transport, contexts)
    finally:
        cancel.scope = None
        transport.cut()


async def cancel_reconnecting(server: MemoryServer, cancel: CancelAfter, contexts: list[Context]) -> None:
    """A session that waits for a slot, loses its socket in mid-speech, and reads all contexts together."""
    with trio.CancelScope() as scope:
        cancel.start(scope)
        async with (
            server.connect(output_format="pcm_8000", reconnect=True, contexts_per_socket=1) as session,
            trio.open_nursery() as nursery,
        ):

            async def listen() -> None:
                async with session.events(stay=True) as events:
                    async for _ in events:
                        pass

            nursery.start_soon(listen)
            contexts.append(await session.create_context("first"))
            await session.send("first", "This breaks off in mid-speech. ", flush=True)
            await trio.sleep(0.15)
            server.transports[-1].cut()
            await session.send("first", "And goes on. ")
            await session.close_context("first")
            contexts.append(await session.create_context("second"))
            await session.send("second", "After it. ")
            await session.close()
    cancel.scope = None


async def cancel_dialogue(server: MemoryServer, cancel: CancelAfter, contexts: list[Context]) -> None:
    """A dialogue that is interrupted, and goes on."""
    with trio.CancelScope() as scope:
        cancel.start(scope)
        async with server.connect(output_format="pcm_8000") as session, dialogue(session) as talk:
            talk.say("a", "The first turn. ")
            talk.say("b", "The second one. ")
            async for _ in talk.audio():
                break
            await talk.interrupt()
            talk.clip(bytes(160), "A clip. ")
            talk.say("a", "The last turn. ")
            async for _ in talk.audio():
                pass
    cancel.scope = None


async def cancel_server(server: MemoryServer, cancel: CancelAfter, contexts: list[Context]) -> None:
    ours, theirs = memory_pair()

    async def serve(serve_socket: Callable[[MemoryTransport], Awaitable[None]]) -> None:
        try:
            with trio.CancelScope() as scope:
                cancel.start(scope)
                await serve_socket(theirs)
        finally:
            cancel.scope = None
            theirs.cut()  # as the web server does when its application has gone

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, _service_side(server.service))
        try:
            await converse(ours, contexts)
        except* (MuxError, Disconnected):
            pass


def _service_side(service: Service) -> Callable[[MemoryTransport], Awaitable[None]]:
    async def serve(transport: MemoryTransport) -> None:
        await service.serve_socket(
            transport,
            "0123",
            ElevenLabsServer(sync_alignment=True),
            parse_parameters("default", {}).settings,
            parse_format("pcm_8000"),
            authenticated=True,
        )

    return serve


# --- one call of a client ----------------------------------------------------------------------------


async def read(context: Context, audio: bytearray) -> None:
    await context.close()
    async for chunk in context:
        audio += chunk.audio


async def send(context: Context, audio: bytearray) -> None:
    await context.send("More. ")


async def flush(context: Context, audio: bytearray) -> None:
    await context.flush()


async def close(context: Context, audio: bytearray) -> None:
    await context.close()


async def barge_in(context: Context, audio: bytearray) -> None:
    await context.cancel()


async def wait(context: Context, audio: bytearray) -> None:
    await context.close()
    await context.wait_ended()


def tone(text: str, voice: str) -> bytes:
    """What the engine says to a text, without any service."""

    async def main() -> bytes:
        async with (
            ToneEngine(8000, 0.01).start(1) as (synthesizer,),
            synthesizer.speak(Job(text, voice)) as chunks,
        ):
            return b"".join([chunk.pcm async for chunk in chunks])

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


SOME, MORE = tone("Some words. ", "bob"), tone("Some words. More. ", "bob")
OTHER = tone("Undisturbed. ", "alice")


def cancel_call(call: Callable[[Context, bytearray], Awaitable[None]]) -> Side:
    """Cancel one call on one context; both contexts of the socket then go on to their ends."""

    async def side(server: MemoryServer, cancel: CancelAfter, contexts: list[Context]) -> None:
        async with (
            server.connect(output_format="pcm_8000") as session,
            session.context("other", voice="alice") as other,
            session.context("mine", voice="bob") as mine,
        ):
            contexts += [other, mine]
            await mine.send("Some words. ")
            await other.send("Undisturbed. ")
            await other.close()
            audio = bytearray()
            with trio.CancelScope() as scope:
                cancel.start(scope)
                await call(mine, audio)
            cancel.scope = None
            if call is barge_in:
                assert (await mine.wait_ended()).reason is Reason.CANCELLED
            else:
                await mine.close()
                async for chunk in mine:
                    audio += chunk.audio
                assert audio == (MORE if call is send and not scope.cancelled_caught else SOME)
            assert b"".join([chunk.audio async for chunk in other]) == OTHER

    side.__name__ = f"cancel_call_{call.__name__}"
    return side


def run(side: Side, steps: int) -> int:
    """Run the scenario, cancelled after `steps`; returns how many were taken."""
    cancel = CancelAfter(steps)
    engine = CountingEngine(8000, 0.01, delay=0.05, chunk_delay=0.01)

    async def main() -> None:
        async with memory_server(engine, Settings(engine="tone")) as server:
            await trio.sleep(1)
            before = trio.lowlevel.current_statistics().tasks_living
            contexts: list[Context] = []
            with trio.fail_after(SETTLED):
                await side(server, cancel, contexts)
            await trio.sleep(SOON)
            service = server.service
            assert (service.sockets, service.contexts, engine.speaking) == (0, 0, 0)
            assert not any(lane.scheduler.waiting for lane in service._dispatcher._lanes.values())
            assert trio.lowlevel.current_statistics().tasks_living == before
            for context in contexts:
                assert context.ended is not None, f"{context.name} never ended"
            await still_works(server)

    trio._core._run._r.seed(0)
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0), instruments=[cancel])
    return cancel.taken


@pytest.mark.parametrize(
    "side",
    [
        cancel_client,
        cancel_reconnecting,
        cancel_dialogue,
        cancel_server,
        *map(cancel_call, (read, send, flush, close, barge_in, wait)),
    ],
    ids=lambda side: side.__name__,
)
def test_cancelling_after_any_step_leaves_nothing_behind(side: Side) -> None:
    whole = run(side, 10**9)
    assert whole > (0 if side.__name__.startswith("cancel_call") else 100)
    for steps in range(1, whole + 1):
        try:
            run(side, steps)
        except BaseException as error:
            error.add_note(f"cancelled after {steps} of {whole} steps")
            raise
