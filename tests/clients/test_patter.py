"""getpatter's WebSocket voice, unmodified but for the address: it is a constant of its module."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

provider = pytest.importorskip(
    "getpatter.providers.elevenlabs_ws_tts", reason="`make clients` installs Patter"
)
getpatter = pytest.importorskip("getpatter")
InvalidStatus = pytest.importorskip("websockets").exceptions.InvalidStatus

pytestmark = [
    pytest.mark.clients,
    pytest.mark.espeak,
    # its own, of audioop
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

VOICE = "EXAVITQu4vr4xnSDxMaL"
TEXT = "Hello there, this is Patter. It speaks a whole answer at once."
LONG = "This one will be interrupted after a moment, because the user speaks up. " * 60
PCM, ULAW = 32000, 8000
"""Bytes per second of pcm_16000 and of ulaw_8000."""


@pytest.fixture
def patter(server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(provider, "_WS_BASE", f"{server.ws}/v1/text-to-speech")
    return provider.ElevenLabsWebSocketTTS(api_key="any", voice_id=VOICE)


async def size_of(tts: Any, text: str) -> int:
    return sum([len(chunk) async for chunk in tts.synthesize(text)])


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(main(), 20))  # type: ignore[arg-type]


def test_each_utterance_is_heard_whole_and_ends_at_once(
    server: Any, patter: Any, seconds_of: Callable[[str, str], float]
) -> None:
    seconds = seconds_of(TEXT, VOICE)

    async def main() -> list[int]:
        return [await size_of(patter, TEXT) for _ in range(2)]

    began = time.monotonic()
    sizes = run(main)
    assert time.monotonic() - began < 3, "without isFinal after its flush it waits for 30 s"
    assert [size / PCM for size in sizes] == pytest.approx([seconds] * 2, rel=0.1)
    assert len(server.logged("socket_closed", 2)) == 2


@pytest.mark.parametrize("voice", ["provider", "facade"])
def test_for_twilio(patter: Any, seconds_of: Callable[[str, str], float], voice: str) -> None:
    maker = {"provider": provider.ElevenLabsWebSocketTTS, "facade": getpatter.ElevenLabsTTS}[voice]
    telephone = maker.for_twilio(api_key="any", voice_id=VOICE)
    assert run(lambda: size_of(telephone, TEXT)) / ULAW == pytest.approx(seconds_of(TEXT, VOICE), rel=0.1)


def test_a_connection_that_was_opened_before_is_used(
    server: Any, patter: Any, seconds_of: Callable[[str, str], float]
) -> None:
    seconds = seconds_of(TEXT, VOICE)

    async def main() -> int:
        patter.adopt_websocket(await patter.open_parked_connection())
        return await size_of(patter, TEXT)

    assert run(main) / PCM == pytest.approx(seconds, rel=0.1)
    assert len(server.logged("socket_closed", 1)) == 1


@pytest.mark.parametrize("how", ["leave", "cancel_active_stream"])
def test_an_interruption_ends_at_once_and_stops_the_engine(server: Any, patter: Any, how: str) -> None:
    async def main() -> datetime:
        async with aclosing(patter.synthesize(LONG)) as chunks:
            await anext(chunks)
            left = datetime.now(UTC)
            if how == "cancel_active_stream":
                patter.cancel_active_stream()
                assert sum([len(chunk) async for chunk in chunks]) / PCM < 60
        assert await size_of(patter, "Sorry.")
        return left

    left = run(main)
    # Asked of the server's clock: with more than 16 frames unread, `websockets` reads no close frame for 2 s.
    (closed, *_) = server.logged("socket_closed", 2)
    assert datetime.fromisoformat(closed["time"]) - left < timedelta(seconds=0.5)
    (cut, _) = server.logged("context_closed", 2)
    assert cut["reason"] == "socket_closed"
    assert cut["audio_sent_ms"] < 60_000, "it would speak for four minutes"


def test_a_wrong_key(locked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "_WS_BASE", f"{locked.ws}/v1/text-to-speech")
    with pytest.raises(InvalidStatus, match="401"):
        run(lambda: size_of(provider.ElevenLabsWebSocketTTS(api_key="any"), "Hello."))
