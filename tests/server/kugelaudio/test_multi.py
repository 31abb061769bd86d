"""`/ws/tts/multi`: contexts from their creation to their end."""

from __future__ import annotations

from typing import Any

import pytest
from talking import VOICE, audio_of, kinds, opened, quick, say_alone, talking, usage_of

from mux.engines.tone import ToneEngine

CREATING: dict[str, dict[str, Any]] = {
    "a blank": opened("a"),
    "empty text": {"text": "", "context_id": "a", "voice_settings": VOICE},
    "text": {"text": "Hello ", "context_id": "a", "voice_settings": VOICE},
    "text in the connection's voice": {"text": "Hello ", "context_id": "a", **VOICE},
    "voice settings alone": {"context_id": "a", "voice_settings": VOICE},
}
NOT_CREATING: dict[str, dict[str, Any]] = {
    "empty text": {"text": "", "context_id": "a"},
    "keep_alive": {"keep_alive": True, "context_id": "a"},
    "settings": {"text": "", **VOICE, "model_id": "kugel-3.5"},
    "a blank for nobody": {"text": " ", **VOICE},
    "nothing": {},
    "null everywhere": {"text": None, "context_id": None, "flush": None, "voice_settings": None},
    "flush false": {"text": "", "context_id": "a", "flush": False},
}
FOR_NOBODY: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a flush": ({"flush": True}, ["final"]),
    "a flush of empty text": ({"text": "", "flush": True}, ["final"]),
    "a close": ({"close_context": True}, ["context_closed"]),
    "an immediate close": ({"close_context": True, "immediate": True}, ["context_closed"]),
    "both": ({"flush": True, "close_context": True}, ["final", "context_closed"]),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", CREATING)
async def test_a_context_is_created_and_that_is_said_first(name: str) -> None:
    async with talking() as (talk, _):
        await talk.say(CREATING[name])
        await talk.until("context_created", "a")
        assert kinds(talk.frames) == ["session_started", "context_created"]
        await talk.say({"text": "there.", "context_id": "a", "flush": True})
        await talk.until("final", "a")
        text = (CREATING[name].get("text") or "").lstrip() + "there."
        assert talk.audio("a") == await say_alone(quick(sample_rate=24000), text, "1071")


@pytest.mark.anyio
@pytest.mark.parametrize("name", NOT_CREATING)
async def test_what_creates_no_context_says_nothing(name: str) -> None:
    async with talking() as (talk, _):
        await talk.say(NOT_CREATING[name], {"close_socket": True})
        assert (await talk.to_the_end()).code == 1000
        assert kinds(talk.frames) == ["session_closed"]


@pytest.mark.anyio
@pytest.mark.parametrize("name", FOR_NOBODY)
@pytest.mark.parametrize("closed_before", [False, True])
async def test_a_flush_or_close_for_a_context_that_is_not_there_is_answered(
    name: str, closed_before: bool
) -> None:
    """The SDK for Python waits 30 s for each."""
    message, answers = FOR_NOBODY[name]
    async with talking() as (talk, _):
        if closed_before:
            await talk.say({**opened("a"), "text": "Over.", "close_context": True})
            await talk.until("context_closed", "a")
        before = len(talk.frames)
        for _ in range(3):
            await talk.say({**message, "context_id": "a"})
        await talk.say({"close_socket": True})
        await talk.to_the_end()
        said = talk.frames[before:]
        assert kinds(said) == [*answers * 3, "session_closed"]
        for frame in said[:-1]:
            assert set(frame) == {"context_id", *answers} & set(frame), "no context, no usage"


