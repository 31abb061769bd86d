"""`/ws/tts/stream`: one turn after the other."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from talking import STREAM, VOICE, audio_of, breaking, kinds, quick, say_alone, talking, usage_of

from mux.engines.tone import ToneEngine

pytestmark = pytest.mark.anyio
FLUSH, CLOSE, END, CANCEL = {"flush": True}, {"close": True}, {"end_session": True}, {"cancel": True}
TURN = ["generation_started", "audio", "chunk_complete", "final", "session_closed"]


def tok(text: str, **more: Any) -> dict[str, Any]:
    return {"text": text, "flush": False, **VOICE, **more}


@pytest.mark.parametrize("end", [FLUSH, CLOSE, END], ids=str)
async def test_a_turn_of_tokens(end: dict[str, Any]) -> None:
    engine = quick(sample_rate=24000)
    async with talking(STREAM, engine) as (talk, _):
        for _ in range(3):
            await talk.say(tok("Hel", model_id="kugel-3.5"), tok("lo the"), {"text": "re"})
            frames = await talk.answers(end, "session_closed")
            assert kinds(frames) == TURN if len(frames) == 5 else [*TURN[:2], *TURN[1:]]
            assert audio_of(frames) == await say_alone(engine, "Hello there", "1071")
            final, closed = frames[-2:]
            totals = {"total_audio_seconds": 0.11, "total_text_chunks": 1}
            assert final | totals == final
            assert closed | totals == closed
            assert final["total_audio_chunks"] == kinds(frames).count("audio")
            assert closed["usage"] == usage_of(0.11, 11, model_id="kugel-3.5")
            assert next(frame["idx"] for frame in frames if "audio" in frame) == 0
            assert frames[0]["chunk_id"] == 0
            await talk.say({"text": ""})


async def test_text_and_flush_in_one_message() -> None:
    async with talking(STREAM) as (talk, _):
        frames = await talk.answers(tok("Hi.", flush=True), "session_closed")
        assert kinds(frames) == TURN


async def test_settings_stick_to_the_connection() -> None:
    async with talking(STREAM) as (talk, _):
        await talk.say({**VOICE, "sample_rate": 8000, "word_timestamps": True, "speed": 0.8})
        for _ in range(2):
            frames = await talk.answers({"text": "Hello.", "flush": True}, "session_closed")
            assert "word_timestamps" in kinds(frames)
            assert {frame["sr"] for frame in frames if "audio" in frame} == {8000}
            assert len(audio_of(frames)) == 2 * 100 * 6


async def test_settings_of_a_running_turn_are_for_the_next() -> None:
    async with talking(STREAM) as (talk, _):
        await talk.say(tok("Hello."), {"update_settings": {"speed": 0.8}})
        await talk.until("settings_updated")
        await talk.answers(FLUSH, "session_closed")
        assert len(talk.audio()) == 2 * 240 * 6
        frames = await talk.answers({"text": "Hello.", "flush": True}, "session_closed")
        assert len(audio_of(frames)) == 2 * 300 * 6


@pytest.mark.parametrize(
    "end", [FLUSH, CLOSE, END, {"text": "", "flush": True}, {"text": " ", "close": True}]
)
async def test_an_end_without_a_turn_is_answered_without_usage(end: dict[str, Any]) -> None:
    async with talking(STREAM) as (talk, _):
        for _ in range(2):
            (closed,) = await talk.answers(end, "session_closed")
            # The SDKs would take any numbers for the last turn's.
            assert set(closed) == {"session_closed", "mux"}


async def ended_turns(talk: Any, *messages: dict[str, Any]) -> list[str]:
    """What comes of these messages until the socket is closed, without the turns' chunks."""
    await talk.say(*messages, {"close_socket": True})
    assert (await talk.to_the_end()).code == 1000
    return kinds(talk.frames, "audio", "generation_started", "chunk_complete")


