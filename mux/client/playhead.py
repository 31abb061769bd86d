"""How far a listener has come in the audio that was released to a player."""

from __future__ import annotations

__all__ = ["Playhead"]


class Playhead:
    """Counts in ms of audio from the start. The player is taken to begin at once and to keep speaking pace;
    it pauses where nothing was released. `now` is the loop's time in seconds."""

    def __init__(self) -> None:
        self.released = 0.0
        self._played = 0.0
        self._since = 0.0

    def release(self, ms: float, now: float) -> None:
        """Audio was given to the player."""
        self._played = self.at(now)
        self._since = now
        self.released += ms

    def at(self, now: float) -> float:
        """What was heard by now."""
        return min(self.released, self._played + (now - self._since) * 1000)

    def cut(self, at: float, now: float) -> None:
        """The player has dropped what comes after `at`."""
        self.released = self._played = at
        self._since = now
