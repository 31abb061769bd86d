from __future__ import annotations

import pytest

from mux.server.tokens import LIFETIME, MOST, Tokens


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(clock: Clock) -> Tokens:
    return Tokens(clock)


def test_a_token_opens_once(tokens: Tokens) -> None:
    token = tokens.issue()
    assert tokens.redeem(token)
    assert not tokens.redeem(token)


def test_every_token_is_another_and_none_can_be_guessed(tokens: Tokens) -> None:
    issued = [tokens.issue() for _ in range(100)]
    assert len(set(issued)) == 100
    assert min(map(len, issued)) >= 40
    assert not any(map(tokens.redeem, ("", "x", issued[0][:-1], issued[0] + "x")))
    assert all(map(tokens.redeem, issued))


@pytest.mark.parametrize(("after", "opens"), [(0, True), (LIFETIME, True), (LIFETIME + 0.001, False)])
def test_a_token_lasts_fifteen_minutes(tokens: Tokens, clock: Clock, after: float, opens: bool) -> None:
    token = tokens.issue()
    clock.now += after
    assert tokens.redeem(token) is opens
    assert LIFETIME == 15 * 60


def test_the_oldest_one_goes_when_there_are_too_many(tokens: Tokens) -> None:
    issued = [tokens.issue() for _ in range(MOST + 1)]
    assert not tokens.redeem(issued[0])
    assert all(map(tokens.redeem, issued[1:]))


def test_a_token_is_its_apps_until_it_is_redeemed(tokens: Tokens) -> None:
    token, other = tokens.issue("phone"), tokens.issue()
    assert (tokens.app(token), tokens.app(other), tokens.app("x")) == ("phone", None, None)
    assert tokens.redeem(token)
    assert tokens.app(token) is None
