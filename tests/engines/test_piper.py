"""Piper's voices: what their files say of them (tested everywhere), and how they are spoken (where
``ttsmux[piper]`` is installed)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

from mux.engines.base import Chunk, Job, Synthesizer
from mux.engines.piper import PiperEngine
from mux.engines.workers import WorkerSynthesizer
from mux.errors import MuxError
from mux.protocol.voice import VoiceSettings

pytestmark = pytest.mark.anyio
installed = pytest.mark.skipif(find_spec("piper") is None, reason="ttsmux[piper] is not installed")

Maker = Callable[..., Path]
SENTENCE = "Hello, world. How are you?"
CLAUSE = "One and two and three and four and five and six and seven and eight and nine and ten and " * 3
"""Without a sentence end: about 500 phonemes in one go."""


async def collect(synthesizer: Synthesizer, job: Job) -> list[Chunk]:
    async with synthesizer.speak(job) as chunks:
        return [chunk async for chunk in chunks]


async def spoken(synthesizer: Synthesizer, job: Job) -> np.ndarray[Any, Any]:
    return np.frombuffer(b"".join(chunk.pcm for chunk in await collect(synthesizer, job)), "<i2")


def pitch(samples: np.ndarray[Any, Any], rate: int) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples))


def refusal(*models: Path) -> str:
    with pytest.raises(MuxError) as caught:
        PiperEngine(models)
    assert caught.value.code == "invalid_config"
    return str(caught.value)


async def failure(engine: PiperEngine) -> MuxError:
    with pytest.raises(MuxError) as caught:
        async with engine.start(2):
            pass
    return caught.value


# --- from the files alone


def test_speakers_become_voices(piper_model: Maker, tmp_path: Path) -> None:
    piper_model(tmp_path / "en" / "en_US-libritts_r-medium.onnx", speakers=["3922", "12"])
    piper_model(tmp_path / "en" / "en_US-amy-low.onnx", rate=16000)
    piper_model(tmp_path / "de" / "thorsten.onnx", code="de_DE")
    engine = PiperEngine(
        [
            tmp_path / "en" / "en_US-amy-low.onnx",
            tmp_path / "de",
            tmp_path / "en" / "en_US-libritts_r-medium.onnx",
        ]
    )
    voices = {voice.id: voice.language for voice in engine.voices()}
    assert voices == {
        "amy": "en-US",
        "thorsten": "de-DE",
        "libritts_r-3922": "en-US",
        "libritts_r-12": "en-US",
    }
    assert engine.sample_rate == 22050
    assert len(PiperEngine([tmp_path]).voices()) == 4


def test_voices_of_one_name_are_told_apart(piper_model: Maker, tmp_path: Path) -> None:
    piper_model(tmp_path / "en_US-amy-low.onnx")
    piper_model(tmp_path / "en_US-amy-medium.onnx")
    assert [voice.id for voice in PiperEngine([tmp_path]).voices()] == ["en_US-amy-low", "en_US-amy-medium"]
    again = piper_model(tmp_path / "copy" / "en_US-amy-low.onnx")
    assert "Several models are called en_US-amy-low" in refusal(tmp_path / "en_US-amy-low.onnx", again)


def test_what_cannot_be_spoken_is_refused_in_a_sentence(piper_model: Maker, tmp_path: Path) -> None:
    model = piper_model(tmp_path / "en_GB-alba-medium.onnx", code="en_GB")
    engine, strict = PiperEngine([model]), PiperEngine([model], strict_voices=True)
    for voice, language in (
        (None, None),
        ("Rachel", None),
        ("alba", "en"),
        ("ALBA", "en-US"),
        (None, "en_gb"),
    ):
        assert engine.check(voice, language) is None
        assert engine.language(voice, language) == "en-GB"
    foreign = engine.check("alba", "de-DE")
    assert foreign is not None
    assert all(word in foreign for word in ("'de-DE'", "en-GB", "model"))
    unknown = strict.check("Rachel", None)
    assert unknown is not None
    assert all(word in unknown for word in ("'Rachel'", "alba", "mux voices"))
    assert strict.check("en_gb-alba-medium", None) is None


def test_files_that_are_missing_or_wrong_are_named(piper_model: Maker, tmp_path: Path) -> None:
    assert "Name an .onnx file" in refusal()
    assert "no Piper model" in refusal(tmp_path / "nothing.onnx")
    assert "no .onnx file in it" in refusal(tmp_path)
    model = piper_model(tmp_path / "x.onnx")
    description = tmp_path / "x.onnx.json"
    facts = json.loads(description.read_text())
    for wrong, word in (
        ("{", "truncated"), ('{"audio": {}}', "sample_rate"), ("[]", "object"),
        (json.dumps(facts | {"audio": {"sample_rate": "high"}}), "sample_rate"),
        (json.dumps(facts | {"num_speakers": None}), "num_speakers"),
    ):  # fmt: skip
        description.write_text(wrong)
        said = refusal(model)
        assert word in said
        assert str(description) in said
        assert "published with the model" in said
    description.unlink()
    assert "x.onnx.json beside it" in refusal(model)


async def test_a_missing_package_says_what_to_install(piper_model: Maker, tmp_path: Path) -> None:
    engine = PiperEngine([piper_model(tmp_path / "x.onnx")])
    engine._command.insert(1, "-S")  # the same Python without its packages
    error = await failure(engine)
    assert error.code == "missing_dependency"
    assert "pip install 'ttsmux[piper]'" in str(error)


# --- spoken


@installed
async def test_each_speaker_has_its_own_voice_at_the_engines_rate(piper_model: Maker, tmp_path: Path) -> None:
    high = piper_model(tmp_path / "high.onnx", rate=22050)
    low = piper_model(tmp_path / "low.onnx", rate=16000, speakers=["a", "b", "c"])
    engine = PiperEngine([high, low])
    even = VoiceSettings(stability=1.0)
    async with engine.start(1) as (synthesizer,):
        for voice, hertz in (
            ("high", 200),
            ("low-a", 200),
            ("low-b", 250),
            ("c", 300),
            (None, 200),
            ("low", 200),
        ):
            samples = await spoken(synthesizer, Job(SENTENCE, voice, settings=even))
            assert pitch(samples, engine.sample_rate) == pytest.approx(hertz, abs=3), voice


@installed
async def test_settings_are_heard(piper_model: Maker, tmp_path: Path) -> None:
    async with PiperEngine([piper_model(tmp_path / "x.onnx")]).start(1) as (synthesizer,):
        usual = await spoken(synthesizer, Job(SENTENCE))
        slow = await spoken(synthesizer, Job(SENTENCE, settings=VoiceSettings(speed=0.8)))
        assert len(slow) / len(usual) == pytest.approx(1.25, rel=0.01)
        for stability, hertz in ((0.0, 300), (0.5, 250), (1.0, 200)):  # by the noise that the model is given
            samples = await spoken(synthesizer, Job(SENTENCE, settings=VoiceSettings(stability=stability)))
            assert pitch(samples, 22050) == pytest.approx(hertz, abs=3)


@installed
async def test_a_language_chooses_among_the_voices(piper_model: Maker, tmp_path: Path) -> None:
    english = piper_model(tmp_path / "alba.onnx", code="en_GB")
    german = piper_model(tmp_path / "thorsten.onnx", code="de_DE", speakers=["calm", "angry"])
    even = VoiceSettings(stability=1.0)
    async with PiperEngine([english, german]).start(1) as (synthesizer,):
        angry = await spoken(synthesizer, Job("eins zwei", "thorsten-angry", "de", settings=even))
        assert pitch(angry, 22050) == pytest.approx(250, abs=3)
        with pytest.raises(MuxError, match="'fr'") as caught:
            await spoken(synthesizer, Job("un", "alba", "fr"))
        assert caught.value.code == "unsupported_language"


@installed
async def test_speech_begins_before_the_last_sentence_is_made(piper_model: Maker, tmp_path: Path) -> None:
    engine = PiperEngine([piper_model(tmp_path / "x.onnx", slow=10)])
    async with engine.start(1) as (synthesizer,), synthesizer.speak(Job(f"Yes. {CLAUSE}.")) as chunks:
        begun = time.perf_counter()
        await anext(aiter(chunks))
        first = time.perf_counter() - begun
        assert [chunk async for chunk in chunks]
        assert first < 0.3 * (time.perf_counter() - begun)


@installed
async def test_a_job_stops_inside_a_sentence(piper_model: Maker, tmp_path: Path) -> None:
    engine = PiperEngine([piper_model(tmp_path / "x.onnx", slow=200)])
    async with engine.start(1) as (synthesizer,):
        assert isinstance(synthesizer, WorkerSynthesizer)
        pid = synthesizer.pid
        for _ in range(2):
            async with synthesizer.speak(Job(CLAUSE)) as chunks:
                with anyio.move_on_after(0.1) as waited:
                    await anext(aiter(chunks))
                assert waited.cancelled_caught
                begun = time.perf_counter()
            assert time.perf_counter() - begun < 0.9  # else it would have been killed
            assert len(await spoken(synthesizer, Job("Yes."))) > 0
        assert synthesizer.pid == pid


@installed
async def test_a_worker_that_is_killed_is_replaced(piper_model: Maker, tmp_path: Path) -> None:
    engine = PiperEngine([piper_model(tmp_path / "x.onnx", slow=200)])
    async with engine.start(1) as (synthesizer,):
        assert isinstance(synthesizer, WorkerSynthesizer)
        assert synthesizer.pid is not None
        async with synthesizer.speak(Job(CLAUSE)) as chunks:
            os.kill(synthesizer.pid, signal.SIGTERM)
            with pytest.raises(MuxError, match="died") as caught:
                await anext(aiter(chunks))
        assert caught.value.code == "engine_failed"
        assert len(await spoken(synthesizer, Job("Yes."))) > 0


@installed
def test_the_worker_ends_with_its_parent_even_inside_a_sentence(piper_model: Maker, tmp_path: Path) -> None:
    engine = PiperEngine([piper_model(tmp_path / "x.onnx", slow=200)])
    worker = subprocess.Popen(engine._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert worker.stdin is not None
    assert worker.stdout is not None
    order = {"job": 1, "text": CLAUSE, "model": 0, "speaker": 0, "speed": 1.0, "stability": 0.5}
    worker.stdin.write(json.dumps(order).encode() + b"\n")
    worker.stdin.flush()
    worker.stdout.read(2 * 13 + 2)  # its hello, and that it has begun
    begun = time.perf_counter()
    worker.stdin.close()
    assert worker.wait(10) == 0
    assert time.perf_counter() - begun < 2
    worker.stdout.close()


@installed
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_the_worker_inherits_no_socket(piper_model: Maker, tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.set_inheritable(True)
        async with PiperEngine([piper_model(tmp_path / "x.onnx")]).start(1) as (synthesizer,):
            assert isinstance(synthesizer, WorkerSynthesizer)
            theirs = f"/proc/{synthesizer.pid}/fd"
            held = [os.readlink(f"{theirs}/{entry}") for entry in os.listdir(theirs)]
            ours = os.readlink(f"/proc/self/fd/{listener.fileno()}")
            assert held
            assert ours not in held


@installed
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"inputs": ["tones"]}, ("tones", "input_lengths", "exported for Piper")),
        ({"shape": (2, -1)}, ("cannot speak", "output")),
    ],
)
async def test_a_model_of_another_shape_is_refused_at_the_start(
    piper_model: Maker, tmp_path: Path, how: dict[str, Any], words: tuple[str, ...]
) -> None:
    error = await failure(PiperEngine([piper_model(tmp_path / "x.onnx", **how)]))
    assert error.code == "engine_failed"
    assert all(word in str(error) for word in (*words, "x.onnx"))


@installed
async def test_a_broken_model_is_refused_at_the_start(piper_model: Maker, tmp_path: Path) -> None:
    model = piper_model(tmp_path / "x.onnx")
    model.write_bytes(model.read_bytes()[:-40])
    error = await failure(PiperEngine([model]))
    assert error.code == "engine_failed"
    assert all(word in str(error) for word in ("x.onnx", "not a model that ONNX Runtime can load"))
    facts = tmp_path / "x.onnx.json"
    piper_model(tmp_path / "x.onnx")
    facts.write_text(json.dumps({"audio": {"sample_rate": 22050}}))
    error = await failure(PiperEngine([model]))
    assert all(word in str(error) for word in ("x.onnx.json", "does not describe a Piper voice", "published"))
