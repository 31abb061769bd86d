"""`/ws/tts`: whole requests, answered in the order in which they came."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import anyio
import pytest
from talking import REQUESTS, VOICE, Frame, audio_of, breaking, kinds, quick, say_alone, talking, usage_of

from mux.dialects.kugelaudio.requests import LONGEST_TEXT

pytestmark = pytest.mark.anyio


def ask(text: str, **more: Any) -> Frame:
    return {"text": text, **VOICE, **more}


def answered(frames: list[Frame]) -> list[list[Frame]]:
    """The frames of each answer; each ends with `final` or an error."""
    answers: list[list[Frame]] = [[]]
    for frame in frames:
        answers[-1].append(frame)
        if "final" in frame or "error" in frame:
            answers.append([])
    assert answers.pop() == []
    return answers


async def until_answers(talk: Any, count: int) -> list[list[Frame]]:
    left = [count]

    def last(frame: Frame) -> bool:
        left[0] -= "final" in frame or "error" in frame
        return left[0] == 0

    await talk.read_until(last)
    return answered(talk.frames)


async def test_a_request_is_answered_by_audio_and_a_final() -> None:
    engine = quick(sample_rate=24000)
    async with talking(REQUESTS, engine) as (talk, _):
        await talk.say(ask("Hello there.", model_id="kugel-3.5"))
        final = await talk.until("final")
        assert set(kinds(talk.frames[:-1])) == {"audio"}
        assert talk.audio() == await say_alone(engine, "Hello there.", "1071")
        assert not any("chunk_id" in frame or "context_id" in frame for frame in talk.frames)
        assert [frame["idx"] for frame in talk.told("audio")] == list(range(final["chunks"]))
        assert (final["total_samples"], final["dur_ms"]) == (2880, 120)
        assert final["usage"] == usage_of(0.12, 12, model_id="kugel-3.5")
        assert 0 <= final["gen_ms"] < 5000
        assert 0 <= final["rtf"] < 50


async def test_what_the_sdk_sends() -> None:
    async with talking(REQUESTS) as (talk, _):
        more = {"cfg_scale": 2.0, "max_new_tokens": 2048, "sample_rate": 24000, "normalize": True}
        await talk.say(ask("Hi.", word_timestamps=False, speed=1.0, language="en", **more))
        assert (await talk.until("final"))["total_samples"] == 720


async def test_fifty_requests_at_once_are_answered_one_by_one() -> None:
    engine = quick(sample_rate=24000)
    texts = [f"Number {number}." for number in range(50)]
    async with talking(REQUESTS, engine) as (talk, _):
        await talk.say(*map(ask, texts))
        answers = await until_answers(talk, 50)
        for text, answer in zip(texts, answers, strict=True):
            assert audio_of(answer) == await say_alone(engine, text, "1071")
            assert [frame["idx"] for frame in answer[:-1]] == list(range(len(answer) - 1))
            assert answer[-1]["usage"]["characters"] == len(text)


async def test_each_has_its_own_voice_format_and_words() -> None:
    engine = quick(sample_rate=24000)
    async with talking(REQUESTS, engine) as (talk, _):
        await talk.say(
            ask("First one.", output_format="ulaw_8000"),
            ask("Second one.", word_timestamps=True, sample_rate=16000),
            {"text": "Third one.", "voice_id": 7},
            ask("Fourth one.", output_format="alaw_8000", speed=0.8),
        )
        first, second, third, fourth = await until_answers(talk, 4)
        said = [
            {(f["enc"], f["sr"]) for f in answer if "audio" in f} for answer in (first, second, third, fourth)
        ]
        assert said == [{("mulaw", 8000)}, {("pcm_s16le", 16000)}, {("pcm_s16le", 24000)}, {("alaw", 8000)}]
        assert [("word_timestamps" in kinds(answer)) for answer in (first, second, third, fourth)] == [
            *(False, True, False, False)
        ]
        assert audio_of(third) == await say_alone(engine, "Third one.", "7")
        durations = [answer[-1]["dur_ms"] for answer in (first, second, third, fourth)]
        assert durations == [pytest.approx(wanted, abs=1) for wanted in (100, 110, 100, 137.5)]


async def test_settings_of_a_request_are_its_own() -> None:
    async with talking(REQUESTS) as (talk, _):
        await talk.say(ask("Hi.", sample_rate=8000), {"text": "Hi."}, ask("Hi."))
        first, second, third = await until_answers(talk, 3)
        assert first[0]["sr"] == 8000
        assert second[0]["error_code"] == "MISSING_VOICE_ID"
        assert third[0]["sr"] == 24000


async def test_updates_hold_for_requests_after_them() -> None:
    async with talking(REQUESTS) as (talk, _):
        await talk.say(ask("Hello."), {"update_settings": {"speed": 0.8}}, ask("Hello."))
        await talk.until("final")
        await talk.until("final")
        assert [frame["total_samples"] for frame in talk.told("final")] == [1440, 1800]
        assert talk.told("settings_updated")[0]["settings"]["speed"] == 0.8


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"text": "No voice."}, "MISSING_VOICE_ID"),
        (ask(""), "VALIDATION_ERROR"),
        (ask(" \n "), "VALIDATION_ERROR"),
        (ask("x" * (LONGEST_TEXT + 1)), "VALIDATION_ERROR"),
        (ask("Hi.", speed=5), "VALIDATION_ERROR"),
        (ask("Hi.", output_format="ulaw_8000", sample_rate=16000), "VALIDATION_ERROR"),
        (ask("Hi.", voice_id="nobody"), "NOT_FOUND"),
        (ask("Hi.", language="tlh"), "VALIDATION_ERROR"),
        ({}, "VALIDATION_ERROR"),
        ({"text": 5}, "VALIDATION_ERROR"),
        ("{", "VALIDATION_ERROR"),
        ("[]", "VALIDATION_ERROR"),
        ({"update_settings": {"voice_id": 5}}, "VALIDATION_ERROR"),
        ({"update_settings": {"speed": 5}}, "VALIDATION_ERROR"),
        ({"update_settings": 5}, "VALIDATION_ERROR"),
        (b"\xff", "VALIDATION_ERROR"),
    ],
)
async def test_an_error_comes_in_its_place(message: Any, code: str) -> None:
    async with talking(REQUESTS, breaking()) as (talk, _):
        await talk.say(ask("The one before."))
        if isinstance(message, bytes):
            await talk.transport.send(message)
        else:
            await talk.say(message)
        await talk.say(ask("The one after."))
        before, error, after = await until_answers(talk, 3)
        assert before[-1]["usage"]["characters"] == 15
        assert kinds(error) == ["error"]
        assert error[0]["error_code"] == code
        assert "context_id" not in error[0]
        assert after[-1]["usage"]["characters"] == 14


async def test_the_longest_text_is_spoken_whole() -> None:
    async with talking(REQUESTS, quick(sample_rate=8000, character_seconds=0.001)) as (talk, _):
        await talk.say(ask("word " * (LONGEST_TEXT // 5), sample_rate=8000))
        final = await talk.until("final")
        assert final["total_samples"] == 8 * LONGEST_TEXT
        assert final["usage"]["characters"] == LONGEST_TEXT


async def test_a_failed_request_is_one_error_and_the_next_is_answered() -> None:
    engine = breaking(fails_after=2)
    async with talking(REQUESTS, engine) as (talk, _):
        await talk.say(ask("x" * 60))
        error = await talk.until("error")
        assert error["error_code"] == "INTERNAL_ERROR"
        engine.fails_after = float("inf")
        await talk.say(ask("Hello."))
        await talk.until("final")
        assert kinds(talk.frames, "audio") == ["error", "final"]


async def test_words_count_in_the_whole_request() -> None:
    text = "  One, two.  Three four. " + "Five six seven. " * 20
    async with talking(REQUESTS) as (talk, _):
        await talk.say(ask(text, word_timestamps=True, chunk_length_schedule=[1]))
        final = await talk.until("final")
        words = [word for frame in talk.told("word_timestamps") for word in frame["word_timestamps"]]
        assert [word["word"] for word in words] == text.split()
        assert [text[word["char_start"] : word["char_end"]] for word in words] == text.split()
        assert all(a["end_ms"] <= b["start_ms"] for a, b in pairwise(words))
        assert words[-1]["end_ms"] <= final["dur_ms"]


async def test_many_senseless_messages_are_as_many_errors_and_the_socket_lives() -> None:
    async with talking(REQUESTS) as (talk, _):
        for _ in range(6):
            await talk.say(*["{"] * 30, ask("Still here."))
            await talk.until("final")
        assert kinds(talk.frames, "audio") == [*["error"] * 30, "final"] * 6


@pytest.mark.parametrize("blanks", ["", " ", "\n\t  "])
async def test_leading_blanks_count_in_the_places_of_words(blanks: str) -> None:
    """Whatever was refused or cancelled before it."""
    async with talking(REQUESTS, breaking()) as (talk, _):
        wrong = [{}, ask("   No.", speed=9), "{", ask("    No.", voice_id="nobody"), {"text": "     No."}]
        asked = [ask(f"{blanks}One two.", word_timestamps=True), *wrong] * 2
        await talk.say(*asked)
        answers = await until_answers(talk, len(asked))
        for answer in (answers[0], answers[6]):
            (frame,) = [frame for frame in answer if "word_timestamps" in frame]
            places = [(word["word"], word["char_start"]) for word in frame["word_timestamps"]]
            assert places == [("One", len(blanks)), ("two.", len(blanks) + 4)]


async def test_words_come_once_for_each_segment_after_its_audio() -> None:
    """The SDK for Python keeps only the last frame of them."""
    async with talking(REQUESTS) as (talk, _):
        await talk.say(ask("One two. " * 100, word_timestamps=True))
        await talk.until("final")
        told = talk.told("word_timestamps")
        assert sum(len(frame["word_timestamps"]) for frame in told) == 200
        heard = 0
        for frame in talk.frames[:-1]:
            heard += frame.get("samples", 0)
            for word in frame.get("word_timestamps", ()):
                assert word["end_ms"] <= heard / 24
        assert 1 < len(told) < 40, "not one for each frame of audio"
        assert "word_timestamps" in talk.frames[-2]


async def test_tags_are_no_words() -> None:
    async with talking(REQUESTS) as (talk, _):
        text = 'Hi <break time="400ms"/> <spell>AB</spell> there.'
        await talk.say(ask(text, word_timestamps=True))
        await talk.until("final")
        words = [word for frame in talk.told("word_timestamps") for word in frame["word_timestamps"]]
        assert [word["word"] for word in words] == ["Hi", "AB", "there."]
        assert [text[word["char_start"] : word["char_end"]] for word in words] == ["Hi", "AB", "there."]


async def test_closing_the_socket_answers_what_was_asked() -> None:
    async with talking(REQUESTS) as (talk, _):
        await talk.say(ask("One."), ask("Two."), {"close_socket": True})
        assert (await talk.to_the_end()).code == 1000
        assert kinds(talk.frames, "audio") == ["final", "final", "session_closed"]


async def test_so_many_requests_that_some_are_refused_still_get_their_answers_in_order() -> None:
    async with talking(REQUESTS, quick(sample_rate=24000)) as (talk, _):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: talk.say(*(ask(f"Hi {number}.") for number in range(400))))
            answers = await until_answers(talk, 400)
        codes = [answer[-1].get("error_code", "") for answer in answers]
        assert set(codes) <= {"", "RATE_LIMITED"}
        for number, answer in enumerate(answers):
            if "final" in answer[-1]:
                assert answer[-1]["usage"]["characters"] == len(f"Hi {number}.")
