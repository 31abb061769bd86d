"""Mono speech as Ogg Opus (RFC 7845), in pages that leave as soon as their packets are ready.

PyAV carries libopus. It comes with the `opus` extra, and is imported when Opus is first asked for.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mux.audio.ogg import OggStream
from mux.audio.pcm import samples
from mux.errors import MuxError

if TYPE_CHECKING:
    from av import AudioCodecContext, Packet

__all__ = ["SAMPLE_RATE", "OpusEncoder", "installed", "warm"]

SAMPLE_RATE = 48000
VENDOR = b"ttsmux"
PACKETS_PER_PAGE = 40
"""0.8 s. RFC 6716 §3.2.1: a frame has at most 1,275 bytes, so these take 240 of a page's 255 segments at
most. It is a bound for long calls only: a page never waits for the next call."""


def installed() -> bool:
    """Whether PyAV is there, without the cost of importing it."""
    return find_spec("av") is not None


@cache
def warm() -> None:
    """Import PyAV and encode a first moment: 0.05 to 0.2 s and 20 MB, once in a process. A server that
    expects Opus does it at its start; otherwise the first listener to ask for it makes everybody wait.

    Raises:
        MuxError: `missing_dependency`: PyAV is not installed, or has no libopus.
    """
    try:
        codec = _open_codec(bitrate_kbps=32)
    except (ImportError, ValueError) as error:  # PyAV's UnknownCodecError is a ValueError
        raise MuxError.of(
            "missing_dependency",
            f"Opus needs PyAV with libopus, which is not there ({error}). "
            "Install it with `pip install 'ttsmux[opus]'`.",
        ) from error
    _encode(codec, bytes(2 * codec.frame_size))


class OpusEncoder:
    """A stream of s16le at 48,000 Hz in, Ogg Opus at about `bitrate_kbps` (1,000 bits per second) out.

    Opus holds back up to 26.5 ms until `flush`, which ends the logical stream; what follows is a new one
    (chained, RFC 3533 §4). A decoder gives exactly the samples that went in, at their places: the stream says
    how many to skip before the first (pre-skip) and which is the last (the end's granule position).
    """

    def __init__(self, bitrate_kbps: int) -> None:
        """Raises:
        MuxError: `missing_dependency`: PyAV is not installed, or has no libopus.
        """
        warm()
        self._bitrate_kbps = bitrate_kbps
        self._stream: _LogicalStream | None = None

    def encode(self, pcm: bytes) -> bytes:
        """Take more mono s16le; give the pages, all whole, of the packets that are complete by now (none for
        less than 20 ms). The header pages come with the first of them.

        Raises:
            ValueError: `pcm` has an odd length.
        """
        if not pcm:
            return b""
        if self._stream is None:
            self._stream = _LogicalStream(self._bitrate_kbps)
        return self._stream.encode(pcm)

    def flush(self) -> bytes:
        """Give everything that is held back and end the logical stream. The next `encode` begins another,
        whose pages can simply follow."""
        if self._stream is None:
            return b""
        rest = self._stream.end()
        self._stream = None
        return rest


class _LogicalStream:
    def __init__(self, bitrate_kbps: int) -> None:
        self._codec = _open_codec(bitrate_kbps)
        # RFC 3533 §4: serial numbers must be unique in a file, and clients put many streams into one.
        self._ogg = OggStream(random.getrandbits(32))
        self._granule = 0

    def encode(self, pcm: bytes) -> bytes:
        return self._pages(_encode(self._codec, pcm))

    def end(self) -> bytes:
        """libopus always has a packet left to give, for it looks ahead; so the last page is never empty."""
        return self._pages(self._codec.encode(None), last=True)

    def _pages(self, packets: Sequence[Packet[Any]], last: bool = False) -> bytes:
        pages = self._headers() if packets and self._granule == 0 else []
        for start in range(0, len(packets), PACKETS_PER_PAGE):
            these = packets[start : start + PACKETS_PER_PAGE]
            # Durations are of 48,000ths. They add up to the pre-skip and what went in, for that of the last
            # packet is cut: RFC 7845 §4.4's end trimming.
            self._granule += sum(packet.duration or 0 for packet in these)
            end = last and start + PACKETS_PER_PAGE >= len(packets)
            pages.append(self._ogg.page([bytes(packet) for packet in these], self._granule, end))
        return b"".join(pages)

    def _headers(self) -> list[bytes]:
        head = self._codec.extradata  # RFC 7845 §5.1's identification header, pre-skip included
        assert head is not None
        tags = struct.pack(f"<8sI{len(VENDOR)}sI", b"OpusTags", len(VENDOR), VENDOR, 0)
        return [self._ogg.page([head], 0), self._ogg.page([tags], 0)]


def _open_codec(bitrate_kbps: int) -> AudioCodecContext:
    from av import CodecContext

    codec = CodecContext.create("libopus", "w")
    codec.sample_rate = SAMPLE_RATE
    codec.format = "s16"
    codec.layout = "mono"
    codec.bit_rate = 1000 * bitrate_kbps
    # libopus's free VBR makes 110 kbit/s of speech at 64; constrained, it keeps what the format's name says.
    codec.options = {"vbr": "constrained"}
    codec.open()
    return codec


def _encode(codec: AudioCodecContext, pcm: bytes) -> list[Packet[Any]]:
    from av import AudioFrame

    frame = AudioFrame.from_ndarray(samples(pcm).reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = SAMPLE_RATE
    return codec.encode(frame)
