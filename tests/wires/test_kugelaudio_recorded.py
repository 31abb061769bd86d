"""What KugelAudio's clients once sent (see `record.py`), said again to the server; and what they need of the
answers: every wait of theirs ends, and every frame has the keys that they read without a default."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from loopback import running, until
from wire import Frame, Wire

from mux.config import Settings
from mux.engines.tone import ToneEngine
from mux.links.transport import open_transport
from mux.server.app import create_app
from mux.server.service import start_service

pytestmark = pytest.mark.anyio

RECORDED = Path(__file__).parent / "recorded/kugelaudio"
ALL = sorted(path.stem for path in RECORDED.glob("*.jsonl"))
AUDIO = {"audio", "enc", "idx", "sr", "samples"}
ENDS = {"context_created", "final", "context_closed", "interrupted", "session_closed"}
WORD = {"word", "start_ms", "end_ms", "char_start", "char_end"}


class Recording:
    def __init__(self, name: str) -> None:
        lines = [json.loads(line) for line in (RECORDED / f"{name}.jsonl").read_text().splitlines()]
        self.opening, *self.lines = lines
        self.said: list[Frame] = [line["say"] for line in self.lines if "say" in line]
        self.path: str = self.opening["open"]
        self.kind = self.path.partition("?")[0].removeprefix("/ws/tts").strip("/") or "requests"

    def heard(self, context: str | None = None) -> list[str]:
        """What it was told of a context, in order and without the audio."""
        lines = (line for line in self.lines if "heard" in line and line["context"] == context)
        return [line["heard"] for line in lines if line["heard"] in ENDS]

    def contexts(self) -> dict[str, tuple[str, bool]]:
        """The text of each context, and whether it was cut off."""
        texts: dict[str, tuple[str, bool]] = {}
        for said in self.said:
            if id := said.get("context_id"):
                text, cut = texts.get(id, ("", False))
                texts[id] = text + said.get("text", ""), cut or bool(said.get("immediate"))
        return texts

    def turns(self) -> list[float]:
        """How long each turn is whose end it heard."""
        turns: list[float] = []
        text, ended, speed = "", 0, 1.0
        for line in self.lines:
            said = line.get("say", {})
            speed = said.get("speed", speed)
            text += said.get("text", "")
            if text and (said.get("flush") or said.get("close")):
                turns.append(seconds_of(text) / speed)
                text = ""
            ended += line.get("heard") == "session_closed"
            if said.get("cancel"):
                text, turns = "", turns[:ended]
        return turns


def seconds_of(text: str) -> float:
    return len(text.strip()) * ToneEngine().character_seconds


class Replay(Wire):
    """The client's end, and what came of saying it all."""

    closing_seconds = 0.0

    async def say_again(self, recording: Recording) -> None:
        waited: Counter[tuple[str, str | None]] = Counter()
        for line in recording.lines:
            match line:
                case {"say": message}:
                    await self.say(message)
                case {"heard": what, "context": context}:
                    waited[what, context] += 1
                    while len(self.told(what, context)) < waited[what, context]:
                        await self.read_until(lambda frame: True, 5)
                case {"closed": code}:
                    began = anyio.current_time()
                    await self.transport.aclose(1000 if code == 1005 else code)
                    self.closing_seconds = anyio.current_time() - began

    def told(self, what: str, context: str | None = None) -> list[Frame]:
        return [frame for frame in self.answers(context) if frame.get(what)]

    def answers(self, context: str | None = None) -> list[Frame]:
        return [frame for frame in self.frames if frame.get("context_id") == context]


@asynccontextmanager
async def said_again(name: str) -> AsyncIterator[tuple[Recording, Replay]]:
    recording = Recording(name)
    async with (
        start_service(ToneEngine(), Settings(engine="tone")) as service,
        running(create_app(service)) as port,
    ):
        url = f"ws://127.0.0.1:{port}{recording.path}"
        async with open_transport(url, headers=recording.opening["headers"]) as transport:
            replay = Replay(transport)
            await replay.say_again(recording)
            yield recording, replay
        await until(lambda: service.sockets == service.contexts == 0)


def seconds(frames: list[Frame]) -> float:
    return sum(frame["samples"] / frame["sr"] for frame in frames if "audio" in frame)


def ends(frames: list[Frame]) -> list[str]:
    return [key for frame in frames for key in frame if key in ENDS]


def words(frames: list[Frame]) -> list[Any]:
    return [word for frame in frames for word in frame.get("word_timestamps", ())]


@pytest.mark.parametrize("name", ALL)
async def test_frames_have_what_is_read_of_them_and_a_close_is_answered(name: str) -> None:
    async with said_again(name) as (recording, replay):
        assert not [frame for frame in replay.frames if "error" in frame and recording.kind != "requests"]
        for frame in replay.frames:
            assert "audio" not in frame or set(frame) >= AUDIO
            assert all(set(word) >= WORD for word in frame.get("word_timestamps", ()))
        asked = any(said.get("word_timestamps") for said in recording.said)
        assert bool(words(replay.frames)) == asked
        assert replay.closing_seconds < 1


@pytest.mark.parametrize("name", [name for name in ALL if Recording(name).kind == "stream"])
async def test_turns_of_a_session(name: str) -> None:
    async with said_again(name) as (recording, replay):
        assert ends(replay.frames) == recording.heard()
        turns: list[float] = []
        frames: list[Frame] = []
        for frame in replay.frames:
            frames.append(frame)
            if "interrupted" in frame:
                frames = []
            elif "session_closed" in frame:
                if heard := seconds(frames):
                    assert frame["usage"]["audio_seconds"] == pytest.approx(heard, abs=0.01)
                    turns.append(heard)
                frames = []
        assert turns == pytest.approx(recording.turns(), rel=0.1)


@pytest.mark.parametrize("name", [name for name in ALL if Recording(name).kind == "multi"])
async def test_contexts(name: str) -> None:
    async with said_again(name) as (recording, replay):
        for context, (text, cut) in recording.contexts().items():
            frames = replay.answers(context)
            told = ends(frames)
            assert "context_created" in frames[0]
            if cut:
                assert told == ["context_created", "context_closed"]
                assert seconds(frames) < seconds_of(text) / 2
                continue
            assert told == recording.heard(context)
            assert "context_closed" not in told[:-1]
            assert seconds(frames) == pytest.approx(seconds_of(text), rel=0.1)
            heard = [word["word"] for word in words(frames)]
            assert not heard or heard == text.split()


@pytest.mark.parametrize("name", [name for name in ALL if Recording(name).kind == "requests"])
async def test_requests(name: str) -> None:
    async with said_again(name) as (recording, replay):
        frames = iter(replay.frames)
        for text in (said["text"] for said in recording.said):
            heard: list[Frame] = []
            while not (answer := next(frames)).keys() & {"final", "error"}:
                heard.append(answer)
            if not text:
                assert answer["error_code"] == "VALIDATION_ERROR"
                continue
            assert seconds(heard) == pytest.approx(seconds_of(text), rel=0.1)
            assert answer["usage"]["audio_seconds"] == pytest.approx(seconds(heard), abs=0.01)
        assert not list(frames)
