"""What real clients once sent (see `record.py`), said again to the server; and what each of them reads in the
answers, read as it reads them: the same keys, without any default where it has none."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from loopback import running, until
from wire import Frame, Wire

from mux.config import Settings
from mux.engines.tone import ToneEngine
from mux.links.transport import Ending, open_transport
from mux.server.app import create_app
from mux.server.service import start_service

pytestmark = pytest.mark.anyio

RECORDED = Path(__file__).parent / "recorded"
ALL = sorted(path.stem for path in RECORDED.glob("*.jsonl"))
BYTES_PER_SECOND = {
    "pcm_24000": 48000,
    "pcm_16000": 32000,
    "ulaw_8000": 8000,
    "mp3_22050_32": 4000,
}
BIGGEST = 512 * 1024
"""Characters of base64 in one frame: Patter drops what is longer; others break at 1 MiB."""


class Recording:
    def __init__(self, name: str) -> None:
        lines = [json.loads(line) for line in (RECORDED / f"{name}.jsonl").read_text().splitlines()]
        self.opening, *self.lines = lines
        self.said = [line["say"] for line in self.lines if "say" in line]
        self.contexts = list(dict.fromkeys(said["context_id"] for said in self.said if "context_id" in said))
        """In the order in which they were opened."""

    def text(self, context: str | None = None) -> str:
        """What the client wants to hear, as words with one space between them."""
        texts = [said.get("text", "") for said in self.said if said.get("context_id") == context]
        return " ".join(" ".join(texts).split())


class Replay(Wire):
    """The client's end, and what came of saying it all."""

    ending: Ending
    closing_seconds = 0.0
    bytes_per_second: int

    async def say_again(self, recording: Recording) -> None:
        for line in recording.lines:
            match line:
                case {"say": message}:
                    await self.say(message)
                case {"heard": what, "context": context}:
                    await self.hear(what, context)
                case {"closed": code, "by": "server"}:
                    self.ending = await self.to_the_end(5)
                    assert self.ending.code == code
                case {"closed": code, "by": "client"}:
                    began = anyio.current_time()
                    await self.transport.aclose(code)
                    self.closing_seconds = anyio.current_time() - began
                    self.ending = self.transport.closed

    async def hear(self, what: str, context: str | None) -> None:
        key = {"audio": "audio", "final": "isFinal"}[what]
        if not any(frame.get(key) for frame in self.answers(context)):
            await self.read_until(lambda frame: frame.get("contextId") == context and bool(frame.get(key)), 5)

    def answers(self, context: str | None = None) -> list[Frame]:
        return [frame for frame in self.frames if frame.get("contextId") == context]

    def seconds(self, context: str | None = None) -> float:
        return len(self.audio(context)) / self.bytes_per_second  # type: ignore[arg-type]


@asynccontextmanager
async def said_again(name: str) -> AsyncIterator[tuple[Recording, Replay]]:
    recording = Recording(name)
    path: str = recording.opening["open"]
    async with (
        start_service(ToneEngine(), Settings(engine="tone")) as service,
        running(create_app(service)) as port,
    ):
        async with open_transport(
            f"ws://127.0.0.1:{port}{path}", headers=recording.opening["headers"]
        ) as transport:
            replay = Replay(transport)
            replay.bytes_per_second = next(
                speed for name, speed in BYTES_PER_SECOND.items() if f"output_format={name}" in path
            )
            await replay.say_again(recording)
            yield recording, replay
        await until(lambda: service.sockets == service.contexts == 0)


def seconds_of(text: str) -> float:
    return len(text) * ToneEngine().character_seconds


