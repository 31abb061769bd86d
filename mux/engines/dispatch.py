"""From effects to reports: a segment goes to the engine of its voice, and to the next one if that fails.

The text is read here, for the engine that is to say it; what comes back is translated to the characters that
were sent, and to one sample rate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from mux.engines.base import Chunk, Engine, Job
from mux.engines.normalize import identity
from mux.engines.resampled import Resampler
from mux.engines.scheduler import Outcome, Scheduler, Ticket
from mux.engines.spelling import Reading, spell
from mux.errors import Problem
from mux.log import get_logger
from mux.protocol.messages import Report, SegmentEnded, Speak, Spoken

__all__ = ["Dispatcher", "Lane", "Speaking"]

log = get_logger("mux.dispatch")

Plan: TypeAlias = Callable[[str | None, str | None], Sequence[tuple[str, str | None]]]
"""From a client's voice and language to engines and their voices, the preferred one first."""


class Lane(NamedTuple):
    """A started engine, and who hands out its synthesizers."""

    name: str
    engine: Engine
    scheduler: Scheduler


class Dispatcher:
    """Speaks segments with the engines in `lanes`; `plan` says which. All speech has `sample_rate` Hz."""

    def __init__(self, lanes: Mapping[str, Lane], plan: Plan, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self._lanes = lanes
        self._plan = plan

    def submit(
        self,
        effect: Speak,
        due: Callable[[], float],
        report: Callable[[Report], None],
        app: str | None = None,
    ) -> Speaking:
        """Have a segment spoken. `report` gets any number of `Spoken` and then one `SegmentEnded`, always
        after this call has returned, from the event loop; it must not block. For `due` and `app` see
        `Scheduler.submit`."""
        choices = self._plan(effect.voice, effect.language)
        plan = [(self._lanes[name], voice) for name, voice in choices]
        speaking = Speaking(effect, plan, due, report, app, self.sample_rate)
        speaking.begin()
        return speaking


class Speaking:
    """One segment on its way. `stop` is safe at any time and any number of times.

    Whatever an engine fails with before its first chunk, the next one is asked: also when the text is said to
    be unspeakable or too long, for another engine may see that otherwise, and a service without credit gives
    silence too. If all fail, the first one's problem is told. After the first chunk nobody takes over: two
    voices in a sentence are worse than an error.
    """

    def __init__(
        self,
        effect: Speak,
        plan: Sequence[tuple[Lane, str | None]],
        due: Callable[[], float],
        report: Callable[[Report], None],
        app: str | None,
        sample_rate: int,
    ) -> None:
        self._effect = effect
        self._plan = list(plan)
        self._due = due
        self._report = report
        self._app = app
        self._sample_rate = sample_rate
        self._stopped = False
        self._sounded = False
        self._problem: Problem | None = None
        self._ticket: Ticket | None = None

    def begin(self) -> None:
        """Hand the segment to the first engine of the plan that has not been asked."""
        effect = self._effect
        self._lane, voice = self._plan.pop(0)
        engine = self._lane.engine
        if engine.reads_itself:
            said = identity(effect.text)
        else:
            said = spell(effect, engine.language(voice, effect.language))
        self._reading = Reading(said) if said.text != effect.text else None
        same = engine.sample_rate == self._sample_rate
        self._resampler = None if same else Resampler(engine.sample_rate, self._sample_rate)
        job = Job(said.text, voice, effect.language, effect.settings, effect.normalize, effect.ssml)
        self._ticket = self._lane.scheduler.submit(job, self._due, self._deliver, self._app)

    def stop(self) -> None:
        """Abandon the segment; its end is still reported, as soon as its engine has stopped."""
        self._stopped = True
        if self._ticket is not None:
            self._lane.scheduler.stop(self._ticket)

    def _deliver(self, outcome: Outcome) -> None:
        if isinstance(outcome, Chunk):
            self._sounded = True
            self._speak(outcome)
        elif outcome is None or self._sounded or self._stopped:
            if self._resampler is not None and not self._stopped:
                self._give(self._resampler.finish())
            self._end(outcome)
        else:
            self._problem = self._problem or outcome
            if self._plan:
                failed = self._lane.name
                self.begin()
                log.warning("fallback", engine=failed, code=outcome.code, next=self._lane.name)
            else:
                self._end(self._problem)

    def _speak(self, chunk: Chunk) -> None:
        starts, until, spelled = chunk.starts, chunk.until, None
        if self._reading is not None:
            # Only the engine's own characters have an end of their own.
            (starts, spelled), until = self._reading.feed(chunk), None
        effect, rate = self._effect, self._lane.engine.sample_rate
        spoken = Spoken(effect.serial, effect.segment, chunk.pcm, rate, starts, spelled, until)
        self._give(spoken if self._resampler is None else self._resampler.feed(spoken))

    def _give(self, spoken: Spoken | None) -> None:
        if spoken is not None:
            self._report(spoken)

    def _end(self, problem: Problem | None) -> None:
        self._ticket = None  # which knows this object: in a circle both would outlive the segment
        self._report(SegmentEnded(self._effect.serial, self._effect.segment, problem))
