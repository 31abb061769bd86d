"""Whose turn it is, and what a turn is."""

from __future__ import annotations

import pytest

from mux.protocol.outbox import Outbox, Speech

RATE = 1000
FRAME_MS = 100


def speech(samples: int, segment: int = 1, rate: int = RATE) -> Speech:
    return Speech(segment, b"\1\2" * samples, rate)


def drain(outbox: Outbox[str]) -> list[str]:
    """Who was served, in order; speech in upper case."""
    served = []
    while (part := outbox.next()) is not None:
        if part.speaks():
            part.take_speech(FRAME_MS)
            served.append(part.owner.upper())
        else:
            part.take_event()
            served.append(part.owner)
        outbox.queue(part)
    return served


def test_speech_goes_in_turns_of_one_frame() -> None:
    outbox: Outbox[str] = Outbox()
    for name, samples in (("a", 300), ("b", 200), ("c", 100)):
        outbox.part(name).push(speech(samples))
    assert drain(outbox) == ["A", "B", "C", "A", "B", "A"]


def test_events_go_before_anybodys_speech() -> None:
    outbox: Outbox[str] = Outbox()
    a, b = outbox.part("a"), outbox.part("b")
    a.push(speech(200))
    b.push("event")
    assert drain(outbox) == ["b", "A", "A"]


def test_an_event_never_overtakes_the_speech_of_its_own_context() -> None:
    outbox: Outbox[str] = Outbox()
    part = outbox.part("a")
    part.push("before")
    part.push(speech(200))
    part.push("after")
    assert drain(outbox) == ["a", "A", "A", "a"]


def test_a_newcomer_waits_no_longer_than_one_round() -> None:
    outbox: Outbox[str] = Outbox()
    a, b, c = (outbox.part(name) for name in "abc")
    a.push(speech(1000))
    b.push(speech(1000))
    part = outbox.next()
    assert part is a
    part.take_speech(FRAME_MS)
    c.push(speech(100))
    outbox.queue(part)
    assert drain(outbox)[:2] == ["B", "C"]


def test_a_frame_joins_pieces_of_one_segment_and_splits_long_ones() -> None:
    part = Outbox[str]().part("a")
    for size in (30, 30, 90, 20):
        part.push(speech(size))
    frames = [part.take_speech(FRAME_MS), part.take_speech(FRAME_MS)]
    assert [len(frame.pcm) // 2 for frame in frames] == [100, 70]
    assert b"".join(frame.pcm for frame in frames) == b"\1\2" * 170


@pytest.mark.parametrize(
    "other", [speech(50, segment=2), speech(50, rate=500)], ids=["other segment", "other rate"]
)
def test_a_frame_is_of_one_segment_and_one_rate(other: Speech) -> None:
    part = Outbox[str]().part("a")
    part.push(speech(50))
    part.push(other)
    first, second = part.take_speech(FRAME_MS), part.take_speech(FRAME_MS)
    assert (first.segment, first.sample_rate, len(first.pcm)) == (1, RATE, 100)
    assert (second.segment, second.sample_rate) == (other.segment, other.sample_rate)


def test_what_waits_is_counted_in_bytes_and_seconds() -> None:
    part = Outbox[str]().part("a")
    part.push(speech(150))
    part.push("event")
    assert (part.waiting_bytes, part.waiting_seconds) == (300, pytest.approx(0.15))
    part.take_speech(FRAME_MS)
    assert (part.waiting_bytes, part.waiting_seconds) == (100, pytest.approx(0.05))
    part.purge()
    assert (part.waiting_bytes, part.waiting_seconds) == (0, 0)


def test_a_held_part_goes_out_when_it_is_released() -> None:
    outbox: Outbox[str] = Outbox()
    held = outbox.part("h", held=True)
    held.push("event")
    held.push(speech(100))
    assert not outbox
    assert outbox.next() is None
    held.release()
    assert drain(outbox) == ["h", "H"]


def test_a_purged_part_has_no_turn_and_can_be_used_again() -> None:
    outbox: Outbox[str] = Outbox()
    a, b = outbox.part("a"), outbox.part("b")
    a.push(speech(500))
    b.push(speech(100))
    a.purge()
    a.push("end")
    assert drain(outbox) == ["a", "B"]
    assert not outbox
