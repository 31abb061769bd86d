"""The elevenlabs SDK for Python, unmodified."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus

sdk = pytest.importorskip("elevenlabs", reason="`make clients` (and `make test`) installs the SDK")
from elevenlabs.client import AsyncElevenLabs, ElevenLabs  # noqa: E402
from elevenlabs.core.api_error import ApiError  # noqa: E402

pytestmark = [
    pytest.mark.clients,
    pytest.mark.espeak,
    # its own, of pydantic and websockets
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

VOICE = "21m00Tcm4TlvDq8ikWAM"
TEXT = "Hello there, this is the first sentence. And here comes another one, a bit longer than the first."
BYTES_PER_SECOND = {"mp3_44100_128": 16000, "mp3_22050_32": 4000, "pcm_24000": 48000, "ulaw_8000": 8000}


@contextmanager
def opened(base: str) -> Iterator[Any]:
    """The SDK has no close of its own; what it keeps open is this."""
    with httpx.Client(timeout=30) as http:
        yield ElevenLabs(base_url=base, api_key="any", httpx_client=http)


@pytest.fixture
def client(server: Any) -> Iterator[Any]:
    with opened(server.http) as client:
        client.text_to_speech._ws_base_url = server.ws  # it would make wss:// of it
        yield client


def words() -> Iterator[str]:
    for word in TEXT.split():
        yield word + " "


@pytest.mark.parametrize("output_format", [None, "pcm_24000", "mp3_22050_32", "ulaw_8000"])
def test_convert(client: Any, seconds_of: Callable[[str, str], float], output_format: str | None) -> None:
    options = {"output_format": output_format} if output_format else {}
    audio = b"".join(client.text_to_speech.convert(VOICE, text=TEXT, **options))
    seconds = len(audio) / BYTES_PER_SECOND[output_format or "mp3_44100_128"]
    assert seconds == pytest.approx(seconds_of(TEXT, VOICE), rel=0.1)


def test_stream_gives_the_audio_in_pieces(client: Any, seconds_of: Callable[[str, str], float]) -> None:
    pieces = list(client.text_to_speech.stream(VOICE, text=TEXT, output_format="pcm_24000"))
    assert len(pieces) > 5
    assert sum(map(len, pieces)) / 48000 == pytest.approx(seconds_of(TEXT, VOICE), rel=0.1)


def test_voice_settings_are_heard(client: Any, seconds_of: Callable[[str, str], float]) -> None:
    settings = sdk.VoiceSettings(speed=0.8, stability=0.5, similarity_boost=0.75)
    options = {"voice_settings": settings, "output_format": "pcm_24000"}
    at_once = b"".join(client.text_to_speech.convert(VOICE, text=TEXT, **options))
    in_pieces = b"".join(client.text_to_speech.convert_realtime(VOICE, text=words(), **options))
    for audio in (at_once, in_pieces):
        assert len(audio) / 48000 == pytest.approx(seconds_of(TEXT, VOICE) / 0.8, rel=0.1)


def test_convert_with_timestamps(client: Any) -> None:
    spoken = client.text_to_speech.convert_with_timestamps(
        VOICE, text="That costs $5 now.", output_format="pcm_16000"
    )
    times = spoken.alignment
    assert "".join(times.characters) == "That costs $5 now."
    assert times.character_start_times_seconds == sorted(times.character_start_times_seconds)
    seconds = len(base64.b64decode(spoken.audio_base_64)) / 32000
    assert seconds - 0.5 < times.character_end_times_seconds[-1] <= seconds + 0.001
    assert spoken.normalized_alignment.characters


def test_stream_with_timestamps_is_one_clock(client: Any, seconds_of: Callable[[str, str], float]) -> None:
    lines = list(client.text_to_speech.stream_with_timestamps(VOICE, text=TEXT, output_format="pcm_16000"))
    seconds = sum(len(base64.b64decode(line.audio_base_64)) for line in lines) / 32000
    assert seconds == pytest.approx(seconds_of(TEXT, VOICE), rel=0.1)
    slices = [line.alignment for line in lines if line.alignment]
    assert "".join("".join(piece.characters) for piece in slices).strip() == TEXT
    starts = [start for piece in slices for start in piece.character_start_times_seconds]
    assert all(one <= other for one, other in pairwise(starts))
    assert seconds - 1 < starts[-1] < seconds


def test_convert_realtime(server: Any, client: Any, seconds_of: Callable[[str, str], float]) -> None:
    seconds = seconds_of(TEXT, VOICE)
    pieces = list(client.text_to_speech.convert_realtime(VOICE, text=words(), output_format="pcm_24000"))
    assert sum(map(len, pieces)) / 48000 == pytest.approx(seconds, rel=0.1)
    (end,) = server.logged("context_closed", 1)
    assert end["reason"] == "completed"


@pytest.mark.parametrize("encrypted", ["asyncio", "trio"], indirect=True)
def test_convert_realtime_over_tls_needs_no_trick(
    encrypted: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, trust = encrypted
    monkeypatch.setenv("SSL_CERT_FILE", str(trust))
    with opened(base) as client:
        at_once = b"".join(client.text_to_speech.convert(VOICE, text=TEXT, output_format="pcm_24000"))
        pieces = client.text_to_speech.convert_realtime(VOICE, text=words(), output_format="pcm_24000")
        assert len(b"".join(pieces)) == pytest.approx(len(at_once), rel=0.1)


def test_the_asynchronous_client(server: Any, seconds_of: Callable[[str, str], float]) -> None:
    async def main() -> int:
        async with httpx.AsyncClient(timeout=30) as http:
            client = AsyncElevenLabs(base_url=server.http, api_key="any", httpx_client=http)
            pieces = client.text_to_speech.stream(VOICE, text=TEXT, output_format="pcm_24000")
            return sum([len(piece) async for piece in pieces])

    assert asyncio.run(main()) / 48000 == pytest.approx(seconds_of(TEXT, VOICE), rel=0.1)


def test_voices_models_and_the_account(client: Any) -> None:
    voices = client.voices.get_all().voices
    assert len(voices) > 100
    page = client.voices.search(page_size=5)
    assert len(page.voices) == 5
    assert page.has_more
    assert page.total_count == len(voices)
    following = client.voices.search(page_size=5, next_page_token=page.next_page_token)
    assert [voice.voice_id for voice in page.voices + following.voices] == [
        voice.voice_id for voice in voices[:10]
    ]
    one = client.voices.get(voices[3].voice_id)
    assert one.name == voices[3].name
    assert "eleven_flash_v2_5" in [model.model_id for model in client.models.list()]

    before = client.user.subscription.get().character_count
    b"".join(client.text_to_speech.convert(VOICE, text="Twelve here."))
    assert client.user.get().subscription.character_count == before + 12


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        ({"voice_settings": {"stability": 2.0}}, 400, ("stability", "0.0 to 1.0")),
        ({"model_id": "nope"}, 400, ("nope", "eleven_flash_v2_5")),
        ({"output_format": "pcm_1"}, 400, ("pcm_1", "pcm_24000")),
        ({"voice_settings": {"speed": 9}}, 400, ("speed", "0.7 to 1.2")),
    ],
)
def test_errors_are_api_errors_that_say_what_is_allowed(
    client: Any, options: dict[str, Any], status: int, words: tuple[str, ...]
) -> None:
    with pytest.raises(ApiError) as refused:
        b"".join(client.text_to_speech.convert(VOICE, **{"text": "Hello.", **options}))
    assert refused.value.status_code == status
    message = refused.value.body["detail"]["message"]
    assert all(word in message for word in words)


def test_a_wrong_key(locked: Any) -> None:
    with opened(locked.http) as client:
        with pytest.raises(ApiError) as refused:
            client.user.get()
        assert refused.value.status_code == 401
        client.text_to_speech._ws_base_url = locked.ws
        with pytest.raises(InvalidStatus, match="401"):
            b"".join(client.text_to_speech.convert_realtime(VOICE, text=words()))
