"""The life of a context, as data: what each input does in each state.

The diagram in docs/protocol.md is drawn from `TABLE`. A state joins two halves that end one after the other:
text comes in, speech goes out.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["TABLE", "Action", "Input", "State"]


class State(Enum):
    OPEN = "open"
    """Text is accepted; speech may sound."""
    DRAINING = "draining"
    """No more text; what was accepted still sounds and what waits is still sent."""
    CANCELLING = "cancelling"
    """Nothing more goes out but the end; the engine is being stopped."""
    CLOSED = "closed"
    """`ContextClosed` was pulled."""


class Input(Enum):
    TEXT = "text"
    FLUSH = "flush"
    PAUSE = "pause"
    """No text has come for so long that what waits is spoken."""
    KEEP_ALIVE = "keep-alive"
    CLOSE = "close"
    CLOSE_AGAIN = "close again"
    """The client closes a context that it has closed before: a barge-in (that is how Pipecat says it)."""
    CANCEL = "cancel"
    FAIL = "fail"
    EXPIRE = "expire"
    SPOKEN = "spoken"
    SEGMENT_ENDED = "segment ended"
    SEGMENT_FAILED = "segment failed"
    STOP_OVERDUE = "stop overdue"
    END_SENT = "end sent"


class Action(Enum):
    """What an entry does: the name of a method of `Context`."""

    TAKE_TEXT = "take_text"
    FLUSH = "flush"
    SPEAK_WAITING = "speak_waiting"
    TOUCH = "touch"
    FINISH_TEXT = "finish_text"
    STOP = "stop"
    TAKE_SPEECH = "take_speech"
    END_SEGMENT = "end_segment"
    FAIL_SEGMENT = "fail_segment"
    DROP_SPEECH = "drop_speech"
    GIVE_UP_SEGMENT = "give_up_segment"
    IGNORE = "ignore"


_O, _D, _X, _C = State.OPEN, State.DRAINING, State.CANCELLING, State.CLOSED

TABLE: dict[State, dict[Input, tuple[Action, State]]] = {
    State.OPEN: {
        Input.TEXT: (Action.TAKE_TEXT, _O),
        Input.FLUSH: (Action.FLUSH, _O),
        Input.PAUSE: (Action.SPEAK_WAITING, _O),
        Input.KEEP_ALIVE: (Action.TOUCH, _O),
        Input.CLOSE: (Action.FINISH_TEXT, _D),
        Input.EXPIRE: (Action.FINISH_TEXT, _D),
        Input.CANCEL: (Action.STOP, _X),
        Input.FAIL: (Action.STOP, _X),
        Input.SPOKEN: (Action.TAKE_SPEECH, _O),
        Input.SEGMENT_ENDED: (Action.END_SEGMENT, _O),
        Input.SEGMENT_FAILED: (Action.FAIL_SEGMENT, _X),
    },
    State.DRAINING: {
        Input.CLOSE_AGAIN: (Action.STOP, _X),
        Input.CANCEL: (Action.STOP, _X),
        Input.FAIL: (Action.STOP, _X),
        Input.SPOKEN: (Action.TAKE_SPEECH, _D),
        Input.SEGMENT_ENDED: (Action.END_SEGMENT, _D),
        Input.SEGMENT_FAILED: (Action.FAIL_SEGMENT, _X),
        Input.END_SENT: (Action.IGNORE, _C),
    },
    State.CANCELLING: {
        Input.SPOKEN: (Action.DROP_SPEECH, _X),
        Input.SEGMENT_ENDED: (Action.GIVE_UP_SEGMENT, _X),
        Input.SEGMENT_FAILED: (Action.GIVE_UP_SEGMENT, _X),
        Input.STOP_OVERDUE: (Action.GIVE_UP_SEGMENT, _X),
        Input.END_SENT: (Action.IGNORE, _C),
    },
    State.CLOSED: {},
}
"""A pair that is not listed changes nothing."""
