"""The service in front of other services, and shared by several apps."""

from __future__ import annotations

import base64
import json
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest
from loopback import running

from mux.config import App, Settings, load_settings
from mux.engines.openai_http import OpenAiEngine
from mux.engines.remote import RemoteEngine
from mux.engines.tone import ToneEngine
from mux.errors import MuxError
from mux.links.transport import Transport
from mux.server.app import create_app
from mux.server.engines import check_engines, make_gateway
from mux.server.service import start_service
from mux.testing import memory_server

pytestmark = pytest.mark.anyio
TEXT = "Hello there, all of you. "
UPSTREAM = Settings(engine="tone", api_keys=("upstream-secret",))


async def spoken(transport: Transport, key: str = "any", said: str = TEXT) -> tuple[bytes, str, str | None]:
    """Say something in anna's voice; the audio, its characters, and what the error said."""
    await transport.send(json.dumps({"text": " ", "context_id": "a", "xi_api_key": key}))
    await transport.send(json.dumps({"text": said, "context_id": "a", "flush": True}))
    await transport.send(json.dumps({"context_id": "a", "close_context": True}))
    audio, text, error = b"", "", None
    with anyio.fail_after(60):
        while True:
            frame: dict[str, Any] = json.loads(await transport.receive())
            audio += base64.b64decode(frame.get("audio") or "")
            text += "".join((frame.get("alignment") or {"chars": []})["chars"])
            error = frame.get("error", error)
            if frame.get("isFinal"):
                return audio, text, error


@pytest.mark.parametrize("kind", ["mux", "elevenlabs", "kugelaudio"])
async def test_another_service_speaks(kind: str) -> None:
    async with (
        start_service(ToneEngine(), UPSTREAM) as upstream,
        running(create_app(upstream)) as port,
    ):
        flags = {"engine": kind, "upstream_url": f"ws://127.0.0.1:{port}", "upstream_key": "upstream-secret"}
        settings = load_settings(flags, {})
        gateway = make_gateway(settings)
        (found,) = [found async for found in check_engines(settings)]
        assert (found.engine, found.error) == (kind, None)
        assert kind in found.lines[0]
        async with memory_server(gateway, settings) as server:
            audio, text, error = await spoken(server.open(voice="7"))
    assert error is None
    assert len(audio) == len(TEXT) * 0.05 * 24000 * 2
    assert text == TEXT


@pytest.mark.parametrize(
    ("kind", "query", "text"),
    [
        ("mux", {"apply_text_normalization": "off"}, "It costs $5. "),
        ("elevenlabs", {"apply_text_normalization": "off"}, "It costs $5. "),
        ("kugelaudio", {"apply_text_normalization": "off"}, "It costs $5. "),
        ("mux", {"enable_ssml_parsing": "true"}, 'One. <break time="300ms"/> Two. '),
    ],
)
async def test_another_service_reads_as_its_client_asks(kind: str, query: dict[str, str], text: str) -> None:
    async with (
        start_service(ToneEngine(), UPSTREAM) as upstream,
        running(create_app(upstream)) as port,
    ):
        flags = {"engine": kind, "upstream_url": f"ws://127.0.0.1:{port}", "upstream_key": "upstream-secret"}
        settings = load_settings(flags, {})
        async with memory_server(make_gateway(settings), settings) as server, memory_server() as local:
            asked = await spoken(server.open(voice="7", language_code="en", **query), said=text)
            unasked = await spoken(server.open(voice="7", language_code="en"), said=text)
            for found, wanted in ((asked, query), (unasked, {})):
                expected = await spoken(local.open(voice="7", language_code="en", **wanted), said=text)
                assert (len(found[0]), *found[1:]) == (len(expected[0]), *expected[1:])
    assert len(asked[0]) != len(unasked[0])


