"""Opening a socket, over loopback."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import mux
from mux.cli.local import local_server
from mux.client import Context
from mux.config import Settings
from mux.dialects.elevenlabs import socket_url
from mux.errors import MuxError
from mux.links.memory import MemoryTransport, memory_pair

pytestmark = pytest.mark.anyio
PCM = {"output_format": "pcm_8000"}
BYTES_EACH = 160
"""What a character of `quick` sounds like."""


async def heard(context: Context) -> bytes:
    return b"".join([chunk.audio async for chunk in context])


LOCAL = Settings(engine="tone", host="127.0.0.1", api_keys=("sesame",))


async def test_connecting_with_a_key_and_without() -> None:
    async with local_server(LOCAL) as url:
        options = {"voice": "bob", "output_format": "pcm_8000"}
        async with mux.connect(url, api_key="sesame", **options) as session, session.context() as context:  # type: ignore[arg-type]
            await context.send("Over the network.")
            await context.close()
            assert len(await heard(context)) == 17 * 800
        for key in ("wrong", "sesame2"):
            with pytest.raises(MuxError) as caught:
                async with mux.connect(url, api_key=key):
                    pass
            assert caught.value.code == "invalid_api_key"
            assert key not in str(caught.value)
        async with mux.connect(url) as session, session.context() as context:
            # Without any key the handshake passes: it could still come in the first message.
            with pytest.raises(MuxError) as caught:
                await anext(context)
            assert caught.value.code == "authentication_required"


@pytest.mark.parametrize("form", ["{}", "{}/", "{}/v1", "{http}", "{http}/v1/"])
async def test_every_form_of_a_base_url_connects(form: str) -> None:
    async with local_server(Settings(engine="tone")) as url:
        url = form.format(url, http=url.replace("ws", "http", 1))
        async with mux.connect(url, output_format="pcm_8000") as session, session.context() as context:
            await context.send("Hi.")
            await context.close()
            assert len(await heard(context)) == 3 * 800


async def test_a_whole_url_wins_over_the_arguments() -> None:
    async with local_server(Settings(engine="tone")) as url:
        whole = f"{url}/v1/text-to-speech/bob/multi-stream-input?output_format=ulaw_8000"
        async with mux.connect(whole, output_format="pcm_24000") as session, session.context() as context:
            await context.send("Hi.")
            await context.close()
            assert len(await heard(context)) == 3 * 400


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("query", "argument", "every"),
    [("", 20, 10), ("", 180, 90), ("?inactivity_timeout=6", 20, 3), ("?inactivity_timeout=900", 20, 90)],
)
async def test_keepalives_follow_the_timeout_that_the_server_was_told(
    monkeypatch: pytest.MonkeyPatch, query: str, argument: float, every: float
) -> None:
    ours, theirs = memory_pair()

    @asynccontextmanager
    async def opened(url: str, **options: Any) -> AsyncIterator[MemoryTransport]:
        yield ours
        await ours.aclose()

    monkeypatch.setattr("mux.links.pool.open_transport", opened)
    whole = f"ws://h/v1/text-to-speech/bob/multi-stream-input{query}"
    async with mux.connect(whole, inactivity_timeout=argument) as session, session.context():
        begun = anyio.current_time()
        times: list[float] = []
        while len(times) < 3:
            if json.loads(await theirs.receive())["text"] == "":
                times.append(anyio.current_time() - begun)
        assert times == [every, 2 * every, 3 * every]
        await theirs.aclose()


async def test_nobody_there() -> None:
    with pytest.raises(MuxError) as caught:
        async with mux.connect("ws://127.0.0.1:9"):
            pass
    assert caught.value.code == "connection_refused"


WHOLE = "/v1/text-to-speech/v/multi-stream-input"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://h:1", f"ws://h:1{WHOLE}?a=1&b=x+y"),
        ("ws://h:1/", f"ws://h:1{WHOLE}?a=1&b=x+y"),
        ("ws://h:1/v1", f"ws://h:1{WHOLE}?a=1&b=x+y"),
        ("http://h:1/v1/", f"ws://h:1{WHOLE}?a=1&b=x+y"),
        ("https://h", f"wss://h{WHOLE}?a=1&b=x+y"),
        ("wss://h/prefix/v1", f"wss://h/prefix{WHOLE}?a=1&b=x+y"),
        ("ws://h?b=mine&c=3", f"ws://h{WHOLE}?b=mine&c=3&a=1"),
        (
            "ws://h/v1/text-to-speech/bob/multi-stream-input?a=9&a2=1",
            "ws://h/v1/text-to-speech/bob/multi-stream-input?a=9&a2=1&b=x+y",
        ),
        ("ws://h/#part", f"ws://h{WHOLE}?a=1&b=x+y"),
    ],
)
def test_socket_urls(url: str, expected: str) -> None:
    assert socket_url(url, "v", {"a": "1", "b": "x y"}) == expected


def test_a_voice_cannot_leave_its_place_in_the_path() -> None:
    url = socket_url("ws://h", "../a b?c#d/é", {})
    assert url == "ws://h/v1/text-to-speech/..%2Fa%20b%3Fc%23d%2F%C3%A9/multi-stream-input"
