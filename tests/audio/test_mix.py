import numpy as np
import pytest

from mux.audio.mix import Track


def pcm(*values: int) -> bytes:
    return np.array(values, dtype="<i2").tobytes()


def test_clips_lie_where_they_were_put_and_add_up() -> None:
    track = Track(24000)
    assert track.add(pcm(1, 2, 3), 0) == 3
    assert track.add(pcm(10, 20), 2) == 4
    assert track.add(pcm(5), 6) == 7
    assert len(track) == 7
    assert track.pcm() == pcm(1, 2, 13, 20, 0, 0, 5)


def test_an_earlier_end_does_not_shorten_the_track() -> None:
    track = Track(8000)
    track.add(pcm(1, 1, 1, 1), 0)
    track.add(pcm(1), 1)
    assert track.pcm() == pcm(1, 2, 1, 1)


def test_too_loud_saturates_only_in_the_sum() -> None:
    track = Track(8000)
    track.add(pcm(30000, -30000, 30000), 0)
    track.add(pcm(30000, -30000, 30000), 0)
    track.add(pcm(0, 0, -30000), 0)
    assert track.pcm() == pcm(32767, -32768, 30000)


def test_an_empty_track_is_empty() -> None:
    assert Track(8000).pcm() == b""


def test_bad_clips_are_bugs() -> None:
    with pytest.raises(ValueError, match="before the track"):
        Track(8000).add(pcm(1), -1)
    with pytest.raises(ValueError, match="odd length"):
        Track(8000).add(b"\x00", 0)
