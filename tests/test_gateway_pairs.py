"""Every dialect in front of every other: what an app hears does not depend on who speaks behind the
gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Literal

import anyio
import pytest

from mux.dialects.base import ClientDialect
from mux.dialects.elevenlabs import ElevenLabsClient
from mux.dialects.kugelaudio import KugelAudioClient
from mux.engines.remote import RemoteEngine, Upstream
from mux.links.link import Link, LinkContext, open_link
from mux.mock import serve_mock
from mux.protocol.messages import Reason
from mux.protocol.voice import ContextSettings
from mux.testing import memory_server

pytestmark = pytest.mark.anyio

Dialect = Literal["elevenlabs", "kugelaudio"]
TEXT = "One socket, two dialects. "


@asynccontextmanager
async def downstream(app: Dialect, upstream: Dialect | None) -> AsyncIterator[Link]:
    """A client of a gateway whose engine is a mock of the other service; without one, the engine is local."""
    async with AsyncExitStack() as stack:
        engine = None
        if upstream is not None:
            mock = await stack.enter_async_context(serve_mock(upstream))
            engine = RemoteEngine(Upstream(name="up", dialect=upstream, url=mock.url, sockets=2))
        server = await stack.enter_async_context(memory_server(engine))
        if app == "elevenlabs":
            transport, dialect = server.open(sync_alignment="true"), ElevenLabsClient()
        else:
            transport = server.open_kugelaudio()
            dialect: ClientDialect = KugelAudioClient()  # type: ignore[no-redef]
        link = await stack.enter_async_context(open_link(transport, dialect))
        yield link
        await transport.aclose()


async def heard(context: LinkContext) -> tuple[bytes, str]:
    audio, text = b"", ""
    while (frame := await context.inbox.get()) is not None:
        audio += frame.audio
        text += frame.alignment.text if frame.alignment else ""
    return audio, text


@pytest.mark.parametrize("upstream", ["elevenlabs", "kugelaudio"])
@pytest.mark.parametrize("app", ["elevenlabs", "kugelaudio"])
async def test_audio_words_and_ends_come_through(app: Dialect, upstream: Dialect) -> None:
    async def speak(behind: Dialect | None) -> tuple[bytes, str]:
        async with downstream(app, behind) as link:
            context = link.open("a", ContextSettings(voice="4711"))
            await context.send(TEXT)
            context.close()
            with anyio.fail_after(10):
                found = await heard(context)
            assert context.inbox.ended is not None
            assert context.inbox.ended.reason is Reason.COMPLETED
            assert context.inbox.ended.usage is not None
            assert context.inbox.ended.usage.audio_sent_ms == len(found[0]) / 48
            return found

    audio, text = await speak(upstream)
    assert (audio, text.strip()) == ((await speak(None))[0], TEXT.strip())


@pytest.mark.parametrize("upstream", ["elevenlabs", "kugelaudio"])
@pytest.mark.parametrize("app", ["elevenlabs", "kugelaudio"])
async def test_a_barge_in_comes_through(app: Dialect, upstream: Dialect) -> None:
    async with downstream(app, upstream) as link:
        context = link.open("a", ContextSettings(voice="4711"))
        await context.send("A long answer that nobody wants to hear to its end. " * 20)
        context.flush()
        assert await context.inbox.get() is not None
        with anyio.fail_after(5):
            ended = await context.cancelled()
        assert ended.reason is Reason.CANCELLED
        other = link.open("b", ContextSettings(voice="4711"))
        await other.send(TEXT)
        other.close()
        with anyio.fail_after(10):
            audio, _ = await heard(other)
        assert len(audio) == len(TEXT) * 2400
