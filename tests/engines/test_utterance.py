"""The ledger of a segment that is spoken far away: nothing is lost, nothing is given on twice."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mux.engines.base import Chunk
from mux.engines.utterance import Repair, Utterance
from mux.protocol.messages import Alignment

RATE = 8000
CHARACTER = 160
"""Samples that each character of these utterances takes: 20 ms."""


def speech(text: str) -> bytes:
    """Audio in which every sample tells its place."""
    return array("h", [place % 30000 for place in range(len(text) * CHARACTER)]).tobytes()


def frames(text: str, size: int) -> list[tuple[bytes, Alignment | None]]:
    """An attempt as a service sends it: frames of `size` samples, with the characters that begin in each."""
    audio = speech(text)
    found: list[tuple[bytes, Alignment | None]] = []
    for start in range(0, len(audio) // 2, size):
        end = min(start + size, len(audio) // 2)
        first, last = -(-start // CHARACTER), -(-end // CHARACTER)
        starts = tuple(place * 20 for place in range(first, last))
        ends = tuple(place * 20 + 20 for place in range(first, last))
        slice = Alignment(text[first:last], starts, ends, 0) if starts else None
        found.append((audio[start * 2 : end * 2], slice))
    return found


def listen(utterance: Utterance, attempt: list[tuple[bytes, Alignment | None]]) -> list[Chunk]:
    return [chunk for frame in attempt if (chunk := utterance.hear(*frame)) is not None]


def starts_of(chunks: list[Chunk]) -> list[int]:
    """Where each character begins in all that was given on."""
    found: list[int] = []
    at = 0
    for chunk in chunks:
        found += [at + start for start in chunk.starts]
        at += len(chunk.pcm) // 2
    return found


def test_one_attempt_is_given_on_as_it_is() -> None:
    text = "Hello there, my friend."
    utterance = Utterance(text, RATE, "words")
    chunks = listen(utterance, frames(text, 700))
    assert utterance.finish() is None
    assert b"".join(chunk.pcm for chunk in chunks) == speech(text)
    assert starts_of(chunks) == [place * CHARACTER for place in range(len(text))]
    assert utterance.complete
    assert utterance.said_all
    assert utterance.unspoken == ""


@given(
    st.text("ab ,.", min_size=3, max_size=60).filter(lambda text: any(c.isalnum() for c in text)),
    st.lists(st.tuples(st.integers(50, 2000), st.floats(0, 1)), max_size=5),
    st.integers(50, 2000),
)
def test_exact_attempts_join_to_one(text: str, broken: list[tuple[int, float]], size: int) -> None:
    utterance = Utterance(text, RATE, "exact")
    chunks: list[Chunk] = []
    for frame_size, share in broken:
        attempt = frames(text, frame_size)
        chunks += listen(utterance, attempt[: int(len(attempt) * share)])
        utterance.begin()
    chunks += listen(utterance, frames(text, size))
    chunks += [chunk] if (chunk := utterance.finish()) else []
    assert b"".join(chunk.pcm for chunk in chunks) == speech(text)
    assert starts_of(chunks) == [place * CHARACTER for place in range(len(text))]
    assert utterance.complete


@given(
    st.lists(st.text("abc", min_size=1, max_size=9), min_size=2, max_size=8).map(" ".join),
    st.integers(50, 1500),
    st.floats(0, 1),
)
def test_word_attempts_repeat_or_skip_less_than_a_word(text: str, size: int, share: float) -> None:
    utterance = Utterance(text, RATE, "words")
    attempt = frames(text, size)
    chunks = listen(utterance, attempt[: int(len(attempt) * share)])
    heard = utterance.delivered
    utterance.begin()
    chunks += listen(utterance, frames(text, size))
    chunks += [chunk] if (chunk := utterance.finish()) else []
    audio = b"".join(chunk.pcm for chunk in chunks)
    longest = max(map(len, text.split())) + 1
    assert abs(len(audio) - len(speech(text))) // 2 <= longest * CHARACTER
    assert audio[: heard * 2] == speech(text)[: heard * 2]
    tail = RATE // 100 * 2  # beyond the fade
    if len(audio) - heard * 2 > tail + 200:
        assert speech(text).endswith(audio[-200:])
    assert len(starts_of(chunks)) == len(text)
    assert starts_of(chunks) == sorted(starts_of(chunks))


def test_a_word_that_was_mostly_heard_is_not_said_again() -> None:
    text = "one magnificent three"
    utterance = Utterance(text, RATE, "words")
    attempt = frames(text, CHARACTER)
    listen(utterance, attempt[: text.index("ificent") + 4])
    heard = utterance.delivered
    utterance.begin()
    rest = listen(utterance, frames(text, CHARACTER))
    spoken = len(b"".join(chunk.pcm for chunk in rest)) // 2
    assert heard + spoken < len(text) * CHARACTER
    assert spoken == (len(text) - text.index(" three")) * CHARACTER


def test_a_word_that_had_only_begun_is_said_again() -> None:
    text = "one magnificent three"
    utterance = Utterance(text, RATE, "words")
    listen(utterance, frames(text, CHARACTER)[: text.index("gnificent")])
    utterance.begin()
    rest = listen(utterance, frames(text, CHARACTER))
    assert len(b"".join(chunk.pcm for chunk in rest)) // 2 == (len(text) - 4) * CHARACTER


@pytest.mark.parametrize("repair", ["exact", "words"])
def test_without_times_the_second_attempt_goes_on_by_the_clock(repair: Repair) -> None:
    text = "no times at all"
    utterance = Utterance(text, RATE, repair)
    audio = speech(text)
    first = utterance.hear(audio[:2000], None)
    assert first is not None
    utterance.begin()
    found = [utterance.hear(audio, None), utterance.finish()]
    rest = b"".join(chunk.pcm for chunk in found if chunk)
    assert len(first.pcm + rest) == len(audio)
    assert (first.pcm + rest)[:2000] == audio[:2000]
    assert (first.pcm + rest)[-2000:] == audio[-2000:]
    assert utterance.complete, "nothing can be known"


def test_a_service_that_forgets_the_last_words_is_found_out() -> None:
    text = "said and forgotten"
    utterance = Utterance(text, RATE, "words")
    chunks = listen(utterance, frames("said and", 500))
    utterance.finish()
    assert not utterance.complete
    assert utterance.unspoken == " forgotten"
    utterance.begin()
    chunks += listen(utterance, frames(text, 500))
    assert utterance.complete
    assert len(b"".join(chunk.pcm for chunk in chunks)) == len(speech(text))


def test_the_first_join_is_faded_in() -> None:
    text = "one two"
    loud = array("h", [20000] * (len(text) * CHARACTER)).tobytes()
    utterance = Utterance(text, RATE, "words")
    times = Alignment("one ", (0, 20, 40, 60), (20, 40, 60, 80), 0)
    utterance.hear(loud[: 4 * CHARACTER * 2], times)
    utterance.begin()
    whole = Alignment(text, tuple(range(0, 140, 20)), tuple(range(20, 160, 20)), 0)
    chunk = utterance.hear(loud, whole)
    assert chunk is not None
    wave = array("h", chunk.pcm)
    assert wave[0] == 0
    assert 0 < wave[30] < 20000
    assert wave[70] == 20000


def test_spaces_that_a_service_adds_and_characters_that_it_leaves_out_do_not_matter() -> None:
    text = "a (b) c"
    utterance = Utterance(text, RATE, "words")
    alignment = Alignment("a  b c ", (0, 20, 30, 60, 80, 100, 120), (20, 30, 60, 80, 100, 120, 120), 0)
    chunk = utterance.hear(speech(text), alignment)
    assert chunk is not None
    assert len(chunk.starts) == len(text)
    assert list(chunk.starts) == sorted(chunk.starts)
    assert utterance.said_all