@pytest.mark.virtual_time
@pytest.mark.parametrize("end", [CLOSE, END], ids=str)
async def test_a_flush_and_the_close_right_after_it_have_one_answer(end: dict[str, Any]) -> None:
    """The SDK for JavaScript says both, and takes the next `session_closed` for the answer."""
    async with talking(STREAM, quick(sample_rate=24000, chunk_delay=0.1)) as (talk, _):
        said = [tok("One."), FLUSH, end, tok("Two two."), FLUSH, end]
        assert await ended_turns(talk, *said) == ["final", "session_closed"] * 2 + ["session_closed"]
        *closed, empty = talk.told("session_closed")
        assert [frame["usage"]["characters"] for frame in closed] == [4, 8]
        assert "usage" not in empty  # `close_socket` ends a turn as `close` does; there was none


@pytest.mark.virtual_time
async def test_only_one_close_has_the_answer_of_a_flush() -> None:
    async with talking(STREAM, quick(sample_rate=24000, chunk_delay=0.1)) as (talk, _):
        await talk.say(tok("One."), FLUSH, CLOSE, END, tok("Two two."), FLUSH)
        for _ in range(3):
            await talk.until("session_closed")
        closed = talk.told("session_closed")
        assert [frame.get("usage", {}).get("characters") for frame in closed] == [4, None, 8]
        assert await talk.for_a_while(4) == []


@pytest.mark.virtual_time
async def test_every_flush_has_an_answer_of_its_own() -> None:
    async with talking(STREAM, quick(sample_rate=24000, chunk_delay=0.1)) as (talk, _):
        await talk.say(tok("One."), *[FLUSH] * 15, tok("Two two."), FLUSH)
        for _ in range(16):
            await talk.until("session_closed")
        assert [number for number, frame in enumerate(talk.told("session_closed")) if "usage" in frame] == [
            *(0, 15)
        ]
        assert "error" not in kinds(talk.frames)
        assert await talk.for_a_while(4) == []


@pytest.mark.virtual_time
async def test_a_close_after_a_cancel_has_an_answer_of_its_own() -> None:
    """`interrupted` ends no wait for a `session_closed`."""
    async with talking(STREAM, quick(sample_rate=24000, chunk_delay=0.1)) as (talk, _):
        await talk.say(tok("One, one, one, one."), CANCEL, CLOSE)
        frames = await talk.for_a_while(4)
        assert kinds(frames, "generation_started", "audio") == ["interrupted", "session_closed"]
        assert "usage" not in frames[-1]


@pytest.mark.virtual_time
async def test_ends_that_were_pending_are_answered_by_the_cancel() -> None:
    async with talking(STREAM, quick(sample_rate=24000, chunk_delay=0.1)) as (talk, _):
        await talk.say(tok("One, one, one, one."), FLUSH, FLUSH, tok("Two."), FLUSH, CLOSE, CANCEL, CANCEL)
        frames = await talk.for_a_while(4)
        assert kinds(frames, "generation_started", "audio") == ["interrupted", "interrupted"]
        assert "model_id" not in frames[-1]["usage"]
        assert frames[-1]["usage"]["audio_seconds"] == 0, "the first one told it"


async def test_a_cancel_without_a_turn_is_answered() -> None:
    async with talking(STREAM) as (talk, _):
        for _ in range(2):
            (frame,) = await talk.answers(CANCEL, "interrupted")
            assert frame["usage"] == usage_of(0, 0)


@pytest.mark.virtual_time
async def test_a_cancel_stops_the_turn_and_nothing_of_it_follows() -> None:
    engine = ToneEngine(chunk_delay=0.05)
    async with talking(STREAM, engine) as (talk, _):
        await talk.say(tok("A very long sentence. And one more. And another."))
        await talk.until("audio")
        asked_at = anyio.current_time()
        await talk.answers(CANCEL, "interrupted")
        assert talk.times[-1] - asked_at < 1.5
        seconds = sum(frame["samples"] for frame in talk.told("audio")) / 24000
        assert talk.frames[-1]["usage"]["audio_seconds"] == pytest.approx(seconds, abs=1e-5)
        assert not {"final", "session_closed"} & set(kinds(talk.frames))
        assert await talk.for_a_while(30) == []
        frames = await talk.answers({"text": "Next.", "flush": True}, "session_closed")
        assert audio_of(frames) == await say_alone(engine, "Next.", "1071")


