from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mux.engines.base import Chunk, Job, Synthesizer, Voice
from mux.engines.dispatch import Dispatcher, Speaking
from mux.engines.gateway import Choice, Gateway, Route
from mux.engines.tone import ToneEngine
from mux.errors import MuxError, Problem
from mux.protocol.messages import Report, SegmentEnded, Speak, Spoken
from mux.protocol.voice import VoiceSettings

pytestmark = pytest.mark.anyio


class Singer(ToneEngine):
    """A tone engine that notes its jobs, and fails with `problem` after `fails_after` chunks. It knows no
    voice "nobody" and no Klingon."""

    def __init__(
        self,
        name: str,
        problem: str | None = None,
        *,
        fails_after: int = 0,
        sample_rate: int = 8000,
        reads_itself: bool = False,
        broken: str | None = None,
        delay: float = 0.0,
    ) -> None:
        super().__init__(sample_rate, 0.01, delay)
        self.name = name
        self.reads_itself = reads_itself
        self.jobs: list[Job] = []
        self.workers = 0
        self.running = False
        self._problem = problem
        self._fails_after = fails_after
        self._broken = broken

    def voices(self) -> Sequence[Voice]:
        return [Voice(id=f"{self.name}-1", name=f"{self.name} one", language="de", gender="female")]

    def check(self, voice: str | None, language: str | None) -> str | None:
        if voice == "nobody":
            return f"{self.name} has no voice 'nobody'."
        return f"{self.name} speaks no Klingon." if language == "tlh" else None

    @asynccontextmanager
    async def start(self, workers: int) -> AsyncGenerator[Sequence[Synthesizer], None]:
        if self._broken:
            raise MuxError.of(self._broken, f"{self.name} does not start.")
        self.workers, self.running = workers, True
        try:
            async with super().start(workers) as synthesizers:
                yield [_Singing(self, synthesizer) for synthesizer in synthesizers]
        finally:
            self.running = False


class _Singing:
    def __init__(self, engine: Singer, synthesizer: Synthesizer) -> None:
        self._engine = engine
        self._synthesizer = synthesizer

    @asynccontextmanager
    async def speak(self, job: Job) -> AsyncGenerator[AsyncIterator[Chunk], None]:
        self._engine.jobs.append(job)
        async with self._synthesizer.speak(job) as chunks, aclosing(self._chunks(chunks)) as checked:
            yield checked

    async def _chunks(self, chunks: AsyncIterator[Chunk]) -> AsyncGenerator[Chunk, None]:
        number = 0
        problem, after = self._engine._problem, self._engine._fails_after
        async for chunk in chunks:
            if problem and number == after:
                if problem == "a bug":
                    raise RuntimeError(problem)
                raise MuxError.of(problem, f"{self._engine.name} failed.", retry_after_ms=7)
            number += 1
            yield chunk


