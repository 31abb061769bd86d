"""What a socket does by itself when its client says nothing: it speaks what waits, and at a restart it lets
those go who are at rest. On the virtual clock, with the frames of the first wire."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from wire import Wire, quick, say_alone

from mux.audio.formats import FORMATS
from mux.dialects.elevenlabs import ElevenLabsServer
from mux.links.memory import memory_pair
from mux.protocol.context import FINISHED_SECONDS
from mux.protocol.limits import Limits
from mux.protocol.voice import ContextSettings
from mux.server.service import Service
from mux.testing import memory_server

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

PATIENT = ContextSettings(
    voice="default", sentences=True, chunk_length_schedule=(5,), flush_timeout=0.5, inactivity_timeout=20.0
)


@asynccontextmanager
async def served(engine: Any = None, **limits: Any) -> AsyncIterator[tuple[Wire, Service]]:
    """A client of one socket whose contexts are patient."""
    client, transport = memory_pair()
    async with memory_server(engine or quick()) as server, anyio.create_task_group() as tasks:
        service = server.service
        tasks.start_soon(
            lambda: service.serve_socket(
                transport,
                "session",
                ElevenLabsServer(session_id="session"),
                PATIENT,
                FORMATS["pcm_8000"],
                authenticated=True,
                limits=Limits(**limits),
            )
        )
        yield Wire(client), service
        await client.aclose()


async def heard_after(client: Wire, begun: float) -> float:
    """Seconds until the next audio."""
    await client.read_until(lambda frame: bool(frame.get("audio")))
    return client.times[-1] - begun


@pytest.mark.parametrize(
    ("text", "seconds"), [("Hello there.", FINISHED_SECONDS), ("Hello there, and", 0.5), ("Dr.", 0.5)]
)
async def test_what_waits_is_heard_after_a_pause(text: str, seconds: float) -> None:
    engine = quick()
    async with served(engine) as (client, _):
        begun = anyio.current_time()
        await client.say({"text": text, "context_id": "a"})
        assert await heard_after(client, begun) == pytest.approx(seconds, abs=0.01)
        await client.for_a_while(1)
        assert client.audio("a") == await say_alone(engine, text)


async def test_a_token_that_comes_in_time_begins_the_pause_again() -> None:
    async with served() as (client, _):
        begun = anyio.current_time()
        for word in ("It ", "is ", "3.", "14 ", "or ", "so"):
            await client.say({"text": word, "context_id": "a"})
            assert await client.for_a_while(0.05 if word == "3." else 0.4) == []
        paused = 0.5 - 0.4
        assert await heard_after(client, begun) == pytest.approx(5 * 0.4 + 0.05 + paused, abs=0.01)


async def test_white_space_leaves_the_socket_asleep_until_its_context_expires() -> None:
    async with served() as (client, _):
        begun = anyio.current_time()
        await client.say({"text": "Hello. ", "context_id": "a", "flush": True})
        heard = await heard_after(client, begun)
        await client.say({"text": " ", "context_id": "a"})
        final = await client.final("a")
        assert final["mux"]["reason"] == "timed_out"
        assert client.times[-1] - begun == pytest.approx(heard + 20, abs=0.1)


async def test_a_restart_ends_a_socket_at_rest_at_once() -> None:
    async with served(restart_at_rest=True) as (client, service):
        await client.say({"text": "Hello. ", "context_id": "a", "flush": True})
        await client.for_a_while(1)
        begun = anyio.current_time()
        service.start_draining()
        ending = await client.to_the_end(5)
        assert ending.code == 1012
        assert anyio.current_time() - begun < 0.1
        await service.wait_drained()


async def test_and_a_busy_one_after_its_turn() -> None:
    engine = quick(delay=3.0)
    async with served(engine, restart_at_rest=True) as (client, service):
        begun = anyio.current_time()
        await client.say(
            {"text": "Resting.", "context_id": "b", "flush": True},
            {"text": "Hello. ", "context_id": "a"},
        )
        await client.for_a_while(0.01)
        service.start_draining()
        await client.say({"text": "Goodbye. ", "context_id": "a", "flush": True})
        ending = await client.to_the_end(30)
        assert ending.code == 1012
        assert anyio.current_time() - begun < 10
        # The schedule cuts it in two; the tone engine says them as it would say them alone.
        said = [await say_alone(engine, text) for text in ("Hello. ", "Goodbye. ")]
        assert client.audio("a") == b"".join(said)
        assert client.audio("b") == await say_alone(engine, "Resting.")


async def test_one_in_the_middle_of_a_turn_is_waited_for() -> None:
    async with served(restart_at_rest=True) as (client, service):
        await client.say({"text": "Hello there, and", "context_id": "a"})
        await client.for_a_while(1)
        assert client.audio("a")
        service.start_draining()
        await client.for_a_while(10)
        assert service.sockets == 1
        await client.say({"text": " goodbye.", "context_id": "a", "flush": True})
        assert (await client.to_the_end(5)).code == 1012
