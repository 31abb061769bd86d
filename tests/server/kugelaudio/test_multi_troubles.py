"""`/ws/tts/multi`: errors, and contexts whose client falls silent."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from speaking import WatchedEngine
from talking import VOICE, audio_of, breaking, kinds, opened, quick, say_alone, talking

pytestmark = pytest.mark.anyio

WRONG: dict[str, dict[str, Any]] = {
    "speed": {"text": "Hi.", "context_id": "a", "speed": 3, **VOICE},
    "temperature": {"text": "Hi.", "context_id": "a", "temperature": -1, **VOICE},
    "contradiction": {"text": "Hi.", "context_id": "a", "output_format": "ulaw_8000", "sample_rate": 16000},
    "voice settings": {"text": "Hi.", "context_id": "a", "voice_settings": {"cfg_scale": 40}},
    "type": {"text": ["Hi."], "context_id": "a"},
    "id too long": {"text": "Hi.", "context_id": "x" * 300, **VOICE},
}


@pytest.mark.parametrize("name", WRONG)
async def test_an_error_names_the_context_it_belongs_to(name: str) -> None:
    id = WRONG[name]["context_id"]
    async with talking() as (talk, _):
        await talk.say({"text": "Hello.", "context_id": "other", "flush": True, **VOICE}, WRONG[name])
        error = await talk.until("error")
        assert error["context_id"] == id
        assert (error["error_code"], error["code"]) == ("VALIDATION_ERROR", 400)
        assert len(error["request_id"]) == 16
        await talk.say({"close_context": True, "context_id": "other"})
        await talk.until("context_closed", "other")
        assert len(talk.audio("other")) == 2 * 240 * 6
        assert kinds(talk.of(id)) == ["error"]


async def test_text_without_a_voice() -> None:
    async with talking() as (talk, _):
        await talk.say({"text": " ", "context_id": "a"})
        await talk.until("context_created", "a")
        await talk.say({"text": "Hello.", "context_id": "a"})
        error = await talk.until("error")
        assert (error["error_code"], error["code"]) == ("MISSING_VOICE_ID", 400)
        await talk.until("context_closed", "a")
        assert kinds(talk.of("a")) == ["context_created", "error", "context_closed"]
        assert talk.frames[-1]["mux"]["reason"] == "failed"


async def test_after_an_error_its_text_is_ignored_until_a_close_or_a_new_beginning() -> None:
    async with talking() as (talk, _):
        for renewal in ([{"close_context": True, "context_id": "a"}, opened("a")], [opened("a")]):
            await talk.say({"text": "No.", "context_id": "a", "speed": 7})
            await talk.until("error", "a")
            before = len(talk.frames)
            await talk.say(*[{"text": "Half an utterance. ", "context_id": "a"}] * 3)
            await talk.say(*renewal, {"text": "Whole.", "context_id": "a", "flush": True})
            await talk.until("final", "a")
            life = [frame for frame in talk.frames[before:] if frame.get("context_id") == "a"]
            if renewal[0] != opened("a"):
                assert life.pop(0) == {"context_closed": True, "context_id": "a"}  # the answer to the close
            assert kinds(life) == [
                "context_created",
                "generation_started",
                "audio",
                "chunk_complete",
                "final",
            ]
            assert life[1]["text"] == "Whole."
            await talk.say({"close_context": True, "context_id": "a"})
            await talk.until("context_closed", "a")


async def test_after_an_error_its_flushes_are_answered_though_nothing_is_spoken() -> None:
    async with talking() as (talk, _):
        await talk.say({"text": "No.", "context_id": "a", "speed": 7})
        await talk.until("error", "a")
        half = {"text": "Half an utterance. ", "context_id": "a", "flush": True}
        for _ in range(3):
            assert kinds(await talk.answers(half, "final", "a")) == ["final"]


@pytest.mark.parametrize(
    "wrong", [{"speed": 7}, {"voice_settings": {"cfg_scale": 40}}, {"text": "", "sample_rate": 5}], ids=str
)
@pytest.mark.parametrize("immediate", [False, True])
async def test_a_wrong_setting_beside_a_close_still_closes(wrong: dict[str, Any], immediate: bool) -> None:
    async with talking() as (talk, _):
        await talk.say(opened("a"))
        await talk.until("context_created", "a")
        message = {"text": "No.", "context_id": "a", "close_context": True, "immediate": immediate, **wrong}
        frames = await talk.answers(message, "context_closed", "a")
        assert kinds(frames) == ["error", "context_closed"]
        # The id is free: text opens it again, and nothing else is owed.
        await talk.say({"text": "Yes.", "context_id": "a", "flush": True, **VOICE})
        await talk.until("final", "a")
        assert kinds(talk.of("a"), "audio")[3:] == [
            *("context_created", "generation_started", "chunk_complete", "final")
        ]


async def test_a_message_that_fails_and_closes_leaves_its_id_usable() -> None:
    async with talking() as (talk, _):
        await talk.say({"text": "No.", "context_id": "a", "speed": 7, "close_context": True})
        await talk.until("error", "a")
        await talk.say({"text": "Yes.", "context_id": "a", "flush": True, **VOICE})
        with anyio.fail_after(2):
            await talk.until("final", "a")


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("{", "not JSON"),
        ({"text": "For whom?"}, "context_id"),
        ({"text": "", "speed": 9}, "speed"),
        ({"update_settings": {"voice_id": 5}}, "voice_id"),
        ({"update_settings": {}}, "one or more"),
    ],
)
async def test_what_concerns_nobody_is_told_and_ends_nobody(message: Any, said: str) -> None:
    async with talking() as (talk, _):
        await talk.say(opened("a"), message)
        error = await talk.until("error")
        assert "context_id" not in error
        assert error["error_code"] == "VALIDATION_ERROR"
        assert said in error["error"]
        await talk.say({"text": "Hello.", "context_id": "a", "flush": True})
        await talk.until("final", "a")
        assert len(talk.audio("a")) == 2 * 240 * 6


async def test_an_engine_that_fails_ends_one_context() -> None:
    engine = breaking(fails_after=2)
    async with talking(engine=engine) as (talk, _):
        await talk.say({**opened("a"), "text": "x" * 60, "flush": True})
        error = await talk.until("error", "a")
        closed = await talk.until("context_closed", "a")
        assert (error["error_code"], error["code"]) == ("INTERNAL_ERROR", 502)
        assert closed["mux"]["reason"] == "failed"
        sent = sum(frame["samples"] for frame in talk.told("audio")) / 24000
        assert closed["usage"]["audio_seconds"] == pytest.approx(sent, abs=0.001)
        engine.fails_after = float("inf")
        await talk.say({**opened("a"), "text": "Well again.", "flush": True})
        await talk.until("final", "a")
        assert kinds(talk.of("a")).count("context_created") == 2


async def test_an_unknown_voice_and_language_are_errors_of_their_context() -> None:
    async with talking(engine=WatchedEngine()) as (talk, _):
        await talk.say(opened("a", voice_id="nobody"), {"text": "", **VOICE, "language": "tlh"}, opened("b"))
        error = await talk.until("error", "a")
        assert (error["error_code"], error["code"]) == ("NOT_FOUND", 404)
        error = await talk.until("error", "b")
        assert (error["error_code"], error["code"]) == ("VALIDATION_ERROR", 400)


async def test_too_many_senseless_messages_close_the_socket() -> None:
    async with talking() as (talk, _):
        await talk.say(opened("a"), *["{"] * 101)
        ending = await talk.to_the_end()
        assert ending.code == 1008
        assert talk.frames[-1]["error_code"] == "VALIDATION_ERROR"


# --- silence -----------------------------------------------------------------------------------------


@pytest.mark.virtual_time
async def test_a_context_that_is_left_alone_ends_after_twenty_seconds() -> None:
    async with talking() as (talk, _):
        await talk.say(opened("a"))
        closed = await talk.until("context_closed", "a")
        # It said nothing: a `final` would be one of speech.
        assert kinds(talk.of("a")) == ["context_created", "context_timeout", "context_closed"]
        assert talk.times[-1] - talk.times[0] == pytest.approx(20, abs=0.01)
        assert closed["mux"]["reason"] == "timed_out"


@pytest.mark.virtual_time
async def test_what_waits_is_spoken_before_it_times_out() -> None:
    async with talking() as (talk, _):
        await talk.say({"inactivity_timeout": 3, "flush_timeout_ms": 0}, opened("a"))
        await talk.say({"text": "No full stop", "context_id": "a"})
        await talk.until("context_closed", "a")
        assert kinds(talk.of("a"), "audio") == [
            *("context_created", "generation_started", "chunk_complete"),
            *("final", "context_timeout", "context_closed"),
        ]
        assert len(talk.audio("a")) == 2 * 240 * 12
        assert talk.times[-1] - talk.times[0] == pytest.approx(3, abs=0.2)


@pytest.mark.virtual_time
async def test_what_was_flushed_before_it_timed_out_has_its_final_already() -> None:
    async with talking() as (talk, _):
        await talk.say(opened("a"), {"text": "All of it.", "context_id": "a", "flush": True})
        await talk.until("context_closed", "a")
        assert kinds(talk.of("a"), "audio") == [
            *("context_created", "generation_started", "chunk_complete"),
            *("final", "context_timeout", "context_closed"),
        ]


@pytest.mark.virtual_time
async def test_what_a_pause_let_go_after_a_flush_has_a_final_too() -> None:
    async with talking() as (talk, _):
        await talk.say(opened("a"), {"text": "One.", "context_id": "a", "flush": True})
        await talk.until("final", "a")
        await talk.say({"text": "Two.", "context_id": "a"})
        await talk.until("context_closed", "a")
        assert kinds(talk.of("a"), "audio")[4:] == [
            *("generation_started", "chunk_complete", "final", "context_timeout", "context_closed")
        ]


@pytest.mark.virtual_time
@pytest.mark.parametrize(("pause", "patience"), [(60_000, 3), (20_000, 3), (3_001, 3), (60_000, 20)])
async def test_a_timeout_shorter_than_the_pause_still_holds(pause: int, patience: float) -> None:
    async with talking() as (talk, _):
        await talk.say({"inactivity_timeout": patience, "flush_timeout_ms": pause}, opened("a"))
        await talk.say({"text": "No full stop", "context_id": "a"})
        await talk.until("context_closed", "a")
        assert kinds(talk.of("a"), "audio") == [
            *("context_created", "generation_started", "chunk_complete"),
            *("final", "context_timeout", "context_closed"),
        ]
        assert talk.told("context_closed")[0]["mux"]["reason"] == "timed_out"
        assert len(talk.audio("a")) == 2 * 240 * 12
        assert talk.times[-1] - talk.times[0] == pytest.approx(patience, abs=0.2)


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    "alive",
    [{"text": ""}, {"text": " "}, {"keep_alive": True}, {"flush": True}, {"text": "", "flush": False}],
)
async def test_a_context_is_kept_alive(alive: dict[str, Any]) -> None:
    async with talking() as (talk, _):
        await talk.say(opened("a"))
        for _ in range(5):
            frames = await talk.for_a_while(15)
            assert "context_timeout" not in kinds(frames)
            await talk.say({**alive, "context_id": "a"})
        said_at = anyio.current_time()
        await talk.until("context_timeout", "a")
        assert talk.times[-1] - said_at == pytest.approx(20, abs=0.01)
        assert talk.audio("a") == b""


@pytest.mark.virtual_time
async def test_speaking_keeps_a_context_alive() -> None:
    async with talking(engine=quick(sample_rate=24000, chunk_delay=1)) as (talk, _):
        await talk.say({"inactivity_timeout": 2}, {**opened("a"), "text": "x" * 60, "flush": True})
        await talk.until("final", "a")
        spoken_at = talk.times[-1]
        await talk.until("context_timeout", "a")
        assert talk.times[-1] - spoken_at == pytest.approx(2, abs=0.01)


@pytest.mark.virtual_time
@pytest.mark.parametrize(("given", "kept"), [(0.1, 1), (-5, 1), (1000, 180), (7, 7)])
async def test_the_timeout_is_the_clients_within_its_range(given: float, kept: float) -> None:
    async with talking() as (talk, _):
        await talk.say({**opened("a"), "inactivity_timeout": given})
        await talk.until("context_timeout", "a")
        assert talk.times[-1] == pytest.approx(talk.times[0] + kept, abs=0.01)
        assert len(talk.told("warning")) == (given != kept)


@pytest.mark.virtual_time
async def test_text_for_an_id_that_timed_out_opens_a_new_context() -> None:
    async with talking() as (talk, _):
        await talk.say({"text": "One.", "context_id": "a", **VOICE})
        await talk.until("context_closed", "a")
        await talk.say({"text": "Two.", "context_id": "a", "flush": True})
        await talk.until("final", "a")
        assert kinds(talk.of("a")).count("context_created") == 2
        assert len(talk.audio("a")) == 2 * 240 * 8


@pytest.mark.virtual_time
@pytest.mark.parametrize("spoke", [False, True])
async def test_it_has_the_voice_that_the_one_before_had(spoke: bool) -> None:
    """The SDKs name a voice only when they create a context, and do not know that it is gone."""
    engine = quick(sample_rate=24000)
    async with talking(engine=engine) as (talk, _):
        await talk.say({"text": "", "voice_id": 5}, opened("a", voice_id=7))
        if spoke:
            await talk.say({"text": "One.", "context_id": "a", "flush": True})
        for _ in range(2):
            await talk.until("context_closed", "a")
            before = len(talk.frames)
            await talk.say({"text": "Two.", "context_id": "a", "flush": True})
            await talk.until("final", "a")
            assert audio_of(talk.frames[before:]) == await say_alone(engine, "Two.", "7")


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    "renewal",
    [[{"close_context": True, "context_id": "a"}], [{"text": " ", "context_id": "a", "voice_settings": {}}]],
    ids=["closed", "created anew"],
)
async def test_an_id_that_timed_out_and_was_given_up_has_no_voice(renewal: list[dict[str, Any]]) -> None:
    async with talking() as (talk, _):
        await talk.say(opened("a"))
        await talk.until("context_closed", "a")
        await talk.say(*renewal, {"text": "Two.", "context_id": "a", "flush": True})
        error = await talk.until("error", "a")
        assert error["error_code"] == "MISSING_VOICE_ID"


@pytest.mark.virtual_time
async def test_a_flush_or_close_after_a_timeout_is_answered() -> None:
    async with talking() as (talk, _):
        for message, answer in (({"flush": True}, "final"), ({"close_context": True}, "context_closed")):
            await talk.say(opened("a"))
            await talk.until("context_closed", "a")
            frames = await talk.answers({**message, "context_id": "a"}, answer, "a")
            assert frames == [{answer: True, "context_id": "a"}]


@pytest.mark.virtual_time
async def test_a_socket_without_contexts_stays() -> None:
    async with talking() as (talk, _):
        await talk.say({"text": "", **VOICE})
        await anyio.sleep(3600)
        await talk.say({"text": "Still here.", "context_id": "a", "flush": True})
        await talk.until("final", "a")
