"""Voice models of the right shape, made here: tones in the place of speech.

An ONNX file is one protobuf message (onnx.proto); the few fields that a small graph needs are written by
hand.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from mux.engines.piper import PiperEngine
from mux.engines.sherpa import SherpaEngine

sys.path.insert(0, str(Path(__file__).parent))  # tests here share `openai_stub.py`

FLOAT, INT64 = 1, 7
"""TensorProto.DataType."""
HOP = 256
"""Samples for each phoneme id, as in Piper's networks."""
Maker = Callable[..., Path]


def message(*fields: tuple[int, int | str | bytes]) -> bytes:
    """A protobuf message: (field number, value) pairs."""
    out = bytearray()
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return bytes(out)


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


class Graph:
    """Grows node by node; what a node gives is known by the name that adding it returns."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, bytes]] = []
        self._names = 0

    def constant(self, values: Sequence[float], kind: int, shape: Sequence[int] | None = None) -> str:
        name = self._name()
        raw = struct.pack(f"<{len(values)}{'f' if kind == FLOAT else 'q'}", *values)
        dims = [(1, size) for size in ([len(values)] if shape is None else shape)]
        self._parts.append((5, message(*dims, (2, kind), (8, name), (9, raw))))
        return name

    def node(self, operator: str, *inputs: str, output: str | None = None, **attributes: int) -> str:
        name = output or self._name()
        named = [(1, source) for source in inputs]
        set_to = [(5, message((1, key), (3, value), (20, 2))) for key, value in attributes.items()]
        self._parts.append((1, message(*named, (2, name), (4, operator), *set_to)))
        return name

    def port(self, name: str, kind: int, *shape: int | str, output: bool = False) -> str:
        dims = [(1, message((2, size) if isinstance(size, str) else (1, size))) for size in shape]
        tensor = message((1, kind), (2, message(*dims)))
        self._parts.append((12 if output else 11, message((1, name), (2, message((1, tensor))))))
        return name

    def save(self, file: Path, metadata: dict[str, str]) -> None:
        graph = message(*self._parts, (2, "voice"))
        pairs = [(14, message((1, key), (2, value))) for key, value in metadata.items()]
        file.write_bytes(message((1, 8), (7, graph), (8, message((2, 17))), *pairs))

    def _name(self) -> str:
        self._names += 1
        return f"n{self._names}"


def tone(graph: Graph, ids: str, length: str, pitch: str, rate: int, shape: Sequence[int], slow: int) -> None:
    """HOP samples of a sine for each of `ids`, times `length`; `pitch` in Hz. With `slow`, so many products
    of square matrices come first, twice as wide as there are ids: 50 ms of work each in a sentence of 900."""
    ids_shape = graph.node("Shape", ids)
    count = graph.node("Cast", graph.node("Gather", ids_shape, number(graph, 1, INT64)), to=FLOAT)
    samples = graph.node("Mul", graph.node("Mul", count, number(graph, HOP, FLOAT)), length)
    if slow:
        side = graph.node("Gather", ids_shape, graph.constant([1, 1], INT64))
        side = graph.node("Mul", side, graph.constant([2, 2], INT64))
        matrix = graph.node("Expand", graph.node("Mul", length, number(graph, 0, FLOAT)), side)
        for _ in range(slow):
            matrix = graph.node("MatMul", matrix, matrix)
        zero = graph.node("Mul", graph.node("ReduceMax", matrix, keepdims=0), number(graph, 0, FLOAT))
        samples = graph.node("Add", samples, zero)
    time = graph.node("Range", number(graph, 0, FLOAT), samples, number(graph, 1, FLOAT))
    turns = graph.node("Mul", time, graph.node("Mul", pitch, number(graph, 2 * 3.14159265 / rate, FLOAT)))
    wave = graph.node("Mul", graph.node("Sin", turns), number(graph, 0.5, FLOAT))
    graph.node("Reshape", wave, graph.constant(shape, INT64), output="output")
    graph.port("output", FLOAT, *(["time" if size < 0 else size for size in shape]), output=True)


def number(graph: Graph, value: float, kind: int) -> str:
    return graph.constant([value], kind, [])


def vits(
    file: Path,
    *,
    speakers: int = 1,
    rate: int = 22050,
    slow: int = 0,
    shape: Sequence[int] = (1, 1, 1, -1),
    inputs: Sequence[str] = (),
    metadata: dict[str, str] | None = None,
) -> None:
    """A network with the ports of Piper's: 200 Hz, and 50 Hz more for each next speaker, and 100 Hz more for
    full noise."""
    graph = Graph()
    ids = graph.port("input", INT64, 1, "phonemes")
    graph.port("input_lengths", INT64, 1)
    scales = graph.port("scales", FLOAT, 3)
    for name in inputs:
        graph.port(name, INT64, 1)
    noise = graph.node("Gather", scales, number(graph, 0, INT64))
    pitch = graph.node("Add", graph.node("Mul", noise, number(graph, 100, FLOAT)), number(graph, 200, FLOAT))
    if speakers > 1:
        graph.port("sid", INT64, 1)
        sid = graph.node("Cast", graph.node("Gather", "sid", number(graph, 0, INT64)), to=FLOAT)
        pitch = graph.node("Add", pitch, graph.node("Mul", sid, number(graph, 50, FLOAT)))
    length = graph.node("Gather", scales, number(graph, 1, INT64))
    tone(graph, ids, length, pitch, rate, shape, slow)
    graph.save(file, metadata or {})


PHONEMES = [
    *"_^$ !',-.:;?",
    *"abcdefhijklmnopqrstuvwxyzæçðøħŋœǀɐɑɒɓɔɕɖɗɘəɚɛɜɞɟɡɢɣɤɥɦɧɨɪɫɬɭɮɯɰɱɲɳɴɵɶɸɹɺɻɽɾʀʁʂʃʈ",
]
PHONEMES += [*"ʉʊʋʌʍʎʏʐʑʒʔʕʘʙʛʜʝʟʡʢʲˈˌːˑ˞βθχᵻⱱ0123456789", "\u0303", "\u0329"]


@pytest.fixture(scope="session")
def piper_model() -> Maker:
    """Makes a voice of Piper at a path and returns it."""

    def make(
        file: Path, *, code: str = "en_US", speakers: Sequence[str] = (), rate: int = 22050, **how: Any
    ) -> Path:
        count = max(1, len(speakers))
        file.parent.mkdir(parents=True, exist_ok=True)
        vits(file, speakers=count, rate=rate, **how)
        description = {
            "audio": {"sample_rate": rate, "quality": "medium"},
            "espeak": {"voice": code.split("_")[0]},
            "language": {"code": code},
            "inference": {"noise_scale": 0.5, "length_scale": 1.0, "noise_w": 0.8},
            "phoneme_type": "espeak",
            "phoneme_id_map": {phoneme: [number] for number, phoneme in enumerate(PHONEMES)},
            "num_symbols": len(PHONEMES),
            "num_speakers": count,
            "speaker_id_map": {name: number for number, name in enumerate(speakers)},
        }
        file.with_name(f"{file.name}.json").write_text(json.dumps(description), encoding="utf-8")
        return file

    return make


@pytest.fixture(scope="session")
def sherpa_model() -> Maker:
    """Makes a directory with a VITS voice for sherpa-onnx and returns it."""

    def make(place: Path, *, speakers: int = 1, rate: int = 22050, voice: str = "en-us", **how: Any) -> Path:
        place.mkdir(parents=True, exist_ok=True)
        metadata = {
            "model_type": "vits", "comment": "piper", "language": "English", "voice": voice,
            "has_espeak": "1", "n_speakers": str(speakers), "sample_rate": str(rate),
        }  # fmt: skip
        vits(
            place / "model.onnx", speakers=speakers, rate=rate, metadata=metadata | how.pop("says", {}), **how
        )
        write_tokens(place)
        return place

    return make


@pytest.fixture(scope="session")
def kokoro_model() -> Maker:
    """Makes a directory with a Kokoro model for sherpa-onnx and returns it. A speaker's style is its number,
    and 50 Hz more for each."""

    def make(place: Path, names: Sequence[str], rate: int = 24000) -> Path:
        place.mkdir(parents=True, exist_ok=True)
        graph = Graph()
        ids = graph.port("tokens", INT64, 1, "phonemes")
        style = graph.port("style", FLOAT, 1, 256)
        speed = graph.port("speed", FLOAT, 1)
        first = graph.node(
            "Gather", graph.node("Gather", style, number(graph, 0, INT64)), number(graph, 0, INT64)
        )
        pitch = graph.node(
            "Add", graph.node("Mul", first, number(graph, 50, FLOAT)), number(graph, 200, FLOAT)
        )
        length = graph.node(
            "Div", number(graph, 1, FLOAT), graph.node("Gather", speed, number(graph, 0, INT64))
        )
        tone(graph, ids, length, pitch, rate, (-1,), 0)
        graph.save(
            place / "model.onnx",
            {
                "model_type": "kokoro", "language": "English", "has_espeak": "1", "sample_rate": str(rate),
                "version": "1", "voice": "en-us", "style_dim": "511,1,256", "n_speakers": str(len(names)),
                "speaker_names": ",".join(names),
            },
        )  # fmt: skip
        styles = [struct.pack("<256f", *[float(number)] * 256) * 511 for number in range(len(names))]
        (place / "voices.bin").write_bytes(b"".join(styles))
        write_tokens(place)
        return place

    return make


@pytest.fixture
def piper_engine(piper_model: Maker, tmp_path: Path) -> PiperEngine:
    """One voice alone and two in one model, which also have another sample rate."""
    pytest.importorskip("piper", reason="ttsmux[piper] is not installed")
    alone = piper_model(tmp_path / "en_US-amy-medium.onnx")
    return PiperEngine(
        [alone, piper_model(tmp_path / "thorsten.onnx", code="de_DE", speakers="ab", rate=16000)]
    )


@pytest.fixture
def sherpa_engine(sherpa_model: Maker, kokoro_model: Maker, tmp_path: Path) -> SherpaEngine:
    pytest.importorskip("sherpa_onnx", reason="ttsmux[sherpa] is not installed")
    return SherpaEngine(
        [sherpa_model(tmp_path / "vits"), kokoro_model(tmp_path / "kokoro", ["af_bella", "am_adam"])]
    )


def write_tokens(place: Path) -> None:
    lines = [f"{phoneme} {number}\n" for number, phoneme in enumerate(PHONEMES)]
    (place / "tokens.txt").write_text("".join(lines), encoding="utf-8")
