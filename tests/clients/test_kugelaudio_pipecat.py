"""The Pipecat service that comes with the kugelaudio SDK, unmodified, in a pipeline of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

WHERE = "`make clients` installs Pipecat and the KugelAudio SDK"
frames = pytest.importorskip("pipecat.frames.frames", reason=WHERE)
processors = pytest.importorskip("pipecat.processors.frame_processor", reason=WHERE)
pipelines = pytest.importorskip("pipecat.pipeline.pipeline", reason=WHERE)
workers = pytest.importorskip("pipecat.pipeline.worker", reason=WHERE)
runners = pytest.importorskip("pipecat.workers.runner", reason=WHERE)
services = pytest.importorskip("kugelaudio.pipecat", reason=WHERE)

pytestmark = [
    pytest.mark.clients,
    pytest.mark.espeak,
    # its own, of websockets and pipecat
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

VOICE = 1071
RATE = 24000
TEXT = "Hello there, this is the first sentence. And here is another one. A third ends it."
LONG = "This one will be interrupted after a moment, because the user speaks up. " * 60
SORRY = "Sorry, go ahead please."


class Ears(processors.FrameProcessor):  # type: ignore[misc]
    """Hears what leaves the service."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Any] = []
        self._arrived = asyncio.Event()

    async def process_frame(self, frame: Any, direction: Any) -> None:
        await super().process_frame(frame, direction)
        self.heard.append(frame)
        self._arrived.set()
        await self.push_frame(frame, direction)

    async def until(self, kind: type, count: int = 1) -> list[Any]:
        while len(self.of(kind)) < count:
            self._arrived.clear()
            await asyncio.wait_for(self._arrived.wait(), 10)
        return self.of(kind)

    def of(self, kind: type, *, since: int = 0) -> list[Any]:
        return [frame for frame in self.heard[since:] if isinstance(frame, kind)]

    def seconds(self) -> float:
        return sum(len(frame.audio) for frame in self.of(frames.TTSAudioRawFrame)) / 2 / RATE


class Conversation:
    """A pipeline of Ears, the service and Ears; `words` is what the service told of word times."""

    def __init__(self, worker: Any, ears: Ears, words: list[tuple[str, Any]]) -> None:
        self.worker = worker
        self.ears = ears
        self.words = words

    async def start(self, text: str) -> None:
        """A language model begins to answer, in a few tokens."""
        self.ears.heard.clear()
        self.words.clear()
        tokens = [frames.LLMTextFrame(text[at : at + 9]) for at in range(0, len(text), 9)]
        await self.worker.queue_frames(
            [frames.LLMFullResponseStartFrame(), *tokens, frames.LLMFullResponseEndFrame()]
        )

    async def say(self, text: str) -> Ears:
        """One whole turn: the service says the end of each sentence."""
        await self.start(text)
        await self.ears.until(frames.LLMFullResponseEndFrame)
        await self.ears.until(frames.TTSStoppedFrame)
        return self.ears


@asynccontextmanager
async def conversation(server: Any, **options: Any) -> AsyncIterator[Conversation]:
    words: list[tuple[str, Any]] = []
    service = services.KugelAudioTTSService(
        api_key="any",
        voice_id=VOICE,
        sample_rate=RATE,
        language="en",
        base_url=server.http,
        on_word_timestamps=lambda context, stamps: words.extend((context, stamp) for stamp in stamps),
        **options,
    )
    ears, errors = Ears(), Ears()
    worker = workers.PipelineWorker(
        pipelines.Pipeline([errors, service, ears]),
        params=workers.PipelineParams(audio_out_sample_rate=RATE),
        idle_timeout_secs=None,
        enable_rtvi=False,
    )
    runner = runners.WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    await ears.until(frames.StartFrame)
    try:
        yield Conversation(worker, ears, words)
    except BaseException:
        await worker.cancel()
        raise
    await worker.queue_frame(frames.EndFrame())
    await running
    assert not errors.of(frames.ErrorFrame)


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(main(), 40))  # type: ignore[arg-type]


def check_turn(talk: Conversation, text: str, seconds: float) -> None:
    """A turn was heard whole: its length, its words, and all in one context of its own."""
    heard = talk.ears
    assert heard.seconds() == pytest.approx(seconds, rel=0.1)
    assert [stamp.word for _, stamp in talk.words] == text.split()
    contexts = {frame.context_id for frame in heard.of(frames.TTSAudioRawFrame)}
    assert contexts == {context for context, _ in talk.words}
    assert len(contexts) == 1


def test_turns_are_heard_whole_and_their_words_in_order(
    server: Any, seconds_of: Callable[[str, str], float]
) -> None:
    lengths = {text: seconds_of(text, str(VOICE)) for text in (TEXT, SORRY)}

    async def main() -> None:
        async with conversation(server) as talk:
            for text in (TEXT, SORRY, TEXT):
                began = asyncio.get_running_loop().time()
                await talk.say(text)
                check_turn(talk, text, lengths[text])
                assert asyncio.get_running_loop().time() - began < 2, "a sentence waited 2 s for its end"

    run(main)
    server.logged("socket_closed", 1)
    assert len(server.logged("socket_opened", 1)) == 1
    assert len(server.logged("context_closed", 3)) == 3


def test_after_an_interruption_nothing_of_it_is_heard_and_the_next_turn_is_right(
    server: Any, seconds_of: Callable[[str, str], float]
) -> None:
    seconds = seconds_of(SORRY, str(VOICE))

    async def main() -> None:
        async with conversation(server) as talk:
            await talk.start(LONG)
            interrupted = (await talk.ears.until(frames.TTSAudioRawFrame))[0].context_id
            await talk.worker.queue_frame(frames.InterruptionFrame())
            await talk.ears.until(frames.InterruptionFrame)
            cut_at = len(talk.ears.heard)
            await asyncio.sleep(0.3)  # the user speaks
            assert not talk.ears.of(frames.TTSAudioRawFrame, since=cut_at)
            sorry = await talk.say(SORRY)
            assert interrupted not in {frame.context_id for frame in sorry.of(frames.TTSAudioRawFrame)}
            check_turn(talk, SORRY, seconds)

    run(main)
    cut, *_ = server.logged("context_closed", 2)
    assert cut["reason"] == "cancelled"
    assert cut["audio_sent_ms"] < 60_000, "it would speak for four minutes"


def test_more_turns_than_a_socket_has_contexts(server: Any, seconds_of: Callable[[str, str], float]) -> None:
    seconds = seconds_of(SORRY, str(VOICE))

    async def main() -> None:
        async with conversation(server) as talk:
            for _ in range(25):
                await talk.say(SORRY)
                check_turn(talk, SORRY, seconds)

    run(main)
    server.logged("socket_closed", 1)
    assert len(server.logged("socket_opened", 1)) == 1
