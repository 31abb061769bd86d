"""Speech as the bytes of a WAV file, for answers that are sent whole."""

from __future__ import annotations

import struct

from mux.audio.pcm import samples

__all__ = ["WavEncoder"]

_PCM, _MONO, _SAMPLE_BYTES = 1, 1, 2


class WavEncoder:
    """Mono s16le at `sample_rate` (Hz) in, one WAV file out. Its header tells the length, so nothing can
    leave before `flush`: the whole speech waits in memory, 2 bytes a sample."""

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._held = bytearray()

    def encode(self, pcm: bytes) -> bytes:
        """Take more mono s16le; gives nothing yet.

        Raises:
            ValueError: `pcm` has an odd length.
        """
        samples(pcm)
        self._held += pcm
        return b""

    def flush(self) -> bytes:
        """The file; nothing, if nothing went in. The next `encode` begins another."""
        if not self._held:
            return b""
        pcm, self._held = self._held, bytearray()
        format = struct.pack(
            "<HHIIHH",
            *(_PCM, _MONO, self._rate, self._rate * _SAMPLE_BYTES, _SAMPLE_BYTES, 8 * _SAMPLE_BYTES),
        )
        chunks = _chunk(b"fmt ", format) + _chunk(b"data", bytes(pcm))
        return _chunk(b"RIFF", b"WAVE" + chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack("<4sI", name, len(content)) + content