@pytest.mark.virtual_time
async def test_a_cancel_covers_turns_that_were_flushed_and_still_speak() -> None:
    async with talking(STREAM, quick(sample_rate=24000, chunk_delay=0.1)) as (talk, _):
        await talk.say(tok("One, one, one, one.", flush=True), tok("Two.", flush=True), tok("Three"))
        await talk.until("audio")
        after = await talk.answers(CANCEL, "interrupted")
        assert set(kinds(after)) <= {"audio", "interrupted"}
        seconds = sum(frame["samples"] for frame in talk.told("audio")) / 24000
        assert after[-1]["usage"]["audio_seconds"] == pytest.approx(seconds, abs=0.001)
        assert await talk.for_a_while(20) == []


@pytest.mark.virtual_time
async def test_one_cancel_has_one_answer() -> None:
    """The next one would be taken for the answer to the next cancel."""
    async with talking(STREAM, quick(sample_rate=24000, chunk_delay=0.1)) as (talk, _):
        await talk.say(tok("One, one, one, one."), FLUSH, CLOSE, CLOSE, CANCEL)
        frames = await talk.for_a_while(20)
        assert kinds(frames).count("interrupted") == 1
        assert kinds(frames)[-1] == "interrupted"


@pytest.mark.virtual_time
async def test_text_after_a_cancel_is_the_next_turn() -> None:
    engine = quick(sample_rate=24000, chunk_delay=0.1)
    async with talking(STREAM, engine) as (talk, _):
        await talk.say(tok("Long, long, long, long, long."), CANCEL, tok("Short."), FLUSH)
        await talk.until("session_closed")
        assert kinds(talk.frames, "audio")[-5:] == [
            *("interrupted", "generation_started", "chunk_complete", "final", "session_closed")
        ]
        after = talk.frames[[*kinds(talk.frames)].index("interrupted") :]
        assert audio_of(after) == await say_alone(engine, "Short.", "1071")
        assert after[-1]["usage"]["characters"] == 6


@pytest.mark.virtual_time
async def test_five_seconds_of_silence_end_the_turn_with_a_warning() -> None:
    async with talking(STREAM) as (talk, _):
        await talk.say(tok("Hello there"))
        await talk.until("session_closed")
        assert kinds(talk.frames, "audio") == [
            *("generation_started", "chunk_complete", "warning", "final", "session_closed")
        ]
        assert talk.times[-1] == pytest.approx(talk.times[0] + 5, abs=0.6)
        assert talk.frames[-1]["usage"] == usage_of(0.11, 11, model_id="kugel-3.5")
        assert await talk.for_a_while(60) == []
        assert kinds(await talk.answers(tok("Next.", flush=True), "session_closed")) == TURN


@pytest.mark.virtual_time
async def test_five_seconds_hold_whatever_the_pause() -> None:
    async with talking(STREAM) as (talk, _):
        await talk.say(tok("Hello there", flush_timeout_ms=60_000))
        said_at = anyio.current_time()
        await talk.until("session_closed")
        assert talk.times[-1] - said_at == pytest.approx(5, abs=0.2)
        assert len(talk.told("warning")) == 1
        assert kinds(talk.frames)[0] == "warning"


@pytest.mark.virtual_time
async def test_tokens_keep_a_turn_alive() -> None:
    async with talking(STREAM) as (talk, _):
        for _ in range(10):
            await talk.say(tok("token "))
            assert not {"warning", "session_closed"} & set(kinds(await talk.for_a_while(4.5)))
        await talk.answers(FLUSH, "session_closed")
        assert talk.frames[-1]["usage"]["characters"] == 60