async def test_a_wrong_key_stops_the_start_and_is_not_told() -> None:
    async with (
        start_service(ToneEngine(), UPSTREAM) as upstream,
        running(create_app(upstream)) as port,
    ):
        flags = {"engine": "mux", "upstream_url": f"ws://127.0.0.1:{port}", "upstream_key": "wrong-secret"}
        settings = load_settings(flags, {})
        (found,) = [found async for found in check_engines(settings)]
        assert found.error is not None
        assert "401" in str(found.error)
        with pytest.raises(MuxError) as refused:
            async with memory_server(make_gateway(settings), settings):
                pytest.fail("it started")
    for error in (found.error, refused.value):
        assert "secret" not in repr(error.problem)


async def test_a_voice_without_its_service_is_spoken_by_the_next(tmp_path: Path) -> None:
    config = tmp_path / "mux.toml"
    config.write_text("""
        engine = "tone"
        [engines.far]
        kind = "elevenlabs"
        url = "ws://127.0.0.1:1"
        patience = 0.1
        [[voices]]
        id = "anna"
        speak = [{ engine = "far", voice = "x" }, { engine = "tone", voice = "y" }]
    """)
    settings = load_settings({}, {}, config)
    failed = [(found.engine, found.error and found.error.code) async for found in check_engines(settings)]
    assert failed == [("tone", None), ("far", "connection_refused")]
    gateway = make_gateway(settings)
    with anyio.fail_after(20):
        async with memory_server(gateway, settings) as server:
            assert "anna" in [voice.id for voice in server.service.engine.voices()]
            audio, text, error = await spoken(server.open(voice="anna"))
            direct, *_ = await spoken(server.open(voice="y"))
    assert (error, text) == (None, TEXT)
    assert audio == direct


def test_each_kind_becomes_its_engine(tmp_path: Path) -> None:
    config = tmp_path / "mux.toml"
    config.write_text("""
        [engines.el]
        kind = "elevenlabs"
        url = "wss://api.elevenlabs.io"
        key = "a-secret"
        contexts = 3
        sockets = 2
        [engines.kokoro]
        kind = "openai"
        url = "http://127.0.0.1:8880/v1"
        sockets = 7
        voice = "af_sky"
        [engines.unused]
        kind = "piper"
        models = ["/nowhere"]
        [[voices]]
        id = "anna"
        speak = [{ engine = "kokoro", voice = "af_bella" }, { engine = "el", voice = "x" }]
    """)
    gateway = make_gateway(load_settings({"engine": "tone"}, {}, config))
    assert list(gateway.engines) == ["tone", "kokoro", "el"]
    kokoro, far = gateway.engines["kokoro"], gateway.engines["el"]
    assert isinstance(kokoro, OpenAiEngine)
    assert {"af_bella", "af_sky"} <= {voice.id for voice in kokoro.voices()}
    assert isinstance(far, RemoteEngine)
    assert far.upstream.slots == 6
    assert far.reads_itself
    assert kokoro.reads_itself


@pytest.mark.virtual_time
async def test_busy_apps_share_the_engine_by_weight() -> None:
    """Whatever the number of their sockets; one app's key came in its first message, as any key does here."""
    settings = Settings(
        engine="tone",
        workers=1,
        apps=(App(key="light-key", name="light"), App(key="heavy-key", name="heavy", weight=3.0)),
    )
    done: Counter[str] = Counter()

    async def talk(transport: Transport, key: str) -> None:
        while True:
            await spoken(transport, key)
            done[key] += 1

    async with (
        memory_server(ToneEngine(delay=1.0), settings) as server,
        anyio.create_task_group() as tasks,
    ):
        for key, sockets in (("light-key", 6), ("heavy-key", 4)):
            for _ in range(sockets):
                tasks.start_soon(talk, server.open(), key)
        await anyio.sleep(200)
        tasks.cancel_scope.cancel()
    assert done["heavy-key"] / done["light-key"] == pytest.approx(3, rel=0.1)
