"""Clients of the real dialects speak through a tap as they do without, over TLS too."""

from __future__ import annotations

import base64
import json
import ssl

import pytest
from starlette.websockets import WebSocket
from tapped import serving, tapping, until

import mux
from mux.config import Settings
from mux.exchange.recorder import Recorder
from mux.links.transport import Disconnected, open_transport
from mux.mock import serve_mock
from mux.server.tls import open_tls

pytestmark = pytest.mark.anyio


async def test_a_mux_client_hears_the_same_through_a_tap() -> None:
    async def speak(url: str) -> bytes:
        async with mux.connect(url, api_key="any") as session, session.context("a", voice="anne") as context:
            await context.send("Once upon a time there was a tap. ")
            await context.flush()
            await context.close()
            return b"".join([chunk.audio async for chunk in context])

    recorder = Recorder()
    async with serve_mock("elevenlabs") as mock, tapping(mock.url, recorder) as tap:
        direct, tapped = await speak(mock.url), await speak(tap)
    assert tapped == direct != b""
    (context,) = recorder.tracks[0].watch.contexts
    assert context.audio_bytes == len(direct)
    assert context.audio_ms == pytest.approx(len(direct) / 48)
    assert (context.characters, context.flushes, context.state) == (34, 1, "ended")
    assert context.first_audio_ms is not None


async def test_a_kugelaudio_client_hears_the_same_through_a_tap() -> None:
    async def speak(url: str) -> list[str]:
        async with open_transport(url + "/ws/tts/multi?api_key=sk_0123456789") as transport:
            settings = {"voice_id": 1}
            await transport.send(json.dumps({"text": " ", "context_id": "a", "voice_settings": settings}))
            await transport.send(json.dumps({"text": "Hello there. ", "context_id": "a", "flush": True}))
            await transport.send(json.dumps({"close_context": True, "context_id": "a"}))
            heard = []
            while not heard or "context_closed" not in heard[-1]:
                heard.append(str(await transport.receive()))
            return [json.loads(one)["audio"] for one in heard if '"audio"' in one]

    recorder = Recorder(audio=True)
    async with serve_mock("kugelaudio") as mock, tapping(mock.url, recorder) as tap:
        direct, tapped = await speak(mock.url), await speak(tap)
    assert tapped == direct != []
    (context,) = recorder.tracks[0].watch.contexts
    assert context.audio_bytes == sum(len(base64.b64decode(one)) for one in direct)
    assert (context.ended, context.characters, context.flushed > 0) == ("context_closed", 13, True)
    assert "sk_0123456789" not in repr(recorder.recording())


async def test_a_service_with_tls() -> None:
    async def greet(ws: WebSocket) -> None:
        await ws.accept()
        await ws.send_text(await ws.receive_text() * 100_000)
        await ws.close(4000, "enough")

    recorder = Recorder()
    with open_tls(Settings(tls_self_signed=True)) as tls:
        assert tls is not None
        trust = ssl.create_default_context(cafile=tls.trust)
        async with serving(greet, tls=tls.context) as url, tapping(url, recorder, trust) as tap:
            async with open_transport(tap + "/x") as transport:
                await transport.send("hello ")
                assert await transport.receive() == "hello " * 100_000
                with pytest.raises(Disconnected) as gone:
                    await transport.receive()
            await until(lambda: recorder.tracks[0].exchange.ended is not None)
            async with tapping(url) as suspicious:
                with pytest.raises(mux.MuxError, match="HTTP 502"):
                    async with open_transport(suspicious + "/x"):
                        pass
    assert (gone.value.ending.code, gone.value.ending.reason) == (4000, "enough")
    assert recorder.tracks[0].exchange.url.startswith("wss://")
