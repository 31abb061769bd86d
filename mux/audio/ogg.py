"""Ogg pages (RFC 3533), written when the caller says so: FFmpeg's own writer holds back over a second."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

__all__ = ["OggStream"]

MOST_SEGMENTS = 255
"""RFC 3533 §6: the number of segments is one byte."""

_HEADER = struct.Struct("<4sBBqIIIB")
_FIRST, _LAST = 2, 4
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Every byte with its bits the other way round."""


class OggStream:
    """One logical stream, page by page. `serial` (32 bits) tells it from the others in the same file."""

    def __init__(self, serial: int) -> None:
        self._serial = serial
        self._pages = 0

    def page(self, packets: Sequence[bytes], granule: int, last: bool = False) -> bytes:
        """The next page, of whole packets. `granule` is the codec's position after them; `last` ends the
        stream.

        Raises:
            ValueError: the packets need more segments than a page can have.
        """
        # A packet's segments are 255 bytes each, and a last one of less, which may be 0.
        table = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets)
        if len(table) > MOST_SEGMENTS:
            raise ValueError(f"packets of {len(table)} segments do not fit into a page of {MOST_SEGMENTS}")
        flags = (_FIRST if self._pages == 0 else 0) | (_LAST if last else 0)
        fields = (b"OggS", 0, flags, granule, self._serial, self._pages)
        body = b"".join((table, *packets))
        checksum = _checksum(_HEADER.pack(*fields, 0, len(table)) + body)
        self._pages += 1
        return _HEADER.pack(*fields, checksum, len(table)) + body


def _checksum(data: bytes) -> int:
    """RFC 3533 §6: a CRC with "the generator polynomial ... 0x04c11db7", from 0, highest bit first.

    zlib's has the same polynomial, but takes the lowest bit first, begins with all ones and inverts its
    result; so we mirror what goes in and what comes out. (A loop over bytes would cost as much as libopus.)
    """
    mirrored = zlib.crc32(data.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_MIRRORED), "big")
