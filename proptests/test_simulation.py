"""The whole service in virtual time: several sockets, their contexts at random, an engine that sometimes
fails, connections that are cut or fall silent, a server that is restarted. The same plan gives the same run.

The server, the sessions and the wire between them are the real ones; only the network and the clock are not.
"""

from __future__ import annotations

import base64
import itertools
import json
import logging
import re
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from mux.client import Context, Session
from mux.client.connect import session_over
from mux.config import Settings
from mux.engines.base import Chunk, Job, Synthesizer
from mux.engines.tone import ToneEngine
from mux.errors import MuxError
from mux.links.memory import MemoryTransport
from mux.links.router import Ended
from mux.links.transport import Ending
from mux.protocol.messages import Reason
from mux.protocol.voice import ContextSettings
from mux.server.service import Service
from mux.server.socket import ServerSocket
from mux.tasks import owned_tasks
from mux.testing import MemoryServer, memory_server

# trio shuffles who runs next. With this, and a seed, it does so in the same way every time.
trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[attr-defined]

RATE = 8000
QUIET = 5.0
"""Seconds of inactivity after which a context without a keepalive ends."""
SLOW_NETWORK_BYTES = 5000
"""What a slow network holds: about two frames. A fast one has the default's 64 KiB."""
SETTLED = 90.0
"""Seconds in which the service must have forgotten everybody who is gone: more than any of its deadlines."""


# --- the plan ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ContextPlan:
    begins: float
    steps: tuple[tuple[str, Any], ...]
    """("send", text), ("flush", None), ("keep_alive", None), ("sleep", seconds), ("turns", number): let
    the others do so many steps"""
    ending: str
    """close, cancel, close_and_cancel, leave (the block, as it is), wait (for the end)"""
    patience: float
    """Seconds before the second half of an ending."""
    keepalive: bool
    speed: float
    reads_late: bool
    schedule: tuple[int, ...] | None


@dataclass(frozen=True)
class SocketPlan:
    begins: float
    contexts: tuple[ContextPlan, ...]
    fate: str
    """close (when its contexts are done), cut, hang, cancel (the client)"""
    at: float
    auto_mode: bool
    output_format: str
    buffer_bytes: int
    pace: float
    """Seconds that the network takes for a frame."""


@dataclass(frozen=True)
class Plan:
    sockets: tuple[SocketPlan, ...]
    delay: float = 0.0
    chunk_delay: float = 0.0
    workers: int = 2
    failing: frozenset[int] = frozenset()
    """The numbers of the engine's jobs that fail."""
    stubborn: float = 0.0
    """Seconds that the engine takes to stop."""
    service: tuple[str, float] = ("stays", 0.0)
    """stays, drains or closes, and when."""
    order: int = 0
    """Who is first when several tasks can go on."""


pieces = st.sampled_from(
    ["Hi. ", "One, two, three. ", "word ", "  ", "Long" * 20 + " ", "And so it went on, for a while. ", "\n"]
)
steps = st.one_of(
    st.tuples(st.just("send"), pieces),
    st.tuples(st.just("send"), pieces),
    st.tuples(st.just("send"), st.just("And so it went on, for a while. ")),
    st.tuples(st.sampled_from(["flush", "keep_alive"]), st.none()),
    st.tuples(st.just("sleep"), st.sampled_from([0.1, 1.0, 7.0])),
    st.tuples(st.just("turns"), st.integers(1, 40)),
)
contexts = st.builds(
    ContextPlan,
    begins=st.sampled_from([0.0, 0.0, 0.05, 1.5]),
    steps=st.lists(steps, min_size=1, max_size=8).map(tuple),
    ending=st.sampled_from(["close", "close", "close", "cancel", "close_and_cancel", "leave", "wait"]),
    patience=st.sampled_from([0.0, 0.01, 0.3, 2.0]),
    keepalive=st.sampled_from([True, True, False]),
    speed=st.sampled_from([1.0, 1.2]),
    reads_late=st.booleans(),
    schedule=st.sampled_from([None, (5,), (20, 50)]),
)
sockets = st.builds(
    SocketPlan,
    begins=st.sampled_from([0.0, 0.2, 3.0]),
    contexts=st.lists(contexts, min_size=1, max_size=4).map(tuple),
    fate=st.sampled_from(["close", "close", "close", "cut", "hang", "cancel"]),
    at=st.sampled_from([0.0, 0.03, 0.5, 2.0, 6.0]),
    auto_mode=st.booleans(),
    output_format=st.sampled_from(["pcm_8000", "ulaw_8000", "mp3_22050_32"]),
    buffer_bytes=st.sampled_from([16 * 1024 * 1024, 16 * 1024 * 1024, 8000]),
    pace=st.sampled_from([0.0, 0.0, 0.03]),
)
plans = st.builds(
    Plan,
    sockets=st.lists(sockets, min_size=1, max_size=3).map(tuple),
    delay=st.sampled_from([0.0, 0.05, 1.0]),
    chunk_delay=st.sampled_from([0.0, 0.02]),
    workers=st.integers(1, 3),
    failing=st.frozensets(st.integers(0, 12), max_size=3),
    stubborn=st.sampled_from([0.0, 0.0, 0.2, 3.0]),
    service=st.sampled_from([("stays", 0.0)] * 4 + [("drains", 0.5), ("closes", 1.0)]),
    order=st.integers(0, 1000),
)


