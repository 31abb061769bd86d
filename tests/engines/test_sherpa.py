"""Models for sherpa-onnx: what their files say of them (tested everywhere), and how they are spoken (where
``ttsmux[sherpa]`` is installed)."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

from mux.engines.base import Job, Synthesizer
from mux.engines.sherpa import SherpaEngine
from mux.engines.workers import WorkerSynthesizer
from mux.errors import MuxError
from mux.protocol.voice import VoiceSettings

pytestmark = pytest.mark.anyio
installed = pytest.mark.skipif(find_spec("sherpa_onnx") is None, reason="ttsmux[sherpa] is not installed")

Maker = Callable[..., Path]
SENTENCE = "Hello, world. How are you?"
CLAUSE = "One and two and three and four and five and six and seven and eight and nine and ten and " * 3
"""Without a sentence end: about 500 phonemes in one go."""


async def spoken(synthesizer: Synthesizer, job: Job) -> np.ndarray[Any, Any]:
    async with synthesizer.speak(job) as chunks:
        return np.frombuffer(b"".join([chunk.pcm async for chunk in chunks]), "<i2")


def pitch(samples: np.ndarray[Any, Any], rate: int) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples))


def refusal(*models: Path) -> str:
    with pytest.raises(MuxError) as caught:
        SherpaEngine(models)
    assert caught.value.code == "invalid_config"
    return str(caught.value)


async def failure(engine: SherpaEngine) -> MuxError:
    with pytest.raises(MuxError) as caught:
        async with engine.start(2):
            pass
    return caught.value


# --- from the files alone


def test_speakers_become_voices(sherpa_model: Maker, kokoro_model: Maker, tmp_path: Path) -> None:
    sherpa_model(tmp_path / "vits-piper-de", voice="de", speakers=2, rate=16000)
    kokoro_model(tmp_path / "kokoro-en", ["af_bella", "am_adam"])
    engine = SherpaEngine([tmp_path])
    voices = [(voice.id, voice.language) for voice in engine.voices()]
    assert voices == [
        ("kokoro-en-af_bella", "en-US"),
        ("kokoro-en-am_adam", "en-US"),
        ("vits-piper-de-0", "de"),
        ("vits-piper-de-1", "de"),
    ]
    assert engine.sample_rate == 24000
    assert engine.language("AM_ADAM", None) == "en-US"
    assert engine.check("af_bella", "fr") is not None


def test_of_several_files_the_whole_one_is_taken_or_the_user_asked(
    sherpa_model: Maker, tmp_path: Path
) -> None:
    place = sherpa_model(tmp_path / "x")
    (place / "model.int8.onnx").write_bytes(b"")
    assert len(SherpaEngine([place]).voices()) == 1
    (place / "vocoder.onnx").write_bytes(b"")
    assert "2 .onnx files (model.onnx, vocoder.onnx)" in refusal(place)
    assert [voice.id for voice in SherpaEngine([place / "model.onnx"]).voices()] == ["x"]


def test_files_that_are_missing_or_wrong_are_named(
    sherpa_model: Maker, kokoro_model: Maker, piper_model: Maker, tmp_path: Path
) -> None:
    assert "Name the directory of one" in refusal()
    assert "no sherpa model" in refusal(tmp_path / "nothing")
    assert "tokens.txt" in refusal(tmp_path)
    plain = piper_model(tmp_path / "piper" / "x.onnx")
    assert all(word in refusal(plain) for word in ("x.onnx", "sample_rate", "piper engine"))
    strange = sherpa_model(tmp_path / "strange", says={"model_type": "matcha-tts"})
    assert all(word in refusal(strange) for word in ("'matcha-tts'", "kokoro"))
    kokoro = kokoro_model(tmp_path / "kokoro", ["a"])
    (kokoro / "voices.bin").unlink()
    assert "no voices.bin beside it" in refusal(kokoro)
    whole = sherpa_model(tmp_path / "x") / "model.onnx"
    data = whole.read_bytes()
    for cut in (data[:-40], data[:100], b"<html>not found</html>", b"\xff" * 100):
        whole.write_bytes(cut)
        assert all(word in refusal(whole) for word in ("model.onnx", "Download it again"))
    whole.write_bytes(b"")
    assert "sample_rate" in refusal(whole)
    whole.write_bytes(data)
    (tmp_path / "x" / "tokens.txt").unlink()
    assert "no tokens.txt beside it" in refusal(whole)


async def test_a_missing_package_says_what_to_install(sherpa_model: Maker, tmp_path: Path) -> None:
    engine = SherpaEngine([sherpa_model(tmp_path / "x")])
    engine._command.insert(1, "-S")  # the same Python without its packages
    error = await failure(engine)
    assert error.code == "missing_dependency"
    assert "pip install 'ttsmux[sherpa]'" in str(error)


# --- spoken


@installed
async def test_each_speaker_has_its_own_voice_at_the_engines_rate(
    sherpa_model: Maker, kokoro_model: Maker, tmp_path: Path
) -> None:
    engine = SherpaEngine(
        [
            sherpa_model(tmp_path / "vits", speakers=3, rate=16000),
            kokoro_model(tmp_path / "kokoro", ["af_bella", "am_adam"]),
        ]
    )
    # noise is the library's 0.667
    wanted = {None: 267, "vits-0": 267, "vits-2": 367, "kokoro-af_bella": 200, "am_adam": 250}
    async with engine.start(1) as (synthesizer,):
        for voice, hertz in wanted.items():
            samples = await spoken(synthesizer, Job(SENTENCE, voice))
            assert pitch(samples, engine.sample_rate) == pytest.approx(hertz, abs=4), voice


@installed
async def test_speed_is_heard(sherpa_model: Maker, tmp_path: Path) -> None:
    async with SherpaEngine([sherpa_model(tmp_path / "x")]).start(1) as (synthesizer,):
        usual = await spoken(synthesizer, Job("Hello world"))
        slow = await spoken(synthesizer, Job("Hello world", settings=VoiceSettings(speed=0.8)))
        assert len(slow) / len(usual) == pytest.approx(1.25, rel=0.01)


@installed
async def test_a_model_is_given_the_phonemes_of_its_language(sherpa_model: Maker, tmp_path: Path) -> None:
    engine = SherpaEngine([sherpa_model(tmp_path / "en"), sherpa_model(tmp_path / "de", voice="de")])
    async with engine.start(1) as (synthesizer,):
        english, german = [await spoken(synthesizer, Job("7777", voice)) for voice in ("en", "de")]
        again = await spoken(synthesizer, Job("7777", "en"))
    assert len(english) != len(german)
    assert len(english) == len(again)


def test_kokoros_speakers_have_languages_of_their_own(kokoro_model: Maker, tmp_path: Path) -> None:
    engine = SherpaEngine(
        [kokoro_model(tmp_path / "kokoro", ["af_heart", "bm_lewis", "ef_dora", "zf_xiaobei"])]
    )
    assert [voice.language for voice in engine.voices()] == ["en-US", "en-GB", "es", "zh"]
    assert engine.language("bm_lewis", "es-MX") == "es"
    assert engine.language(None, "zh-CN") == "zh"


@installed
async def test_a_model_with_a_lexicon_reads_words(sherpa_model: Maker, tmp_path: Path) -> None:
    place = sherpa_model(tmp_path / "x", says={"has_espeak": "0"})
    (place / "lexicon.txt").write_text("hello h ə l o\nworld w\n", encoding="utf-8")
    async with SherpaEngine([place]).start(1) as (synthesizer,):
        hello = await spoken(synthesizer, Job("hello"))
        world = await spoken(synthesizer, Job("world"))
        assert len(hello) > len(world) > 0


@installed
async def test_kokoro_takes_phonemes_but_reads_chinese(kokoro_model: Maker, tmp_path: Path) -> None:
    place = kokoro_model(tmp_path / "kokoro", ["af_heart", "zf_xiaobei"])
    (place / "lexicon-zh.txt").write_text("好 h a o\n", encoding="utf-8")
    async with SherpaEngine([place]).start(1) as (synthesizer,):
        assert pitch(await spoken(synthesizer, Job("unheard-of words", "af_heart")), 24000) > 0
        assert pitch(await spoken(synthesizer, Job("好", "zf_xiaobei")), 24000) == pytest.approx(250, abs=25)
        with pytest.raises(MuxError) as caught:
            await spoken(synthesizer, Job("unheard-of", "zf_xiaobei"))
        assert caught.value.code == "empty_synthesis"


@installed
async def test_speech_begins_before_the_last_sentence_is_made(sherpa_model: Maker, tmp_path: Path) -> None:
    engine = SherpaEngine([sherpa_model(tmp_path / "x", slow=10)])
    async with engine.start(1) as (synthesizer,), synthesizer.speak(Job(f"Yes. {CLAUSE}.")) as chunks:
        begun = time.perf_counter()
        await anext(aiter(chunks))
        first = time.perf_counter() - begun
        assert [chunk async for chunk in chunks]
        assert first < 0.3 * (time.perf_counter() - begun)


@installed
async def test_a_worker_that_does_not_stop_in_time_is_replaced(sherpa_model: Maker, tmp_path: Path) -> None:
    engine = SherpaEngine([sherpa_model(tmp_path / "x", slow=200)])
    async with engine.start(1) as (synthesizer,):
        assert isinstance(synthesizer, WorkerSynthesizer)
        pid = synthesizer.pid
        async with synthesizer.speak(Job(CLAUSE)) as chunks:
            with anyio.move_on_after(0.1) as waited:
                await anext(aiter(chunks))
            assert waited.cancelled_caught
            begun = time.perf_counter()
        assert time.perf_counter() - begun < 2
        assert len(await spoken(synthesizer, Job("Yes."))) > 0
        assert synthesizer.pid != pid


@installed
def test_the_worker_ends_with_its_parent_even_inside_a_sentence(sherpa_model: Maker, tmp_path: Path) -> None:
    engine = SherpaEngine([sherpa_model(tmp_path / "x", slow=200)])
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
@pytest.mark.parametrize(
    ("says", "words"),
    [
        ({"comment": "of an unknown family"}, "gives no audio"),
        ({"model_type": "kokoro"}, "style_dim"),  # at which the library ends the process
    ],
)
async def test_a_model_of_another_shape_is_refused_at_the_start(
    sherpa_model: Maker, tmp_path: Path, says: dict[str, str], words: str
) -> None:
    place = sherpa_model(tmp_path / "x", says=says)
    (place / "voices.bin").write_bytes(b"")
    error = await failure(SherpaEngine([place]))
    assert error.code == "engine_failed"
    assert words in str(error)