@pytest.mark.anyio
async def test_a_whole_life() -> None:
    async with talking() as (talk, _):
        await talk.say({"word_timestamps": True, "model_id": "kugel-3"}, opened("a"))
        await talk.say({"text": "Hello there.", "context_id": "a", "flush": True})
        await talk.until("final", "a")
        await talk.say({"close_context": True, "context_id": "a"})
        closed = await talk.until("context_closed", "a")
        assert kinds(talk.frames) == [
            *("session_started", "context_created", "generation_started", "audio", "audio"),
            *("word_timestamps", "chunk_complete", "final", "final", "context_closed"),
        ]
        started = talk.told("generation_started")[0]
        assert (started["chunk_id"], started["text"]) == (0, "Hello there.")
        audio = talk.told("audio")
        assert [frame["idx"] for frame in audio] == [0, 1]
        assert {(frame["sr"], frame["enc"], frame["chunk_id"]) for frame in audio} == {
            (24000, "pcm_s16le", 0)
        }
        assert sum(frame["samples"] for frame in audio) == 12 * 240
        (words,) = [frame["word_timestamps"] for frame in talk.told("word_timestamps")]
        assert [(w["word"], w["start_ms"], w["end_ms"], w["char_start"], w["char_end"]) for w in words] == [
            ("Hello", 0, 50, 0, 5),
            ("there.", 60, 120, 6, 12),
        ]
        assert talk.told("chunk_complete")[0]["audio_seconds"] == 0.12
        assert closed["usage"] == usage_of(0.12, 12, model_id="kugel-3")
        assert closed["mux"]["reason"] == "completed"


@pytest.mark.anyio
async def test_chunks_are_counted_and_each_has_its_own_clock() -> None:
    async with talking() as (talk, _):
        await talk.say(
            {"word_timestamps": True, "chunk_length_schedule": [1], "text": "", **VOICE},
            {"text": "One two. Three four. Five", "context_id": "a", "flush": True, "close_context": True},
        )
        await talk.until("context_closed", "a")
        assert [f["text"] for f in talk.told("generation_started")] == ["One two. ", "Three four. ", "Five"]
        for kind in ("generation_started", "chunk_complete"):
            assert [frame["chunk_id"] for frame in talk.told(kind)] == [0, 1, 2]
        assert [frame["audio_seconds"] for frame in talk.told("chunk_complete")] == [0.09, 0.12, 0.04]
        # The SDK for Python keeps only the last frame of words: a chunk has one, with all of them.
        told = kinds(talk.of("a"), "audio")
        assert told[1:-3] == ["generation_started", "word_timestamps", "chunk_complete"] * 3
        for started, frame in zip(talk.told("generation_started"), talk.told("word_timestamps"), strict=True):
            assert frame["chunk_id"] == started["chunk_id"]
            words = frame["word_timestamps"]
            assert [word["word"] for word in words] == started["text"].split()
            assert words[0]["start_ms"] == 0
            for word in words:
                assert started["text"][word["char_start"] : word["char_end"]] == word["word"]
        idx = [frame["idx"] for frame in talk.told("audio")]
        assert idx == list(range(len(idx)))


@pytest.mark.anyio
async def test_the_session_starts_once() -> None:
    async with talking() as (talk, _):
        await talk.say(opened("a"), opened("b"))
        await talk.until("context_created", "b")
        assert kinds(talk.frames) == ["session_started", "context_created", "context_created"]
        assert len(talk.frames[0]["session_id"]) == 16


@pytest.mark.anyio
async def test_pieces_are_joined_as_they_are() -> None:
    engine = quick(sample_rate=24000)
    async with talking(engine=engine) as (talk, _):
        await talk.say(opened("a"), *({"text": t, "context_id": "a"} for t in ("Hel", "lo ", "the", "re")))
        await talk.say({"flush": True, "context_id": "a"})
        await talk.until("final", "a")
        assert talk.audio("a") == await say_alone(engine, "Hello there", "1071")


@pytest.mark.anyio
@pytest.mark.parametrize("text", ["", " "])
async def test_a_flush_of_nothing_is_answered_at_once(text: str) -> None:
    async with talking() as (talk, _):
        await talk.say(opened("a"))
        for _ in range(3):
            frames = await talk.answers({"text": text, "context_id": "a", "flush": True}, "final", "a")
            assert kinds(frames, "session_started", "context_created") == ["final"]


@pytest.mark.anyio
async def test_every_flush_is_answered_after_its_own_audio() -> None:
    async with talking() as (talk, _):
        texts = ["One.", "Two two.", "Three three three."]
        await talk.say(opened("a"), *({"text": t, "context_id": "a", "flush": True} for t in texts))
        for text in texts:
            await talk.until("final", "a")
            assert talk.told("generation_started")[-1]["text"] == text
        assert sum(frame["samples"] for frame in talk.told("audio")) == 240 * len("".join(texts))


