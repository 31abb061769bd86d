"""Formats on all three sockets, and what their usage says."""

from __future__ import annotations

import math
from typing import Any

import pytest
from talking import MULTI, REQUESTS, STREAM, VOICE, Frame, audio_of, kinds, opened, quick, talking

from mux.config import Settings
from mux.engines.tone import ToneEngine

pytestmark = pytest.mark.anyio
PATHS = [MULTI, STREAM, REQUESTS]
WIRE: dict[str, tuple[str, int, int]] = {
    **{f"pcm_{rate}": ("pcm_s16le", rate, 2) for rate in (8000, 16000, 22050, 24000)},
    "ulaw_8000": ("mulaw", 8000, 1),
    "alaw_8000": ("alaw", 8000, 1),
}
PRICED = Settings(
    engine="tone", price_cents_per_minute=6.0, price_cents_per_1000_characters=10.0, currency="usd"
)
TEXT = "Ten chars. And some more of them."


def whole(path: str, text: str = TEXT, **more: Any) -> Frame:
    """One message that says it all, on any of the sockets."""
    message = {"text": text, **VOICE, **more}
    return message if path == REQUESTS else {**message, "context_id": "a", "flush": True}


async def ended(talk: Any, path: str) -> Frame:
    """Read to the end that has usage."""
    if path == MULTI:
        await talk.say({"close_context": True, "context_id": "a"})
    end = {MULTI: "context_closed", STREAM: "session_closed", REQUESTS: "final"}[path]
    frame: Frame = await talk.until(end)
    return frame


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("token", WIRE)
@pytest.mark.parametrize("rate", [8000, 22050, 24000])
async def test_every_format_lasts_as_long_as_it_says(path: str, token: str, rate: int) -> None:
    encoding, wire_rate, size = WIRE[token]
    async with talking(path, quick(sample_rate=rate)) as (talk, _):
        await talk.say(whole(path, output_format=token, sample_rate=24000))
        end = await ended(talk, path)
        audio = talk.told("audio")
        assert {(frame["enc"], frame["sr"]) for frame in audio} == {(encoding, wire_rate)}
        samples = sum(frame["samples"] for frame in audio)
        assert len(talk.audio()) == size * samples
        seconds = round(0.01 * rate) * len(TEXT) / rate
        assert samples / wire_rate == pytest.approx(seconds, abs=0.001)
        assert end["usage"]["audio_seconds"] == pytest.approx(seconds, abs=0.001)
        if path != REQUESTS:
            chunks = [frame["audio_seconds"] for frame in talk.told("chunk_complete")]
            assert math.fsum(chunks) == pytest.approx(samples / wire_rate, abs=1e-5)


@pytest.mark.parametrize("path", PATHS)
async def test_contradictions_are_errors_and_the_sdks_default_is_none(path: str) -> None:
    async with talking(path) as (talk, _):
        await talk.say(whole(path, output_format="alaw_8000", sample_rate=16000))
        error = await talk.until("error")
        assert (error["error_code"], error["mux"]["param"]) == ("VALIDATION_ERROR", "sample_rate")
    async with talking(path) as (talk, _):
        await talk.say(whole(path, output_format="pcm_16000", sample_rate=24000))
        await ended(talk, path)
        assert {frame["sr"] for frame in talk.told("audio")} == {16000}


@pytest.mark.parametrize("path", PATHS)
async def test_what_was_sent_is_charged(path: str) -> None:
    async with talking(path, settings=PRICED) as (talk, _):
        await talk.say(whole(path, model_id="kugel-3"))
        usage = (await ended(talk, path))["usage"]
        cost = 6 * 0.33 / 60 + 10 * 33 / 1000
        assert usage == {
            **{"audio_seconds": 0.33, "characters": 33, "cost_cents": pytest.approx(cost, abs=1e-6)},
            **{"currency": "usd", "model_id": "kugel-3"},
        }