class Listener:
    """Has segments spoken, and notes what comes back."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.reports: list[Spoken] = []
        self.end: SegmentEnded | None = None
        self._dispatcher = dispatcher
        self._ended = anyio.Event()

    def ask(self, text: str = "Hello there.", voice: str | None = "anna", **more: Any) -> Speaking:
        effect = Speak(7, 3, text, voice, more.pop("language", None), VoiceSettings(), **more)
        return self._dispatcher.submit(effect, lambda: 0.0, self._take)

    async def until_end(self) -> Problem | None:
        with anyio.fail_after(100):
            await self._ended.wait()
        assert self.end is not None
        return self.end.problem

    async def hear(
        self, text: str = "Hello there.", voice: str | None = "anna", **more: Any
    ) -> Problem | None:
        self.ask(text, voice, **more)
        return await self.until_end()

    @property
    def pcm(self) -> bytes:
        return b"".join(report.pcm for report in self.reports)

    def _take(self, report: Report) -> None:
        assert self.end is None, "the end is the end"
        assert (report.serial, report.segment) == (7, 3)
        if isinstance(report, Spoken):
            self.reports.append(report)
        else:
            self.end = report
            self._ended.set()


def anna(*choices: str | Choice) -> Route:
    return Route(
        id="anna", choices=tuple(one if isinstance(one, Choice) else Choice(one, "v") for one in choices)
    )


@asynccontextmanager
async def started(*engines: Singer, routes: Sequence[Route] = (), **more: Any) -> AsyncIterator[Listener]:
    """The first engine is the default; without routes, anna is spoken for by all, in order."""
    gateway = Gateway(
        {engine.name: engine for engine in engines},
        engines[0].name,
        routes or [anna(*(engine.name for engine in engines))],
        **more,
    )
    async with gateway.start(2) as dispatcher:
        yield Listener(dispatcher)


# --- who speaks -------------------------------------------------------------------------------------


ROUTES = [
    Route(id="kugel-*-x", choices=(Choice("b", "first *"),)),
    Route(id="kugel-*", choices=(Choice("b", "*"),)),
    Route(id="kugel-7", choices=(Choice("c", "seven"),)),
    Route(id="plain", choices=(Choice("c"),)),
]


@pytest.mark.parametrize(
    ("voice", "choice"),
    [
        ("kugel-7", ("c", "seven")),
        ("kugel-12", ("b", "12")),
        ("kugel-a-x", ("b", "first a")),
        ("kugel-", ("b", None)),
        ("plain", ("c", None)),
        ("Kugel-7", ("a", "Kugel-7")),
        ("x-kugel-7", ("a", "x-kugel-7")),
        (None, ("a", None)),
    ],
)
def test_a_voice_goes_to_its_route_and_every_other_one_to_the_default_engine(
    voice: str | None, choice: tuple[str, str | None]
) -> None:
    gateway = Gateway({name: Singer(name) for name in "abc"}, "a", ROUTES)
    assert gateway.plan(voice, None) == [choice] or gateway.plan(voice, None) == (choice,)


@pytest.mark.parametrize(("voice", "there"), [("x", "x"), (None, None)])
def test_a_star_alone_is_everybody(voice: str | None, there: str | None) -> None:
    route = Route(id="*", choices=(Choice("a", "*"), Choice("b")))
    gateway = Gateway({name: Singer(name) for name in "ab"}, "a", [route])
    assert gateway.plan(voice, None) == [("a", there), ("b", None)]


def test_who_cannot_speak_by_its_own_word_is_not_asked() -> None:
    engines = {"a": Singer("a"), "b": ToneEngine()}
    gateway = Gateway(engines, "a", [anna("a", "b"), Route(id="no", choices=(Choice("a", "nobody"),))])
    assert gateway.plan("anna", "tlh") == [("b", "v")]
    assert gateway.check("anna", "tlh") is None
    assert gateway.language("anna", "tlh") == "tlh"
    assert gateway.check("no", None) == "a has no voice 'nobody'."
    assert gateway.check("x", "tlh") == "a speaks no Klingon."
    assert gateway.plan("no", None) == [("a", "nobody")]


def test_the_list_has_the_routes_then_the_voices_of_the_default_engine() -> None:
    routes = [
        anna(Choice("b", "b-1")),
        Route(id="carl", choices=(Choice("b", "x"),), name="Carl", language="fr"),
        Route(id="b-*", choices=(Choice("b", "*"),)),
        Route(id="c-1", choices=(Choice("b", "b-1"),)),
    ]
    gateway = Gateway({"a": Singer("a"), "b": Singer("b"), "c": Singer("c")}, "a", routes)
    listed = {voice.id: (voice.name, voice.language, voice.gender) for voice in gateway.voices()}
    assert listed == {
        "anna": ("b one", "de", "female"),
        "carl": ("Carl", "fr", None),
        "c-1": ("b one", "de", "female"),
        "a-1": ("a one", "de", "female"),
    }


# --- starting ---------------------------------------------------------------------------------------


async def test_engines_start_and_stop_together_with_workers_of_their_own() -> None:
    one, two = Singer("one"), Singer("two")
    async with started(one, two, workers={"two": 5}):
        assert (one.workers, two.workers) == (2, 5)
    assert not one.running
    assert not two.running


async def test_what_can_be_done_without_is_done_without(caplog: pytest.LogCaptureFixture) -> None:
    one, two = Singer("one"), Singer("two", broken="missing_dependency")
    async with started(one, two, routes=[anna("two", "one")]) as listener:
        assert await listener.hear() is None
    assert [job.voice for job in one.jobs] == ["v"]
    (told,) = [vars(record) for record in caplog.records]
    assert (told["msg"], told["engine"], told["code"]) == ("engine_unavailable", "two", "missing_dependency")


@pytest.mark.parametrize("routes", [[anna("two")], [Route(id="*", choices=(Choice("two"),))]])
async def test_without_the_only_engine_of_a_voice_nothing_starts(routes: Sequence[Route]) -> None:
    one = Singer("one")
    with pytest.raises(MuxError, match="two does not start"):
        async with started(one, Singer("two", broken="engine_failed"), routes=routes):
            pytest.fail("it started")
    assert not one.running


async def test_without_the_default_engine_nothing_starts() -> None:
    with pytest.raises(MuxError, match="one does not start"):
        async with started(Singer("one", broken="engine_failed"), Singer("two")):
            pytest.fail("it started")


# --- falling back -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "problem",
    [
        "busy",
        "engine_failed",
        "engine_stalled",
        "upstream_error",
        "empty_synthesis",
        "segment_too_long",
        "a bug",
    ],
)
async def test_who_fails_before_the_first_audio_is_replaced(
    problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = Singer("one", problem), Singer("two")
    async with started(one, two) as listener:
        assert await listener.hear("Secret words.") is None
    assert [job.text for job in (*one.jobs, *two.jobs)] == ["Secret words."] * 2
    assert sum(len(report.starts) for report in listener.reports) == len("Secret words.")
    (told,) = [vars(record) for record in caplog.records if record.getMessage() == "fallback"]
    assert (told["engine"], told["next"]) == ("one", "two")
    assert told["code"] == ("engine_failed" if problem == "a bug" else problem)
    assert "Secret" not in str([vars(record) for record in caplog.records])


async def test_nobody_takes_over_what_was_already_heard() -> None:
    one, two = Singer("one", "engine_failed", fails_after=1), Singer("two")
    async with started(one, two) as listener:
        problem = await listener.hear("Hello there, everybody.")
    assert problem is not None
    assert problem.code == "engine_failed"
    assert listener.pcm
    assert not two.jobs


async def test_if_all_fail_the_preferred_ones_problem_is_told() -> None:
    engines = [Singer("one", "busy"), Singer("two", "engine_failed"), Singer("three", "upstream_error")]
    async with started(*engines) as listener:
        problem = await listener.hear()
    assert problem is not None
    assert (problem.code, problem.message, problem.retry_after_ms) == ("busy", "one failed.", 7)
    assert [len(engine.jobs) for engine in engines] == [1, 1, 1]
    assert not listener.reports


@pytest.mark.virtual_time
@pytest.mark.parametrize("after", [0.0, 0.5, 1.5, 2.5])
async def test_what_is_stopped_ends_once_and_goes_nowhere_else(after: float) -> None:
    """While it waits, while the first engine speaks, and while the second one does."""
    one = Singer("one", "engine_failed", delay=1.0)
    two, three = Singer("two", "engine_failed", delay=1.0), Singer("three", delay=1.0)
    async with started(one, two, three) as listener:
        speaking = listener.ask()
        await anyio.sleep(after)
        asked = [len(engine.jobs) for engine in (one, two, three)]
        speaking.stop()
        speaking.stop()
        assert await listener.until_end() is None
        await anyio.sleep(10)
        assert [len(engine.jobs) for engine in (one, two, three)] == asked
    assert not listener.reports


async def test_nothing_keeps_what_has_ended() -> None:
    async with started(Singer("one")) as listener:
        gone = weakref.ref(listener.ask())
        gc.disable()
        try:
            await listener.until_end()
            await anyio.lowlevel.checkpoint()
            assert gone() is None
        finally:
            gc.enable()


@pytest.mark.virtual_time
async def test_who_is_too_busy_is_replaced_after_the_wait() -> None:
    one, two = Singer("one", delay=100.0), Singer("two")
    gateway = Gateway({"one": one, "two": two}, "one", [anna("one", "two")])
    async with gateway.start(1, longest_wait=5.0) as dispatcher:
        Listener(dispatcher).ask(voice="x")
        await anyio.sleep(1)
        waiting = Listener(dispatcher)
        began = anyio.current_time()
        assert await waiting.hear() is None
        assert anyio.current_time() - began == pytest.approx(5, abs=0.1)
        assert len(two.jobs) == 1


# --- reading ----------------------------------------------------------------------------------------


async def test_each_engine_gets_the_text_in_the_way_that_it_wants() -> None:
    far, near = Singer("far", "upstream_error", reads_itself=True), Singer("near")
    text = "Pay <b>$5</b>."
    async with started(far, near) as listener:
        assert await listener.hear(text, language="en", ssml=True) is None
    assert [job.text for job in far.jobs] == [text]
    (job,) = near.jobs
    assert job.text.split() == ["Pay", "five", "dollars."] or job.text.split() == ["Pay", "5", "dollars."]
    assert sum(len(report.starts) for report in listener.reports) == len(text)
    assert "".join(report.spelled.text for report in listener.reports if report.spelled) == job.text


async def test_what_reads_itself_has_nothing_spelled_out() -> None:
    far = Singer("far", reads_itself=True)
    async with started(far) as listener:
        assert await listener.hear("Pay $5.") is None
    assert all(report.spelled is None for report in listener.reports)
    assert sum(len(report.starts) for report in listener.reports) == len("Pay $5.")


# --- rates ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 48000])
async def test_all_engines_sound_at_the_rate_of_the_default_one(rate: int) -> None:
    text = "One two three four five six seven eight nine ten."
    one, two = Singer("one", sample_rate=22050), Singer("two", sample_rate=rate)
    async with started(one, two, routes=[anna("two")]) as listener:
        assert await listener.hear(text) is None
    assert {report.sample_rate for report in listener.reports} == {22050}
    length = round(0.01 * rate)
    assert len(listener.pcm) // 2 == pytest.approx(len(text) * length * 22050 / rate, abs=1)
    at, starts = 0, []
    for report in listener.reports:
        starts += [at + start for start in report.starts]
        at += len(report.pcm) // 2
    wanted = [number * length * 22050 / rate for number in range(len(text))]
    assert starts == [pytest.approx(start, abs=1) for start in wanted]


async def test_what_was_said_before_a_failure_is_heard_to_its_end() -> None:
    two = Singer("two", "engine_failed", fails_after=3, sample_rate=16000)
    async with started(Singer("one"), two, routes=[anna("two")]) as listener:
        problem = await listener.hear("A text of several chunks, of which three are heard.")
    assert problem is not None
    mapped = sum(len(report.starts) for report in listener.reports)
    assert len(listener.pcm) // 2 == mapped * 80
    assert mapped == 3 * 6
