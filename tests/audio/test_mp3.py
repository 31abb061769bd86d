from collections.abc import Callable

import pytest

from mux.audio.formats import FORMATS
from mux.audio.mp3 import Mp3Encoder

MP3 = sorted({format.token for format in FORMATS.values() if format.codec == "mp3"})

# Written from ISO 11172-3 table and ISO 13818-3, apart from the encoder's own arithmetic.
KBPS = {
    3: [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    2: [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
}
HERTZ = {3: [44100, 48000, 32000], 2: [22050, 24000, 16000]}


def frames(data: bytes) -> list[tuple[int, int, int, int]]:
    """(sample rate, kbps, channel mode, samples) of each frame; fails unless they fill `data` exactly."""
    found = []
    at = 0
    while at < len(data):
        assert data[at] == 0xFF, f"no frame at byte {at}"
        assert data[at + 1] & 0xE6 == 0xE2, f"no layer III frame at byte {at}"  # sync, layer
        version = data[at + 1] >> 3 & 3  # 3: MPEG-1, 2: MPEG-2
        kbps = KBPS[version][data[at + 2] >> 4]
        rate = HERTZ[version][data[at + 2] >> 2 & 3]
        padding = data[at + 2] >> 1 & 1
        mode = data[at + 3] >> 6
        found.append((rate, kbps, mode, 1152 if version == 3 else 576))
        at += (144 if version == 3 else 72) * kbps * 1000 // rate + padding
    assert at == len(data), "the last frame is not whole"
    return found


@pytest.mark.parametrize("token", MP3)
def test_every_piece_is_whole_frames_of_the_format_asked_for(token: str, tone: Callable[..., bytes]) -> None:
    format = FORMATS[token]
    encoder = Mp3Encoder(format)
    count = format.sample_rate // 2
    pcm = tone(format.sample_rate, count)
    pieces = [encoder.encode(pcm[at : at + 2646]) for at in range(0, len(pcm), 2646)]
    pieces.append(encoder.flush())
    found = [frame for piece in pieces for frame in frames(piece)]
    mono = 3
    assert {frame[:3] for frame in found} == {(format.sample_rate, format.bitrate_kbps, mono)}
    delay = 1105  # a decoder gives so many samples before the first of ours
    assert count + delay <= sum(frame[3] for frame in found) <= count + delay + 2 * found[0][3]
    assert sum(1 for piece in pieces if piece) > len(pieces) / 3, "frames come as they are ready"


def test_after_a_flush_a_new_stream_follows(tone: Callable[..., bytes]) -> None:
    pcm = tone(44100, 22050)
    encoder = Mp3Encoder(FORMATS["mp3_44100_128"])
    first = encoder.encode(pcm) + encoder.flush()
    second = encoder.encode(pcm) + encoder.flush()
    assert second == first, "nothing of the first stream is left in the second"
    assert len(frames(first + second)) == 2 * len(frames(first))


def test_nothing_in_nothing_out() -> None:
    encoder = Mp3Encoder(FORMATS["mp3_44100_128"])
    assert encoder.flush() == b""
    assert encoder.encode(b"") == b""
    assert encoder.flush() == b""


def test_encoding_prints_nothing(capfd: pytest.CaptureFixture[str], tone: Callable[..., bytes]) -> None:
    encoder = Mp3Encoder(FORMATS["mp3_22050_32"])
    encoder.encode(tone(22050, 4000))
    encoder.flush()
    assert capfd.readouterr() == ("", "")


def test_only_an_mp3_format_will_do() -> None:
    with pytest.raises(ValueError, match="pcm_24000 is not an mp3 format"):
        Mp3Encoder(FORMATS["pcm_24000"])
