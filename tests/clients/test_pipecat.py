"""pipecat-ai's ElevenLabs services, unmodified, in a pipeline of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

WHERE = "`make clients` installs Pipecat"
services = pytest.importorskip("pipecat.services.elevenlabs.tts", reason=WHERE)
frames = pytest.importorskip("pipecat.frames.frames", reason=WHERE)
processors = pytest.importorskip("pipecat.processors.frame_processor", reason=WHERE)
pipelines = pytest.importorskip("pipecat.pipeline.pipeline", reason=WHERE)
workers = pytest.importorskip("pipecat.pipeline.worker", reason=WHERE)
runners = pytest.importorskip("pipecat.workers.runner", reason=WHERE)
aiohttp = pytest.importorskip("aiohttp", reason=WHERE)

pytestmark = [pytest.mark.clients, pytest.mark.espeak]

VOICE = "21m00Tcm4TlvDq8ikWAM"
RATE = 24000
KEEPALIVE = 10.0
"""Seconds between its keepalives."""
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

    def words(self) -> list[str]:
        return [frame.text for frame in self.of(frames.TTSTextFrame)]


class Conversation:
    def __init__(self, worker: Any, ears: Ears) -> None:
        self.worker = worker
        self.ears = ears

    async def start(self, text: str) -> None:
        """A language model begins to answer, in a few tokens."""
        self.ears.heard.clear()
        tokens = [frames.LLMTextFrame(text[at : at + 9]) for at in range(0, len(text), 9)]
        await self.worker.queue_frames(
            [frames.LLMFullResponseStartFrame(), *tokens, frames.LLMFullResponseEndFrame()]
        )

    async def say(self, text: str) -> Ears:
        """One whole turn."""
        await self.start(text)
        await self.ears.until(frames.TTSStoppedFrame)
        return self.ears


@asynccontextmanager
async def conversation(service: Any) -> AsyncIterator[Conversation]:
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
        yield Conversation(worker, ears)
    except BaseException:
        await worker.cancel()
        raise
    began = asyncio.get_running_loop().time()
    await worker.queue_frame(frames.EndFrame())
    await running
    assert asyncio.get_running_loop().time() - began < 1.5, "it waits 2 s for a server that does not close"
    assert not errors.of(frames.ErrorFrame)


def socket(server: Any, **settings: Any) -> Any:
    return services.ElevenLabsTTSService(
        api_key="any",
        url=server.ws,
        sample_rate=RATE,
        settings=services.ElevenLabsTTSService.Settings(voice=VOICE, **settings),
    )


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(main(), 40))  # type: ignore[arg-type]


def check_turn(heard: Ears, text: str, seconds: float) -> None:
    """A turn was heard whole: its length, its words, and the frames around it."""
    assert heard.seconds() == pytest.approx(seconds, rel=0.1)
    assert heard.words() == text.split()
    times = [frame.pts for frame in heard.of(frames.TTSTextFrame)]
    assert times == sorted(times)
    spoken = (times[-1] - times[0]) / 1e9
    assert seconds - 1.5 < spoken < seconds
    around = [
        type(frame)
        for frame in heard.heard
        if isinstance(frame, (frames.TTSStartedFrame, frames.TTSStoppedFrame))
    ]
    assert around == [frames.TTSStartedFrame, frames.TTSStoppedFrame]


def test_turns_are_heard_whole_and_their_words_in_order(
    server: Any, seconds_of: Callable[[str, str], float]
) -> None:
    lengths = {text: seconds_of(text, VOICE) for text in (TEXT, SORRY)}

    async def main() -> None:
        async with conversation(socket(server)) as talk:
            for text in (TEXT, SORRY, TEXT):
                check_turn(await talk.say(text), text, lengths[text])

    run(main)
    server.logged("socket_closed", 1)
    assert len(server.logged("socket_opened", 1)) == 1
    assert [end["reason"] for end in server.logged("context_closed", 3)] == ["completed"] * 3


def test_token_by_token(server: Any, seconds_of: Callable[[str, str], float]) -> None:
    """Its other way: auto_mode is off, and the server decides when to speak."""
    seconds = seconds_of(TEXT, VOICE)

    async def main() -> None:
        service = services.ElevenLabsTTSService(
            api_key="any",
            url=server.ws,
            sample_rate=RATE,
            settings=services.ElevenLabsTTSService.Settings(voice=VOICE),
            text_aggregation_mode=services.TextAggregationMode.TOKEN,
        )
        async with conversation(service) as talk:
            check_turn(await talk.say(TEXT), TEXT, seconds)

    run(main)


def test_after_an_interruption_nothing_of_it_is_heard_and_the_next_turn_is_right(
    server: Any, seconds_of: Callable[[str, str], float]
) -> None:
    seconds = seconds_of(SORRY, VOICE)

    async def main() -> None:
        async with conversation(socket(server)) as talk:
            await talk.start(LONG)
            interrupted = (await talk.ears.until(frames.TTSAudioRawFrame))[0].context_id
            await talk.worker.queue_frame(frames.InterruptionFrame())
            await talk.ears.until(frames.InterruptionFrame)
            cut_at = len(talk.ears.heard)
            await asyncio.sleep(
                0.3
            )  # the user speaks; what was under way then spoils no words of the next turn
            assert not talk.ears.of(frames.TTSAudioRawFrame, since=cut_at)
            sorry = await talk.say(SORRY)
            assert interrupted not in {frame.context_id for frame in sorry.of(frames.TTSAudioRawFrame)}
            check_turn(sorry, SORRY, seconds)

    run(main)
    cut, sorry = server.logged("context_closed", 2)
    assert (cut["reason"], sorry["reason"]) == ("cancelled", "completed")
    assert cut["audio_sent_ms"] < 60_000, "it would speak for four minutes"


def test_its_keepalives_disturb_nothing(server: Any, seconds_of: Callable[[str, str], float]) -> None:
    seconds = seconds_of(SORRY, VOICE)

    async def main() -> None:
        async with conversation(socket(server)) as talk:
            check_turn(await talk.say(SORRY), SORRY, seconds)
            talk.ears.heard.clear()
            await asyncio.sleep(KEEPALIVE + 0.5)
            assert not talk.ears.of(frames.TTSAudioRawFrame)
            check_turn(await talk.say(SORRY), SORRY, seconds)

    run(main)
    server.logged("socket_closed", 1)
    assert len(server.logged("context_closed", 2)) == 2, "a keepalive opened a context"


def test_changed_settings_are_heard(server: Any, seconds_of: Callable[[str, str], float]) -> None:
    """A new speed needs a new context, a new voice a new socket."""
    seconds = seconds_of(TEXT, VOICE)

    async def main() -> None:
        async with conversation(socket(server)) as talk:
            check_turn(await talk.say(TEXT), TEXT, seconds)
            for change in ({"speed": 0.8}, {"voice": "en-us-f2", "speed": 1.0}):
                delta = services.ElevenLabsTTSService.Settings(**change)
                await talk.worker.queue_frame(frames.TTSUpdateSettingsFrame(delta=delta))
                heard = await talk.say(TEXT)
                assert heard.words() == TEXT.split()
                if "voice" not in change:
                    assert heard.seconds() > 1.1 * seconds

    run(main)
    server.logged("socket_closed", 2)
    assert len(server.logged("socket_opened", 2)) == 2


def test_the_http_service(server: Any, seconds_of: Callable[[str, str], float]) -> None:
    lengths = {text: seconds_of(text, VOICE) for text in (TEXT, SORRY)}

    async def main() -> None:
        async with aiohttp.ClientSession() as http:
            service = services.ElevenLabsHttpTTSService(
                api_key="any",
                base_url=server.http,
                aiohttp_session=http,
                sample_rate=RATE,
                settings=services.ElevenLabsHttpTTSService.Settings(voice=VOICE),
            )
            async with conversation(service) as talk:
                for text in (SORRY, TEXT):
                    check_turn(await talk.say(text), text, lengths[text])

    run(main)
