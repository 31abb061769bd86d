"""What speech costs, where its operator has set a price."""

from __future__ import annotations

import msgspec

from mux.protocol.messages import Usage

__all__ = ["Price"]


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """A price for what a listener got, in cents of `currency`: of each minute of audio, of every thousand
    characters, or of both. None: nothing was agreed on, which is not the same as nothing."""

    cents_per_minute: float | None = None
    cents_per_1000_characters: float | None = None
    currency: str = "eur"

    def cost_cents(self, usage: Usage) -> float | None:
        """The cost in cents of what was sent, to the millionth; None without a price. What a cancel dropped
        costs nothing."""
        if self.cents_per_minute is None and self.cents_per_1000_characters is None:
            return None
        audio = (self.cents_per_minute or 0) * usage.audio_sent_ms / 60_000
        text = (self.cents_per_1000_characters or 0) * usage.characters_sent / 1000
        return round(audio + text, 6)
