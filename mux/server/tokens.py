"""Single-use tokens: a page gets one from its own backend and opens one socket with it."""

from __future__ import annotations

import math
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
        self._waiting: OrderedDict[str, tuple[float, str | None]] = OrderedDict()

    def issue(self, app: str | None = None) -> str:
        """A new token; what is opened with it is `app`'s."""
        token = secrets.token_urlsafe(32)
        self._waiting[token] = (self._clock() + LIFETIME, app)
        if len(self._waiting) > MOST:
            self._waiting.popitem(last=False)
        return token

    def app(self, token: str) -> str | None:
        """Whose token it is, as long as it has not been redeemed."""
        return self._waiting.get(token, (0.0, None))[1]

    def redeem(self, token: str) -> bool:
        """Whether the token opens a door; it does so once."""
        until, _ = self._waiting.pop(token, (-math.inf, None))
        return self._clock() <= until