# --- the engine --------------------------------------------------------------------------------------


class UnreliableEngine(ToneEngine):
    """Some of its jobs fail, each in its way, and it may take its time to stop."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(RATE, delay=plan.delay, chunk_delay=plan.chunk_delay)
        self.plan = plan
        self.jobs = itertools.count()
        self.failing = plan.failing
        self.failed: set[str | None] = set()
        """The voices of the jobs that failed; each context has a voice of its own."""
        self.speaking = 0

    @asynccontextmanager
    async def start(self, workers: int) -> AsyncGenerator[Sequence[Synthesizer], None]:
        async with super().start(self.plan.workers) as synthesizers:
            yield [_Unreliable(self, synthesizer) for synthesizer in synthesizers]


class _Unreliable:
    def __init__(self, engine: UnreliableEngine, inner: Synthesizer) -> None:
        self.engine, self.inner = engine, inner

    @asynccontextmanager
    async def speak(self, job: Job) -> AsyncGenerator[AsyncIterator[Chunk], None]:
        self.engine.speaking += 1
        try:
            async with self.inner.speak(job) as chunks, aclosing(self.chunks(job, chunks)) as mine:
                yield mine
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await anyio.sleep(self.engine.plan.stubborn)
            raise
        finally:
            self.engine.speaking -= 1

    async def chunks(self, job: Job, chunks: AsyncIterator[Chunk]) -> AsyncGenerator[Chunk, None]:
        number = next(self.engine.jobs)
        fails = number in self.engine.failing
        async for chunk in chunks:
            if fails and number % 4 in (0, 1):
                yield chunk
            if fails:
                self.engine.failed.add(job.voice)
                if number % 4 == 1:
                    raise ValueError("a bug in the engine")
                if number % 4 == 2:
                    return  # says that it is done, without a sound
                raise MuxError.of("engine_failed", "The engine broke.")
            yield chunk


# --- the wire ----------------------------------------------------------------------------------------


class Wire:
    """A client's end of a connection that writes down what arrives."""

    def __init__(self, end: MemoryTransport, pace: float) -> None:
        self.end = end
        if pace:
            end._peer._unread_bytes = SLOW_NETWORK_BYTES
        self.pace = pace
        self.cut, self.hang = end.cut, end.hang
        self.frames: list[tuple[float, dict[str, Any]]] = []

    @property
    def closed(self) -> Ending | None:
        return self.end.closed

    async def send(self, message: str) -> None:
        await self.end.send(message)

    async def receive(self) -> str | bytes:
        await anyio.sleep(self.pace)
        message = await self.end.receive()
        self.frames.append((anyio.current_time(), json.loads(message)))
        return message

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        await self.end.aclose(code, reason)

    def of(self, wire_id: str) -> list[dict[str, Any]]:
        return [frame for _, frame in self.frames if frame.get("contextId") == wire_id]


# --- the players -------------------------------------------------------------------------------------


@dataclass
class Life:
    """What one context's client saw."""

    plan: ContextPlan
    voice: str
    context: Context | None = None
    begun: float = 0.0
    over: float = 0.0
    """When its client was done with it."""
    text: str = ""
    """What was sent, joined."""
    audio: bytes = b""
    error: str = ""
    """The code of what was raised."""
    heard: anyio.Event = field(default_factory=anyio.Event)
    """Its audio was read to the end."""
    cancelled: bool = False
    """The client cancelled it, or left it as it was."""

    @property
    def ended(self) -> Ended | None:
        return self.context.ended if self.context is not None else None

    @property
    def wire_id(self) -> str:
        assert self.context is not None
        return self.context._holding.inner.wire_id


