from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import pytest
from openai_stub import (
    KEY,
    PCM,
    TEXT,
    RawServer,
    Stream,
    ToneServer,
    failure,
    say,
    served,
    start_failure,
    started,
    until_left,
    whole,
)

from mux.engines.base import Voice
from mux.engines.openai_http import OpenAiEngine
from mux.errors import MuxError

pytestmark = pytest.mark.anyio


async def test_a_request_holds_what_the_api_wants_and_nothing_more() -> None:
    server = ToneServer()
    async with served(server.app) as url, started(url, model="kokoro") as synthesizer:
        await say(synthesizer, voice="nova")
    asked = {"model": "kokoro", "input": TEXT, "voice": "nova"}
    assert server.bodies == [asked | {"response_format": "pcm", "stream_format": "audio"}]


async def test_further_fields_are_added_and_taken_out() -> None:
    server = ToneServer()
    extra = {"stream_format": None, "instructions": "Whisper.", "sample_rate": 24000}
    async with served(server.app) as url, started(url, extra=extra) as synthesizer:
        await say(synthesizer, speed=1.1)
    assert (
        server.bodies[0].items() >= {"instructions": "Whisper.", "sample_rate": 24000, "speed": 1.1}.items()
    )
    assert "stream_format" not in server.bodies[0]


async def test_a_text_with_half_a_character_is_spoken() -> None:
    server = ToneServer()
    async with served(server.app) as url, started(url) as synthesizer:
        assert await say(synthesizer, "half \ud83d of a smile")
    assert server.bodies[0]["input"] == "half ? of a smile"


async def test_blank_text_costs_nothing() -> None:
    server = ToneServer()
    async with served(server.app) as url, started(url) as synthesizer:
        assert (await failure(synthesizer, " \n")).code == "empty_synthesis"
    assert not server.bodies


async def test_one_warm_connection_for_each_worker() -> None:
    server = ToneServer()
    async with served(server.app) as url, OpenAiEngine(base_url=url).start(2) as synthesizers:
        assert not server.bodies
        assert len(server.peers) == 2
        for synthesizer in synthesizers * 3:
            await say(synthesizer)
        assert len(server.bodies) == 6
        assert len(server.peers) == 2


async def test_the_servers_voices_are_listed_beside_the_configured_ones() -> None:
    server = ToneServer(voices={"voices": ["af_heart", {"id": "bob", "name": "Bob", "language": "en-GB"}]})
    mine = Voice(id="bob", name="My Bob", language="de")
    async with served(server.app) as url:
        engine = OpenAiEngine(base_url=url, voices=[mine])
        assert engine.voices() == (mine,)
        async with engine.start(1) as (synthesizer,):
            heart = Voice(id="af_heart", name="af_heart", language="und")
            assert engine.voices() == (mine, heart)
            for voice in ("af_heart", "bob", None, "21m00Tcm4TlvDq8ikWAM"):
                await say(synthesizer, voice=voice)
    assert [body["voice"] for body in server.bodies] == ["af_heart", "bob", "bob", "bob"]
    assert engine.language("bob", None) == engine.language(None, None) == "de"
    assert engine.language("bob", "fr") == "fr"
    assert engine.language("af_heart", None) == "und"


@pytest.mark.parametrize(
    "answer",
    [
        ["a", "b"],
        {"voices": ["a", "b", "", None, 5, "a", "x" * 999]},
        {"data": [{"voice_id": "a"}, {"name": "b"}, {}]},
        {"voices": [{"id": "a", "name": None, "gender": 1}, {"id": "b"}]},
    ],
)
async def test_lists_of_voices_in_every_form(answer: Any) -> None:
    async with served(ToneServer(voices=answer).app) as url:
        engine = OpenAiEngine(base_url=url)
        async with engine.start(1):
            assert [voice.id for voice in engine.voices()] == ["a", "b"]


