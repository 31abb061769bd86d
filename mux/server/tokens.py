"""Single-use tokens: a page gets one from its own backend and opens one socket with it."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable

__all__ = ["Tokens"]

LIFETIME = 15 * 60.0
"""Seconds (the vendor's)."""
MOST = 10_000
"""Tokens that may be waiting to be used; the oldest goes first."""


class Tokens:
    """The tokens that were given out and not used yet. `clock` gives the time in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting: OrderedDict[str, float] = OrderedDict()

    def issue(self) -> str:
        token = secrets.token_urlsafe(32)
        self._waiting[token] = self._clock() + LIFETIME
        if len(self._waiting) > MOST:
            self._waiting.popitem(last=False)
        return token

    def redeem(self, token: str) -> bool:
        """Whether the token opens a door; it does so once."""
        until = self._waiting.pop(token, None)
        return until is not None and self._clock() <= until