async def play_context(session: Session, life: Life) -> None:
    plan = life.plan
    await anyio.sleep(plan.begins)
    life.begun = anyio.current_time()
    try:
        async with session.context(
            "c",
            voice=life.voice,
            settings={"speed": plan.speed},
            chunk_length_schedule=plan.schedule,
            keepalive=plan.keepalive,
        ) as context:
            life.context = context
            async with owned_tasks() as tasks:
                await play_steps(context, life, tasks)
            life.cancelled |= context.ended is None
    except MuxError as error:
        life.error = life.error or error.code
    finally:
        life.over = anyio.current_time()


async def play_steps(context: Context, life: Life, tasks: anyio.abc.TaskGroup) -> None:
    plan = life.plan
    if not plan.reads_late:
        tasks.start_soon(listen, context, life)
    for step, value in plan.steps:
        if step == "send":
            await context.send(value)
            life.text += value
        elif step == "flush":
            await context.flush()
        elif step == "keep_alive":
            await context.keep_alive()
        elif step == "turns":
            for _ in range(value):
                await anyio.lowlevel.checkpoint()
        else:
            await anyio.sleep(value)
    if plan.ending in ("close", "close_and_cancel"):
        await context.close()
        await context.close()  # harmless
    if plan.ending in ("cancel", "close_and_cancel"):
        await anyio.sleep(plan.patience)
        life.cancelled = True
        heard = len(life.audio)
        ended = await context.cancel()
        assert ended is context.ended
        assert len(life.audio) == heard, "audio came out after a cancel"
    if plan.ending == "wait":
        with anyio.move_on_after(2 * QUIET):
            await context.wait_ended()
    if plan.ending == "close":
        await (listen(context, life) if plan.reads_late else life.heard.wait())


async def listen(context: Context, life: Life) -> None:
    try:
        async for chunk in context:
            life.audio += chunk.audio
    except MuxError as error:
        life.error = error.code
    life.heard.set()


@dataclass
class Connection:
    """What one socket's client saw."""

    plan: SocketPlan
    wire: Wire
    lives: list[Life]
    struck: bool = False
    """Its fate was not to be closed."""


