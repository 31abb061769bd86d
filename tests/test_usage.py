"""Prices, and what they make of usage."""

from __future__ import annotations

import pytest

from mux.protocol.messages import Usage
from mux.usage import Price

HEARD = Usage(
    characters_accepted=5000,
    characters_synthesised=4000,
    characters_sent=2500,
    audio_generated_ms=100_000.0,
    audio_sent_ms=90_000.0,
    audio_dropped_ms=10_000.0,
)


@pytest.mark.parametrize(
    ("price", "cost"),
    [
        (Price(), None),
        (Price(currency="usd"), None),
        (Price(cents_per_minute=0), 0),
        (Price(cents_per_1000_characters=0), 0),
        (Price(cents_per_minute=4), 6),
        (Price(cents_per_1000_characters=2), 5),
        (Price(cents_per_minute=4, cents_per_1000_characters=2), 11),
        (Price(cents_per_minute=0, cents_per_1000_characters=2), 5),
    ],
)
def test_what_was_sent_is_charged_and_nothing_else(price: Price, cost: float | None) -> None:
    assert price.cost_cents(HEARD) == cost


def test_without_a_price_there_is_no_cost_at_all() -> None:
    assert Price().cost_cents(Usage()) is None
    assert Price(cents_per_minute=4).cost_cents(Usage()) == 0


def test_a_cost_is_told_to_the_millionth() -> None:
    assert Price(cents_per_minute=1).cost_cents(Usage(audio_sent_ms=1000 / 3)) == 0.005556


def test_the_currency_is_euro_unless_said_otherwise() -> None:
    assert Price().currency == "eur"