@pytest.mark.parametrize("answer", [None, [], {}, {"voices": {"a": 1}}, "a", 5])
async def test_without_a_list_openais_voices_are_known(answer: Any) -> None:
    server = ToneServer(voices=answer)
    async with served(server.app) as url:
        engine = OpenAiEngine(base_url=url, default_voice="af_bella+af_sky")
        async with engine.start(1) as (synthesizer,):
            await say(synthesizer, voice="shimmer")
            await say(synthesizer, voice="nobody")
    assert [body["voice"] for body in server.bodies] == ["shimmer", "af_bella+af_sky"]
    assert engine.voices()[0].id == "af_bella+af_sky"


def test_strict_voices_are_refused_by_name() -> None:
    engine = OpenAiEngine(base_url="http://x/v1", default_voice="mine", strict_voices=True)
    assert engine.check("mine", "xx") is engine.check("nova", None) is engine.check(None, None) is None
    sentence = engine.check("21m00Tcm4TlvDq8ikWAM", None)
    assert sentence is not None
    assert "21m00" in sentence
    assert "alloy" in sentence


async def test_a_wrong_key_is_found_out_at_the_start_without_paying() -> None:
    server = ToneServer(key=KEY)
    async with served(server.app) as url:
        for key in (None, "wrong"):
            found = await start_failure(url, api_key=key)
            assert (found.code, found.retryable) == ("upstream_error", False)
            assert "API key" in str(found)
    assert not server.bodies


@pytest.mark.parametrize(
    "answer",
    [
        whole(b"", "404 No"),
        whole(b"", "405 No"),
        whole(b"", "403 No"),
        whole(b"", "500 No"),
        whole(b"<html>"),
        whole(b'{"error": {"message": "Missing scopes: api.model.read"}}', "401 No"),
    ],
)
async def test_a_server_without_a_list_of_models_is_accepted(answer: bytes) -> None:
    async def speak(stream: Stream, asked: dict[str, Any]) -> None:
        await stream.send(whole(PCM))

    async with RawServer(speak, get=answer).served() as url, started(url) as synthesizer:
        assert await say(synthesizer) == PCM


@pytest.mark.parametrize(
    ("status", "code"),
    [("502 a", "engine_failed"), ("503 a", "busy"), ("504 a", "engine_failed"), ("301 a", "upstream_error")],
)
async def test_a_door_without_a_server_behind_it_is_refused(status: str, code: str) -> None:
    async with RawServer(until_left, get=whole(b"", status)).served() as url:  # type: ignore[arg-type]
        assert (await start_failure(url)).code == code


async def test_nobody_listens() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
    found = await start_failure(f"http://127.0.0.1:{port}/v1")
    assert (found.code, found.retryable) == ("engine_failed", True)
    assert f"127.0.0.1:{port}" in str(found)
    assert "base URL" in str(found)


async def test_a_server_that_goes_away_and_comes_back() -> None:
    async with AsyncExitStack() as stack:
        async with served(ToneServer().app) as url:
            synthesizer = await stack.enter_async_context(started(url))
            alone = await say(synthesizer)
        found = await failure(synthesizer)
        assert (found.code, found.retryable) == ("engine_failed", True)
        async with served(ToneServer().app, port=int(url.split(":")[2].removesuffix("/v1"))):
            assert await say(synthesizer) == alone


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8880/v1",
        "ws://x/v1",
        "http:///v1",
        "http://x:port/v1",
        "http://[x/v1",
        "https://u:hunter2@x/v1",
        "https://hunter2@x/v1",
        "https://x/v1?api-version=hunter2",
        "https://x/v1/audio/speech",
    ],
)
def test_a_base_url_that_cannot_be_used_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(MuxError) as caught:
        OpenAiEngine(base_url=url)
    assert caught.value.code == "invalid_config"
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("key", ["two words", "line\r\nhost: x", "schlüssel", "\x00"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(MuxError) as caught:
        OpenAiEngine(base_url="http://x/v1", api_key=key)
    assert caught.value.code == "invalid_config"
    assert key not in str(caught.value)
