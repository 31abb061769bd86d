"""One socket of each vendor's protocol on one server at once, with all the contexts that they may have."""

from __future__ import annotations

import anyio
import pytest
from talking import Talk, kinds, opened, quick, say_alone
from wire import Wire, all_in_one

from mux.testing import memory_server

pytestmark = pytest.mark.anyio
CONTEXTS = [f"context {number}" for number in range(20)]


def text_of(number: int) -> str:
    return f"This is what number {number} has to say. " * (1 + number % 3)


async def test_twenty_contexts_of_each() -> None:
    engine = quick(sample_rate=24000)
    async with memory_server(engine) as server, anyio.create_task_group() as tasks:
        elevenlabs = Wire(server.open(voice="alice"))
        kugelaudio = Talk(server.open_kugelaudio())

        async def speak_elevenlabs() -> None:
            await elevenlabs.say(*(all_in_one(id, text_of(n)) for n, id in enumerate(CONTEXTS)))
            with anyio.fail_after(10):
                await elevenlabs.final(*CONTEXTS)

        async def speak_kugelaudio() -> None:
            await kugelaudio.say(*(opened(id, voice_id=n) for n, id in enumerate(CONTEXTS)))
            await kugelaudio.say(
                *({"text": text_of(n), "context_id": id, "flush": True} for n, id in enumerate(CONTEXTS))
            )
            await kugelaudio.say(*({"close_context": True, "context_id": id} for id in CONTEXTS))
            left = set(CONTEXTS)
            while left:
                left.remove((await kugelaudio.until("context_closed"))["context_id"])

        async with anyio.create_task_group() as both:
            both.start_soon(speak_elevenlabs)
            both.start_soon(speak_kugelaudio)
        for number, id in enumerate(CONTEXTS):
            text = text_of(number)
            assert elevenlabs.audio(id) == await say_alone(engine, text, "alice")
            assert elevenlabs.errors(id) == []
            # Its sentences are chunks of their own, each a tone that begins anew.
            assert len(kugelaudio.audio(id)) == 2 * 240 * len(text)
            said = [frame["text"] for frame in kugelaudio.told("generation_started", id)]
            assert "".join(said) == text
            expected = b"".join([await say_alone(engine, piece, str(number)) for piece in said])
            assert kugelaudio.audio(id) == expected
            assert kinds(kugelaudio.of(id))[0] == "context_created"
            assert kinds(kugelaudio.of(id))[-2:] == ["final", "context_closed"]
            assert kugelaudio.of(id)[-1]["usage"]["characters"] == len(text)
        assert server.service.contexts == 0
        tasks.cancel_scope.cancel()