class World:
    """A run of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.engine = UnreliableEngine(plan)
        self.connections: list[Connection] = []
        self.sockets: set[ServerSocket] = set()
        self.log: list[Any] = []
        self.last_words: bytes | None = None
        """What a new socket hears when all others are gone."""

    def run(self) -> None:
        trio._core._run._r.seed(self.plan.order)
        with logged(self.log):
            trio.run(self.main, clock=trio.testing.MockClock(autojump_threshold=0))

    async def main(self) -> None:
        async with memory_server(self.engine, Settings(engine="tone", max_sockets=10)) as server:
            await anyio.sleep(0.1)
            idle = trio.lowlevel.current_statistics().tasks_living
            async with anyio.create_task_group() as tasks:
                for number, socket in enumerate(self.plan.sockets):
                    tasks.start_soon(self.play_socket, server, number, socket)
                tasks.start_soon(self.play_service, server.service)
            with anyio.fail_after(SETTLED):
                while server.service.sockets or self.engine.speaking:  # noqa: ASYNC110 - nobody tells
                    await anyio.sleep(0.5)
            assert server.service.contexts == 0
            lanes = server.service._dispatcher._lanes.values()
            assert not any(lane.scheduler.waiting for lane in lanes)
            assert not any(socket._speaking for socket in self.sockets)
            assert trio.lowlevel.current_statistics().tasks_living == idle
            if self.plan.service[0] == "stays":
                self.engine.failing = frozenset()
                self.last_words = await heard_of(server, ALONE)

    async def play_socket(self, server: MemoryServer, number: int, plan: SocketPlan) -> None:
        await anyio.sleep(plan.begins)
        wire = Wire(
            server.open(
                output_format=plan.output_format,
                auto_mode=str(plan.auto_mode),
                inactivity_timeout=str(QUIET),
                sync_alignment="true",
            ),
            plan.pace,
        )
        lives = [Life(context, f"voice {number}.{index}") for index, context in enumerate(plan.contexts)]
        connection = Connection(plan, wire, lives)
        self.connections.append(connection)
        with anyio.CancelScope() as client:
            async with owned_tasks() as striking:
                striking.start_soon(self.strike, connection, client, server.service)
                async with (
                    session_over(
                        wire,
                        settings=ContextSettings(inactivity_timeout=QUIET),
                        buffer_bytes=plan.buffer_bytes,
                    ) as session,
                    anyio.create_task_group() as players,
                ):
                    for life in lives:
                        players.start_soon(play_context, session, life)
        with anyio.CancelScope(shield=True):
            await wire.aclose()

    async def strike(self, connection: Connection, client: anyio.CancelScope, service: Service) -> None:
        await anyio.sleep(connection.plan.at)
        self.sockets |= service._sockets
        if connection.plan.fate != "close":
            connection.struck = True
            {"cut": connection.wire.cut, "hang": connection.wire.hang, "cancel": client.cancel}[
                connection.plan.fate
            ]()

    async def play_service(self, service: Service) -> None:
        fate, at = self.plan.service
        await anyio.sleep(at)
        if fate != "stays":
            service.start_draining()
        if fate == "closes":
            with anyio.fail_after(SETTLED):
                await service.close_all()


@contextmanager
def logged(records: list[Any]) -> Iterator[None]:
    """Keep what is logged, away from everybody else."""
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("mux")
    before = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


# --- the same text, alone ----------------------------------------------------------------------------

Score = tuple[tuple[tuple[str, Any], ...], str, float, tuple[int, ...] | None, bool, str]
"""Steps, voice, speed, schedule, auto mode, format: all that may make a difference."""

ALONE: Score = ((("send", "Still here. "),), "somebody else", 1.0, None, False, "pcm_8000")


async def heard_of(server: MemoryServer, score: Score) -> bytes:
    steps, voice, speed, schedule, auto_mode, output_format = score
    audio = b""
    async with (
        server.connect(output_format=output_format, auto_mode=str(auto_mode)) as session,
        session.context(voice=voice, settings={"speed": speed}, chunk_length_schedule=schedule) as context,
    ):
        for step, value in steps:
            await (context.send(value) if step == "send" else context.flush())
        await context.close()
        async for chunk in context:
            audio += chunk.audio
    return audio


@cache
def alone(score: Score) -> bytes:
    """What the service says when it has nothing else to do."""

    async def main() -> bytes:
        async with memory_server(ToneEngine(RATE)) as server:
            return await heard_of(server, score)

    audio = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return audio


# --- what must be true -------------------------------------------------------------------------------


def check(world: World) -> None:
    events = Counter(record.msg for record in world.log)
    assert not events["socket_failed"], "a bug in the service"
    assert events["socket_opened"] == events["socket_closed"]
    if world.plan.service[0] == "stays":
        assert world.last_words == alone(ALONE)
    ends = Counter((r.session, r.context) for r in world.log if r.msg == "context_closed")
    assert all(number == 1 for number in ends.values()), "the service ended a context twice"
    for connection in world.connections:
        for life in connection.lives:
            check_life(life, connection, world)


def check_life(life: Life, connection: Connection, world: World) -> None:
    disturbed = connection.struck or world.plan.service[0] != "stays"
    if life.context is None:
        assert disturbed, "a context could not be opened"
        return
    ended = life.ended
    assert ended is not None, "a context never ended"
    assert is_right(ended, life, connection, world), f"a wrong reason: {ended}"
    frames = connection.wire.of(life.wire_id)
    finals = [index for index, frame in enumerate(frames) if frame.get("isFinal")]
    if finals or not (connection.struck or ended.reason is Reason.SOCKET_CLOSED):
        assert finals == [len(frames) - 1], "one end, and nothing after it"
        told = frames[-1]["mux"]["reason"]
        cut_off_here = ended.problem is not None and ended.problem.code == "slow_consumer"
        assert told == ended.reason.value or connection.struck or cut_off_here
        errors = [frame for frame in frames if "error" in frame]
        assert len(errors) == (told in ("failed", "timed_out", "socket_closed"))
    sent = b"".join(base64.b64decode(frame["audio"]) for frame in frames if frame.get("audio"))
    assert sent.startswith(life.audio)
    if ended.usage is not None:
        gave_up = ended.problem is not None and ended.problem.code in ("slow_consumer", "timed_out")
        check_usage(ended, life, connection.plan, len(sent), told=bool(finals) and not gave_up)
    heard_out = life.heard.is_set() and not life.cancelled and not life.error
    if ended.reason is Reason.COMPLETED and heard_out:
        assert life.audio == sent
        check_speech(life, connection.plan)
        check_alignment(life, connection.plan, frames)


def is_right(ended: Ended, life: Life, connection: Connection, world: World) -> bool:
    """Whether a context may have ended like this."""
    lasted = life.over - life.begun
    service = world.plan.service[0]
    match ended.reason:
        case Reason.COMPLETED:
            closed = life.plan.ending in ("close", "close_and_cancel")
            return closed and life.voice not in world.engine.failed and ended.problem is None
        case Reason.CANCELLED:
            return life.cancelled and (ended.problem is None or connection.struck)
        case Reason.TIMED_OUT:
            assert ended.problem is not None
            quiet = not life.plan.keepalive and lasted >= QUIET
            return quiet and ended.problem.code == "input_timeout"
        case Reason.SOCKET_CLOSED:
            return connection.struck or service != "stays"
    assert ended.problem is not None
    match ended.problem.code:
        case "engine_failed" | "empty_synthesis":
            return life.voice in world.engine.failed
        case "slow_consumer":
            return life.plan.reads_late and connection.plan.buffer_bytes < 100_000
        case "busy":
            return lasted >= 30
        case "draining":
            return service != "stays"
        case "timed_out":
            return connection.struck and connection.plan.fate == "hang"
    return False


def check_usage(ended: Ended, life: Life, plan: SocketPlan, received: int, *, told: bool) -> None:
    """`told` says that the service said it; else it is the client's own count, without what was dropped."""
    usage = ended.usage
    assert usage is not None
    assert usage.audio_generated_ms == usage.audio_sent_ms + usage.audio_dropped_ms
    assert usage.characters_sent <= usage.characters_synthesised <= usage.characters_accepted
    if not plan.output_format.startswith("mp3"):
        sent = usage.audio_sent_ms * bytes_per_ms(plan.output_format)
        assert sent == pytest.approx(received) or (not told and sent < received)
    if ended.reason is Reason.COMPLETED and told:
        assert usage.audio_dropped_ms == 0
        assert usage.characters_accepted == len(life.text.lstrip()) - unsaid(life.plan, plan.auto_mode)
        assert usage.characters_sent == usage.characters_synthesised
        blank = len(life.text) - len(life.text.rstrip())
        assert usage.characters_accepted - usage.characters_sent <= blank
        character_ms = round(0.05 * RATE / life.plan.speed) * 1000 / RATE
        assert usage.audio_sent_ms == pytest.approx(usage.characters_sent * character_ms)


