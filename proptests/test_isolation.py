"""A context never notices another: take all commands of one out of a history, and every other context gets
exactly the same events at the same times. (As long as no limit of the socket is reached: they are shared.)"""

from __future__ import annotations

from itertools import chain, repeat, takewhile
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from mux.errors import Problem
from mux.protocol.limits import Limits
from mux.protocol.messages import (
    Close,
    Command,
    Configure,
    ContextClosed,
    Flush,
    Invalid,
    KeepAlive,
    Open,
    SegmentEnded,
    SessionClosed,
    Speak,
    Spoken,
    Stop,
    Text,
)
from mux.protocol.session import Session
from mux.protocol.voice import ContextSettings

RATE = 1000
BAD = Problem(code="invalid_setting", message="speed is wrong.")
BROKEN = Problem(code="engine_failed", message="The engine broke.")
LIMITS = Limits(contexts=1000, draining=1000, ahead_seconds=0.3, audio_bytes=4000)

ids = st.sampled_from(["a", "b", "c", "d"])
texts = st.sampled_from(
    [
        "Hi. ",
        "One, two, three. ",
        "word ",
        "mute. ",
        "broken. ",
        "endless. ",
        "slow to stop. ",
        " ",
        "x" * 200,
    ]
)
settings = st.builds(
    ContextSettings,
    voice=st.sampled_from([None, "v", "nobody"]),
    auto_mode=st.sampled_from([None, True]),
    chunk_length_schedule=st.sampled_from([None, (5,)]),
    inactivity_timeout=st.sampled_from([None, 1.0, 500.0]),
)
commands = st.one_of(
    st.builds(Text, ids, texts, st.booleans()),
    st.builds(Text, ids, texts),
    st.builds(Flush, ids),
    st.builds(Open, ids, settings),
    st.builds(Close, ids, st.booleans()),
    st.builds(KeepAlive, ids),
    st.builds(Invalid, st.just(BAD), ids),
    st.builds(Configure, settings),
)
Step = tuple[Command, float, bool]
"""A command, the seconds that pass after it, and whether the client then reads everything."""
histories = st.lists(
    st.tuples(commands, st.sampled_from([0.0, 0.1, 0.5, 2.0]), st.booleans()), min_size=5, max_size=60
)


class Engine:
    """Speaks every segment at the same time, a chunk of each at every step; what it says and when depends on
    the segment's text and age alone."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.speaking: dict[tuple[int, int], tuple[str, int]] = {}
        self.stopping: set[tuple[int, int]] = set()

    def listen(self) -> None:
        for effect in self.session.take_effects():
            if isinstance(effect, Speak):
                self.speaking[effect.serial, effect.segment] = effect.text, 0
            elif isinstance(effect, Stop):
                self.stopping.add((effect.serial, effect.segment))

    def step(self, now: float) -> None:
        for key, (text, age) in list(self.speaking.items()):
            self.speaking[key] = text, age + 1
            done = text[3 * age : 3 * age + 3]
            stops = key in self.stopping and "slow to stop" not in text
            if stops or "mute" in text:
                self.end(key, None, now)
            elif "broken" in text and age == 1:
                self.end(key, BROKEN, now)
            elif done or ("endless" in text and age < 40):
                pcm, starts = b"\1\0" * 130, tuple(range(0, 40 * len(done), 40))
                self.session.report(Spoken(*key, pcm, RATE, starts), now)
            else:
                self.end(key, None, now)

    def end(self, key: tuple[int, int], problem: Problem | None, now: float) -> None:
        del self.speaking[key]
        self.session.report(SegmentEnded(*key, problem), now)


def play(history: list[Step], without: str = "") -> dict[str, list[Any]]:
    """What each context but `without` gets, with the times; serials are left out."""
    session = Session(
        ContextSettings(inactivity_timeout=3.0),
        limits=LIMITS,
        check_voice=lambda voice, language: "There is no such voice." if voice == "nobody" else None,
    )
    engine, now = Engine(session), 0.0
    heard: dict[str, list[Any]] = {}

    def read() -> None:
        while (event := session.next_event(now)) is not None:
            if isinstance(event, SessionClosed) or event.context is None:
                continue
            if hasattr(event, "serial"):
                event = msgspec.structs.replace(event, serial=0)
            heard.setdefault(event.context, []).append((now, event))
            engine.listen()

    rest: list[Step] = [(KeepAlive(), 0.5, True)] * 10 + [(Close(id), 0.5, True) for id in "abcd"]
    drained = takewhile(lambda step: session.live_contexts, repeat((KeepAlive(), 0.5, True), 1000))
    for command, seconds, reads in chain(history, rest, drained):
        if getattr(command, "context", None) != without:
            session.receive(command, now)
        engine.listen()
        engine.step(now)
        engine.listen()
        if reads:
            read()
        now += seconds
        session.tick(now)
        engine.listen()
    heard.pop(without, None)
    return heard


@given(histories, ids)
def test_no_context_notices_that_another_is_missing(history: list[Step], missing: str) -> None:
    everything = play(history)
    everything.pop(missing, None)
    assert play(history, without=missing) == everything


@given(histories)
def test_a_history_is_worth_playing_again(history: list[Step]) -> None:
    """The same history gives the same events, and each context ends."""
    heard = play(history)
    assert heard == play(history)
    for events in heard.values():
        kinds = [type(event) for _, event in events]
        assert kinds.count(ContextClosed) >= 1
        assert kinds[-1] is ContextClosed