@pytest.mark.anyio
async def test_graceful_closes_one_after_the_other_lose_nothing() -> None:
    """LiveKit's adapter closes after each chunk, while later ones wait."""
    async with talking(engine=quick(sample_rate=24000, chunk_delay=0.001)) as (talk, _):
        await talk.say({"chunk_length_schedule": [1], "text": "", **VOICE})
        await talk.say(
            {"text": "One one. Two two. Three three. Four four.", "context_id": "a", "flush": True}
        )
        for _ in range(4):
            await talk.until("chunk_complete", "a")
            await talk.say({"close_context": True, "context_id": "a"})
        await talk.until("context_closed", "a")
        assert len(talk.told("chunk_complete", "a")) == 4
        assert kinds(talk.of("a"))[-2:] == ["final", "context_closed"]
        assert len(talk.audio("a")) == 2 * 240 * 41
        assert talk.told("context_closed")[0]["mux"]["reason"] == "completed"


@pytest.mark.anyio
async def test_many_closes_at_once_are_one() -> None:
    async with talking() as (talk, _):
        close = {"close_context": True, "context_id": "a"}
        await talk.say(opened("a"), {"text": "All of it.", "context_id": "a"}, *[close] * 5)
        await talk.say({"close_socket": True})
        await talk.to_the_end()
        assert len(talk.audio("a")) == 2 * 240 * 10
        assert kinds(talk.of("a")).count("context_closed") == 1
        assert kinds(talk.of("a")).count("final") == 1


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_an_immediate_close_stops_at_once_without_final() -> None:
    async with talking(engine=ToneEngine(chunk_delay=0.05)) as (talk, _):
        await talk.say(opened("a"), {"text": "A very long sentence, that goes on.", "context_id": "a"})
        await talk.say({"flush": True, "context_id": "a"})
        await talk.until("audio", "a")
        after = await talk.answers(
            {"close_context": True, "context_id": "a", "immediate": True}, "context_closed", "a"
        )
        assert talk.times[-1] - talk.times[-len(after)] < 1.5
        closed = after[-1]
        assert "final" not in kinds(talk.of("a"))
        samples = sum(frame["samples"] for frame in talk.told("audio"))
        assert closed["usage"]["audio_seconds"] == pytest.approx(samples / 24000, abs=1e-6)
        assert closed["mux"]["reason"] == "cancelled"
        usage = closed["mux"]["usage"]
        assert usage["audio_generated_ms"] == usage["audio_sent_ms"] + usage["audio_dropped_ms"]
        assert await talk.for_a_while(30) == []


@pytest.mark.anyio
async def test_an_immediate_close_after_a_graceful_one_is_a_barge_in() -> None:
    async with talking(engine=quick(sample_rate=24000, chunk_delay=0.02)) as (talk, _):
        await talk.say(opened("a"), {"text": "x" * 200, "context_id": "a", "close_context": True})
        await talk.until("audio", "a")
        await talk.say({"close_context": True, "context_id": "a", "immediate": True})
        closed = await talk.until("context_closed", "a")
        assert closed["mux"]["reason"] == "cancelled"
        assert "final" not in kinds(talk.of("a"))


@pytest.mark.anyio
async def test_a_cancel_before_anything_was_said_is_still_created_first() -> None:
    async with talking() as (talk, _):
        message = {**opened("a"), "text": "Never mind.", "close_context": True, "immediate": True}
        await talk.say(message)
        await talk.until("context_closed", "a")
        assert kinds(talk.of("a")) == ["context_created", "context_closed"]


@pytest.mark.anyio
@pytest.mark.parametrize("immediate", [False, True])
async def test_an_id_can_be_used_again(immediate: bool) -> None:
    async with talking() as (talk, _):
        for number in range(3):
            before = len(talk.frames)
            await talk.say({**opened("a"), "text": "Again.", "flush": True})
            await talk.until("final", "a")
            await talk.say({"close_context": True, "context_id": "a", "immediate": immediate})
            await talk.until("context_closed", "a")
            life = [frame for frame in talk.frames[before:] if "context_id" in frame]
            assert kinds(life)[0] == "context_created"
            assert life[1]["chunk_id"] == 0
            assert next(frame["idx"] for frame in life if "audio" in frame) == 0, number
            assert len(audio_of(life)) == 2 * 240 * 6


