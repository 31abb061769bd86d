from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mux.engines.resampled import Resampler
from mux.protocol.messages import SpelledOut, Spoken

RATES = st.sampled_from([8000, 16000, 22050, 24000, 44100, 48000])


def piece(samples: int, *starts: int, spelled: SpelledOut | None = None, until: int | None = None) -> Spoken:
    return Spoken(1, 2, bytes(2 * samples), 24000, starts, spelled, until)


def through(resampler: Resampler, *pieces: Spoken) -> list[Spoken]:
    given = [resampler.feed(one) for one in pieces]
    return [one for one in (*given, resampler.finish()) if one is not None]


def absolute(given: list[Spoken]) -> tuple[list[int], list[int], int]:
    """Starts and ends of all characters since the beginning, and the number of samples."""
    starts: list[int] = []
    ends: list[int] = []
    at = 0
    for one in given:
        samples = len(one.pcm) // 2
        until = samples if one.until is None else one.until
        own = (*one.starts, until)
        starts += [at + start for start in own[:-1]]
        ends += [at + end for end in own[1:]] if one.starts else []
        at += samples
    return starts, ends, at


@given(
    source=RATES,
    target=RATES,
    lengths=st.lists(st.lists(st.integers(0, 3000), max_size=5), min_size=1, max_size=8),
)
def test_every_character_keeps_its_time(source: int, target: int, lengths: list[list[int]]) -> None:
    """Characters of so many samples each, in so many chunks."""
    pieces = []
    for chunk in lengths:
        starts = [sum(chunk[:number]) for number in range(len(chunk))]
        pieces.append(piece(sum(chunk), *starts))
    given_starts, given_ends, total = absolute(pieces)
    heard = through(Resampler(source, target), *pieces)
    starts, ends, samples = absolute(heard)
    assert samples == pytest.approx(total * target / source, abs=1)
    assert starts == [start * target // source for start in given_starts]
    assert ends == [end * target // source for end in given_ends]
    for one in heard:
        assert list(one.starts) == sorted(one.starts)
        assert all(0 <= start <= len(one.pcm) // 2 for start in one.starts)
        assert one.sample_rate == target


def test_a_character_whose_time_is_known_late_is_told_as_begun_before() -> None:
    resampler = Resampler(24000, 48000)
    heard = through(resampler, piece(24000, 0), piece(2400, -1200, 100, until=2000))
    starts, ends, samples = absolute(heard)
    assert starts == [0, 45600, 48200]
    assert ends[-2:] == [48200, 52000]
    assert samples == 52800
    assert min(start for one in heard for start in one.starts) < 0


def test_a_chunk_without_sound_is_only_times() -> None:
    resampler = Resampler(24000, 8000)
    heard = through(resampler, piece(24000), piece(0, -24000, -12000), piece(240))
    starts, _, samples = absolute(heard)
    assert starts == [0, 4000]
    assert samples == 8080


def test_what_was_really_said_keeps_its_times_too() -> None:
    resampler = Resampler(24000, 48000)
    said = [
        piece(1200, 0, spelled=SpelledOut("ab", (0, 600))),
        piece(1200, spelled=SpelledOut("cd", (0, 1100))),
    ]
    heard = through(resampler, *said)
    at, found = 0, []
    for one in heard:
        assert one.spelled is not None
        found += [
            (character, at + start)
            for character, start in zip(one.spelled.text, one.spelled.starts, strict=True)
        ]
        at += len(one.pcm) // 2
    assert found == [("a", 0), ("b", 1200), ("c", 2400), ("d", 4600)]


def test_nothing_gives_nothing() -> None:
    assert Resampler(24000, 8000).finish() is None


def test_the_sound_is_the_same() -> None:
    wave = (8000 * np.sin(np.arange(24000) * 2 * np.pi * 440 / 24000)).astype("<i2").tobytes()
    pieces = [Spoken(1, 2, wave[at : at + 4096], 24000) for at in range(0, len(wave), 4096)]
    heard = b"".join(one.pcm for one in through(Resampler(24000, 16000), *pieces))
    wanted = 8000 * np.sin(np.arange(16000) * 2 * np.pi * 440 / 16000)
    assert np.abs(np.frombuffer(heard, "<i2") - wanted)[200:-200].max() < 40
