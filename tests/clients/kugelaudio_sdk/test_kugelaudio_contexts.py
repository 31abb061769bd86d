"""The kugelaudio SDK for Python, unmodified: contexts on `/ws/tts/multi`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from kugelaudio_ears import (
    LONG,
    MARKS,
    OTHER,
    PROMPTLY,
    SENTENCES,
    SORRY,
    TEXT,
    VOICE,
    Heard,
    Words,
    approx,
    errors,
    listen,
    opened,
    run,
)

pytestmark = MARKS


def test_contexts_with_their_voices_words_and_usage(
    server: Any, seconds_of: Callable[[str, str], float]
) -> None:
    words = Words()

    async def main() -> tuple[dict[str, Heard], Any, Any]:
        async with opened(server.http) as client:
            session = client.tts.multi_context_session(
                default_voice_id=VOICE, language="en", word_timestamps=True, on_word_timestamps=words
            )
            await session.connect()
            await session.create_context("a")
            await session.create_context("b", voice_id=OTHER)
            assert session.active_contexts == {"a", "b"}
            heard = {"a": await listen(session.send("a", TEXT, flush=True))}
            words.check(SENTENCES, heard["a"].seconds)
            last = [word.word for word in session.get_word_timestamps("a")]
            assert last == SENTENCES[-1].split(), "the words of the last chunk, says the SDK"
            await session.keep_alive("b")
            heard["b"] = await listen(session.send("b", TEXT, flush=True))
            heard["again"] = await listen(session.send("a", TEXT, flush=True))
            assert not (await listen(session.close_context("a"))).audio
            assert session.active_contexts == {"b"}
            usage = session.usage_for("a")
            stats = await session.close()
            assert session.usage_for("b").audio_seconds == pytest.approx(heard["b"].seconds, abs=0.01)
            return heard, usage, stats

    heard, usage, stats = run(main)
    assert heard["a"].seconds == approx(seconds_of(TEXT, str(VOICE)))
    assert heard["b"].seconds == approx(seconds_of(TEXT, str(OTHER)))
    assert heard["a"].seconds != pytest.approx(heard["b"].seconds, abs=0.001)
    assert heard["a"].seconds == pytest.approx(heard["again"].seconds, abs=0.01)
    assert all(turn.ended - turn.last < PROMPTLY for turn in heard.values())
    assert usage.audio_seconds == pytest.approx(2 * heard["a"].seconds, abs=0.01)
    assert usage.characters == 2 * len(TEXT)
    assert usage.cost_cents is None
    assert stats["session_closed"] is True
    total = sum(turn.seconds for turn in heard.values())
    assert stats["total_audio_seconds"] == pytest.approx(total, abs=0.05)


def test_a_graceful_close_speaks_what_was_not_flushed(
    server: Any, seconds_of: Callable[[str, str], float]
) -> None:
    async def main() -> float:
        async with (
            opened(server.http) as client,
            client.tts.multi_context_session(default_voice_id=VOICE, language="en") as session,
        ):
            heard = Heard()
            async for chunk in session.send("a", TEXT):
                heard.add(chunk)
            await heard.all(session.close_context("a"))
            assert session.usage_for("a").audio_seconds == pytest.approx(heard.seconds, abs=0.01)
            return heard.seconds

    assert run(main) == approx(seconds_of(TEXT, str(VOICE)))


def test_an_immediate_close_and_the_next_context(
    server: Any, seconds_of: Callable[[str, str], float]
) -> None:
    async def main() -> list[Heard]:
        async with (
            opened(server.http) as client,
            client.tts.multi_context_session(default_voice_id=VOICE, language="en") as session,
        ):
            turns = []
            for turn in range(2):
                cut = f"cut {turn}"
                await listen(session.send(cut, LONG, flush=True), until=0.5)
                began = time.monotonic()
                await listen(session.close_context(cut, immediate=True))
                assert time.monotonic() - began < PROMPTLY
                assert session.usage_for(cut).audio_seconds < 60
                turns.append(await listen(session.send(f"sorry {turn}", SORRY, flush=True)))
            await session.create_context("cut 0")  # an id may come back
            turns.append(await listen(session.send("cut 0", SORRY, flush=True)))
            return turns

    seconds = seconds_of(SORRY, str(VOICE))
    for sorry in run(main):
        assert sorry.seconds == approx(seconds)
        assert sorry.ended - sorry.last < PROMPTLY
    assert [end["reason"] for end in server.logged("context_closed", 5)].count("cancelled") == 2


def test_the_21st_context_is_refused_and_everything_else_goes_on(
    server: Any, seconds_of: Callable[[str, str], float]
) -> None:
    async def main() -> list[Heard]:
        async with (
            opened(server.http) as client,
            client.tts.multi_context_session(default_voice_id=VOICE, language="en") as session,
        ):
            for number in range(20):
                await session.create_context(f"c{number}")
            with pytest.raises(errors.RateLimitError) as refused:
                await session.create_context("c20")
            assert refused.value.error_code == "TOO_MANY_CONTEXTS"
            assert len(session.active_contexts) == 20
            heard = [await listen(session.send("c19", SORRY, flush=True))]
            await listen(session.close_context("c0", immediate=True))
            await asyncio.wait_for(session.create_context("c20"), 5)  # it waits for ever without an answer
            heard.append(await listen(session.send("c20", SORRY, flush=True)))
            return heard

    for heard in run(main):
        assert heard.seconds == approx(seconds_of(SORRY, str(VOICE)))


def test_settings_of_a_session_are_for_the_contexts_after_it(
    server: Any, seconds_of: Callable[[str, str], float]
) -> None:
    async def main() -> list[Heard]:
        async with (
            opened(server.http) as client,
            client.tts.multi_context_session(default_voice_id=VOICE, language="en") as session,
        ):
            await session.create_context("a")
            assert (await session.update_settings(speed=0.8))["speed"] == 0.8
            with pytest.raises(errors.ValidationError):
                await session.update_settings(temperature=7)
            return [await listen(session.send(context, TEXT, flush=True)) for context in "ab"]

    before, after = run(main)
    seconds = seconds_of(TEXT, str(VOICE))
    assert before.seconds == approx(seconds)
    assert after.seconds == approx(seconds / 0.8)


def test_a_context_that_was_refused_can_be_closed_and_used_again(
    server: Any, seconds_of: Callable[[str, str], float]
) -> None:
    """Its end goes by while the SDK listens to another context; a close is answered all the same."""

    async def main() -> Heard:
        async with (
            opened(server.http) as client,
            client.tts.multi_context_session(language="en") as session,
        ):
            with pytest.raises(errors.ValidationError) as refused:
                await listen(session.send("a", SORRY, flush=True))
            assert refused.value.error_code == "MISSING_VOICE_ID"
            await session.create_context("b", voice_id=VOICE)
            assert (await listen(session.send("b", SORRY, flush=True))).seconds
            await asyncio.wait_for(listen(session.close_context("a")), 5)  # it would wait for 30 s
            await session.create_context("a", voice_id=VOICE)
            return await listen(session.send("a", SORRY, flush=True))

    assert run(main).seconds == approx(seconds_of(SORRY, str(VOICE)))
