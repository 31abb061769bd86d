"""A session under any history of commands, reports, time and reading, against a model of it.

`SessionMachine` plays the client, the engine and the clock, and compares every effect, every event, every
deadline and every count with what the model (session_model.py) says.
"""

from __future__ import annotations

import math
from typing import Any

from context_model import SegmentModel
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from session_model import AHEAD, BAD, BROKEN, CONFIGURED, IDLE, LIVE, RATE, Model

from mux.errors import Problem
from mux.protocol.limits import Limits
from mux.protocol.messages import (
    Close,
    CloseSocket,
    Configure,
    ContextClosed,
    Effect,
    Flush,
    Invalid,
    KeepAlive,
    Open,
    Reason,
    SegmentEnded,
    SessionClosed,
    Speak,
    Spoken,
    Stop,
    Text,
)
from mux.protocol.session import Session
from mux.protocol.voice import ContextSettings, VoiceSettings, inherit

HOT = st.sampled_from(["id 0", "id 1", "id 2"])  # few, so that much happens to each
IDS = HOT | HOT | st.sampled_from([f"id {number}" for number in range(3, 24)] + ["x" * 300])
TEXTS = st.sampled_from(
    [
        "Hi. ",
        "word ",
        "One sentence. And the next",
        "終わり。",
        "a, b; c",
        " ",
        "",
        "x" * 30,
        "y" * 60 + " z",
        "Ä é",
        "It is 3.",
        "14! ",
    ]
)
SETTINGS = st.builds(
    ContextSettings,
    voice=st.sampled_from([None, None, None, "v", "nobody"]),
    auto_mode=st.sampled_from([None, True, False]),
    chunk_length_schedule=st.sampled_from([None, (5,), (20, 500)]),
    sentences=st.sampled_from([None, None, True, False]),
    longest_segment=st.sampled_from([None, None, 20]),
    flush_timeout=st.sampled_from([None, None, 0.0, 0.05, 0.5, 3.0]),
    output_format=st.sampled_from([None, None, "ulaw_8000"]),
    normalize=st.sampled_from([None, None, False]),
    ssml=st.sampled_from([None, None, True]),
    inactivity_timeout=st.sampled_from([None, None, 2.0, 1000.0]),
)
LIMITS = st.builds(
    Limits,
    contexts=st.sampled_from([2, 20]),
    draining=st.sampled_from([2, 20]),
    unspoken_bytes=st.sampled_from([60, 100_000]),
    ahead_seconds=st.just(AHEAD / RATE),
    audio_bytes=st.sampled_from([1200, 100_000]),
    invalid_messages=st.just(3),
    second_close_cancels=st.booleans(),
    expiry_closes=st.booleans(),
    answer_all=st.booleans(),
    voice_required=st.sampled_from([False, False, True]),
    restart_at_rest=st.booleans(),
)
CONNECTIONS = st.sampled_from(
    [
        {},
        {
            "voice": "v",
            "sentences": True,
            "chunk_length_schedule": (5, 20),
            "longest_segment": 25,
            "flush_timeout": 0.5,
        },
    ]
)
"""What the two wires ask for where their clients say nothing."""
ENDINGS = st.sampled_from(["close_socket", "fail", "disconnect", "wind_down", "wind_down", "close_each"])


