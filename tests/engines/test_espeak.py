"""The espeak engine with its real library: what conformance does not say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from array import array
from pathlib import Path
from random import Random

import anyio
import pytest

from mux.engines import espeak_worker
from mux.engines.base import Job, Synthesizer
from mux.engines.espeak import EspeakEngine
from mux.engines.espeak_voices import Catalogue
from mux.engines.heard import heard
from mux.engines.workers import WorkerSynthesizer
from mux.errors import MuxError
from mux.protocol.voice import VoiceSettings

pytestmark = [pytest.mark.anyio, pytest.mark.espeak]

RATE = EspeakEngine.sample_rate
SENTENCE = "Hello, world. How are you?"


async def speak(synthesizer: Synthesizer, job: Job) -> tuple[array[int], list[int]]:
    """All samples of a job, and where in them each character begins."""
    pcm, starts = array("h"), []
    async with synthesizer.speak(job) as chunks:
        async for chunk in chunks:
            starts += [len(pcm) + start for start in chunk.starts]
            pcm.frombytes(chunk.pcm)
    return pcm, starts


async def seconds(synthesizer: Synthesizer, job: Job) -> float:
    return len((await speak(synthesizer, job))[0]) / RATE


async def test_sentences_last_as_long_as_they_should() -> None:
    known = {SENTENCE: 2.22, "Hi": 0.69, "The quick brown fox jumps over the lazy dog.": 2.94}
    async with EspeakEngine().start(1) as (synthesizer,):
        for text, expected in known.items():
            assert await seconds(synthesizer, Job(text)) == pytest.approx(expected, rel=0.03), text


async def test_one_job_for_each_sentence_sounds_like_the_whole_text() -> None:
    one, two = "It rained all day.", " Nobody went out, and the streets were empty."
    async with EspeakEngine().start(1) as (synthesizer,):
        apart = await seconds(synthesizer, Job(one)) + await seconds(synthesizer, Job(two))
        assert await seconds(synthesizer, Job(one + two)) == pytest.approx(apart, rel=0.03)


async def test_no_job_leaves_anything_behind_for_the_next() -> None:
    leaks = [
        Job("\x0180S \x0190P slow and high"),
        Job('<speak><prosody rate="50%">slow <voice xml:lang="de">'),
        Job("[[h@l'oU]] `ssml`"),
        Job("Guten Tag", voice="de-klatt4", settings=VoiceSettings(speed=0.7, stability=0.0, style=1.0)),
        Job("你好", language="zh"),
        Job("whatever", voice="some unknown voice"),
    ]
    async with EspeakEngine().start(1) as (synthesizer,):
        clean = await seconds(synthesizer, Job(SENTENCE))
        for leak in leaks:
            await seconds(synthesizer, leak)
            assert await seconds(synthesizer, Job(SENTENCE)) == pytest.approx(clean, abs=0.01), leak
            async with synthesizer.speak(
                Job(leak.text * 50, leak.voice, leak.language, leak.settings)
            ) as some:
                async for _ in some:
                    break
            assert await seconds(synthesizer, Job(SENTENCE)) == pytest.approx(clean, abs=0.01), leak


async def test_words_begin_after_the_silence_before_them() -> None:
    text = "Apple. Tomato. Onion."
    async with EspeakEngine().start(1) as (synthesizer,):
        pcm, starts = await speak(synthesizer, Job(text, voice="en-us"))
    loud = max(map(abs, pcm))
    margin = RATE // 50
    for word in ("Apple", "Tomato", "Onion"):
        begin, dot = starts[text.index(word)], starts[text.index(word) + len(word)]
        end = starts[text.index(word) + len(word) + 2] if not text.endswith(f"{word}.") else len(pcm)
        assert max(map(abs, pcm[begin:dot])) > 0.3 * loud
        assert max(map(abs, pcm[dot + margin : end - margin])) < 0.05 * loud
        assert end - dot > 0.2 * RATE


async def test_a_title_is_not_the_end_of_a_sentence() -> None:
    async with EspeakEngine().start(1) as (synthesizer,):
        _, starts = await speak(synthesizer, Job("Dr. Smith", voice="en-us"))
    assert starts[4] - starts[2] < 0.02 * RATE


async def test_settings_are_heard() -> None:
    async with EspeakEngine().start(1) as (synthesizer,):
        slow = await seconds(synthesizer, Job(SENTENCE, settings=VoiceSettings(speed=0.7)))
        assert slow > 1.4 * await seconds(synthesizer, Job(SENTENCE))
        flat, _ = await speak(synthesizer, Job(SENTENCE, settings=VoiceSettings(stability=1.0)))
        lively, _ = await speak(synthesizer, Job(SENTENCE, settings=VoiceSettings(stability=0.0)))
        assert flat[RATE // 4 : RATE] != lively[RATE // 4 : RATE]
        for voice in ("en-us-klatt4", "en-us-edward"):
            pcm, _ = await speak(synthesizer, Job(SENTENCE, voice=voice))
            assert max(map(abs, pcm)) < 32767, f"{voice} clips"


async def test_hostile_text_never_kills_the_worker_and_is_mapped_completely() -> None:
    random = Random(7)
    parts = [
        "\u28fe",
        "\ud800",
        "\x00",
        "\x0180S",
        "12345",
        "[[x]]",
        "<audio src='",
        "😀",
        "état",
        "&lt;",
        "a ",
    ]
    parts += [chr(random.randrange(0x110000)) for _ in range(300)]
    async with EspeakEngine().start(1) as (synthesizer,):
        assert isinstance(synthesizer, WorkerSynthesizer)
        pid = synthesizer.pid
        for voice in ["ar", "en-us-f2", "hi", "ja"] * 15:
            text = "".join(random.choices(parts, k=random.randrange(1, 20)))
            if not heard(text).strip():
                continue
            pcm, starts = await speak(synthesizer, Job(text, voice))
            assert len(starts) == len(text)
            assert starts == sorted(starts)
            assert starts[-1] <= len(pcm)
        assert synthesizer.pid == pid


async def test_text_that_kills_the_library_fails_its_own_job_only() -> None:
    """Unprotected, one braille pattern aborts the process of espeak-ng 1.52."""
    order = {"rate": 175, "pitch": 50, "range": 50, "volume": 100, "voice": "sem/ar"}
    program = [sys.executable, "-P", espeak_worker.__file__]
    worker = WorkerSynthesizer("espeak", program, lambda job: {**order, "text": job.text})
    await worker.start()
    try:
        with pytest.raises(MuxError, match="died") as caught:
            await speak(worker, Job("\u28fe"))
        assert caught.value.code == "engine_failed"
        assert "\u28fe" not in str(caught.value)
        assert await seconds(worker, Job("hello")) > 0.3
        order["voice"] = "no/such"
        with pytest.raises(MuxError, match="no voice no/such"):
            await speak(worker, Job("hello"))
    finally:
        await worker.aclose()


@pytest.mark.parametrize("cancelled", [False, True])
async def test_the_end_of_the_engine_leaves_no_process(cancelled: bool) -> None:
    pids = []
    with anyio.CancelScope() as scope:
        async with EspeakEngine().start(2) as synthesizers:
            for synthesizer in synthesizers:
                assert isinstance(synthesizer, WorkerSynthesizer)
                pids.append(synthesizer.pid)
            async with synthesizers[0].speak(Job(SENTENCE * 100)) as chunks:
                async for _ in chunks:
                    if cancelled:
                        scope.cancel()
                    else:
                        break
    assert scope.cancelled_caught == cancelled
    assert len(pids) == 2
    for pid in pids:
        assert pid is not None
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_the_worker_ends_with_its_parent_even_in_the_middle_of_a_job() -> None:
    program = [sys.executable, "-P", espeak_worker.__file__]
    order = (
        '{"job": 1, "text": "%s", "voice": "gmw/en-US", "rate": 175, "pitch": 50, "range": 50, "volume": 100}'
    )
    worker = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert worker.stdin is not None
    worker.stdin.write((order % ("on and on " * 1000)).encode() + b"\n")
    worker.stdin.close()
    # Nobody reads its stdout: the pipe fills up, and it has to end all the same.
    worker.stdin = None
    assert worker.wait(10) == 0
    worker.communicate()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals on Windows")
def test_ctrl_c_in_the_terminal_is_the_parents_business() -> None:
    program = [sys.executable, "-P", espeak_worker.__file__]
    worker = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert worker.stdout is not None
    worker.stdout.read(espeak_worker.HEADER.size)
    worker.send_signal(signal.SIGINT)
    worker.communicate(timeout=10)
    assert worker.returncode == 0


async def test_a_missing_library_says_what_to_install(tmp_path: Path) -> None:
    engine = EspeakEngine(library=str(tmp_path / "libnothing.so"))
    with pytest.raises(MuxError, match="pip install espeakng-loader") as caught:
        async with engine.start(2):
            pass
    assert caught.value.code == "missing_dependency"
    with pytest.raises(MuxError, match="libnothing"):
        engine.voices()


async def test_a_library_far_down_in_the_file_system_works(tmp_path: Path) -> None:
    """espeak refuses data paths of 160 characters or more."""
    found = next(file for file, data in espeak_worker.candidates() if data is not None)
    deep = tmp_path / ("d" * 200)
    deep.symlink_to(found.parent)
    async with EspeakEngine(library=str(deep / found.name)).start(1) as (synthesizer,):
        assert await seconds(synthesizer, Job("hello")) > 0.3


def test_the_catalogue_is_the_library_s() -> None:
    engine = EspeakEngine()
    voices = {voice.id: voice for voice in engine.voices()}
    assert len(voices) > 100
    assert {"en-us-f2", "en-us", "en-gb", "de", "pt-br", "cmn", "ja"} <= set(voices)
    assert engine._known is engine._catalogue()
    assert isinstance(engine._known, Catalogue)


def test_what_cannot_be_spoken_is_refused_in_a_sentence() -> None:
    engine, strict = EspeakEngine(), EspeakEngine(strict_voices=True)
    assert engine.check(None, None) is None
    assert engine.check("Rachel", "de-DE") is None
    assert strict.check("EN-us-F3", "pt-br") is None
    assert strict.check(None, "zh") is None
    unknown = strict.check("Rachel", None)
    assert unknown is not None
    assert all(word in unknown for word in ("'Rachel'", "en-us-f2", "mux voices"))
    foreign = engine.check(None, "tlh")
    assert foreign is not None
    assert all(word in foreign for word in ("'tlh'", "pt-BR", "mux voices"))


async def test_an_unsupported_language_fails_the_job_by_name() -> None:
    async with EspeakEngine().start(1) as (synthesizer,):
        with pytest.raises(MuxError, match="'tlh'") as caught:
            await speak(synthesizer, Job("hello", language="tlh"))
        assert caught.value.code == "unsupported_language"
        assert await seconds(synthesizer, Job("hello")) > 0.3
