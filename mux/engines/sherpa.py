"""The `sherpa` engine: models in the form that sherpa-onnx publishes (https://github.com/k2-fsa/sherpa-onnx),
downloaded by the user: VITS (Piper, Coqui, MMS, Melo, ...), Kokoro and Kitten.

The package comes with ``pip install 'ttsmux[sherpa]'`` and is only loaded by the worker program.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from mux.engines.models import ModelEngine, ModelFile, language_tag, refuse_model

__all__ = ["SherpaEngine"]

_KINDS = {"vits": "vits", "melo-vits": "vits", "kokoro": "kokoro", "kitten-tts": "kitten"}
"""The `model_type` that a model says, to what sherpa-onnx loads it as."""
_KOKORO_SPEAKER = re.compile(r"(?P<language>[a-z])[fm](?:_.+)?")
"""How Kokoro's speakers are named: af_bella is an American woman."""
_KOKORO = {
    "a": "en-us", "b": "en-gb", "e": "es", "f": "fr-fr", "h": "hi", "i": "it", "j": "ja", "p": "pt-br",
    "z": "cmn",
}  # fmt: skip
"""Their languages, as espeak-ng names them."""
_READ = {"ja", "cmn"}
"""Languages whose phonemes Kokoro takes from elsewhere: it reads them from its lexicon."""
_LENGTHS = {1: 8, 5: 4}
"""Bytes of the protobuf wire types of fixed size."""
_METADATA = 14
"""ModelProto.metadata_props in onnx.proto."""


class SherpaEngine(ModelEngine):
    """Models for sherpa-onnx: `models` are their directories, or directories of such directories, or
    ``.onnx`` files with what belongs to them beside. The first one is the default voice. A model that reads
    text by a lexicon says nothing for a word that is not in it.

    Raises:
        MuxError: `invalid_config` when a file is missing or is not what it should be.
    """

    def __init__(
        self, models: Sequence[str | Path], *, strict_voices: bool = False, threads: int = 1
    ) -> None:
        found = [_described(file) for path in models for file in _files(Path(path).expanduser())]
        if not found:
            refuse_model(
                "The sherpa engine needs a model. Name the directory of one, as unpacked from "
                "https://github.com/k2-fsa/sherpa-onnx/releases/tag/tts-models."
            )
        super().__init__("sherpa", found, strict_voices=strict_voices, threads=threads)


def _files(path: Path) -> Iterator[Path]:
    if not path.exists():
        refuse_model(f"There is no sherpa model {path}. Name the directory of an unpacked model.")
    if path.is_file():
        yield path.resolve()
        return
    places = sorted({tokens.parent for tokens in path.rglob("tokens.txt")})
    if not places:
        refuse_model(f"Neither {path} nor a directory in it has a tokens.txt. Name an unpacked sherpa model.")
    for place in places:
        files = sorted(place.glob("*.onnx"))
        whole = [file for file in files if not file.stem.endswith((".int8", ".fp16"))] or files
        if len(whole) != 1:
            some = ", ".join(file.name for file in whole[:5])
            refuse_model(
                f"{place} has {len(whole)} .onnx files{some and f' ({some})'}. Name the one to speak with."
            )
        yield whole[0].resolve()


def _described(file: Path) -> ModelFile:
    try:
        facts = _metadata(file)
    except OSError as error:
        refuse_model(f"{file} cannot be read ({error.strerror}). Make it readable for this user.")
    except (EOFError, KeyError):
        refuse_model(f"{file} is not a whole ONNX file. Download it again.")
    said = facts.get("model_type", "vits")
    kind = _KINDS.get(said)
    rate, count = facts.get("sample_rate", ""), facts.get("n_speakers", "")
    if kind is None:
        refuse_model(f"{file} is a model of the kind {said!r}. The sherpa engine speaks {', '.join(_KINDS)}.")
    if not (rate.isdecimal() and count.isdecimal()):
        refuse_model(
            f"{file} does not say its sample_rate and n_speakers in its metadata, so it is not made for "
            "sherpa-onnx. Take a model from its releases, or use the piper engine for Piper's own files."
        )
    files = {"model": file, "tokens": file.with_name("tokens.txt")}
    if kind != "vits":
        files["voices"] = file.with_name("voices.bin")
    for needed in files.values():
        if not needed.is_file():
            refuse_model(
                f"The {kind} model {file} has no {needed.name} beside it. Unpack the whole model again."
            )
    phonemes = facts.get("has_espeak") == "1"
    lexicons = sorted(file.parent.glob("lexicon*.txt"))
    if lexicons and (kind == "kokoro" or not phonemes):  # with a lexicon, a VITS model takes no phonemes
        files["lexicon"] = Path(",".join(map(str, lexicons)))
    names = tuple(map(str.strip, facts.get("speaker_names", "").split(",")))
    if len(names) != int(count):
        names = tuple(map(str, range(max(1, int(count)))))
    voices = [_voice(kind, name, facts.get("voice", "")) for name in names]
    return ModelFile(
        file=file,
        stem=file.parent.name if file.stem.startswith("model") else file.stem,
        languages=tuple(map(language_tag, voices)),
        sample_rate=int(rate),
        speakers=names,
        facts={
            "kind": kind,
            "files": {name: str(path) for name, path in files.items()},
            "espeak": [
                (voice or "en-us") if phonemes and not (voice in _READ and lexicons) else None
                for voice in voices
            ],
        },
    )


def _voice(kind: str, speaker: str, said: str) -> str:
    """The espeak-ng voice that is nearest to a speaker's language."""
    named = _KOKORO_SPEAKER.fullmatch(speaker) if kind == "kokoro" else None
    return _KOKORO.get(named["language"], said) if named else said


def _metadata(file: Path) -> dict[str, str]:
    """The metadata of an ONNX file: keys and values in one field of its outermost protobuf message. The
    network itself, hundreds of megabytes, is skipped.

    Raises:
        EOFError, KeyError: it is not such a file, or not a whole one.
    """
    found = {}
    size = file.stat().st_size
    with file.open("rb") as data:
        while data.tell() < size:
            field, wire = divmod(_varint(data), 8)
            if wire == 0:
                _varint(data)
                continue
            length = _varint(data) if wire == 2 else _LENGTHS[wire]
            end = data.tell() + length
            if end > size:
                raise EOFError
            if field != _METADATA:
                data.seek(length, os.SEEK_CUR)
                continue
            pair = {1: "", 2: ""}
            while data.tell() < end:
                key = _varint(data) // 8
                pair[key] = data.read(_varint(data)).decode(errors="replace")
            found[pair[1]] = pair[2]
    return found


def _varint(data: BinaryIO) -> int:
    value = shift = 0
    while byte := data.read(1):
        value |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            return value
    raise EOFError
