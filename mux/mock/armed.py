"""When a planned fault strikes. The same seed and the same client give the same answers, whatever the timing
between contexts: every socket, and every context of it, draws from a generator of its own."""

from __future__ import annotations

from collections import Counter
from random import Random

from mux.log import get_logger
from mux.mock.faults import FAULTS, Kind
from mux.mock.plan import Fault

__all__ = ["Armed", "Strike"]

log = get_logger("mux.mock")


class Armed:
    """One planned fault in a running mock.

    Args:
        index: its place in the scenario: the same fault may be planned twice.
        fired: counts what has happened, by name.
    """

    def __init__(self, fault: Fault, index: int, seed: int, fired: Counter[str]) -> None:
        self.fault = fault
        self.kind: Kind = FAULTS[fault.name]
        self._seed = f"{seed}/{index}/{fault.name}"
        self._fired = fired
        self._left = fault.times

    def strike(self, socket: int, context: int = 0) -> Strike:
        """The draws of the n-th socket, and of its n-th context."""
        return Strike(self, socket, context, Random(f"{self._seed}/{socket}/{context}"))

    def happens(self, socket: int, context: int) -> bool:
        """Count and log that it does; False if it has happened `times` times."""
        if self._left == 0:
            return False
        self._left = None if self._left is None else self._left - 1
        self._fired[self.fault.name] += 1
        log.info("fault", fault=self.fault.name, socket=socket, context=context)
        return True


class Strike:
    """One fault at one place: what it draws, and its parameters."""

    def __init__(self, armed: Armed, socket: int, context: int, random: Random) -> None:
        self._armed = armed
        self._socket = socket
        self._context = context
        self._random = random

    def __getitem__(self, parameter: str) -> float:
        """What the plan says, else the fault's default; 0 for what means nothing to it."""
        planned: float | None = getattr(self._armed.fault, parameter)
        return self._armed.kind.parameters.get(parameter, 0) if planned is None else planned

    def drawn(self, opportunity: int) -> bool:
        """Whether it takes its n-th opportunity."""
        lot = self._random.random()  # also for those it was not meant for: later ones draw the same
        return self._armed.fault.nth in (None, opportunity) and lot < self._armed.fault.rate

    def happens(self) -> bool:
        """Whether it does; then it is counted."""
        return self._armed.happens(self._socket, self._context)
