"""A server that is being restarted: idle sockets close at once, busy ones after their turn."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from talking import MULTI, REQUESTS, STREAM, VOICE, audio_of, kinds, opened, quick, say_alone, talking

from mux.engines.tone import ToneEngine

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]
LONG = "A sentence that takes a while to be spoken, all of it."


def slow() -> ToneEngine:
    return quick(sample_rate=24000, chunk_delay=0.1)


@pytest.mark.parametrize("path", [MULTI, STREAM, REQUESTS])
@pytest.mark.parametrize("used", [False, True])
async def test_an_idle_socket_is_closed_at_once(path: Any, used: bool) -> None:
    async with talking(path) as (talk, server):
        if used:
            await talk.say({"text": "Hello.", "context_id": "a", "flush": True, **VOICE})
            await talk.until("final")
            if path == STREAM:
                await talk.until("session_closed")
        before = len(talk.frames)
        began = anyio.current_time()
        server.service.start_draining()
        assert (await talk.to_the_end()).code == 1012
        assert anyio.current_time() == pytest.approx(began, abs=0.01)
        assert set(kinds(talk.frames[before:])) <= {"warning"}


@pytest.mark.parametrize("flushed", [False, True])
async def test_a_turn_is_finished_first(flushed: bool) -> None:
    async with talking(STREAM, slow()) as (talk, server):
        await talk.say({"text": LONG, "flush": flushed, **VOICE})
        await talk.until("audio")
        server.service.start_draining()
        if not flushed:
            await talk.for_a_while(3)
            await talk.say({"text": " And more."}, {"flush": True})
        assert (await talk.to_the_end()).code == 1012
        text = LONG if flushed else LONG + " And more."
        assert len(talk.audio()) == 2 * 240 * len(text)
        assert [kind for kind in kinds(talk.frames) if kind != "warning"][-2:] == ["final", "session_closed"]
        assert "error" not in kinds(talk.frames)
        assert talk.told("session_closed")[0]["usage"]["characters"] == len(text)


async def test_a_turn_whose_client_falls_silent_ends_after_its_five_seconds() -> None:
    async with talking(STREAM) as (talk, server):
        await talk.say({"text": LONG, **VOICE})
        await talk.until("audio")
        server.service.start_draining()
        assert (await talk.to_the_end()).code == 1012
        assert kinds(talk.frames).count("session_closed") == 1


async def test_the_next_turn_gets_no_error_and_the_close_soon() -> None:
    async with talking(STREAM, slow()) as (talk, server):
        await talk.say({"text": LONG, "flush": True, **VOICE})
        await talk.until("audio")
        server.service.start_draining()
        await talk.say({"text": "For the next server."}, {"flush": True})
        assert (await talk.to_the_end()).code == 1012
        assert len(talk.audio()) == 2 * 240 * len(LONG)
        assert kinds(talk.frames).count("session_closed") == 1
        assert "error" not in kinds(talk.frames)


async def test_contexts_that_speak_are_finished_and_those_at_rest_end_with_the_socket() -> None:
    async with talking(MULTI, slow()) as (talk, server):
        await talk.say(opened("resting"), opened("spoken"))
        await talk.say({"text": "Done.", "context_id": "spoken", "flush": True})
        await talk.until("final", "spoken")
        await talk.say({"text": LONG, "context_id": "busy", "flush": True, **VOICE})
        await talk.say({"text": LONG, "context_id": "fed", **VOICE})
        await talk.until("audio", "busy")
        server.service.start_draining()
        await talk.say({"text": "Too late.", "context_id": "new", "flush": True})
        await talk.for_a_while(8)
        await talk.say({"text": " And more.", "context_id": "fed", "flush": True})
        assert (await talk.to_the_end()).code == 1012
        assert len(talk.audio("busy")) == 2 * 240 * len(LONG)
        assert len(talk.audio("fed")) == 2 * 240 * len(LONG + " And more.")
        for id in ("busy", "fed"):
            assert "final" in kinds(talk.of(id))
        assert kinds(talk.of("new")) == ["warning"]
        assert kinds(talk.of("resting"))[-1] == "warning"
        assert not {"error", "session_closed"} & set(kinds(talk.frames))


async def test_requests_that_were_accepted_are_answered() -> None:
    engine = slow()
    async with talking(REQUESTS, engine) as (talk, server):
        texts = [LONG, "Two.", "Three."]
        await talk.say(*({"text": text, **VOICE} for text in texts))
        await talk.until("audio")
        server.service.start_draining()
        await talk.say({"text": "For the next server.", **VOICE})
        assert (await talk.to_the_end()).code == 1012
        assert kinds(talk.frames).count("final") == 3
        assert not {"error", "session_closed"} & set(kinds(talk.frames))
        said = b"".join([await say_alone(engine, text, "1071") for text in texts])
        assert audio_of(talk.frames) == said


@pytest.mark.parametrize("path", [MULTI, STREAM, REQUESTS])
async def test_whoever_takes_too_long_is_cut_off_without_an_error(path: Any) -> None:
    async with talking(path, slow()) as (talk, server):
        await talk.say({"text": LONG * 20, "context_id": "a", "flush": True, **VOICE})
        await talk.until("audio")
        server.service.start_draining()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.service.close_all)
            assert (await talk.to_the_end()).code == 1012
        assert not {"error", "final", "session_closed"} & set(kinds(talk.frames))
