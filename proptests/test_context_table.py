"""The table of a context's life, pair by pair."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mux.errors import Problem
from mux.protocol.context import Context
from mux.protocol.limits import Limits
from mux.protocol.messages import Effect, Reason, SegmentEnded, Spoken, Text
from mux.protocol.outbox import Outbox
from mux.protocol.table import TABLE, Action, Input, State
from mux.protocol.voice import ContextSettings

PROBLEM = Problem(code="engine_failed", message="The engine broke.")
VALUES: dict[Input, Any] = {
    Input.TEXT: Text("a", "Hello there."),
    Input.CLOSE: Reason.COMPLETED,
    Input.CLOSE_AGAIN: Reason.CANCELLED,
    Input.CANCEL: Reason.CANCELLED,
    Input.FAIL: Reason.FAILED,
    Input.EXPIRE: Reason.TIMED_OUT,
    Input.SPOKEN: Spoken(1, 1, b"\0\0" * 10, 1000),
    Input.SEGMENT_ENDED: SegmentEnded(1, 1),
    Input.SEGMENT_FAILED: SegmentEnded(1, 1, PROBLEM),
}
PAIRS = [(state, input) for state in State for input in Input]
PATHS: dict[State, list[Input]] = {
    State.OPEN: [],
    State.DRAINING: [Input.CLOSE],
    State.CANCELLING: [Input.CANCEL],
    State.CLOSED: [Input.CANCEL, Input.SEGMENT_ENDED, Input.END_SENT],
}


def make_context() -> tuple[Context, list[Effect], Outbox[Context]]:
    effects: list[Effect] = []
    outbox: Outbox[Context] = Outbox()
    settings = ContextSettings(auto_mode=True)
    context = Context("a", 1, settings, limits=Limits(), effects=effects, outbox=outbox, held=False, now=0.0)
    return context, effects, outbox


def in_state(state: State) -> tuple[Context, list[Effect], Outbox[Context]]:
    made = make_context()
    for input in [Input.TEXT, *PATHS[state]]:
        made[0].handle(input, 0.0, VALUES.get(input))
    assert made[0].state is state
    return made


def observed(context: Context, effects: list[Effect]) -> Any:
    """Everything about a context that an input could change."""
    part = context.part
    return (
        context.state,
        context.reason,
        context.problem,
        context.usage(),
        context.unspoken_bytes,
        context.deadline,
        context.due,
        context.busy,
        part.waiting_bytes,
        part.ready(),
        len(effects),
    )


@pytest.mark.parametrize(("state", "input"), PAIRS, ids=lambda value: value.name)
def test_a_pair_is_listed_or_changes_nothing(state: State, input: Input) -> None:
    context, effects, _ = in_state(state)
    before = observed(context, effects)
    context.handle(input, 1.0, VALUES.get(input))
    if input in TABLE[state]:
        assert context.state is TABLE[state][input][1]
    else:
        assert observed(context, effects) == before


@pytest.mark.parametrize("action", Action)
def test_every_action_is_a_method_of_context_and_is_used(action: Action) -> None:
    method = getattr(Context, action.value)
    assert list(inspect.signature(method).parameters)[:2] == ["self", "now"]
    assert any(action is entry[0] for entries in TABLE.values() for entry in entries.values())


@pytest.mark.parametrize("input", Input)
def test_every_input_means_something_somewhere(input: Input) -> None:
    assert any(input in entries for entries in TABLE.values())


def test_every_state_is_reached_and_has_its_row() -> None:
    assert set(TABLE) == set(State)
    reached, frontier = {State.OPEN}, [State.OPEN]
    while frontier:
        following = {state for _, state in TABLE[frontier.pop()].values()} - reached
        reached |= following
        frontier += following
    assert reached == set(State)


def test_only_the_end_that_was_sent_closes() -> None:
    closing = {
        input for entries in TABLE.values() for input, (_, state) in entries.items() if state is State.CLOSED
    }
    assert closing == {Input.END_SENT}
    assert TABLE[State.CLOSED] == {}


@pytest.mark.parametrize("state", [state for state in State if state is not State.CLOSED])
def test_every_state_leads_to_the_end(state: State) -> None:
    reached, frontier = {state}, [state]
    while frontier:
        following = {next_state for _, next_state in TABLE[frontier.pop()].values()} - reached
        reached |= following
        frontier += following
    assert State.CLOSED in reached


@given(st.lists(st.sampled_from([input for input in Input if input is not Input.END_SENT]), max_size=30))
def test_any_inputs_in_any_order_leave_a_context_that_can_end(inputs: list[Input]) -> None:
    context, _, outbox = make_context()
    for now, input in enumerate(inputs):
        context.handle(input, float(now), VALUES.get(input))
    context.handle(Input.CANCEL, 100.0, Reason.CANCELLED)
    context.handle(Input.STOP_OVERDUE, 101.0)
    kinds = []
    while (part := outbox.next()) is not None:
        kinds.append(type(context.pull(102.0)).__name__)
        if context.state is State.CLOSED:
            break
        outbox.queue(part)
    assert kinds.count("ContextClosed") == 1
    assert kinds[-1] == "ContextClosed"
    assert context.deadline == math.inf
