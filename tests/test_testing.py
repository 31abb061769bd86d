"""The service in memory that mux offers to tests of apps."""

from __future__ import annotations

import json

import anyio
import pytest

from mux.config import Settings
from mux.engines.tone import ToneEngine
from mux.errors import MuxError
from mux.testing import memory_server

pytestmark = pytest.mark.anyio


async def test_an_app_speaks_without_a_network() -> None:
    async with memory_server() as server, server.connect() as session, session.context() as context:
        await context.send("Hi.")
        await context.close()
        assert len(b"".join([chunk.audio async for chunk in context])) == 3 * 2400
        assert server.service.contexts == 0


@pytest.mark.virtual_time
async def test_on_a_virtual_clock_a_slow_engine_takes_no_time() -> None:
    async with memory_server(ToneEngine(delay=600)) as server, server.connect() as session:
        begun = anyio.current_time()
        async with session.context() as context:
            await context.send("Hi.")
            await context.flush()
            await anext(context)
        assert anyio.current_time() - begun == 600


async def test_parameters_and_settings_are_those_of_a_real_socket() -> None:
    async with memory_server(settings=Settings(engine="tone", api_keys=("sesame",))) as server:
        raw = server.open(voice="bob", output_format="ulaw_8000")
        message = {"text": "Hi.", "context_id": "a", "flush": True, "xi_api_key": "sesame"}
        await raw.send(json.dumps(message))
        assert json.loads(await raw.receive())["contextId"] == "a"
        with pytest.raises(MuxError, match="auto_mode"):
            server.open(auto_mode="perhaps")
        with pytest.raises(MuxError, match="pcm_1"):
            server.open(output_format="pcm_1")
        async with server.connect() as session, session.context() as context:
            with pytest.raises(MuxError) as caught:
                await anext(context)
            assert caught.value.code == "authentication_required"


async def test_sockets_end_with_the_server() -> None:
    async with memory_server() as server:
        raw = server.open()
        await raw.send('{"text": "Hi. ", "context_id": "a", "flush": true}')
        await raw.receive()
    assert server.service.sockets == 0


async def test_a_failing_test_fails_with_its_own_error() -> None:
    async def fail() -> None:
        async with memory_server() as server, server.connect():
            raise AssertionError("mine")

    with pytest.raises(AssertionError, match="mine"):
        await fail()
