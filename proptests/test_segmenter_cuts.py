"""However a text is cut into messages: the same segments, nothing lost, nothing blank, nothing too long."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from mux.protocol.segmenter import MAX_SEGMENT, Cut, Segmenter
from mux.protocol.sentences import SentenceSegmenter

WORDS = ["a", "word", "Hello", "Mr", "e.g", "3.14", "wörd", "你好", "今日は", "नमस्ते", "👩\u200d🚀", "e\u0301"]
MARKS = [". ", "? ", "!", "...", ", ", "; ", "。", "、", "।", '." ', "\n", "-", "\u00a0", " ", "  ", "   "]
texts = st.one_of(
    st.lists(st.sampled_from(WORDS + MARKS), max_size=120).map("".join),
    st.text(max_size=300),
    st.builds(
        lambda before, character, count, after: before + character * count + after,
        st.text(max_size=30),
        st.sampled_from([" ", "x", "\u0301", ".", "你", "\u200d", '"', "\n"]),
        st.integers(0, 3 * MAX_SEGMENT),
        st.text(max_size=30),
    ),
)
schedules = st.lists(st.integers(5, 500), min_size=1, max_size=4)
places = st.lists(st.integers(0, 2000), max_size=40)


def cut_at(text: str, places: list[int]) -> list[str]:
    """Cut `text` into messages; empty ones are messages too."""
    borders = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in pairwise(borders)]


def segments(messages: list[str], schedule: list[int], auto_mode: bool = False) -> list[Cut]:
    segmenter = Segmenter(schedule, auto_mode)
    cuts = [cut for message in messages for cut in segmenter.add(message)] + segmenter.flush("flush")
    assert not segmenter.waiting.strip()
    return [*cuts, Cut(segmenter.waiting, "blank rest")]


def check(cuts: list[Cut], text: str) -> None:
    *spoken, rest = cuts
    assert "".join(cut.text for cut in cuts) == text.lstrip()
    assert not rest.text.strip()
    for cut in spoken:
        assert cut.text.strip()
        assert len(cut.text.strip()) <= MAX_SEGMENT


@given(texts, schedules, places, places)
@example("x" * MAX_SEGMENT + "\u0301y", [5], [MAX_SEGMENT], [])
@example("x" * MAX_SEGMENT, [5], [MAX_SEGMENT - 1], [])
@example("donaudampfschiff   fahrt", [5], [17], [])
@example("(" * (MAX_SEGMENT - 1) + "a. And then, so it goes on", [10], [], [])
def test_segments_do_not_depend_on_how_text_was_cut(
    text: str, schedule: list[int], one: list[int], other: list[int]
) -> None:
    cuts = segments(cut_at(text, one), schedule)
    check(cuts, text)
    assert cuts == segments(cut_at(text, other), schedule)
    assert cuts == segments(list(text), schedule)


@given(texts, places)
def test_in_auto_mode_each_message_is_whole(text: str, places: list[int]) -> None:
    messages = cut_at(text, places)
    cuts = segments(messages, [5], auto_mode=True)
    said = [message for message in messages if message.strip()]
    if said:
        said[0] = said[0].lstrip()
    assert "".join(cut.text for cut in cuts) == "".join(said)
    for cut in cuts[:-1]:
        assert cut.text.strip()
        assert len(cut.text.strip()) <= MAX_SEGMENT
    short = [message for message in said if len(message) <= MAX_SEGMENT]
    assert all(Cut(message, "auto") in cuts for message in short)


@given(st.lists(st.tuples(texts, st.sampled_from(["add", "flush", "trigger"])), max_size=8), schedules)
def test_flushes_and_triggers_lose_nothing(steps: list[tuple[str, str]], schedule: list[int]) -> None:
    segmenter = Segmenter(schedule)
    cuts: list[Cut] = []
    for text, then in steps:
        cuts += segmenter.add(text)
        if then == "flush":
            cuts += segmenter.flush("flush")
            assert not segmenter.waiting.strip()
        elif then == "trigger":
            cuts += segmenter.trigger()
    cuts += [*segmenter.flush("close"), Cut(segmenter.waiting, "blank rest")]
    check(cuts, "".join(text for text, _ in steps))


@given(texts, schedules)
def test_a_schedule_speaks_as_soon_as_a_threshold_is_reached(text: str, schedule: list[int]) -> None:
    """No more waits than the greatest length, and text without long words no longer than its threshold."""
    segmenter = Segmenter(schedule)
    segmenter.add(text)
    waiting = segmenter.waiting.lstrip()
    assert len(waiting) <= MAX_SEGMENT
    if len(waiting) >= max(schedule):
        assert not any(character.isspace() for character in waiting[: max(schedule)])


@given(
    st.lists(
        st.sampled_from(["x", "e\u0301", "क\u093e", "👩\u200d🚀", "👍\U0001f3fd", "❤\ufe0f"]), max_size=900
    )
)
def test_a_hard_cut_is_never_inside_a_combining_sequence(clusters: list[str]) -> None:
    cuts = segments(["".join(clusters)], [5])
    for cut in cuts[1:]:
        if cut.text:
            assert not unicodedata.category(cut.text[0]).startswith("M")
            assert cut.text[0] not in "\u200d\U0001f3fd"
    assert not any(cut.text.endswith("\u200d") for cut in cuts)


# --- segments that end with a sentence ---------------------------------------------------------------

sentences = st.lists(
    st.sampled_from(
        [*WORDS, *MARKS, "Dr. ", "z.B. ", "3", ".", "14", "Yes. ", "No! ", "\n\n", ".\u201d ", "」", "x" * 50]
    ),
    max_size=120,
).map("".join)
fewest = st.lists(st.integers(1, 300), min_size=1, max_size=4)
longest = st.sampled_from([1, 5, 40, 150, MAX_SEGMENT, 1000])


@given(sentences | texts, fewest, longest, places, places)
@example("One. " + "x" * 35, [5], 40, [4], [5])  # the end of the text is the limit
@example("One" + "." * 36 + " \u201d Two", [5], 40, [38], [40])
@example("One.\u201d \n Two", [5], 40, [4, 5, 6], [7])
def test_sentences_do_not_depend_on_how_tokens_were_cut(
    text: str, schedule: list[int], longest: int, some: list[int], other: list[int]
) -> None:
    seen = []
    for messages in ([text], list(text), cut_at(text, some), cut_at(text, other)):
        segmenter = SentenceSegmenter(schedule, longest)
        cuts = [cut for message in messages for cut in segmenter.add(message)]
        seen.append((cuts, segmenter.waiting, segmenter.finished))
    assert seen == seen[:1] * 4


@given(sentences | texts, fewest, longest)
def test_sentences_lose_nothing_and_are_neither_blank_nor_too_short_nor_too_long(
    text: str, schedule: list[int], longest: int
) -> None:
    segmenter = SentenceSegmenter(schedule, longest)
    cuts = segmenter.add(text)
    most = min(longest, MAX_SEGMENT)
    assert len(segmenter.waiting.lstrip()) <= most
    check([*cuts, *segmenter.flush("flush"), Cut(segmenter.waiting, "blank rest")], text)
    for index, cut in enumerate(cuts):
        assert len(cut.text.lstrip()) <= most
        assert cut.why in ("schedule", "longest", "length")
        assert cut.split == (cut.why == "length")
        if cut.why == "schedule":
            assert len(cut.text.lstrip()) >= min(schedule[min(index, len(schedule) - 1)], most)


@given(st.lists(st.tuples(sentences, st.sampled_from(["add", "flush", "pause"])), max_size=8), fewest)
def test_pauses_lose_nothing_and_after_them_nothing_is_finished(
    steps: list[tuple[str, str]], schedule: list[int]
) -> None:
    segmenter = SentenceSegmenter(schedule)
    cuts: list[Cut] = []
    for text, then in steps:
        cuts += segmenter.add(text)
        assert segmenter.waiting.strip() or not segmenter.finished
        if then == "flush" or (then == "pause" and segmenter.finished):
            cuts += segmenter.flush(then)
            assert not segmenter.waiting.strip()
            assert not segmenter.finished
    cuts += [*segmenter.flush("close"), Cut(segmenter.waiting, "blank rest")]
    check(cuts, "".join(text for text, _ in steps))
