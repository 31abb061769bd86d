"""Audio that an app gets as its service sent it: it goes through the gateway undecoded, and is counted, cut
off and repaired all the same."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, Literal

import anyio
import msgspec
import pytest

from mux.engines.base import Chunk, Job
from mux.engines.remote import RemoteEngine, Upstream
from mux.engines.tone import ToneEngine
from mux.links.memory import MemoryTransport
from mux.links.transport import Disconnected
from mux.mock import Fault, serve_mock
from mux.protocol.pcm import Encoded
from mux.testing import memory_server

pytestmark = pytest.mark.anyio

Dialect = Literal["elevenlabs", "kugelaudio"]
DIALECTS: tuple[Dialect, ...] = ("elevenlabs", "kugelaudio")
TEXT = "All of this is heard whole, and once. "
STRANGE = "AAAA" * 400 + "QR=="
"""Base64 whose last letter before the padding is not what anybody's encoder writes; 1201 bytes, 600 samples
and a half, which nobody misses."""
PLAIN = "QUJD" * 1600
"""100 ms."""


class Letters(ToneEngine):
    """Says every text with the same strings."""

    reads_itself = True

    def __init__(self, *strings: str) -> None:
        super().__init__(24000)
        self._strings = strings

    @asynccontextmanager
    async def start(self, workers: int) -> AsyncIterator[list[Letters]]:
        yield [self] * workers

    @asynccontextmanager
    async def speak(self, job: Job) -> AsyncIterator[AsyncIterator[Chunk]]:
        async with aclosing(self._chunks(job.text)) as chunks:
            yield chunks

    async def _chunks(self, text: str) -> AsyncGenerator[Chunk, None]:
        starts: tuple[int, ...] = tuple(range(len(text)))
        for string in self._strings:
            pcm = Encoded.read(msgspec.Raw(msgspec.json.encode(string)))
            assert pcm is not None
            yield Chunk(pcm, starts)
            starts = ()
            await anyio.sleep(0.01)


@asynccontextmanager
async def gateway(
    app: Dialect,
    upstream: Dialect,
    faults: Sequence[Fault] = (),
    query: dict[str, str] | None = None,
    **mock: Any,
) -> AsyncIterator[MemoryTransport]:
    """An app's socket to a gateway in front of a mock."""
    async with serve_mock(upstream, faults, **mock) as service:
        engine = RemoteEngine(Upstream(name="up", dialect=upstream, url=service.url, repair="exact"))
        async with memory_server(engine) as server:
            transport = server.open_kugelaudio() if app == "kugelaudio" else server.open(**query or {})
            try:
                with anyio.fail_after(10):
                    yield transport
            finally:
                with anyio.CancelScope(shield=True):
                    await transport.aclose()


async def say(transport: MemoryTransport, app: Dialect, text: str, *, close: bool = True) -> None:
    voice = {"voice_settings": {"voice_id": 4711}} if app == "kugelaudio" else {}
    messages: list[dict[str, Any]] = [{"text": text, "context_id": "a", "flush": True, **voice}]
    messages += [{"context_id": "a", "close_context": True}] if close else []
    for message in messages:
        await transport.send(msgspec.json.encode(message).decode())


async def hear(transport: MemoryTransport) -> tuple[list[str], dict[str, Any]]:
    """The audio of each frame as it stands there, and the usage."""
    audio: list[str] = []
    while True:
        frame = msgspec.json.decode(await transport.receive())
        assert "error" not in frame, frame
        audio += [frame["audio"]] if frame.get("audio") else []
        if frame.get("isFinal") or frame.get("context_closed"):
            return audio, frame["mux"]["usage"]


def pcm(audio: list[str]) -> bytes:
    return b"".join(msgspec.json.decode(msgspec.json.encode(string), type=bytes) for string in audio)


