"""The worker program's own parts, and its rules as a program."""

from __future__ import annotations

import ast
import sys

from hypothesis import given
from hypothesis import strategies as st

from mux.engines import espeak_worker
from mux.engines.espeak_worker import Alignment, Speech


def test_the_program_imports_nothing_but_the_standard_library() -> None:
    with open(espeak_worker.__file__) as file:
        source = file.read()
    assert source.startswith("# SPDX-License-Identifier: GPL-3.0-or-later\n")
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [node.module or ""]
        assert all(name.partition(".")[0] in sys.stdlib_module_names for name in names)


def test_a_pause_belongs_to_the_marks_after_the_word() -> None:
    align = Alignment("ab, cd.")
    align.phoneme(0, pause=False)
    align.phoneme(50, pause=False)
    align.phoneme(100, pause=True)
    align.word(4, 200)
    assert align.starts == [0, 50, 100, 150]
    align.phoneme(200, pause=False)
    align.phoneme(260, pause=False)
    align.phoneme(300, pause=True)
    align.end(400)
    assert align.starts == [0, 50, 100, 150, 200, 260, 300]


def test_a_space_without_a_pause_takes_no_time() -> None:
    align = Alignment("ab cd")
    align.word(3, 100)
    align.end(200)
    assert align.starts == [0, 50, 100, 100, 150]


def test_the_parts_of_a_number_stay_one_word() -> None:
    align = Alignment("go 12345 on")
    for index, sample in ((0, 0), (3, 100), (4, 150), (3, 200), (4, 250), (9, 400)):
        align.word(index, sample)
    align.end(500)
    assert align.starts[:4] == [0, 50, 100, 100]
    assert align.starts[9:] == [400, 450]


def test_marks_without_a_word_take_all_of_the_time() -> None:
    align = Alignment("...")
    align.phoneme(0, pause=True)
    align.end(300)
    assert align.starts == [0, 100, 200]


EVENTS = st.lists(
    st.tuples(st.sampled_from(["word", "phoneme", "pause"]), st.integers(-1, 30), st.integers(0, 5000))
)


@given(st.text(max_size=20), EVENTS, st.integers(0, 5000))
def test_whatever_events_come_every_character_is_mapped_once_in_order(
    text: str, events: list[tuple[str, int, int]], end: int
) -> None:
    align = Alignment(text)
    for kind, index, sample in events:
        if kind == "word":
            align.word(index, sample)
        else:
            align.phoneme(sample, pause=kind == "pause")
    align.end(end)
    assert len(align.starts) == len(text)
    assert align.starts == sorted(align.starts)
    assert all(0 <= start <= align.settled for start in align.starts)


@given(st.text(min_size=1, max_size=20), st.lists(st.integers(1, 400), min_size=1, max_size=12), st.data())
def test_frames_carry_every_sample_and_every_character_once(
    text: str, sizes: list[int], data: st.DataObject
) -> None:
    frames: list[tuple[bytes, list[int]]] = []
    speech = Speech(text, 200, lambda pcm, starts: frames.append((pcm, starts)))
    pcm = bytes(2 * sum(sizes))
    done = 0
    for size in sizes:
        event = espeak_worker.Event(
            type=espeak_worker.EVENT_WORD,
            text_position=data.draw(st.integers(0, 25)),
            sample=done + data.draw(st.integers(0, size + 50)),
        )
        speech.chunk(bytes(2 * size), [event])
        done += size
    speech.finish()
    assert b"".join(frame for frame, _ in frames) == pcm
    assert sum(len(starts) for _, starts in frames) == len(text)
    for frame, starts in frames:
        assert frame
        assert starts == sorted(starts)
        assert starts[0] == 0
        assert starts[-1] <= len(frame) // 2
