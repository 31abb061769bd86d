from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mux.engines.base import Chunk, Job
from mux.engines.scheduler import Scheduler, Ticket
from mux.errors import MuxError, Problem
from mux.tasks import owned_tasks

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


class Voice:
    """A synthesizer that takes a second for each letter and notes what happens to it."""

    def __init__(self) -> None:
        self.spoke: list[str] = []
        self.stopped: list[str] = []
        self.busy = False

    @asynccontextmanager
    async def speak(self, job: Job) -> AsyncGenerator[AsyncIterator[Chunk], None]:
        assert not self.busy, "one job at a time"
        self.busy = True
        self.spoke.append(job.text)
        try:
            async with aclosing(self._chunks(job.text)) as chunks:
                yield chunks
        except BaseException:
            self.stopped.append(job.text)
            raise
        finally:
            self.busy = False

    async def _chunks(self, text: str) -> AsyncGenerator[Chunk, None]:
        for letter in text:
            if letter == "!":
                raise RuntimeError("a bug")
            if letter == "?":
                raise MuxError.of("engine_failed", "The engine broke.")
            await anyio.sleep(1)
            yield Chunk(letter.encode())


class Desk:
    """Somebody who hands in jobs and notes what comes back."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.got: dict[str, list[Any]] = {}
        self.ends: list[str] = []
        self.times: dict[str, float] = {}
        self._ended = anyio.Event()

    def submit(self, text: str, due: float = 0.0) -> Ticket:
        self.got[text] = []

        def deliver(outcome: Any) -> None:
            assert text not in self.ends, "the end is the end"
            if isinstance(outcome, Chunk):
                self.got[text].append(outcome.pcm.decode())
            else:
                self.got[text].append(outcome)
                self.ends.append(text)
                self.times[text] = anyio.current_time()
                self._ended.set()

        return self.scheduler.submit(Job(text), lambda: due, deliver)

    async def all_ended(self) -> None:
        with anyio.fail_after(1000):
            while len(self.ends) < len(self.got):
                self._ended = anyio.Event()
                await self._ended.wait()


@asynccontextmanager
async def running(workers: int = 1, longest_wait: float = 30.0) -> AsyncIterator[tuple[Desk, list[Voice]]]:
    voices = [Voice() for _ in range(workers)]
    scheduler = Scheduler(voices, longest_wait)
    async with owned_tasks() as tasks:
        tasks.start_soon(scheduler.run)
        await anyio.lowlevel.checkpoint()
        yield Desk(scheduler), voices


async def test_chunks_come_in_order_and_then_one_end() -> None:
    async with running() as (desk, _):
        desk.submit("abc")
        await desk.all_ended()
        assert desk.got == {"abc": ["a", "b", "c", None]}


async def test_a_job_is_not_begun_in_the_call_that_hands_it_in() -> None:
    async with running() as (desk, (voice,)):
        desk.submit("a")
        assert (voice.spoke, desk.got["a"]) == ([], [])


async def test_who_runs_dry_first_is_served_first() -> None:
    async with running() as (desk, (voice,)):
        desk.submit("now")
        await anyio.sleep(1)
        for text, due in (("c", 30.0), ("a", 10.0), ("b", 20.0), ("never", math.inf)):
            desk.submit(text, due)
        await desk.all_ended()
        assert voice.spoke == ["now", "a", "b", "c", "never"]


async def test_the_due_time_is_asked_again_at_every_choice() -> None:
    async with running() as (desk, (voice,)):
        dues = {"x": 1.0, "y": 2.0}
        desk.submit("wait")
        await anyio.sleep(0.5)
        for text in dues:
            desk.scheduler.submit(Job(text), lambda text=text: dues[text], lambda outcome: None)  # type: ignore[misc]
        dues["x"] = 3.0
        await anyio.sleep(10)
        assert voice.spoke == ["wait", "y", "x"]


async def test_equals_are_served_in_the_order_they_came() -> None:
    async with running() as (desk, (voice,)):
        for text in "abcd":
            desk.submit(text)
        await desk.all_ended()
        assert voice.spoke == list("abcd")


async def test_workers_speak_at_the_same_time() -> None:
    async with running(workers=3) as (desk, voices):
        begun = anyio.current_time()
        for text in ("aa", "bb", "cc"):
            desk.submit(text)
        await desk.all_ended()
        assert {end - begun for end in desk.times.values()} == {2.0}
        assert all(len(voice.spoke) == 1 for voice in voices)


async def test_a_job_that_waits_is_stopped_at_once() -> None:
    async with running() as (desk, (voice,)):
        desk.submit("long")
        await anyio.sleep(0.5)
        ticket = desk.submit("never")
        assert desk.scheduler.waiting == 1
        desk.scheduler.stop(ticket)
        assert desk.got["never"] == [None]
        assert desk.scheduler.waiting == 0
        desk.scheduler.stop(ticket)
        await desk.all_ended()
        assert voice.spoke == ["long"]


async def test_a_job_that_speaks_is_stopped_within_a_chunk_and_the_next_one_begins() -> None:
    async with running() as (desk, (voice,)):
        begun = anyio.current_time()
        ticket = desk.submit("long")
        desk.submit("x")
        await anyio.sleep(1.5)
        desk.scheduler.stop(ticket)
        desk.scheduler.stop(ticket)
        await desk.all_ended()
        assert desk.got == {"long": ["l", None], "x": ["x", None]}
        assert desk.times["long"] - begun == 1.5
        assert voice.stopped == ["long"]


async def test_stopping_what_has_ended_does_nothing() -> None:
    async with running() as (desk, _):
        ticket = desk.submit("a")
        await desk.all_ended()
        desk.scheduler.stop(ticket)
        desk.submit("b")
        await desk.all_ended()
        assert desk.got == {"a": ["a", None], "b": ["b", None]}


@pytest.mark.parametrize(
    ("text", "code"), [("a?", "engine_failed"), ("a!", "engine_failed"), ("?", "engine_failed")]
)
async def test_an_engine_that_fails_costs_only_its_job(text: str, code: str) -> None:
    async with running() as (desk, _):
        desk.submit(text)
        desk.submit("ok")
        await desk.all_ended()
        assert desk.got["ok"] == ["o", "k", None]
        *chunks, problem = desk.got[text]
        assert chunks == list(text[:-1])
        assert isinstance(problem, Problem)
        assert problem.code == code


async def test_a_receiver_that_fails_costs_only_its_own_job() -> None:
    async with running() as (desk, (voice,)):
        ends: list[Any] = []

        def deliver(outcome: Any) -> None:
            if isinstance(outcome, Chunk):
                raise ValueError("cannot be filed")
            ends.append(outcome)

        desk.scheduler.submit(Job("bad"), lambda: 0.0, deliver)
        desk.submit("ok")
        await desk.all_ended()
        assert [problem.code for problem in ends] == ["engine_failed"]
        assert voice.stopped == ["bad"]


async def test_what_waits_too_long_is_busy_and_names_the_limit() -> None:
    async with running(longest_wait=5) as (desk, _):
        begun = anyio.current_time()
        desk.submit("0123456789")
        await anyio.sleep(1)
        desk.submit("late")
        await anyio.sleep(1)
        desk.submit("later")
        await desk.all_ended()
        assert desk.got["0123456789"][-1] is None
        for text, after, position in (("late", 6, 1), ("later", 7, 1)):
            (problem,) = desk.got[text]
            assert (problem.code, problem.limit, problem.retryable) == ("busy", 1, True)
            assert problem.observed == position
            assert problem.retry_after_ms is not None
            assert desk.times[text] - begun == after
        assert desk.scheduler.waiting == 0


async def test_what_was_begun_in_time_may_take_its_time() -> None:
    async with running(longest_wait=5) as (desk, _):
        desk.submit("0123456789")
        await desk.all_ended()
        assert desk.got["0123456789"][-1] is None


async def test_the_deadline_of_one_job_does_not_hide_anothers() -> None:
    async with running(longest_wait=5) as (desk, _):
        begun = anyio.current_time()
        first = desk.submit("long" * 5)
        await anyio.sleep(0.5)
        stopped = desk.submit("stopped")
        await anyio.sleep(1.5)
        desk.submit("late")
        desk.scheduler.stop(stopped)
        await anyio.sleep(10)
        assert desk.times["late"] - begun == 7
        desk.scheduler.stop(first)


async def test_cancelling_the_scheduler_stops_its_synthesizers() -> None:
    async with running(workers=2) as (desk, voices):
        desk.submit("long")
        desk.submit("also long")
        await anyio.sleep(1.5)
    assert sorted(text for voice in voices for text in voice.stopped) == ["also long", "long"]
    assert not any(voice.busy for voice in voices)


async def test_a_bug_in_who_takes_an_end_costs_nobody_else_the_scheduler() -> None:
    async with running() as (desk, _):

        def deliver(outcome: Any) -> None:
            if not isinstance(outcome, Chunk):
                raise ValueError("cannot be filed")

        desk.scheduler.submit(Job("bad"), lambda: 0.0, deliver)
        desk.submit("ok")
        await desk.all_ended()
        assert desk.got["ok"] == ["o", "k", None]


async def test_what_was_not_begun_names_its_place_in_the_queue_and_when_to_come_back() -> None:
    async with running(longest_wait=5) as (desk, _):
        desk.submit("0" * 20)
        await anyio.sleep(0.5)
        for place, text in enumerate(("third", "second", "first")):
            desk.submit(text, due=-place)
        await anyio.sleep(10)
        told = {text: desk.got[text][0] for text in ("first", "second", "third")}
        assert [problem.observed for problem in told.values()] == [1, 2, 3]
        assert "number 3 of the 3 that wait" in told["third"].message
        waits = [problem.retry_after_ms for problem in told.values()]
        assert waits == sorted(waits)
        assert 1000 <= waits[0] <= waits[-1] <= 60_000


async def test_the_end_of_one_may_stop_others_that_are_due_at_the_same_time() -> None:
    async with running(longest_wait=5) as (desk, _):
        desk.submit("0123456789")
        await anyio.sleep(1)
        tickets: list[Ticket] = []
        ends: list[Any] = []

        def deliver(outcome: Any) -> None:
            ends.append(outcome)
            for ticket in tickets:
                desk.scheduler.stop(ticket)

        tickets += [desk.scheduler.submit(Job(text), lambda: 0.0, deliver) for text in "ab"]
        await anyio.sleep(10)
        assert [end and end.code for end in ends] == ["busy", None]
        desk.submit("later")
        await desk.all_ended()
        assert desk.got["later"][-1] is None
