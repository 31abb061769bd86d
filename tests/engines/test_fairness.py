"""Apps share an engine by weight."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import cycle

import anyio
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from mux.engines.base import Chunk, Job
from mux.engines.scheduler import Outcome, Scheduler
from mux.errors import MuxError
from mux.tasks import owned_tasks

Lengths = list[float]


class Slot:
    """Speaks each job for as many seconds as its text says, and fails at "0"."""

    def __init__(self, used: Counter[str | None]) -> None:
        self._used = used

    @asynccontextmanager
    async def speak(self, job: Job) -> AsyncGenerator[AsyncIterator[Chunk], None]:
        yield self._chunks(job)

    async def _chunks(self, job: Job) -> AsyncIterator[Chunk]:
        if job.text == "0":
            raise MuxError.of("engine_failed", "It failed at once.")
        began = anyio.current_time()
        try:
            await anyio.sleep(float(job.text))
            yield Chunk(b"")
        finally:
            self._used[job.voice] += anyio.current_time() - began  # type: ignore[assignment]


class App:
    """Somebody who always has `depth` jobs handed in, from `start` to `stop`."""

    def __init__(self, name: str | None, lengths: Lengths, depth: int = 8) -> None:
        self.name = name
        self.depth = depth
        self.longest_wait = 0.0
        self.busy = 0
        self._lengths: Iterator[float] = cycle(lengths)
        self._wanted = False

    def start(self, scheduler: Scheduler) -> None:
        self._wanted = True
        for _ in range(self.depth):
            self._submit(scheduler)

    def stop(self) -> None:
        self._wanted = False

    def _submit(self, scheduler: Scheduler) -> None:
        length = next(self._lengths)
        handed_in = anyio.current_time()

        def deliver(outcome: Outcome) -> None:
            if isinstance(outcome, Chunk):
                return
            if outcome is not None and outcome.code == "busy":
                self.busy += 1
            self.longest_wait = max(self.longest_wait, anyio.current_time() - handed_in - length)
            if self._wanted:
                self._submit(scheduler)

        # The text tells the slot how long it takes, the voice whose time that is.
        job = Job(f"{length:g}", voice=self.name)
        scheduler.submit(job, lambda: handed_in, deliver, self.name)


@asynccontextmanager
async def slots(
    number: int, weights: Mapping[str, float], longest_wait: float = math.inf
) -> AsyncIterator[tuple[Scheduler, Counter[str | None]]]:
    used: Counter[str | None] = Counter()
    scheduler = Scheduler([Slot(used) for _ in range(number)], longest_wait, weights)
    async with owned_tasks() as tasks:
        tasks.start_soon(scheduler.run)
        yield scheduler, used


def in_virtual_time(main: object) -> None:
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))  # type: ignore[arg-type]


lengths = st.lists(st.sampled_from([0.2, 0.5, 1.0, 2.0, 4.0]), min_size=1, max_size=4)


@settings(max_examples=8, deadline=None)
@given(
    number=st.integers(1, 6),
    weights=st.tuples(st.sampled_from([1.0, 2.0, 3.0]), st.sampled_from([1.0, 2.0, 3.0])),
    one=lengths,
    two=lengths,
)
def test_busy_apps_get_time_in_the_ratio_of_their_weights(
    number: int, weights: tuple[float, float], one: Lengths, two: Lengths
) -> None:
    async def main() -> None:
        async with slots(number, {"one": weights[0], "two": weights[1]}) as (scheduler, used):
            for app in (App("one", one, depth=2 * number), App("two", two, depth=2 * number)):
                app.start(scheduler)
            await anyio.sleep(150)
            share = used["one"] / used.total()
            assert share == pytest.approx(weights[0] / sum(weights), abs=0.1)
            assert used.total() == pytest.approx(150 * number, rel=0.08)

    in_virtual_time(main)


@pytest.mark.parametrize("number", [1, 2, 3, 6])
def test_two_to_one(number: int) -> None:
    async def main() -> None:
        async with slots(number, {"two": 2.0}) as (scheduler, used):
            for name in ("one", "two"):
                App(name, [1.0], depth=2 * number).start(scheduler)
            await anyio.sleep(300.5)
            assert used["two"] / used["one"] == pytest.approx(2, rel=0.02)

    in_virtual_time(main)


def test_who_has_no_app_is_one_more_app_of_weight_one() -> None:
    async def main() -> None:
        async with slots(3, {"one": 2.0}) as (scheduler, used):
            App("one", [1.0]).start(scheduler)
            for _ in range(5):
                App(None, [1.0]).start(scheduler)
            await anyio.sleep(300.5)
            assert used["one"] / used[None] == pytest.approx(2, rel=0.02)

    in_virtual_time(main)


def test_what_one_app_does_not_want_the_other_gets_and_nothing_is_saved_up() -> None:
    async def main() -> None:
        async with slots(3, {"one": 2.0}) as (scheduler, used):
            one, two = App("one", [1.0]), App("two", [1.0])
            two.start(scheduler)
            await anyio.sleep(100.5)
            assert used["two"] == 300
            one.start(scheduler)
            used.clear()
            await anyio.sleep(30)
            # 100 idle seconds gave it no right to more than its share now.
            assert used["two"] == pytest.approx(30, abs=4)
            one.stop()
            await anyio.sleep(20)
            used.clear()
            await anyio.sleep(20)
            assert used["two"] == 60

    in_virtual_time(main)


@settings(max_examples=6, deadline=None)
@given(number=st.integers(1, 4), rivals=st.integers(1, 4), greedy=lengths)
def test_nobody_starves(number: int, rivals: int, greedy: Lengths) -> None:
    """However much others have handed in before, and however heavy they are."""

    async def main() -> None:
        weights = {f"rival {index}": 10.0 for index in range(rivals)}
        async with slots(number, weights) as (scheduler, used):
            for name in weights:
                App(name, greedy, depth=100).start(scheduler)
            await anyio.sleep(50)
            late = App("late", [0.5], depth=1)
            late.start(scheduler)
            await anyio.sleep(200)
            assert used["late"] > 0
            # One turn of its own for ten of each rival's, at the most 4 s long each.
            assert late.longest_wait <= 4 * (10 * rivals + number)

    in_virtual_time(main)


def test_jobs_that_fail_at_once_take_no_share_for_nothing() -> None:
    async def main() -> None:
        async with slots(1, {"failing": 1000.0}) as (scheduler, used):
            steady = App("steady", [1.0], depth=2)
            failures = defaultdict(int)

            def again(outcome: Outcome) -> None:
                failures["n"] += 1
                if failures["n"] < 20_000:
                    scheduler.submit(Job("0"), lambda: -math.inf, again, "failing")

            scheduler.submit(Job("0"), lambda: -math.inf, again, "failing")
            steady.start(scheduler)
            await anyio.sleep(1.5)
            assert used["steady"] == 1

    in_virtual_time(main)
