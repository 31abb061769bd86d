import struct
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mux.audio.converter import Converter
from mux.audio.formats import FORMATS, AudioFormat
from mux.audio.opus import OpusEncoder, warm
from mux.errors import MuxError

Decode = Callable[[bytes, AudioFormat], npt.NDArray[np.int32]]

OPUS = [token for token, format in FORMATS.items() if format.codec == "opus"]
MS = 48
"""Samples."""
PRE_SKIP = 312
NOISE = np.random.default_rng(5).integers(-9000, 9000, 48000).astype("<i2").tobytes()


class Page(NamedTuple):
    flags: int
    granule: int
    serial: int
    number: int
    packets: list[bytes]


def pages(data: bytes) -> list[Page]:
    """Fails unless whole pages of whole packets fill `data` exactly."""
    found = []
    at = 0
    while at < len(data):
        magic, _, flags, granule, serial, number, _, count = struct.unpack_from("<4sBBqIIIB", data, at)
        assert magic == b"OggS", f"no page at byte {at}"
        sizes = data[at + 27 : at + 27 + count]
        at += 27 + count
        packets = [b""]
        for size in sizes:
            packets[-1] += data[at : at + size]
            at += size
            if size < 255:
                packets.append(b"")
        assert packets.pop() == b"", "the last packet is not whole"
        found.append(Page(flags, granule, serial, number, packets))
    assert at == len(data), "the last page is not whole"
    return found


def encode(encoder: OpusEncoder, pcm: bytes, step: int = 100 * MS) -> list[bytes]:
    pieces = [encoder.encode(pcm[at : at + 2 * step]) for at in range(0, len(pcm), 2 * step)]
    return [*pieces, encoder.flush()]


def test_a_stream_is_two_headers_and_then_sound() -> None:
    pieces = encode(OpusEncoder(64), NOISE)
    head, tags, *sound = pages(b"".join(pieces))
    (head_packet,), (tags_packet,) = head.packets, tags.packets
    assert struct.unpack("<8sBBHIhB", head_packet) == (b"OpusHead", 1, 1, PRE_SKIP, 48000, 0, 0)
    assert tags_packet == b"OpusTags" + b"\x06\0\0\0ttsmux" + bytes(4)
    everything = [head, tags, *sound]
    assert [page.flags for page in everything] == [2] + [0] * len(sound) + [4]
    assert [page.number for page in everything] == list(range(len(everything)))
    assert len({page.serial for page in everything}) == 1
    ends = [page.granule for page in everything]
    assert ends == sorted(ends)
    assert ends[-1] == len(NOISE) // 2 + PRE_SKIP, "the end says what is padding"


def test_every_piece_is_whole_pages_as_soon_as_packets_are_ready() -> None:
    pieces = encode(OpusEncoder(32), NOISE, step=20 * MS)
    for piece in pieces[:-1]:
        sound = pages(piece)[-1]
        assert [len(sound.packets), sound.flags] == [1, 0]


def test_less_than_a_packet_waits_and_headers_with_it() -> None:
    encoder = OpusEncoder(32)
    assert encoder.encode(bytes(2 * 19 * MS)) == b""
    assert len(pages(encoder.encode(bytes(2 * MS)))) == 3


def test_a_long_call_makes_several_pages(decode: Decode) -> None:
    encoder = OpusEncoder(192)
    data = encoder.encode(NOISE * 5)
    assert max(len(page.packets) for page in pages(data)) == 40
    assert sum(len(page.packets) for page in pages(data)) == 2 + 250
    assert len(decode(data + encoder.flush(), FORMATS["opus_48000_192"])) == 5 * 48000


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 5000), step=st.integers(100, 3000), token=st.sampled_from(OPUS))
def test_the_length_is_exact_however_the_stream_is_cut(
    count: int, step: int, token: str, decode: Decode
) -> None:
    encoder = OpusEncoder(FORMATS[token].bitrate_kbps or 0)
    data = b"".join(encode(encoder, NOISE[: 2 * count], step))
    assert len(decode(data, FORMATS[token])) == count


@pytest.mark.parametrize("kbps", [32, 64, 96, 128, 192])
def test_the_bit_rate_is_what_the_name_says(kbps: int, sentences: list[bytes]) -> None:
    format = FORMATS[f"opus_48000_{kbps}"]
    pcm = b"".join(sentences)
    data = Converter(22050, format).convert(pcm, last=True)
    seconds = len(pcm) / 2 / 22050
    packets = sum(len(packet) for page in pages(data) for packet in page.packets)
    assert packets * 8 / seconds / 1000 == pytest.approx(kbps, rel=0.1)


def test_a_flush_ends_the_logical_stream_and_another_follows(decode: Decode) -> None:
    encoder = OpusEncoder(64)
    first, second = (b"".join(encode(encoder, NOISE[:30000])) for _ in range(2))
    assert [page.packets for page in pages(first)] == [page.packets for page in pages(second)]
    assert pages(first)[-1].flags == 4
    assert pages(second)[0].flags == 2
    assert pages(first)[0].serial != pages(second)[0].serial
    assert len(decode(first + second, FORMATS["opus_48000_64"])) == 30000


def test_nothing_in_nothing_out() -> None:
    encoder = OpusEncoder(32)
    assert encoder.flush() == b""
    assert encoder.encode(b"") == b""
    assert encoder.flush() == b""


def test_half_a_sample_is_a_bug() -> None:
    with pytest.raises(ValueError, match="odd length"):
        OpusEncoder(32).encode(b"abc")


def test_encoding_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    encode(OpusEncoder(32), NOISE[:9000])
    assert capfd.readouterr() == ("", "")


def test_without_pyav_the_error_says_how_to_install_it(without_pyav: None) -> None:
    for ask in (warm, lambda: OpusEncoder(32), lambda: Converter(22050, FORMATS["opus_48000_32"])):
        with pytest.raises(MuxError, match=r"pip install 'ttsmux\[opus\]'") as missing:
            ask()
        assert missing.value.code == "missing_dependency"
