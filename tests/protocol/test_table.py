"""The table as a description of a life. What holds for every pair is in proptests/test_context_table.py."""

from __future__ import annotations

import pytest

from mux.protocol.table import TABLE, Action, Input, State


def test_text_is_taken_only_while_open() -> None:
    assert [state for state in State if Input.TEXT in TABLE[state]] == [State.OPEN]


def test_every_state_but_the_last_takes_late_reports() -> None:
    reports = {Input.SPOKEN, Input.SEGMENT_ENDED, Input.SEGMENT_FAILED}
    assert all(reports <= TABLE[state].keys() for state in State if state is not State.CLOSED)


@pytest.mark.parametrize("input", [Input.CANCEL, Input.FAIL, Input.SEGMENT_FAILED])
def test_a_cancel_or_a_failure_silences_whatever_still_speaks(input: Input) -> None:
    assert {TABLE[state][input][1] for state in (State.OPEN, State.DRAINING)} == {State.CANCELLING}


def test_no_speech_is_taken_once_cancelling() -> None:
    assert Action.TAKE_SPEECH not in {action for action, _ in TABLE[State.CANCELLING].values()}


def test_states_only_ever_move_on() -> None:
    order = list(State)
    for state, entries in TABLE.items():
        for _, following in entries.values():
            assert order.index(following) >= order.index(state)
