"""Turns of real clients, word for word: LiveKit, Pipecat and Bolna."""

from __future__ import annotations

import pytest
from wire import PCM, Wire, quick, say_alone

from mux.config import Settings
from mux.testing import memory_server

pytestmark = pytest.mark.anyio
KEYED = Settings(engine="tone", api_keys=("sesame",), authentication_timeout=10)


@pytest.mark.virtual_time
async def test_livekits_turn() -> None:
    engine = quick(delay=0.2, chunk_delay=0.02)
    async with memory_server(engine) as server:
        query = {"model_id": "eleven_turbo_v2_5", "inactivity_timeout": "180", "sync_alignment": "true"}
        client = Wire(server.open(**PCM, **query, auto_mode="true"))
        sentences = ["Hello there. ", "How are you? "]
        await client.say({"text": " ", "voice_settings": {}, "context_id": "a1"})
        for sentence in sentences:
            await client.say({"text": sentence, "context_id": "a1", "flush": True})
        await client.say(
            {"text": "", "context_id": "a1", "flush": True}, {"context_id": "a1", "close_context": True}
        )
        await client.final("a1")
        expected = [await say_alone(engine, sentence) for sentence in sentences]
        assert client.audio("a1") == b"".join(expected)
        assert client.errors("a1") == []
        finals = [frame["isFinal"] for frame in client.of("a1")]
        assert finals == [None] * (len(finals) - 1) + [True]
        heard = [frame["normalizedAlignment"] for frame in client.of("a1") if frame["normalizedAlignment"]]
        assert "".join(char for times in heard for char in times["chars"]) == "".join(sentences)
        starts = [start for times in heard for start in times["charStartTimesMs"]]
        assert starts == [10 * index for index in range(len(starts))], "one clock from the context's start"
        # Barge-in, or the plugin's end: nothing more comes for the context.
        await client.say({"context_id": "a1", "close_context": True})
        assert await client.for_a_while(30) == []


@pytest.mark.virtual_time
async def test_livekits_barge_in_before_any_flush_still_ends() -> None:
    engine = quick()
    async with memory_server(engine) as server:
        client = Wire(server.open(**PCM, sync_alignment="true"))
        await client.say(
            {"text": " ", "voice_settings": {}, "context_id": "a"},
            {"text": "Half a sent", "context_id": "a"},
            {"context_id": "a", "close_context": True},
        )
        assert (await client.final("a"))["mux"]["reason"] == "completed"
        assert client.audio("a") == await say_alone(engine, "Half a sent"), "accepted text is spoken"


@pytest.mark.virtual_time
async def test_pipecats_turns_with_a_barge_in() -> None:
    engine = quick(chunk_delay=0.5)
    async with memory_server(engine) as server:
        client = Wire(server.open(**PCM, auto_mode="true"))
        await client.say({"text": ""})
        await client.say(
            {"text": " ", "context_id": "t1"},
            {"text": "One sentence.", "context_id": "t1"},
            {"text": "And another.", "context_id": "t1"},
            {"context_id": "t1", "flush": True},
            {"context_id": "t1", "close_context": True},
        )
        await client.final("t1")
        both = await say_alone(engine, "One sentence.") + await say_alone(engine, "And another.")
        assert client.audio("t1") == both
        spans, words = 0, ""
        for frame in client.of("t1"):
            if times := frame["alignment"]:
                assert times["charStartTimesMs"][0] == 0, "times restart in every message"
                words += "".join(times["chars"])
                spans += times["charStartTimesMs"][-1] + times["charDurationsMs"][-1]
        assert words == "One sentence. And another. ", "a word ends only at a space"
        assert spans == len(both) // 2 * 1000 // 8000, "adding the spans up gives the length of the audio"

        await client.say(
            {"text": " ", "context_id": "t2"},
            {"text": "A long answer that nobody wants to hear to its end.", "context_id": "t2"},
            {"context_id": "t2", "flush": True},
            {"context_id": "t2", "close_context": True},
        )
        await client.read_until(lambda frame: frame.get("contextId") == "t2")
        await client.say({"context_id": "t2", "close_context": True}, {"text": " ", "context_id": "t3"})
        final = await client.final("t2")
        assert final["mux"]["reason"] == "cancelled"
        assert "error" not in final
        assert len(client.audio("t2")) < len("A long answer that nobody wants to hear to its end.") * 160
        # Keepalives: with the current context's id, with a dead one's, with none.
        for _ in range(8):
            await client.say(*({"text": "", "context_id": id} for id in ("t1", "t2", "t3")), {"text": ""})
            assert await client.for_a_while(10) == []
        await client.say({"close_socket": True})
        assert (await client.to_the_end(2)).code == 1000
        assert [f["contextId"] for f in client.frames if f.get("isFinal")] == ["t1", "t2", "t3"]
        assert not any("error" in frame for frame in client.frames)


@pytest.mark.virtual_time
async def test_bolnas_key_settings_and_uncounted_default_context() -> None:
    engine = quick()
    async with memory_server(engine, KEYED) as server:
        client = Wire(server.open(**PCM, inactivity_timeout="170", optimize_streaming_latency="4"))
        schedule = {"chunk_length_schedule": [50, 80, 120, 150]}
        voice = {"stability": 0.5, "similarity_boost": 0.8, "speed": 0.8}
        await client.say(
            {"text": " ", "voice_settings": voice, "generation_config": schedule, "xi_api_key": "sesame"}
        )
        for number in range(20):
            await client.say({"text": f"Context {number}. ", "context_id": f"b{number}"})
        for number in range(20):
            await client.say(
                {"text": "", "context_id": f"b{number}", "flush": True},
                {"context_id": f"b{number}", "close_context": True},
            )
        await client.final(*(f"b{number}" for number in range(20)))
        assert not any("error" in frame for frame in client.frames)
        # The settings hold for contexts that bring none: at speed 0.8 everything lasts longer.
        assert len(client.audio("b7")) == len("Context 7. ") * 200
        assert server.service.contexts == 0


async def test_text_without_an_id_speaks_in_the_default_context() -> None:
    engine = quick()
    async with memory_server(engine) as server:
        client = Wire(server.open(**PCM))
        await client.say({"text": "No name. "}, {"flush": True}, {"close_context": True})
        await client.final("default")
        assert client.audio("default") == await say_alone(engine, "No name. ")
