"""Whose turn it is when several apps want the same synthesizers: start-time fair queueing by weight.

Each app has a clock that runs as fast as it uses synthesizers, divided by its weight; the app whose clock is
furthest behind goes next. So the time that busy apps get is in the ratio of their weights, whatever the
length of their jobs; what an app does not want goes to the others, and is not saved up for later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

__all__ = ["Shares"]

_FIRST_GUESS = 1.0
"""Seconds that a job is expected to take before any has ended."""
_SMOOTHING = 0.1
_LEAST = 0.001
"""Seconds that a job costs at least: jobs that fail at once must not be free."""


class Shares:
    """The clocks of all apps; `weights` holds those that differ from 1. Times are in seconds."""

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        self.expected = _FIRST_GUESS
        """How long a job takes, by the latest ones."""
        self._weights = weights or {}
        self._used: defaultdict[str | None, float] = defaultdict(float)
        self._running: defaultdict[str | None, list[float]] = defaultdict(list)
        """When the jobs of each app that are being spoken began."""
        self._clock = 0.0
        """Where the clock stood of the app that had its turn last."""

    def clock(self, app: str | None, now: float) -> float:
        """The app's clock; the lowest goes first. A job in progress counts for as long as it may be expected
        to take: its app must not get all synthesizers before any of its jobs has ended."""
        running = sum(max(now - began, self.expected) for began in self._running[app])
        return (self._used[app] + running) / self._weight(app)

    def arrive(self, app: str | None, now: float) -> None:
        """An app of which nothing waited wants something: what it did not use until now is forfeited."""
        behind = self._clock - self.clock(app, now)
        if behind > 0:
            self._used[app] += behind * self._weight(app)

    def begin(self, app: str | None, now: float) -> None:
        self._clock = max(self._clock, self.clock(app, now))
        self._running[app].append(now)

    def end(self, app: str | None, began: float, now: float) -> None:
        """The job of `app` that began at `began` has ended."""
        self._running[app].remove(began)
        spent = max(_LEAST, now - began)
        self._used[app] += spent
        self.expected += _SMOOTHING * (spent - self.expected)

    def _weight(self, app: str | None) -> float:
        return 1.0 if app is None else self._weights.get(app, 1.0)