@pytest.mark.virtual_time
@pytest.mark.parametrize(("text", "patience"), [("Ja.", 0.15), ("Oh!", 0.15), ("No full stop", 0.55)])
async def test_what_waits_is_spoken_after_a_pause(text: str, patience: float) -> None:
    async with talking(STREAM) as (talk, _):
        await talk.say(tok(text))
        said_at = anyio.current_time()
        await talk.until("audio")
        assert talk.times[-1] - said_at <= patience


@pytest.mark.virtual_time
async def test_auto_mode_speaks_the_first_sentence_at_once() -> None:
    for auto_mode, texts in (
        (True, ["Hi. ", "There is more to come. And so on. And on."]),
        (False, ["Hi. There is more to come. ", "And so on. And on."]),
    ):
        async with talking(STREAM) as (talk, _):
            settings = {"auto_mode": auto_mode, "chunk_length_schedule": [20, 1000]}
            await talk.say(tok("Hi. There is more to come. And so on. And on.", **settings, flush=True))
            await talk.until("session_closed")
            assert [frame["text"] for frame in talk.told("generation_started")] == texts


async def test_no_chunk_is_longer_than_the_buffer() -> None:
    async with talking(STREAM) as (talk, _):
        await talk.say(tok("word " * 40, max_buffer_length=30, flush=True))
        await talk.until("session_closed")
        texts = [frame["text"] for frame in talk.told("generation_started")]
        assert "".join(texts) == "word " * 40
        assert all(len(text) <= 30 for text in texts[:-1])


async def test_closing_the_socket_ends_the_turn_first() -> None:
    async with talking(STREAM) as (talk, _):
        await talk.say(tok("All of it"), {"close_socket": True})
        assert (await talk.to_the_end()).code == 1000
        assert [kind for kind in kinds(talk.frames) if kind != "audio"] == [
            kind for kind in TURN if kind != "audio"
        ]
        assert len(talk.audio()) == 2 * 240 * 9


# --- errors ------------------------------------------------------------------------------------------


async def failed(talk: Any, *messages: Any) -> dict[str, Any]:
    await talk.say(*messages)
    error: dict[str, Any] = await talk.until("error")
    return error


async def test_text_without_a_voice_is_refused_once_and_the_turns_end_answered() -> None:
    async with talking(STREAM) as (talk, _):
        error = await failed(talk, *[{"text": "Hello. "}] * 3)
        assert (error["error_code"], error["code"]) == ("MISSING_VOICE_ID", 400)
        assert "context_id" not in error
        assert kinds(await talk.answers(FLUSH, "session_closed")) == ["session_closed"]
        assert kinds(await talk.answers(tok("Hello.", flush=True), "session_closed")) == TURN


@pytest.mark.parametrize("blank", ["", " ", "Hi."])
@pytest.mark.parametrize("pause", [False, True])
async def test_a_wrong_setting_is_refused_and_every_flush_answered(blank: str, pause: bool) -> None:
    async with talking(STREAM) as (talk, _):
        await failed(talk, tok(blank, speed=9))
        if pause:
            await talk.for_a_while(0.02)
        await talk.say({"text": "Hello. ", **VOICE})
        if pause:
            await talk.for_a_while(0.02)
        await talk.say(FLUSH)
        await talk.until("session_closed", seconds=2)
        assert kinds(await talk.answers(tok("Hello.", flush=True), "session_closed")) == TURN
        assert len(talk.told("error")) == 1


@pytest.mark.parametrize("text", ["", " ", None])
async def test_a_wrong_setting_without_text_fails_no_turn(text: str | None) -> None:
    async with talking(STREAM) as (talk, _):
        await talk.say(tok("Hel"))
        await failed(talk, {"text": text, "flush": False, "speed": 9})
        await talk.say({"text": "lo."})
        frames = await talk.answers({"text": text, "flush": True, "sample_rate": 5}, "session_closed")
        assert kinds(frames)[0] == "error"
        assert frames[-1]["usage"]["characters"] == 6 + 2 * len(text or "")
        assert len(talk.told("error")) == 2


