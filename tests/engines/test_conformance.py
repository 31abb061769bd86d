"""What every engine must do: the promises of `mux.engines.base`, tried on each of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import anyio
import anyio.lowlevel
import pytest
from openai_stub import ToneServer, served_in_thread

from mux.engines.base import Chunk, Engine, Job, Synthesizer
from mux.engines.espeak import EspeakEngine
from mux.engines.openai_http import OpenAiEngine
from mux.engines.tone import ToneEngine
from mux.errors import MuxError
from mux.protocol.voice import VoiceSettings

pytestmark = pytest.mark.anyio

SENTENCE = "Hello, world. How are you?"
LONG = "This goes on and on, and never seems to end. " * 100


ENGINES = [
    ToneEngine,
    pytest.param(EspeakEngine, marks=pytest.mark.espeak),
    "openai_engine",
    "piper_engine",
    "sherpa_engine",
]
WITHOUT_TIMES = ("openai", "piper", "sherpa")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    named = isinstance(request.param, str)
    made: Engine = request.getfixturevalue(request.param) if named else request.param()
    return made


@pytest.fixture(scope="module")
def openai_url() -> Iterator[str]:
    with served_in_thread(ToneServer().app) as url:
        yield url


@pytest.fixture
def openai_engine(openai_url: str) -> OpenAiEngine:
    return OpenAiEngine(base_url=openai_url)


async def collect(synthesizer: Synthesizer, job: Job) -> list[Chunk]:
    async with synthesizer.speak(job) as chunks:
        return [chunk async for chunk in chunks]


async def samples(synthesizer: Synthesizer, job: Job) -> int:
    return sum(len(chunk.pcm) // 2 for chunk in await collect(synthesizer, job))


@pytest.mark.parametrize(
    "text", [SENTENCE, "x", "  leading and trailing  ", "a\n\nb", "日本語 and 😀!", "...", "**"]
)
async def test_every_character_is_mapped_once_and_lies_inside_its_chunk(engine: Engine, text: str) -> None:
    async with engine.start(1) as (synthesizer,):
        chunks = await collect(synthesizer, Job(text))
    mapped = sum(len(chunk.starts) for chunk in chunks)
    knows_no_times = engine.name in WITHOUT_TIMES
    assert mapped == (0 if knows_no_times else len(text))
    for chunk in chunks:
        length, odd = divmod(len(chunk.pcm), 2)
        assert not odd
        assert length > 0
        if knows_no_times:
            continue
        assert list(chunk.starts) == sorted(chunk.starts)
        assert all(0 <= start <= length for start in chunk.starts)
        assert chunk.starts[0] == 0  # so the character before it ended where the chunk before did


async def test_a_faster_voice_takes_less_time(engine: Engine) -> None:
    async with engine.start(1) as (synthesizer,):
        slow = await samples(synthesizer, Job(LONG[:90], settings=VoiceSettings(speed=0.7)))
        fast = await samples(synthesizer, Job(LONG[:90], settings=VoiceSettings(speed=1.2)))
    assert slow / fast == pytest.approx(1.2 / 0.7, rel=0.15)


@pytest.mark.parametrize("text", ["", " ", " \n\t "])
async def test_blank_text_is_an_error_and_harms_nobody(engine: Engine, text: str) -> None:
    async with engine.start(1) as (synthesizer,):
        with pytest.raises(MuxError) as caught:
            await collect(synthesizer, Job(text))
        assert caught.value.code == "empty_synthesis"
        assert await samples(synthesizer, Job(SENTENCE)) > 0


async def test_leaving_early_leaves_the_synthesizer_ready(engine: Engine) -> None:
    async with engine.start(1) as (synthesizer,):
        alone = await samples(synthesizer, Job(SENTENCE))
        for _ in range(5):
            async with synthesizer.speak(Job(LONG)) as chunks:
                async for _chunk in chunks:
                    break
            assert await samples(synthesizer, Job(SENTENCE)) == pytest.approx(alone, rel=0.01)


async def test_never_listening_leaves_the_synthesizer_ready(engine: Engine) -> None:
    async with engine.start(1) as (synthesizer,):
        async with synthesizer.speak(Job(LONG)):
            pass
        assert await samples(synthesizer, Job(SENTENCE)) > 0


async def test_an_exception_in_the_block_passes_unchanged(engine: Engine) -> None:
    async with engine.start(1) as (synthesizer,):
        with pytest.raises(ZeroDivisionError):
            async with synthesizer.speak(Job(LONG)):
                raise ZeroDivisionError
        assert await samples(synthesizer, Job(SENTENCE)) > 0
    with pytest.raises(ZeroDivisionError):
        async with engine.start(1):
            raise ZeroDivisionError


async def test_cancelling_at_any_chunk_leaves_the_next_job_right(engine: Engine) -> None:
    async with engine.start(1) as (synthesizer,):
        alone = await samples(synthesizer, Job(SENTENCE))
        for count in range(8):
            with anyio.CancelScope() as scope:
                await _cancel_after(synthesizer, count, scope)
            assert scope.cancelled_caught
            assert await samples(synthesizer, Job(SENTENCE)) == pytest.approx(alone, rel=0.01)


async def _cancel_after(synthesizer: Synthesizer, count: int, scope: anyio.CancelScope) -> None:
    if count == 0:
        scope.cancel()
    async with synthesizer.speak(Job(LONG)) as chunks:
        async for _ in chunks:
            count -= 1
            if count <= 0:
                scope.cancel()


async def test_listening_lets_others_run_between_chunks(engine: Engine) -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with engine.start(1) as (synthesizer,), anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        chunks = await collect(synthesizer, Job(LONG[:500]))
        assert turns >= len(chunks) - 2
        tasks.cancel_scope.cancel()


async def test_two_synthesizers_speak_at_the_same_time(engine: Engine) -> None:
    async with (
        engine.start(2) as (one, two),
        one.speak(Job(SENTENCE)) as first,
        two.speak(Job(SENTENCE)) as second,
    ):
        assert await _length(first) == pytest.approx(await _length(second), rel=0.01)


async def _length(chunks: AsyncIterator[Chunk]) -> int:
    return sum([len(chunk.pcm) async for chunk in chunks])


async def test_a_synthesizer_speaks_one_job_at_a_time(engine: Engine) -> None:
    async with engine.start(1) as (synthesizer,):
        async with synthesizer.speak(Job(SENTENCE)):
            with pytest.raises(RuntimeError, match="one job at a time"):
                await collect(synthesizer, Job(SENTENCE))
        assert await samples(synthesizer, Job(SENTENCE)) > 0


async def test_an_unknown_voice_id_is_a_stable_voice(engine: Engine) -> None:
    unknown = "21m00Tcm4TlvDq8ikWAM"
    assert engine.check(unknown, None) is None
    async with engine.start(2) as (one, two):
        first = await samples(one, Job(SENTENCE, voice=unknown))
        assert await samples(two, Job(SENTENCE, voice=unknown)) == pytest.approx(first, rel=0.01)


async def test_the_listed_voices_are_unique_and_can_be_spoken(engine: Engine) -> None:
    voices = engine.voices()
    assert len({voice.id for voice in voices}) == len(voices) > 0
    async with engine.start(1) as (synthesizer,):
        for voice in voices:
            assert engine.check(voice.id, voice.language if engine.name != "tone" else None) is None
            assert await samples(synthesizer, Job("a 1", voice=voice.id)) > 0, voice.id
