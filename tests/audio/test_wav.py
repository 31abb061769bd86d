import io
import wave
from collections.abc import Callable
from pathlib import Path

import pytest

from mux.audio.converter import Converter
from mux.audio.formats import FORMATS
from mux.audio.wav import open_wav, save, write_wav
from mux.errors import MuxError


def read(source: Path | io.BytesIO) -> tuple[int, int, int, bytes]:
    with wave.open(str(source) if isinstance(source, Path) else source) as wav:
        return wav.getnchannels(), wav.getsampwidth(), wav.getframerate(), wav.readframes(wav.getnframes())


def test_a_wav_reads_back(tmp_path: Path, tone: Callable[..., bytes]) -> None:
    pcm = tone(22050, 3000)
    write_wav(tmp_path / "a.wav", pcm, 22050)
    assert read(tmp_path / "a.wav") == (1, 2, 22050, pcm)
    file = io.BytesIO()
    write_wav(file, b"", 8000)
    file.seek(0)
    assert read(file) == (1, 2, 8000, b"")


def test_a_pipe_gets_a_true_header(tone: Callable[..., bytes]) -> None:
    class Pipe(io.RawIOBase):
        written = b""

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            piece = bytes(data)  # type: ignore[call-overload]
            self.written += piece
            return len(piece)

    pipe = Pipe()
    pcm = tone(24000, 2400)
    write_wav(pipe, pcm, 24000)  # type: ignore[arg-type]
    assert read(io.BytesIO(pipe.written)) == (1, 2, 24000, pcm)


def test_written_piece_by_piece_the_file_is_valid_after_each(
    tmp_path: Path, tone: Callable[..., bytes]
) -> None:
    file = io.BytesIO()
    pcm = tone(24000, 2400)
    with open_wav(file, 24000) as writer:
        writer.writeframes(pcm[:1000])
        assert read(io.BytesIO(file.getvalue())) == (1, 2, 24000, pcm[:1000])
        writer.writeframes(pcm[1000:])
    assert read(io.BytesIO(file.getvalue())) == (1, 2, 24000, pcm)


@pytest.mark.parametrize(
    ("name", "token"),
    [
        ("a.mp3", "mp3_44100_128"),
        ("a.ulaw", "ulaw_8000"),
        ("a.ul", "ulaw_8000"),
        ("a.alaw", "alaw_8000"),
        ("a.AL", "alaw_8000"),
        ("a.pcm", "pcm_22050"),
        ("a.raw", "pcm_22050"),
    ],
)
def test_the_suffix_says_the_format(
    tmp_path: Path, name: str, token: str, tone: Callable[..., bytes]
) -> None:
    pcm = tone(22050, 4410)
    save(tmp_path / name, pcm, 22050)
    assert (tmp_path / name).read_bytes() == Converter(22050, FORMATS[token]).convert(pcm, last=True)


def test_a_wav_is_saved_at_its_own_rate(tmp_path: Path, tone: Callable[..., bytes]) -> None:
    pcm = tone(22050, 100)
    save(str(tmp_path / "a.WAV"), pcm, 22050)
    assert read(tmp_path / "a.WAV") == (1, 2, 22050, pcm)


@pytest.mark.parametrize(
    ("name", "found"), [("a.ogg", "'.ogg'"), ("speech", "no suffix"), (".wav", "no suffix")]
)
def test_another_suffix_is_refused_by_name_and_nothing_written(tmp_path: Path, name: str, found: str) -> None:
    with pytest.raises(MuxError) as refused:
        save(tmp_path / name, b"", 22050)
    assert refused.value.code == "unsupported_format"
    assert found in str(refused.value)
    for allowed in (".wav", ".mp3", ".ulaw", ".ul", ".alaw", ".al", ".pcm", ".raw"):
        assert allowed in (refused.value.problem.allowed or ())
        assert allowed in str(refused.value)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.ul", "a.pcm"])
def test_half_a_sample_is_a_bug_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="odd length"):
        save(tmp_path / name, b"abc", 22050)
    assert not any(tmp_path.iterdir())