@pytest.mark.parametrize("fault", [{"speed": 9}, {"voice_id": "nobody"}], ids=str)
@pytest.mark.parametrize("end", [FLUSH, CLOSE, END], ids=str)
async def test_a_message_that_fails_and_ends_its_turn_is_answered_once(
    fault: dict[str, Any], end: dict[str, Any]
) -> None:
    """A second answer would end the next turn for the SDKs."""
    async with talking(STREAM, breaking()) as (talk, _):
        await talk.say(tok("Hello.", **fault) | end)
        await talk.until("session_closed")
        assert kinds(talk.frames) == ["error", "session_closed"]
        assert await talk.for_a_while(0.02) == []


@pytest.mark.parametrize("end", [FLUSH, CLOSE, CANCEL], ids=str)
async def test_an_end_without_a_turn_is_answered_whatever_the_voice(end: dict[str, Any]) -> None:
    """A turn in a voice that does not exist fails; its end is answered all the same, and nobody speaks."""
    async with talking(STREAM, breaking()) as (talk, _):
        await failed(talk, tok("Hello.", voice_id="nobody"))
        answer = "interrupted" if end is CANCEL else "session_closed"
        for _ in range(2):
            assert kinds(await talk.answers(end, answer)) == [answer]


@pytest.mark.parametrize("end", [FLUSH, CLOSE, CANCEL], ids=str)
async def test_a_turn_that_fails_while_it_is_fed(end: dict[str, Any]) -> None:
    engine = breaking(fails_after=2)
    async with talking(STREAM, engine) as (talk, _):
        error = await failed(talk, tok("x" * 60 + ". Next"))
        assert error["error_code"] == "INTERNAL_ERROR"
        sent = sum(frame["samples"] for frame in talk.told("audio")) / 24000
        await talk.say(tok("the rest of it, which is not spoken."))
        engine.fails_after = float("inf")
        (answer,) = await talk.answers(end, "interrupted" if end is CANCEL else "session_closed")
        assert answer["usage"]["audio_seconds"] == pytest.approx(sent, abs=0.001)
        await talk.answers(tok("Well again.", flush=True), "session_closed")
        assert talk.frames[-1]["usage"]["characters"] == 11


async def test_a_turn_that_fails_after_its_flush_has_its_answer() -> None:
    engine = breaking(fails_after=2)
    async with talking(STREAM, engine) as (talk, _):
        await talk.say(tok("x" * 60, flush=True))
        await talk.until("session_closed")
        assert kinds(talk.frames, "audio") == ["generation_started", "error", "session_closed"]
        engine.fails_after = float("inf")
        assert "error" not in kinds(await talk.answers(tok("Well again.", flush=True), "session_closed"))


@pytest.mark.parametrize(
    "message", ["{", "[]", {"text": 5}, {"update_settings": {"voice_id": 1}}, {"speed": 9}]
)
async def test_what_cannot_be_read_ends_no_turn(message: Any) -> None:
    async with talking(STREAM) as (talk, _):
        await talk.say(tok("Hel"))
        error = await failed(talk, message)
        assert error["error_code"] == "VALIDATION_ERROR"
        await talk.say(tok("lo."), FLUSH)
        closed = await talk.until("session_closed")
        assert closed["usage"]["characters"] == 6


@pytest.mark.virtual_time
async def test_a_turn_that_timed_out_and_failed_leaves_the_next_ones_warning_in_place() -> None:
    engine = breaking(fails_after=0)
    async with talking(STREAM, engine) as (talk, _):
        await talk.say(tok("Hello there", flush_timeout_ms=60_000))
        await talk.until("error")
        engine.fails_after = float("inf")
        await talk.answers(FLUSH, "session_closed")
        await talk.say(tok("Hello there", flush_timeout_ms=500))
        before = len(talk.frames)
        await talk.until("session_closed")
        assert kinds(talk.frames[before:]).count("warning") == 1