@pytest.mark.parametrize("path", PATHS)
async def test_the_model_is_the_vendors_default_where_none_was_named(path: str) -> None:
    async with talking(path) as (talk, _):
        await talk.say({**whole(path), "model_id": ""})
        assert (await ended(talk, path))["usage"]["model_id"] == "kugel-3.5"


@pytest.mark.parametrize("path", PATHS)
async def test_a_price_that_nobody_set_is_unknown_and_not_nothing(path: str) -> None:
    async with talking(path) as (talk, _):
        await talk.say(whole(path))
        usage = (await ended(talk, path))["usage"]
        assert usage["cost_cents"] is None
        assert usage["cost_unavailable"] is True
    async with talking(path, settings=Settings(engine="tone", price_cents_per_minute=0)) as (talk, _):
        await talk.say(whole(path))
        usage = (await ended(talk, path))["usage"]
        assert (usage["cost_cents"], usage["currency"]) == (0, "eur")


@pytest.mark.virtual_time
@pytest.mark.parametrize("path", [MULTI, STREAM])
@pytest.mark.parametrize("token", ["pcm_24000", "pcm_8000", "ulaw_8000", "pcm_22050"])
@pytest.mark.parametrize("made", [24000, 16000, 44100])
async def test_a_cancel_costs_what_was_heard(path: str, token: str, made: int) -> None:
    """Nothing that the conversion still held back."""
    _, rate, _ = WIRE[token]
    async with talking(path, ToneEngine(made, chunk_delay=0.05), PRICED) as (talk, _):
        more = {"text": "Long. " * 100, "output_format": token, **VOICE, "context_id": "a", "flush": True}
        await talk.say(more)
        for _ in range(5):
            await talk.until("audio")
        if path == MULTI:
            await talk.say({"close_context": True, "context_id": "a", "immediate": True})
        else:
            await talk.say({"cancel": True})
        frame = await talk.until("context_closed" if path == MULTI else "interrupted")
        heard = sum(frame["samples"] for frame in talk.told("audio")) / rate
        # To a sample of either side.
        assert frame["usage"]["audio_seconds"] == pytest.approx(heard, abs=1 / rate + 1 / made)
        characters = frame["usage"]["characters"]
        assert 0 < characters < 200
        assert frame["usage"]["cost_cents"] == pytest.approx(
            frame["usage"]["audio_seconds"] / 10 + characters / 100, abs=1e-5
        )


async def test_usage_of_the_socket_is_the_sum_of_its_contexts() -> None:
    async with talking(MULTI, settings=PRICED) as (talk, _):
        for id in "abc":
            await talk.say({**opened(id), "text": f"This is {id}.", "flush": True})
            await talk.until("final", id)
        await talk.say({"close_context": True, "context_id": "b", "immediate": True})
        await talk.say({"text": "No.", "context_id": "c", "speed": 9}, {"close_socket": True})
        await talk.to_the_end()
        closed = [frame["usage"] for frame in talk.told("context_closed")]
        total = talk.frames[-1]
        assert len(closed) == 3
        assert total["usage"]["characters"] == sum(usage["characters"] for usage in closed)
        assert total["total_audio_seconds"] == total["usage"]["audio_seconds"]
        assert total["usage"]["audio_seconds"] == pytest.approx(
            sum(usage["audio_seconds"] for usage in closed)
        )
        assert total["usage"]["cost_cents"] == pytest.approx(sum(usage["cost_cents"] for usage in closed))


async def test_chunks_of_a_turn_add_up() -> None:
    async with talking(STREAM) as (talk, _):
        await talk.say({"text": "One. Two. Three. " * 30, "flush": True, "sample_rate": 16000, **VOICE})
        closed = await talk.until("session_closed")
        assert closed["total_text_chunks"] == kinds(talk.frames).count("chunk_complete") > 1
        assert closed["total_audio_chunks"] == kinds(talk.frames).count("audio")
        assert closed["total_audio_seconds"] == len(audio_of(talk.frames)) / 2 / 16000
