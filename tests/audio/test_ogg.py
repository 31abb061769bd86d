import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mux.audio.ogg import OggStream


def crc(data: bytes) -> int:
    """RFC 3533's checksum, bit by bit."""
    register = 0
    for byte in data:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1 ^ (0x04C11DB7 if register >> 31 else 0)) & 0xFFFFFFFF
    return register


@given(st.lists(st.binary(max_size=600), max_size=20), st.integers(0, 2**62), st.integers(0, 2**32 - 1))
def test_a_page_reads_back(packets: list[bytes], granule: int, serial: int) -> None:
    page = OggStream(serial).page(packets, granule)
    magic, version, _, position, stream, number, checksum, count = struct.unpack_from("<4sBBqIIIB", page)
    assert (magic, version, position, stream, number) == (b"OggS", 0, granule, serial, 0)
    assert checksum == crc(page[:22] + bytes(4) + page[26:])
    at = 27 + count
    read, packet = [], b""
    for size in page[27:at]:
        packet += page[at : at + size]
        at += size
        if size < 255:
            read.append(packet)
            packet = b""
    assert at == len(page)
    assert packet == b""
    assert read == packets


def test_the_first_and_the_last_page_say_so_and_all_are_numbered() -> None:
    stream = OggStream(7)
    pages = [stream.page([b"x"], at, last=at == 2) for at in range(3)]
    assert [page[5] for page in pages] == [2, 0, 4]
    assert [page[18] for page in pages] == [0, 1, 2]


def test_too_much_for_a_page_is_a_bug() -> None:
    assert len(OggStream(1).page([b""] * 255, 0)) == 27 + 255
    with pytest.raises(ValueError, match="256 segments"):
        OggStream(1).page([bytes(255)] * 128, 0)
