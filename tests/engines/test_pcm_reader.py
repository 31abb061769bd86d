from __future__ import annotations

import struct

import pytest

from mux.audio.riff import WavEncoder
from mux.engines.pcm_reader import PcmReader

RATE = 24000
PCM = bytes(range(1, 201))


def wav(pcm: bytes = PCM, rate: int = RATE) -> bytes:
    encoder = WavEncoder(rate)
    encoder.encode(pcm)
    return encoder.flush()


def header(*, kind: int = 1, channels: int = 1, rate: int = RATE, bits: int = 16, rest: bytes = b"") -> bytes:
    format = struct.pack("<HHIIHH", kind, channels, rate, rate * 2, 2, bits) + rest
    return b"RIFF\xff\xff\xff\xffWAVE" + struct.pack("<4sI", b"fmt ", len(format)) + format


def data(size: int) -> bytes:
    return struct.pack("<4sI", b"data", size)


def read(*pieces: bytes) -> bytes:
    reader = PcmReader(RATE)
    fed = [reader.feed(piece) for piece in pieces]
    assert not any(len(piece) % 2 for piece in fed)
    return b"".join(fed) + reader.finish()


EXTENSIBLE = header(kind=0xFFFE, rest=struct.pack("<HHIH", 22, 16, 4, 1) + bytes(14))
FILES = {
    "bare": (PCM, PCM),
    "wav": (wav(), PCM),
    "begins like a wav": (b"RIFX" + PCM, b"RIFX" + PCM),
    "two sentences": (wav() + wav(), PCM + PCM),
    "unknown length": (header() + data(0xFFFFFFFF) + PCM, PCM),
    "length of 0": (header() + data(0) + PCM, PCM),
    "signed length": (header() + data(0x7FFFFFFF - 36) + PCM, PCM),
    "other chunks": (header() + b"LIST\x03\0\0\0abc\0" + data(200) + PCM + b"LIST\x04\0\0\0abcd", PCM),
    "extensible": (EXTENSIBLE + data(200) + PCM, PCM),
    "cut short": (header() + data(400) + PCM, PCM),
    "two bytes": (b"RI", b"RI"),
    "nothing": (b"", b""),
    "silent wav": (header() + data(0), b""),
}


@pytest.mark.parametrize("name", FILES)
def test_speech_comes_out_the_same_however_the_bytes_were_cut(name: str) -> None:
    body, pcm = FILES[name]
    assert read(body) == pcm
    assert read(*(body[at : at + 1] for at in range(len(body)))) == pcm
    for at in range(len(body)):
        assert read(body[:at], body[at:]) == pcm


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (wav(rate=22050), "speech at 22050 Hz"),
        (header(channels=2) + data(4), "2 channels"),
        (header(bits=24) + data(4), "24 bits"),
        (header(kind=3, bits=32) + data(4), "format 3"),
        (b"RIFF\0\0\0\0AVI ", "not WAV"),
        (b"RIFF\0\0\0\0WAVE" + data(4), "does not tell its format"),
        (b"RIFF\0\0\0\0WAVEfmt \xff\xff\0\0", "format of 65535 bytes"),
        (header() + b"\0\1\2\3\4\5\6\7", "chunk lengths are wrong"),
        (header() + data(3) + b"abc", "half a sample"),
        (b"ID3\x04abcdef", "MP3"),
        (b"OggS\0\0\0\0", "Ogg"),
        (b"fLaC\0\0\0\0", "FLAC"),
    ],
)
def test_what_is_no_speech_of_that_rate_is_named(body: bytes, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        PcmReader(RATE).feed(body)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (PCM[:-1], "middle of a sample"),
        (b"x", "middle of a sample"),
        (header() + data(200) + PCM[:-1], "middle of a sample"),
        (wav()[:30], "inside its header"),
    ],
)
def test_a_body_that_ends_too_early_is_noticed(body: bytes, what: str) -> None:
    reader = PcmReader(RATE)
    reader.feed(body)
    with pytest.raises(ValueError, match=what):
        reader.finish()
