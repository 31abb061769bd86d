"""Mono speech as MP3, cut into whole frames."""

from __future__ import annotations

import lameenc

from mux.audio.formats import AudioFormat

__all__ = ["Mp3Encoder"]

QUALITY = 5
"""On LAME's scale from 0 (best) to 9: 3 to 6 ms of CPU for a second of speech."""


class Mp3Encoder:
    """A stream of s16le in, a stream of MP3 frames out, at the format's own sample rate and bit rate.

    LAME holds back 40 to 95 ms of audio until `flush`. A decoder gives 1,105 samples before the first of
    ours, and silence to the end of the last frame; so a flush in mid-speech is heard as a gap of 27 to 51 ms
    (44,100 Hz) or 51 to 77 ms (22,050 Hz): flush only where there is nothing more to play for now. No shorter
    way was found: silence put in until everything is out takes 58 to 239 ms, and a new stream's first frame,
    nearly all silence, carries bits of its second.
    """

    def __init__(self, format: AudioFormat) -> None:
        """Raises:
        ValueError: `format` is not an mp3 format.
        """
        if format.codec != "mp3" or format.bitrate_kbps is None:
            raise ValueError(f"{format.token} is not an mp3 format")
        self._rate = format.sample_rate
        self._kbps = format.bitrate_kbps
        # ISO 11172-3 §2.4.3.1 and ISO 13818-3: a frame holds 1,152 samples from 32 kHz up, 576 below.
        samples = 1152 if self._rate >= 32000 else 576
        self._frame_bytes = samples * self._kbps * 1000 // 8 // self._rate
        self._encoder: lameenc.Encoder | None = None
        self._held = bytearray()

    def encode(self, pcm: bytes) -> bytes:
        """Take more mono s16le; give the frames, all whole, that are complete by now (often none).
        LAME runs without the GIL."""
        if not pcm:
            return b""
        if self._encoder is None:
            self._encoder = self._begin()
        return self._whole_frames(self._encoder.encode(pcm))

    def flush(self) -> bytes:
        """Give everything that is held back, padded with silence to a whole frame. The next `encode` begins
        a new stream, whose frames can simply follow."""
        if self._encoder is None:
            return b""
        rest = self._encoder.flush()
        self._encoder = None
        return self._whole_frames(rest)

    def _begin(self) -> lameenc.Encoder:
        encoder = lameenc.Encoder()
        encoder.silence()  # LAME is free to write to our standard error otherwise
        encoder.set_channels(1)
        encoder.set_in_sample_rate(self._rate)
        encoder.set_out_sample_rate(self._rate)  # or LAME picks a lower one at low bit rates
        encoder.set_bit_rate(self._kbps)
        encoder.set_quality(QUALITY)
        return encoder

    def _whole_frames(self, more: bytes | bytearray) -> bytes:
        """LAME's output breaks off anywhere; a message of ours that did could not be decoded by itself."""
        held = self._held
        held += more
        end = 0
        while end + 4 <= len(held):
            padding = held[end + 2] >> 1 & 1
            frame_end = end + self._frame_bytes + padding
            if frame_end > len(held):
                break
            end = frame_end
        frames = bytes(held[:end])
        del held[:end]
        return frames
