"""What was said, what was heard, and how another attempt goes on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mux.client.ledger import Ledger
from mux.protocol.messages import Alignment

EACH = 10
"""Milliseconds that a character lasts; a byte lasts one."""


def spoken(text: str, at: int = 0) -> Alignment:
    starts = tuple(at + EACH * index for index in range(len(text)))
    return Alignment(text, starts, tuple(start + EACH for start in starts), origin=at)


def heard(ledger: Ledger, text: str, at: int = 0, *, cut: int = 0) -> bytes:
    """A frame with this text, of which the last `cut` ms are missing."""
    return ledger.heard(bytes(len(text) * EACH - cut), spoken(text, at))[0]


def said(text: str) -> Ledger:
    ledger = Ledger(bytes_per_ms=1)
    ledger.said(text)
    return ledger


def test_nothing_heard_is_nothing_spoken() -> None:
    ledger = said("One two.")
    assert ledger.unspoken == "One two."
    assert ledger.audio_ms == 0
    assert ledger.resume() == ["One two."]
    assert ledger.heard(b"1234", None) == (b"1234", None)


def test_whole_words_are_not_said_again() -> None:
    ledger = said("One two three")
    heard(ledger, "One two")
    assert ledger.unspoken == " three"
    assert ledger.resume() == [" three"]
    audio, alignment = ledger.heard(bytes(60), spoken(" three"))
    assert len(audio) == 60
    assert alignment is not None
    assert alignment.text == " three"
    assert alignment.starts == (70, 80, 90, 100, 110, 120)
    assert ledger.unspoken == ""


def test_a_broken_word_goes_on_where_it_broke() -> None:
    ledger = said("One two three")
    heard(ledger, "One tw", cut=4)  # 56 ms: 16 of "two"
    assert ledger.unspoken == "two three"
    assert ledger.resume() == ["two three"]
    audio, alignment = ledger.heard(bytes(50), spoken("two t"))
    assert len(audio) == 50 - 16
    assert alignment is not None
    # The T and the W were told already; times go on without a gap.
    assert alignment.text == "o t"
    assert alignment.starts == (60, 70, 80)
    assert ledger.audio_ms == 90


def test_silence_before_the_first_word_of_another_attempt_is_left_out_too() -> None:
    ledger = said("One two")
    heard(ledger, "One tw", cut=4)
    ledger.resume()
    audio, alignment = ledger.heard(bytes(90), spoken("two", at=60))
    assert len(audio) == 90 - 60 - 16
    assert alignment is not None
    assert alignment.starts == (60,)


def test_what_is_left_out_may_span_frames() -> None:
    ledger = said("Supercalifragilistic")
    heard(ledger, "Supercalif")
    assert ledger.resume() == ["Supercalifragilistic"]
    got = [heard(ledger, "Super"), heard(ledger, "calif", 50), heard(ledger, "ragilistic", 100)]
    assert [len(audio) for audio in got] == [0, 0, 100]
    assert ledger.audio_ms == 200
    assert ledger.unspoken == ""


def test_several_breaks() -> None:
    ledger = said("One two three four")
    heard(ledger, "One t")
    assert ledger.resume() == ["two three four"]
    assert ledger.resume() == ["two three four"]  # nothing came in between
    heard(ledger, "two thr")
    assert ledger.audio_ms == 110
    assert ledger.resume() == ["three four"]
    heard(ledger, "three four")
    assert ledger.audio_ms == 180
    assert ledger.unspoken == ""


def test_flushes_are_said_again_where_they_were() -> None:
    ledger = Ledger(1)
    for text in ("One. ", "Two. ", "Three."):
        ledger.said(text)
        ledger.flushed()
    heard(ledger, "One. T")
    assert ledger.resume() == ["Two. ", "Three.", ""]


def test_without_times_nobody_knows() -> None:
    ledger = said("One two")
    ledger.heard(bytes(10), None)
    assert ledger.unspoken is None
    assert ledger.resume() is None


def test_audio_that_cannot_be_cut_cannot_go_on() -> None:
    ledger = Ledger(None)
    ledger.said("One two")
    assert ledger.resume() == ["One two"]
    ledger.heard(b"mp3", spoken("One t"))
    assert ledger.audio_ms is None
    assert ledger.unspoken == "two"
    assert ledger.resume() is None


@pytest.mark.parametrize(
    ("ms", "expected"),
    [(0, ""), (29, ""), (30, "One"), (45, "One "), (69, "One "), (70, "One two"), (1000, "One two")],
)
def test_split_where_a_listener_is(ms: float, expected: str) -> None:
    ledger = said("One two, three")
    heard(ledger, "One two")
    spoken_text, rest = ledger.split(ms)
    assert spoken_text + rest == "One two, three"
    assert spoken_text == expected


def test_split_without_times_is_all_or_nothing() -> None:
    ledger = said("One")
    assert ledger.split(100) == ("", "One")
    ledger.heard(bytes(50), None)
    assert ledger.split(49) == ("", "One")
    assert ledger.split(50) == ("One", "")


def test_an_alignment_may_differ_a_little_from_the_text() -> None:
    ledger = said("Well,  I said: no")
    ledger.heard(bytes(120), spoken("Well I said "))
    assert ledger.unspoken == ": no"


def test_long_texts_are_forgotten_from_their_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mux.client.ledger.MOST", 100)
    ledger = Ledger(1)
    position = 0
    for number in range(100):
        text = f"word{number:03} "
        ledger.said(text)
        ledger.flushed()
        heard(ledger, text, position)
        position += len(text) * EACH
        assert ledger.unspoken == ""
    assert len(ledger._text) < 200
    assert len(ledger._flushes) < 30
    assert ledger.characters == 800
    ledger.said("and more")
    assert ledger.unspoken == "and more"
    assert "".join(ledger.resume() or []) == "and more"


def test_nothing_piles_up_where_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mux.client.ledger.MOST", 100)
    ledger = Ledger(1)
    for number in range(3000):
        ledger.said("word ")
        heard(ledger, "word ", number * 5 * EACH)
    assert len(ledger._new) < 300
    assert len(ledger._text) < 3000
    assert ledger.unspoken == ""


words = st.text("abc ,.", min_size=1, max_size=40)


@given(words, st.lists(st.integers(0, 400), max_size=4))
def test_breaks_anywhere_lose_nothing_and_repeat_nothing(text: str, breaks: list[int]) -> None:
    """A service that always speaks alike, and breaks anywhere: what is heard is the text, whole and once."""
    ledger = said(text)
    rest, told, samples = text, "", 0
    for stop in [*breaks, None]:
        audio = bytes(len(rest) * EACH)[:stop]
        begun = spoken(rest[: -(-len(audio) // EACH)])
        new, alignment = ledger.heard(audio, begun if begun.text else None)
        told += alignment.text if alignment else ""
        samples += len(new)
        resumed = ledger.resume()
        assert resumed is not None
        rest = "".join(resumed)
    assert rest == "" or not text
    assert told == text
    # Between words it may go on a part of a space early, never in the middle of a word.
    assert len(text) * EACH - EACH * len(breaks) <= samples <= len(text) * EACH + EACH * len(breaks)
