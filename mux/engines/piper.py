"""The `piper` engine: voices of Piper (https://github.com/OHF-Voice/piper1-gpl) that the user has downloaded.

Piper's package comes with ``pip install 'ttsmux[piper]'``. It is under the GPL and only loaded by the worker
program.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from mux.engines.models import ModelEngine, ModelFile, language_tag, refuse_model

__all__ = ["PiperEngine"]


class _Audio(msgspec.Struct, frozen=True):
    sample_rate: Annotated[int, msgspec.Meta(ge=1)]


class _Language(msgspec.Struct, frozen=True):
    code: str = ""


class _Espeak(msgspec.Struct, frozen=True):
    voice: str = ""


class _Description(msgspec.Struct, frozen=True):
    """What an .onnx.json file says, as far as the catalogue needs it."""

    audio: _Audio
    espeak: _Espeak = _Espeak()
    language: _Language = _Language()
    num_speakers: int = 1
    speaker_id_map: dict[str, int] = {}
    default_speaker_id: int = 0


_DESCRIPTION = msgspec.json.Decoder(_Description)


class PiperEngine(ModelEngine):
    """Piper's voices: `models` are ``.onnx`` files, each with its ``.onnx.json`` beside it, or directories
    that are searched for them. The first one is the default voice.

    Raises:
        MuxError: `invalid_config` when a file is missing or is not what it should be.
    """

    def __init__(
        self, models: Sequence[str | Path], *, strict_voices: bool = False, threads: int = 1
    ) -> None:
        found = [_described(file) for path in models for file in _files(Path(path).expanduser())]
        if not found:
            refuse_model(
                "The piper engine needs a model. Name an .onnx file, or a directory with some; "
                "`python -m piper.download_voices` lists and downloads voices."
            )
        super().__init__("piper", found, strict_voices=strict_voices, threads=threads)


def _files(path: Path) -> Iterator[Path]:
    if not path.exists():
        refuse_model(f"There is no Piper model {path}. Name an .onnx file, or a directory that has some.")
    files = sorted(path.rglob("*.onnx")) if path.is_dir() else [path]
    if not files:
        refuse_model(f"The directory {path} has no .onnx file in it. Name one that holds Piper voices.")
    yield from (file.resolve() for file in files)


def _described(file: Path) -> ModelFile:
    description = file.with_name(f"{file.name}.json")
    try:
        facts = _DESCRIPTION.decode(description.read_bytes())
    except FileNotFoundError:
        refuse_model(
            f"The Piper model {file} has no {description.name} beside it. Put the one there that was "
            "published with the model."
        )
    except OSError as error:
        refuse_model(f"{description} cannot be read ({error.strerror}). Make it readable for this user.")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        refuse_model(
            f"{description} does not describe a Piper voice: {error}. Take the one that was published with "
            "the model."
        )
    speakers = max(1, facts.num_speakers)
    names = {number: name for name, number in facts.speaker_id_map.items()}
    return ModelFile(
        file=file,
        stem=file.stem,
        languages=(language_tag(facts.language.code or facts.espeak.voice),) * speakers,
        sample_rate=facts.audio.sample_rate,
        speakers=tuple(names.get(number, str(number)) for number in range(speakers)),
        default=facts.default_speaker_id if 0 <= facts.default_speaker_id < speakers else 0,
        facts={"file": str(file)},
    )