@pytest.mark.anyio
async def test_the_next_context_of_an_id_waits_for_the_end_of_the_last() -> None:
    async with talking() as (talk, _):
        for text in ("One.", "Two."):
            await talk.say({**opened("a"), "text": text, "close_context": True})
        await talk.until("context_closed", "a")
        await talk.until("context_closed", "a")
        life = ["context_created", "generation_started", "audio", "chunk_complete", "final", "context_closed"]
        assert kinds(talk.of("a")) == life * 2


@pytest.mark.anyio
async def test_a_contexts_voice_goes_before_the_connections() -> None:
    engine = quick(sample_rate=24000)
    async with talking(engine=engine) as (talk, _):
        await talk.say({"voice_id": 1, "text": ""}, opened("a", voice_id=2))
        await talk.say(*({"text": "Hi.", "context_id": id, "flush": True} for id in "ab"))
        await talk.finals("a", "b")
        assert talk.audio("a") == await say_alone(engine, "Hi.", "2")
        assert talk.audio("b") == await say_alone(engine, "Hi.", "1")


@pytest.mark.anyio
async def test_settings_are_for_contexts_begun_later() -> None:
    async with talking() as (talk, _):
        await talk.say(opened("a"), {"sample_rate": 8000, "speed": 0.8, "text": ""}, opened("b"))
        await talk.say(*({"text": "Hello.", "context_id": id, "flush": True} for id in "ab"))
        await talk.finals("a", "b")
        assert {frame["sr"] for frame in talk.told("audio", "a")} == {24000}
        assert {frame["sr"] for frame in talk.told("audio", "b")} == {8000}
        assert len(talk.audio("b")) == pytest.approx(2 * 80 * 6 / 0.8, abs=8)


@pytest.mark.anyio
async def test_updates_are_told_and_hold_for_contexts_begun_later() -> None:
    async with talking() as (talk, _):
        await talk.say(opened("a"), {"language": "en", "text": ""}, {"update_settings": {"speed": 0.8}})
        updated = await talk.until("settings_updated")
        assert updated["settings"] == {
            **{"cfg_scale": None, "temperature": None, "speed": 0.8, "max_new_tokens": None},
            **{"language": "en", "normalize": None},
        }
        await talk.say(opened("b"))
        await talk.say(*({"text": "Hello.", "context_id": id, "flush": True} for id in "ab"))
        await talk.finals("a", "b")
        assert (len(talk.audio("a")), len(talk.audio("b"))) == (2 * 240 * 6, 2 * 300 * 6)


@pytest.mark.anyio
async def test_closing_the_socket_lets_everybody_finish() -> None:
    async with talking() as (talk, server):
        await talk.say(opened("a"), *({"text": "Hello.", "context_id": id, **VOICE} for id in "ab"))
        await talk.say({"close_socket": True})
        assert (await talk.to_the_end()).code == 1000
        for id in "ab":
            assert kinds(talk.of(id))[-2:] == ["final", "context_closed"]
        assert talk.frames[-1]["session_closed"] is True
        assert talk.frames[-1]["total_audio_seconds"] == 0.12
        assert talk.frames[-1]["usage"] == usage_of(0.12, 12)
        assert server.service.contexts == 0


@pytest.mark.anyio
async def test_twenty_contexts_then_too_many_and_the_socket_lives() -> None:
    async with talking() as (talk, _):
        ids = [f"c{number}" for number in range(20)]
        await talk.say(*(opened(id) for id in ids), opened("late"))
        error = await talk.until("error")
        assert (error["error_code"], error["code"]) == ("TOO_MANY_CONTEXTS", 429)
        assert error["context_id"] == "late"
        assert len(talk.told("context_created")) == 20
        assert kinds(talk.of("late")) == ["error"]
        # A slot is free as soon as its context is told to close.
        await talk.say({"close_context": True, "context_id": "c7"}, opened("late"))
        await talk.say(
            *({"text": "Hi.", "context_id": id, "flush": True} for id in [*ids, "late"] if id != "c7")
        )
        await talk.finals("late", *(id for id in ids if id != "c7"))
        assert all(len(talk.audio(id)) == 2 * 240 * 3 for id in [*ids, "late"] if id != "c7")
        assert len(talk.told("error")) == 1
