"""The kugelaudio SDK for Python, unmodified: requests on `/ws/tts`, HTTP, keys and prices."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from kugelaudio_ears import MARKS, SORRY, TEXT, VOICE, approx, errors, listen, opened, run, sdk, serving

pytestmark = MARKS


def test_one_shot_requests_share_one_socket(server: Any, seconds_of: Callable[[str, str], float]) -> None:
    async def main() -> None:
        async with opened(server.http) as client:
            await client.connect_async()
            for text in (TEXT, SORRY, TEXT):
                spoken = await client.tts.generate_async(
                    text, voice_id=VOICE, language="en", word_timestamps=True
                )
                seconds = seconds_of_[text]
                assert spoken.duration_seconds == approx(seconds)
                assert spoken.usage.audio_seconds == pytest.approx(spoken.duration_seconds, abs=0.01)
                assert spoken.usage.characters == len(text)
                words = spoken.word_timestamps
                assert [text[word.char_start : word.char_end] for word in words] == text.split()
                assert [word.word for word in words] == text.split()
                assert all(one.end_ms <= other.start_ms for one, other in pairwise(words))
                assert 1000 * seconds - 1000 < words[-1].end_ms < 1000 * spoken.duration_seconds + 1
            with pytest.raises(errors.ValidationError, match="speed"):
                await client.tts.generate_async(SORRY, voice_id=VOICE, speed=9)
            assert client.is_connected()
            assert (await client.tts.generate_async(SORRY, voice_id=VOICE)).audio

    seconds_of_ = {text: seconds_of(text, str(VOICE)) for text in (TEXT, SORRY)}
    run(main)
    server.logged("socket_closed", 1)
    assert len(server.logged("socket_opened", 1)) == 1


def test_generate_and_stream_without_asyncio(server: Any, seconds_of: Callable[[str, str], float]) -> None:
    with sdk.KugelAudio(api_key="any", api_url=server.http) as client:
        spoken = client.tts.generate(TEXT, voice_id=VOICE, language="en", output_format="ulaw_8000")
        assert spoken.sample_rate == 8000
        assert len(spoken.audio) == spoken.samples
        items = list(client.tts.stream(TEXT, voice_id=VOICE, language="en"))
    *chunks, final = items
    assert len(chunks) > 5
    assert final["final"]
    assert final["chunks"] == len(chunks)
    seconds = seconds_of(TEXT, str(VOICE))
    assert spoken.duration_seconds == approx(seconds)
    assert sum(chunk.duration_seconds for chunk in chunks) == approx(seconds)


def test_usage_has_its_price() -> None:
    async def main(base: str) -> list[Any]:
        async with opened(base) as client:
            async with client.tts.streaming_session(voice_id=VOICE, model_id="kugel-3.5") as session:
                await listen(session.send(TEXT, flush=True))
                usages = [session.last_usage]
            async with client.tts.multi_context_session(
                default_voice_id=VOICE, model_id="kugel-3.5"
            ) as contexts:
                await listen(contexts.send("a", TEXT, flush=True))
                await listen(contexts.close_context("a"))
                usages.append(contexts.usage_for("a"))
            usages.append((await client.tts.generate_async(TEXT, voice_id=VOICE)).usage)
            return usages

    with serving("--engine", "tone", "--price-cents-per-minute", "6") as (_, base):
        for usage in run(lambda: main(base)):
            assert usage.cost_available
            assert usage.cost_cents == pytest.approx(usage.audio_seconds / 60 * 6, abs=0.005)
            assert usage.currency == "eur"
            assert usage.characters == len(TEXT)
            assert usage.model_id == "kugel-3.5"


def test_it_lists_voices_and_models(server: Any) -> None:
    with sdk.KugelAudio(api_key="any", api_url=server.http) as client:
        page = client.voices.list()
        assert (len(page.voices), page.limit, page.offset) == (20, 20, 0)
        assert page.total > 100
        following = client.voices.list(limit=5, offset=15)
        assert following.voices == page.voices[15:]
        assert all(isinstance(voice.id, int) and voice.name for voice in page.voices)
        german = client.voices.list(language="de").voices
        assert german
        assert all("de" in voice.supported_languages for voice in german)
        one = client.voices.get(german[0].id)
        assert (one.id, one.name) == (german[0].id, german[0].name)
        assert client.tts.generate(SORRY, voice_id=one.id).audio
        with pytest.raises(errors.NotFoundError):
            client.voices.get(10**9 + 7)
        models = client.models.list()
        assert "kugel-3.5" in [model.id for model in models]
        assert all(model.name and model.sample_rate == 24000 for model in models)


def test_a_wrong_key(locked: Any) -> None:
    async def main() -> None:
        async with opened(locked.http, key="wrong") as client:
            for connect in (
                client.tts.streaming_session(voice_id=VOICE).connect,
                client.tts.multi_context_session(default_voice_id=VOICE).connect,
                client.connect_async,
            ):
                with pytest.raises(errors.AuthenticationError):
                    await connect()
            for request in (client.voices.list, client.models.list):
                with pytest.raises(errors.AuthenticationError) as refused:
                    request()
                assert refused.value.request_id
        async with opened(locked.http, key="eu-sesame") as client:  # it strips the region
            assert client.voices.list(limit=1).voices
            assert (await client.tts.generate_async(SORRY, voice_id=VOICE)).audio

    run(main)


def test_its_own_headers_choose_its_shapes_and_a_prefix_does_so_for_others(server: Any) -> None:
    """`/v1/voices` is another document to another vendor's client on the same port."""
    httpx = pytest.importorskip("httpx")
    with httpx.Client(base_url=server.http) as http:
        theirs = http.get("/v1/voices", headers={"xi-api-key": "any"}).json()
        assert "voice_id" in theirs["voices"][0]
        ours = http.get("/kugelaudio/v1/voices").json()
        assert isinstance(ours["voices"][0]["id"], int)
        assert json.dumps(ours) != json.dumps(theirs)
    with sdk.KugelAudio(api_key="any", api_url=f"{server.http}/kugelaudio") as client:
        assert [voice.id for voice in client.voices.list().voices] == [
            voice["id"] for voice in ours["voices"]
        ]
        assert client.tts.generate(SORRY, voice_id=VOICE).audio