@pytest.fixture
def sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on audio cannot be decoded, but by the test itself."""

    def refuse(encoded: Encoded) -> bytes:
        raise AssertionError("somebody has decoded audio that only passes through")

    monkeypatch.setattr(Encoded, "__bytes__", refuse)


@pytest.mark.usefixtures("sealed")
@pytest.mark.parametrize("app", DIALECTS)
async def test_the_same_letters_come_out(app: Dialect) -> None:
    async with gateway(app, "elevenlabs", engine=Letters(STRANGE)) as transport:
        await say(transport, app, TEXT)
        audio, usage = await hear(transport)
    assert audio == [STRANGE]
    assert usage["audio_sent_ms"] == usage["audio_generated_ms"] == 25
    assert usage["characters_sent"] == len(TEXT)


@pytest.mark.usefixtures("sealed")
@pytest.mark.parametrize("upstream", DIALECTS)
@pytest.mark.parametrize("app", DIALECTS)
async def test_nobody_decodes_what_has_the_same_format(app: Dialect, upstream: Dialect) -> None:
    """Frames are cut and joined on the way; KugelAudio's wait for the times of their words in part."""
    async with gateway(app, upstream, engine=Letters(PLAIN, PLAIN, PLAIN * 3, PLAIN[:1200])) as transport:
        await say(transport, app, TEXT)
        audio, usage = await hear(transport)
    assert "".join(audio) == PLAIN * 5 + PLAIN[:1200]
    assert usage["audio_sent_ms"] == 518.75


@pytest.mark.parametrize("upstream", DIALECTS)
async def test_another_format_is_converted(upstream: Dialect) -> None:
    async def heard(token: str) -> bytes:
        async with gateway("elevenlabs", upstream, query={"output_format": token}) as transport:
            await say(transport, "elevenlabs", TEXT)
            audio, usage = await hear(transport)
            assert usage["audio_sent_ms"] == len(TEXT) * 50
            return pcm(audio)

    assert len(await heard("ulaw_8000")) == len(TEXT) * 400
    assert len(await heard("pcm_16000")) == len(TEXT) * 1600


@pytest.mark.parametrize("upstream", DIALECTS)
@pytest.mark.parametrize("app", DIALECTS)
async def test_what_breaks_off_is_repaired_to_the_sample(app: Dialect, upstream: Dialect) -> None:
    """The second attempt is cut where the first one broke off: there, and only there, audio is decoded."""

    async def heard(*faults: Fault) -> bytes:
        async with gateway(app, upstream, faults, pace=60.0) as transport:
            await say(transport, app, TEXT)
            audio, usage = await hear(transport)
            assert usage["audio_sent_ms"] == usage["audio_generated_ms"] == len(pcm(audio)) / 48
            assert usage["characters_sent"] == len(TEXT)
            return pcm(audio)

    whole = await heard()
    assert len(whole) == len(TEXT) * 2400
    assert await heard(Fault("close_1006", times=2, after_ms=730)) == whole


@pytest.mark.parametrize("app", DIALECTS)
async def test_a_cancel_silences_at_once_and_everything_is_counted(app: Dialect) -> None:
    async with gateway(app, "elevenlabs", engine=Letters(*[PLAIN] * 200)) as transport:
        await say(transport, app, TEXT, close=False)
        before: list[str] = []
        while len(before) < 3:
            frame = msgspec.json.decode(await transport.receive())
            before += [frame["audio"]] if frame.get("audio") else []
        await transport.send('{"context_id": "a", "close_context": true, "immediate": true}')
        after, usage = await hear(transport)
        await transport.send('{"close_socket": true}')
        with suppress(Disconnected):
            while True:
                assert "audio" not in msgspec.json.decode(await transport.receive()), "after its end"
    assert set(before + after) == {PLAIN}
    assert usage["audio_sent_ms"] == 100 * len(before + after) < 20_000
    assert usage["audio_generated_ms"] == usage["audio_sent_ms"] + usage["audio_dropped_ms"]