class SessionMachine(RuleBasedStateMachine):
    @initialize(limits=LIMITS, connection=CONNECTIONS, ending=ENDINGS, first=st.just(0) | st.integers(0, 22))
    def start(self, limits: Limits, connection: dict[str, Any], ending: str, first: int) -> None:
        self.ending = ending
        self.model = Model(limits)
        self.model.settings = inherit(self.model.settings, ContextSettings(**connection))
        self.session = Session(
            self.model.settings,
            limits=limits,
            check_voice=lambda voice, language: "There is no such voice." if voice == "nobody" else None,
        )
        self.now = 0.0
        self.engine: dict[tuple[int, int], SegmentModel] = {}
        self.ended: list[int] = []
        for number in range(first):
            self.text(f"id {number}", "word ", False)

    # --- the client ---

    @rule(id=IDS, text=TEXTS, trigger=st.booleans())
    def text(self, id: str, text: str, trigger: bool) -> None:
        self.session.receive(Text(id, text, trigger), self.now)
        self.model.text(id, text, trigger, self.now)
        self.compare()

    @rule(id=IDS, settings=SETTINGS, anew=st.booleans())
    def open(self, id: str, settings: ContextSettings, anew: bool) -> None:
        self.session.receive(Open(id, settings, anew), self.now)
        self.model.open(id, settings, anew, self.now)
        self.compare()

    @rule(id=IDS)
    def say_sentence(self, id: str) -> None:
        self.text(id, "Say it. ", False)
        self.flush(id)

    @rule(id=IDS)
    def say_goodbye(self, id: str) -> None:
        self.say_sentence(id)
        self.close(id, False)

    @rule(id=IDS)
    def flush(self, id: str) -> None:
        self.session.receive(Flush(id), self.now)
        self.model.flush(id, self.now)
        self.compare()

    @rule(id=IDS)
    def keep_alive(self, id: str) -> None:
        self.session.receive(KeepAlive(id), self.now)
        self.session.receive(KeepAlive(), self.now)
        if c := self.model.accepting(id):
            c.touched = self.now
        self.compare()

    @rule(id=IDS, immediate=st.booleans(), answered=st.booleans(), joins=st.booleans())
    def close(self, id: str, immediate: bool, answered: bool = False, joins: bool = False) -> None:
        command = Close(id, immediate, answered, joins)
        self.session.receive(command, self.now)
        self.model.close(command, self.now)
        self.compare()

    @rule(id=IDS)
    def invalid(self, id: str) -> None:
        self.session.receive(Invalid(BAD, id), self.now)
        if c := self.model.accepting(id):
            self.model.fail(c, BAD.code, self.now)
        else:
            self.model.begin(id, ContextSettings(), self.now, BAD.code)
        self.compare()

    @precondition(lambda self: self.model.invalid < 3)
    @rule()
    def unreadable(self) -> None:
        self.session.receive(Invalid(BAD), self.now)
        self.model.invalid += 1
        self.model.tell((BAD.code, None))
        self.compare()

    @rule(voice=st.sampled_from(["v", "w"]), answer=st.booleans())
    def configure(self, voice: str, answer: bool) -> None:
        self.session.receive(Configure(ContextSettings(voice=voice), answer), self.now)
        self.model.settings = inherit(self.model.settings, ContextSettings(voice=voice))
        if answer:
            self.model.tell(CONFIGURED)
        self.compare()

    @rule(count=st.sampled_from([1, 5, 1000]))
    def pull(self, count: int) -> None:
        for _ in range(count):
            event = self.session.next_event(self.now)
            self.model.pulled(event, self.now)
            if isinstance(event, ContextClosed):
                self.ended.append(event.serial)
            self.compare()
            if event is None or isinstance(event, SessionClosed):
                break

    # --- the engine ---

    @precondition(lambda self: self.engine)
    @rule(which=st.integers(0, 50), samples=st.sampled_from([0, 1, 70, 100, 240, 700]), data=st.data())
    def speak(self, which: int, samples: int, data: st.DataObject) -> None:
        serial, number = sorted(self.engine)[which % len(self.engine)]
        segment = self.engine[serial, number]
        left = len(segment.text) - segment.mapped
        places = st.lists(st.integers(0, samples), max_size=min(left, 8)).map(sorted)
        starts = tuple(data.draw(places)) if samples else ()
        segment.mapped += len(starts)
        pcm = b"\1\0" * samples
        self.session.report(Spoken(serial, number, pcm, RATE, starts), self.now)
        self.model.spoken(serial, number, samples, starts, self.now)
        self.compare()

    @precondition(lambda self: self.engine)
    @rule(which=st.integers(0, 50), problem=st.sampled_from([None, BROKEN]))
    def end_segment(self, which: int, problem: Problem | None) -> None:
        serial, number = sorted(self.engine)[which % len(self.engine)]
        del self.engine[serial, number]
        self.session.report(SegmentEnded(serial, number, problem), self.now)
        self.model.ended(serial, number, problem.code if problem else "", self.now)
        self.compare()

    @precondition(lambda self: self.engine)
    @rule(which=st.integers(0, 50))
    def speak_whole(self, which: int) -> None:
        serial, number = sorted(self.engine)[which % len(self.engine)]
        segment = self.engine[serial, number]
        left = len(segment.text) - segment.mapped
        samples, starts = 20 * left + 1, tuple(range(0, 20 * left, 20))
        self.session.report(Spoken(serial, number, b"\1\0" * samples, RATE, starts), self.now)
        self.model.spoken(serial, number, samples, starts, self.now)
        self.end_segment(which, None)

    # --- the server ---

    @precondition(lambda self: self.ending == "wind_down" and self.model.end is None and self.model.live)
    @rule()
    def restart(self) -> None:
        self.session.wind_down(BROKEN, SessionClosed(1012, ""))
        self.model.refusal, self.model.end = BROKEN.code, 1012
        self.compare()

    # --- time ---

    @rule(seconds=st.sampled_from([0.0, 0.03, 0.25, 0.5, 1.0, IDLE]), tick=st.booleans())
    def wait(self, seconds: float, tick: bool) -> None:
        self.now += seconds
        if tick:
            self.tick()

    @rule()
    def sleep(self) -> None:
        """What a real host does: wake up when the session says so."""
        if (deadline := self.session.next_deadline()) < math.inf:
            self.now = max(self.now, deadline)
            self.tick()

    def tick(self) -> None:
        self.session.tick(self.now)
        self.model.tick(self.now)
        assert self.session.next_deadline() > self.now
        self.compare()

    # --- what must always hold ---

    def compare(self) -> None:
        effects = self.session.take_effects()
        assert [told(effect) for effect in effects] == self.model.effects
        self.model.effects.clear()
        for effect in effects:
            if isinstance(effect, Speak):
                assert all(serial != effect.serial for serial, _ in self.engine), "segments overlap"
                self.engine[effect.serial, effect.segment] = SegmentModel(effect.segment, effect.text)

    @invariant()
    def counts_agree(self) -> None:
        open, live = len(self.model.in_state("open")), list(self.model.live.values())
        assert self.session.open_contexts == open <= self.model.limits.contexts
        assert self.session.live_contexts == len(live)
        assert self.session.next_deadline() == min((c.deadline for c in live), default=math.inf)
        assert sum(c.unspoken for c in live) <= self.model.limits.unspoken_bytes

    def teardown(self) -> None:
        if not hasattr(self, "model"):
            return
        self.end_socket()
        for round in range(100):
            self.pull(1000)
            if not self.model.live:
                break
            for _ in range(len(self.engine) if round > 3 else 0):
                self.speak_whole(0)
            self.wait(0.25, tick=True)
        assert not self.model.live
        assert sorted(self.ended) == list(range(1, self.model.serials + 1)), "every context ends exactly once"
        assert self.session.closed == (self.model.end is not None)
        assert self.session.next_event(self.now) is None
        for serial, number in self.engine:  # an engine that answers after everything has ended
            self.session.report(Spoken(serial, number, b"\1\0", RATE), self.now)
            self.session.report(SegmentEnded(serial, number), self.now)
        assert self.session.next_event(self.now) is None

    def end_socket(self) -> None:
        match self.ending:
            case "close_socket":
                self.session.receive(CloseSocket(), self.now)
                self.model.refusal, self.model.end = "socket_closing", 1000
                for c in self.model.in_state("open"):
                    self.model.finish_text(c, Reason.COMPLETED, self.now)
            case "fail" | "disconnect" as ending:
                for c in self.model.in_state(*LIVE):
                    c.problem = BROKEN.code if ending == "fail" else c.problem
                    self.model.stop(c, Reason.SOCKET_CLOSED, self.now)
                self.model.refusal = BROKEN.code
                if ending == "fail":
                    self.session.fail(BROKEN, self.now)
                    self.model.end = 1011
                else:
                    self.session.disconnect(self.now)
                    self.model.refusal = "socket_closing"
                    self.model.warnings.clear()
                    for c in self.model.live.values():
                        c.active = None
                        self.model.advance(c, self.now)
            case "wind_down" if self.model.end is None:
                self.restart()
        self.compare()
        self.text("new", "Too late. ", False)
        self.pull(1000)
        at_rest = self.ending == "wind_down" and self.model.limits.restart_at_rest
        for id in {c.id for c in self.model.in_state("open")}:
            if at_rest:
                self.flush(id)  # more is not needed: the session itself ends who has said everything
            else:
                self.close(id, False)


def told(effect: Effect) -> tuple[Any, ...]:
    """An effect as the model writes it."""
    if isinstance(effect, Stop):
        return ("stop", effect.serial, effect.segment)
    assert effect.settings == VoiceSettings()
    reading = (effect.normalize, effect.ssml)
    return ("speak", effect.serial, effect.segment, effect.text, effect.voice, *reading)


SessionMachine.TestCase.settings = settings(
    max_examples=5 * settings().max_examples // 2, stateful_step_count=settings().stateful_step_count
)
TestSession = SessionMachine.TestCase
