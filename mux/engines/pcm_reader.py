"""What the bytes of an HTTP answer are: bare PCM, or WAV from a server that wraps it unasked."""

from __future__ import annotations

import struct

__all__ = ["PcmReader"]

_FILE_HEADER, _CHUNK_HEADER = 12, 8
_LONGEST_FORMAT = 256
"""Bytes of a `fmt ` chunk; the longest one in use (WAVE_FORMAT_EXTENSIBLE) has 40."""
_PCM, _EXTENSIBLE = 1, 0xFFFE
_UNKNOWN_LENGTHS = (0, 0x7FFF0000)
"""A `data` length of 0, or from the second number up, is a streaming server's "I do not know yet"."""
_OTHERS = {b"ID3": "MP3", b"OggS": "Ogg", b"fLaC": "FLAC"}
_LONGEST_MAGIC = 4


class PcmReader:
    """Bytes in as they come, cut anywhere; whole samples out: mono s16le at `sample_rate` (Hz).

    A WAV header is taken off; several WAV files in a row (one for each sentence) are joined. It holds back
    less than a sample, or an incomplete header of at most 256 bytes.
    """

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._held = bytearray()
        self._wav: bool | None = None
        """None: too few bytes have come to tell."""
        self._known = False
        """Whether a format that can be spoken was announced."""
        self._speech: int | None = 0
        """Bytes of speech that are left of this `data` chunk; None: all that come."""
        self._skip = 0

    def feed(self, data: bytes) -> bytes:
        """Take more bytes, give the samples that are complete.

        Raises:
            ValueError: this is not speech that can be passed on; the text says what it is instead.
        """
        self._held += data
        if self._wav is None:
            if len(self._held) < _LONGEST_MAGIC:
                return b""
            self._wav = self._held.startswith(b"RIFF")
            for magic, name in _OTHERS.items():
                if self._held.startswith(magic):
                    raise ValueError(f"{name} instead of PCM")
        if not self._wav:
            return self._take(len(self._held))
        pcm = bytearray()
        while self._step(pcm):
            pass
        return bytes(pcm)

    def finish(self) -> bytes:
        """The body has ended: give what is left.

        Raises:
            ValueError: it ended inside a sample or inside a header.
        """
        if self._wav and not self._known:
            raise ValueError("a WAV file that ends inside its header")
        if self._wav and self._speech == 0:
            return b""  # at most half a header of something that is no speech
        if len(self._held) % 2:
            raise ValueError("an odd number of bytes, so it ends in the middle of a sample")
        return self._take(len(self._held))

    def _take(self, size: int) -> bytes:
        size -= size % 2
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken

    def _step(self, pcm: bytearray) -> bool:
        """Read one thing of a WAV file; False if more bytes are needed for it."""
        if self._skip:
            skipped = min(self._skip, len(self._held))
            del self._held[:skipped]
            self._skip -= skipped
            return self._skip == 0
        if self._speech != 0:
            taken = self._take(
                len(self._held) if self._speech is None else min(self._speech, len(self._held))
            )
            pcm += taken
            if self._speech is not None:
                self._speech -= len(taken)
            return self._speech == 0
        return self._chunk()

    def _chunk(self) -> bool:
        if len(self._held) < _CHUNK_HEADER:
            return False
        name, size = struct.unpack_from("<4sI", self._held)
        if name == b"RIFF":
            return self._file()
        if not all(0x20 <= letter < 0x7F for letter in name):
            raise ValueError("a WAV file whose chunk lengths are wrong")
        if name == b"fmt ":
            return self._format(size)
        del self._held[:_CHUNK_HEADER]
        if name == b"data":
            if not self._known:
                raise ValueError("a WAV file that does not tell its format")
            least, most = _UNKNOWN_LENGTHS
            if size <= least or size >= most:
                self._speech = None
            elif size % 2:
                raise ValueError("a WAV file with half a sample")
            else:
                self._speech = size
        else:
            self._skip = size + size % 2  # chunks begin at even offsets
        return True

    def _file(self) -> bool:
        if len(self._held) < _FILE_HEADER:
            return False
        if self._held[8:_FILE_HEADER] != b"WAVE":
            raise ValueError("a RIFF file that is not WAV")
        del self._held[:_FILE_HEADER]
        return True

    def _format(self, size: int) -> bool:
        if not 16 <= size <= _LONGEST_FORMAT:
            raise ValueError(f"a WAV file with a format of {size} bytes")
        end = _CHUNK_HEADER + size + size % 2
        if len(self._held) < end:
            return False
        kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", self._held, _CHUNK_HEADER)
        if kind == _EXTENSIBLE and size >= 26:
            (kind,) = struct.unpack_from("<H", self._held, _CHUNK_HEADER + 24)
        if kind != _PCM or channels != 1 or bits != 16:
            raise ValueError(f"WAV with format {kind}, {channels} channels and {bits} bits a sample")
        if rate != self._rate:
            raise ValueError(f"speech at {rate} Hz")
        del self._held[:end]
        self._known = True
        return True
