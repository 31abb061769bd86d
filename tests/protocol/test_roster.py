"""Contexts by their ids, and what is remembered of ids whose contexts have ended."""

from __future__ import annotations

from typing import Any

import pytest

from mux.protocol.context import Context
from mux.protocol.id_memory import IdMemory
from mux.protocol.limits import Limits
from mux.protocol.messages import Reason
from mux.protocol.outbox import Outbox
from mux.protocol.roster import Roster
from mux.protocol.table import Input
from mux.protocol.voice import ContextSettings

LIMITS = Limits(remembered_ids=3, id_bytes=10)

# --- a memory of ids ---------------------------------------------------------------------------------


def memory(*ids: str) -> IdMemory[str]:
    made: IdMemory[str] = IdMemory(3, 10)
    for id in ids:
        made.add(id, id.upper())
    return made


def test_it_keeps_what_was_added_until_it_is_discarded() -> None:
    ids = memory("a", "b")
    assert "a" in ids
    assert (ids.get("a"), ids.get("b"), ids.get("c")) == ("A", "B", None)
    ids.discard("a")
    ids.discard("c")
    assert "a" not in ids
    assert ids.get("a") is None
    assert len(ids) == 1


def test_the_oldest_goes_when_there_are_too_many() -> None:
    ids = memory("a", "b", "c", "a", "d")
    assert len(ids) == 3
    assert [id for id in "abcd" if id in ids] == ["a", "c", "d"]


def test_the_last_value_counts() -> None:
    ids = memory("a")
    ids.add("a", "other")
    assert ids.get("a") == "other"
    assert len(ids) == 1


def test_none_is_a_value_too() -> None:
    ids: IdMemory[None] = IdMemory(3, 10)
    ids.add("a", None)
    assert "a" in ids
    assert ids.get("a") is None


def test_a_long_id_takes_no_room_and_is_no_shorter_one() -> None:
    ids = memory("x" * 1_000_000)
    assert "x" * 1_000_000 in ids
    assert "x" * 11 in ids, "whatever is too long is the same"
    assert "x" * 10 not in ids
    ids.discard("x" * 500)
    assert len(ids) == 0


# --- the contexts of a socket ------------------------------------------------------------------------


class Club:
    """A roster, and contexts for it."""

    def __init__(self) -> None:
        self.roster = Roster(LIMITS)
        self.outbox: Outbox[Context] = Outbox()
        self.serials = 0

    def join(self, id: str, voice: str | None = None) -> Context:
        self.serials += 1
        context = Context(
            id,
            self.serials,
            ContextSettings(voice=voice),
            limits=LIMITS,
            effects=[],
            outbox=self.outbox,
            held=self.roster.latest(id) is not None,
            now=0.0,
        )
        self.roster.add(context)
        context.announce()
        return context

    def speakers(self) -> list[int]:
        """Whose frames may go out, by serial."""
        found = []
        while (part := self.outbox.next()) is not None:
            found.append(part.owner.serial)
        return found


@pytest.fixture
def club() -> Club:
    return Club()


def close(context: Context) -> None:
    context.handle(Input.CLOSE, 0.0, Reason.COMPLETED)


def test_nobody_is_there_at_first(club: Club) -> None:
    roster = club.roster
    assert (roster.latest("a"), roster.accepting("a"), roster.of("a"), roster.all()) == (None, None, [], [])


def test_only_the_latest_of_an_id_is_spoken_to_and_only_while_it_is_open(club: Club) -> None:
    first, other = club.join("a"), club.join("b")
    assert club.roster.accepting("a") is first
    close(first)
    assert club.roster.accepting("a") is None
    assert club.roster.latest("a") is first
    second = club.join("a")
    assert club.roster.accepting("a") is club.roster.latest("a") is second
    assert club.roster.of("a") == [first, second]
    assert club.roster.all() == [first, other, second]


def test_the_next_of_an_id_waits_for_the_end_of_the_one_before(club: Club) -> None:
    chain = [club.join("a") for _ in range(3)]
    other = club.join("b")
    assert club.speakers() == [1, 4]
    for number, context in enumerate(chain):
        club.roster.remove(context)
        assert club.speakers() == ([number + 2] if number < 2 else [])
    assert club.roster.latest("a") is None
    assert club.roster.all() == [other]


def test_one_that_ends_last_leaves_its_id_free(club: Club) -> None:
    club.roster.remove(club.join("a"))
    assert club.roster.latest("a") is None
    assert club.speakers() == [1]
    club.join("a")
    assert club.speakers() == [2], "it waits for nobody"


def test_an_id_is_dead_until_it_is_forgiven(club: Club) -> None:
    context = club.join("a")
    club.roster.bury(context)
    club.roster.remove(context)
    assert club.roster.is_dead("a")
    assert not club.roster.is_dead("b")
    club.roster.forgive("a")
    assert not club.roster.is_dead("a")


@pytest.mark.parametrize("why", ["its client closed it", "its client went on with the next"])
def test_whom_its_client_gave_up_leaves_its_id_alive(club: Club, why: str) -> None:
    context = club.join("a")
    if why == "its client closed it":
        context.close_requested = True
    else:
        close(context)
        club.join("a")
    club.roster.bury(context)
    assert not club.roster.is_dead("a")


@pytest.mark.parametrize("voice", ["anne", None])
def test_the_voice_of_an_idle_context_is_kept_until_it_is_forgiven(club: Club, voice: Any) -> None:
    context = club.join("a", voice)
    assert club.roster.voice("a") is None
    club.roster.note_expiry(context)
    club.roster.remove(context)
    assert club.roster.voice("a") == voice
    assert not club.roster.is_dead("a"), "more text opens a new one"
    club.roster.forgive("a")
    assert club.roster.voice("a") is None


def test_what_is_remembered_is_bounded(club: Club) -> None:
    for number in range(10):
        for remember in (club.roster.bury, club.roster.note_expiry):
            remember(club.join(f"id {number}", "anne"))
    assert [number for number in range(10) if club.roster.is_dead(f"id {number}")] == [7, 8, 9]
    assert [number for number in range(10) if club.roster.voice(f"id {number}")] == [7, 8, 9]