def unsaid(plan: ContextPlan, auto_mode: bool) -> int:
    """White space that is dropped after the first word: in auto mode, messages of nothing else."""
    texts = [value for step, value in plan.steps if step == "send"]
    after_first = itertools.dropwhile(str.isspace, texts)
    return sum(len(text) for text in after_first if text.isspace()) if auto_mode else 0


def check_speech(life: Life, plan: SocketPlan) -> None:
    if plan.output_format.startswith("mp3"):  # how it was cut decides where the encoder starts afresh
        assert bool(life.audio) == bool(life.text.strip())
        return
    steps = tuple(step for step in life.plan.steps if step[0] in ("send", "flush"))
    score = (steps, life.voice, life.plan.speed, life.plan.schedule, plan.auto_mode, plan.output_format)
    assert life.audio == alone(score)


def check_alignment(life: Life, plan: SocketPlan, frames: list[dict[str, Any]]) -> None:
    slices = [frame["alignment"] for frame in frames if frame.get("alignment")]
    text = "".join(char for piece in slices for char in piece["chars"])
    assert re.sub(r"\s", "", text) == re.sub(r"\s", "", life.text)
    starts = [start for piece in slices for start in piece["charStartTimesMs"]]
    assert starts == sorted(starts)
    if slices and not plan.output_format.startswith("mp3"):
        end = starts[-1] + slices[-1]["charDurationsMs"][-1]
        assert end == pytest.approx(len(life.audio) / bytes_per_ms(plan.output_format), abs=1)


def bytes_per_ms(output_format: str) -> int:
    return RATE // 1000 * (2 if output_format.startswith("pcm") else 1)


@given(plans)
def test_every_context_ends_once_and_rightly_and_nothing_is_left(plan: Plan) -> None:
    world = World(plan)
    world.run()
    check(world)


@given(plans)
@settings(max_examples=settings().max_examples // 5)
def test_the_same_plan_gives_the_same_run(plan: Plan) -> None:
    first, again = transcript(plan), transcript(plan)
    difference = next((pair for pair in zip(first, again, strict=False) if pair[0] != pair[1]), None)
    assert difference is None
    assert len(first) == len(again)


def transcript(plan: Plan) -> list[str]:
    """Every frame and when it came, socket by socket; session ids are drawn afresh each time."""
    world = World(plan)
    world.run()
    frames = [json.dumps(frame) for connection in world.connections for frame in connection.wire.frames]
    return [re.sub(r'"session_id": "\w+"', "", frame) for frame in frames]
