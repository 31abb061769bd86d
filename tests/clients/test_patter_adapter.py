"""mux's voice as the TTS adapter of Patter itself: its own Twilio bridge and pipeline, unmodified.

What is missing offline is played: the carrier's end of the WebSocket, a recogniser that hears what the test
says, and a language model with one answer. The service is `mux mock`, which speaks as ElevenLabs does, at the
speed of speech.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

getpatter = pytest.importorskip("getpatter", reason="`make clients` installs Patter")
base = pytest.importorskip("getpatter.providers.base")
formats = pytest.importorskip("getpatter.audio.format")
twilio = pytest.importorskip("getpatter.telephony.twilio")

from mux.client.patter import ElevenLabsWebSocketTTS  # noqa: E402
from mux.mock import Mock, serve_mock  # noqa: E402

pytestmark = [
    pytest.mark.clients,
    # its own, of audioop
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

GREETING = "Hello. " + "This greeting is a long one, which somebody may well interrupt. " * 4
ANSWER = "Very well, I stop. What else can I do for you?"
ULAW = 8000
CHARACTER = 0.05
"""Seconds that the tone engine speaks of each."""


class Ears(base.STTProvider):  # type: ignore[misc,name-defined]
    """A recogniser that hears what `say` says."""

    def __init__(self, said: asyncio.Queue[str]) -> None:
        self.said = said

    async def connect(self) -> None: ...

    async def send_audio(self, audio_chunk: bytes) -> None: ...

    async def receive_transcripts(self) -> AsyncIterator[Any]:
        while True:
            yield base.Transcript(await self.said.get(), is_final=True, confidence=1.0)

    async def close(self) -> None: ...


class Mind:
    """A language model with one answer."""

    async def stream(self, messages: Any, tools: Any = None, **options: Any) -> AsyncIterator[dict[str, str]]:
        for word in ANSWER.split(" "):
            yield {"type": "text", "content": f"{word} "}
        yield {"type": "done"}


class Carrier:
    """Twilio's end of one call."""

    def __init__(self, name: str) -> None:
        self.query_params: dict[str, str] = {}
        self.heard = bytearray()
        self.cleared: list[int] = []
        """How much had been sent each time that Patter emptied the carrier's buffer."""
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        start = {"callSid": name, "customParameters": {"caller": "+15550001", "callee": "+15550002"}}
        self._events.put_nowait({"event": "start", "streamSid": f"M{name}", "start": start})

    async def accept(self) -> None: ...

    async def receive_text(self) -> str:
        return json.dumps(await self._events.get())

    async def send_text(self, text: str) -> None:
        message = json.loads(text)
        if message["event"] == "media":
            self.heard += b64decode(message["media"]["payload"])
        elif message["event"] == "mark":
            self._events.put_nowait(message)
        elif message["event"] == "clear":
            self.cleared.append(len(self.heard))

    def hang_up(self) -> None:
        self._events.put_nowait({"event": "stop"})


class Calls:
    """Calls of one agent, which has one voice for all of them."""

    def __init__(self, tts: Any) -> None:
        self.said: dict[str, asyncio.Queue[str]] = {}
        carrier = getpatter.Twilio(account_sid="AC" + "0" * 32, auth_token="0" * 32)
        self._phone = getpatter.Patter(carrier=carrier, phone_number="+15550002")
        self._tts = tts

    def agent(self, said: asyncio.Queue[str]) -> Any:
        ears = Ears(said)
        return self._phone.agent(
            system_prompt="Be kind.", stt=ears, tts=self._tts, llm=Mind(), first_message=GREETING
        )

    def begin(self, name: str) -> tuple[Carrier, asyncio.Task[None]]:
        carrier, said = Carrier(name), self.said.setdefault(name, asyncio.Queue())
        call = twilio.twilio_stream_bridge(carrier, self.agent(said), openai_key="")
        return carrier, asyncio.create_task(call)


async def until(condition: Any, seconds: float = 15) -> None:
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - Patter tells nobody
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def _patter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    monkeypatch.setenv("PATTER_TTS_TAIL_GRACE_MS", "0")


def voice(mock: Mock) -> ElevenLabsWebSocketTTS:
    return ElevenLabsWebSocketTTS("any", base_url=mock.url, dialect="elevenlabs")


def seconds_of(text: str) -> float:
    return (len(text.strip()) + 1) * CHARACTER


def test_patter_takes_it_for_one_of_its_own() -> None:
    tts = ElevenLabsWebSocketTTS("any")
    assert isinstance(tts, base.TTSProvider)
    source = formats.resolve_tts_source_format(tts)
    assert (source.encoding, source.sample_rate) == ("pcm_s16le", 16000)


def test_two_calls_at_once_of_which_one_is_interrupted() -> None:
    async def main() -> SimpleNamespace:
        async with serve_mock("elevenlabs", pace=4) as mock:
            calls = Calls(voice(mock))
            a, call_a = calls.begin("A")
            await until(lambda: len(a.heard) > ULAW)
            b, call_b = calls.begin("B")  # later: who keeps one stream in mind keeps B's
            await until(lambda: len(b.heard) > ULAW)
            calls.said["A"].put_nowait("Stop, please.")
            await until(lambda: a.cleared)
            await until(lambda: len(a.heard) - a.cleared[0] >= seconds_of(ANSWER) * ULAW)
            await until(lambda: len(b.heard) >= seconds_of(GREETING) * ULAW)
            sockets = mock.sockets, mock.open_sockets
            a.hang_up()
            await asyncio.wait_for(call_a, 5)
            after_one = mock.open_sockets
            b.hang_up()
            await asyncio.wait_for(call_b, 5)
            return SimpleNamespace(
                a=a, b=b, sockets=sockets, after_one=after_one, after_all=mock.open_sockets, mock=mock
            )

    seen = asyncio.run(main())
    assert seen.sockets == (1, 1), "every text of both calls went over one socket"
    assert (seen.after_one, seen.after_all) == (1, 0)
    assert seen.a.cleared[0] < seconds_of(GREETING) / 2 * ULAW, "A was interrupted"
    assert not seen.b.cleared
    assert len(seen.b.heard) == pytest.approx(seconds_of(GREETING) * ULAW, abs=100), "and B heard to its end"
    greeted = [context for context in seen.mock.history if "greeting" in context.text]
    assert sorted(context.sent_ms > seconds_of(GREETING) * 900 for context in greeted) == [False, True]