def words_of(characters: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Words and when they begin; only a space ends a word."""
    words: list[tuple[str, float]] = []
    word, start = "", 0.0
    for character, time in characters:
        if character != " ":
            start = start if word else time
            word += character
        elif word:
            words.append((word, start))
            word = ""
    return words


def check_words(words: Sequence[tuple[str, float]], text: str) -> None:
    assert [word for word, _ in words] == text.split()
    starts = [start for _, start in words]
    assert starts == sorted(starts)
    last = text.rindex(" ") + 1
    assert starts[-1] == pytest.approx(seconds_of(text[:last]) * 1000, abs=150)


@pytest.mark.parametrize("name", ALL)
async def test_every_end_comes_once_and_a_close_is_answered(name: str) -> None:
    async with said_again(name) as (recording, replay):
        assert replay.frames
        assert not any("error" in frame or "message" in frame for frame in replay.frames)
        for context in recording.contexts or [None]:
            finals = [bool(frame["isFinal"]) for frame in replay.answers(context)]
            assert finals.count(True) <= 1
            assert True not in finals[:-1]
        assert max(len(frame["audio"] or "") for frame in replay.frames) < BIGGEST
        assert replay.ending.received, "its close frame was not answered"
        assert replay.closing_seconds < 1, "Patter would wait 2 s at every interruption"


async def test_livekit_turns() -> None:
    async with said_again("livekit_turns") as (recording, replay):
        assert len(recording.contexts) == 2
        for context in recording.contexts:
            text = recording.text(context)
            frames = replay.answers(context)
            assert frames[-1]["isFinal"]
            assert replay.seconds(context) == pytest.approx(seconds_of(text), rel=0.15)  # mp3
            check_words(words_of(livekit_characters(frames)), text)


def livekit_characters(frames: Sequence[Frame]) -> list[tuple[str, float]]:
    """As the LiveKit plugin adds them up: times are taken as they are."""
    characters: list[tuple[str, float]] = []
    for alignment in (frame.get("normalizedAlignment") for frame in frames):
        if alignment:
            chars, starts = alignment["chars"], alignment["charStartTimesMs"]
            assert len(chars) == len(starts) == len(alignment["charDurationsMs"])
            characters += zip(chars, starts, strict=True)
    return characters


async def test_livekit_is_interrupted_while_a_turn_is_written() -> None:
    """It says `close_context` as at any other end, and hears no more of what is still spoken."""
    async with said_again("livekit_interruption") as (recording, replay):
        cut, sorry = recording.contexts
        text = recording.text(sorry)
        assert replay.seconds(sorry) == pytest.approx(seconds_of(text), rel=0.1)
        check_words(words_of(livekit_characters(replay.answers(sorry))), text)
        assert replay.seconds(cut) <= seconds_of(recording.text(cut)) + 0.5


async def test_livekit_hears_no_end_before_it_closes() -> None:
    """Its flushes come after every sentence; an `isFinal` after the first would end the turn there."""
    recording = Recording("livekit_turns")
    (context, *_) = recording.contexts
    closing = {"context_id": context, "close_context": True}
    async with (
        start_service(ToneEngine(), Settings(engine="tone")) as service,
        running(create_app(service)) as port,
        open_transport(f"ws://127.0.0.1:{port}{recording.opening['open']}") as transport,
    ):
        wire = Wire(transport)
        await wire.say(*recording.said[: recording.said.index(closing)])
        await wire.for_a_while(0.3)
        assert wire.audio(context)
        assert not any(frame["isFinal"] for frame in wire.frames)


async def test_pipecat_turns() -> None:
    async with said_again("pipecat_turns") as (recording, replay):
        assert recording.said[0] == {"text": ""}, "a keepalive without an id"
        assert {frame["contextId"] for frame in replay.frames} == set(recording.contexts)
        for context in recording.contexts:
            check_pipecat_turn(replay, context, recording.text(context))
        assert replay.ending == Ending(1000, "", received=True)


def check_pipecat_turn(replay: Replay, context: str, text: str) -> None:
    frames = replay.answers(context)
    assert frames[-1]["isFinal"] is True
    assert not frames[-1]["audio"], "it would not be heard"
    assert replay.seconds(context) == pytest.approx(seconds_of(text), rel=0.1)
    check_words(words_of(pipecat_characters(frames)), text)


def pipecat_characters(frames: Sequence[Frame]) -> list[tuple[str, float]]:
    """As Pipecat adds them up: times restart in every frame, and the clock moves on by each frame's span."""
    characters: list[tuple[str, float]] = []
    clock = 0.0
    for frame in frames:
        if frame.get("isFinal") is True:
            break
        alignment = frame["alignment"]
        if alignment is None:
            continue
        starts, lasts = alignment["charStartTimesMs"], alignment["charDurationsMs"]
        characters += [(char, clock + start) for char, start in zip(alignment["chars"], starts, strict=True)]
        if starts and lasts:
            clock += starts[-1] + lasts[-1]
    return characters


async def test_pipecat_is_interrupted() -> None:
    """Its second `close_context` cancels: a late frame would spoil the next turn's words."""
    async with said_again("pipecat_interruption") as (recording, replay):
        cut, sorry = recording.contexts
        assert recording.said.count({"context_id": cut, "close_context": True}) == 2
        final = replay.answers(cut)[-1]
        assert final["mux"]["reason"] == "cancelled"
        assert replay.seconds(cut) < seconds_of(recording.text(cut)) / 2
        first_of_the_next = replay.frames.index(replay.answers(sorry)[0])
        assert replay.frames.index(final) < first_of_the_next
        check_pipecat_turn(replay, sorry, recording.text(sorry))


async def test_the_elevenlabs_sdk_reads_until_the_socket_is_closed() -> None:
    async with said_again("elevenlabs_sdk_turn") as (recording, replay):
        assert recording.said[0]["voice_settings"] is None
        assert recording.said[-1] == {"text": ""}
        assert replay.ending == Ending(1000, "", received=True)
        assert replay.seconds() == pytest.approx(seconds_of(recording.text()), rel=0.1)


async def test_the_elevenlabs_sdk_stops_listening() -> None:
    async with said_again("elevenlabs_sdk_interruption") as (_, replay):
        assert replay.seconds() > 0


async def test_patter_hears_the_end_before_it_says_that_it_was_all() -> None:
    async with said_again("patter_turn") as (recording, replay):
        assert recording.lines[-3:] == [
            {"heard": "final", "context": None},
            {"say": {"text": ""}},
            {"closed": 1000, "by": "client"},
        ]
        assert replay.seconds() == pytest.approx(seconds_of(recording.text()), rel=0.1)


async def test_patter_is_interrupted() -> None:
    async with said_again("patter_interruption") as (recording, replay):
        assert 0 < replay.seconds() < seconds_of(recording.text())
