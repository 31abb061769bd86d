"""Whose speech it is: one voice serves many phone calls at once, and Patter says "stop" without saying whom.

It does tell when a call begins: `set_telephony_carrier` is called in the call's own task. From then on that
task, and every task that it starts, knows its call by a context variable. Tasks that Patter did not start are
taken for a call each, once they speak.
"""

from __future__ import annotations

from contextvars import ContextVar
from weakref import WeakSet

import anyio

from mux.client.patter.speech import Speech

__all__ = ["Call", "Calls"]


class Call:
    """The texts that are being spoken in one call. `task` is whose call it is, if nobody has announced it."""

    def __init__(self, calls: Calls, task: int | None = None) -> None:
        self.calls = calls
        self.task = task
        self.speeches: set[Speech] = set()

    def stop(self) -> None:
        for speech in list(self.speeches):
            speech.stop()


_current: ContextVar[Call | None] = ContextVar("mux_patter_call", default=None)


class Calls:
    """The calls of one voice."""

    def __init__(self) -> None:
        self._open: WeakSet[Call] = WeakSet()
        """Who never hangs up is forgotten with his task."""

    def announce(self) -> None:
        """A call begins in this task."""
        self._enter(Call(self))

    def speaking(self) -> Call:
        """The call that this task speaks for."""
        call, task = self._bound(), anyio.get_current_task().id
        if call is None or call.task not in (None, task):
            call = Call(self, task)
        self._enter(call)
        return call

    def meant(self) -> Call | None:
        """The call that this task belongs to; outside of all calls the only one there is, if it is one."""
        if call := self._bound():
            return call
        (*others, last) = [None, *self.open]
        return last if len(others) == 1 else None

    @property
    def open(self) -> list[Call]:
        """The calls that were announced and have not ended, and the others as far as they speak."""
        return [call for call in list(self._open) if call.task is None or call.speeches]

    def end(self, call: Call) -> None:
        """It has hung up."""
        call.stop()
        self._open.discard(call)

    def _bound(self) -> Call | None:
        call = _current.get()
        return call if call is not None and call.calls is self else None

    def _enter(self, call: Call) -> None:
        self._open.add(call)
        _current.set(call)
