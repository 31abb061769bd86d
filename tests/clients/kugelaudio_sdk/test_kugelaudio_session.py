"""The kugelaudio SDK for Python, unmodified: turns on `/ws/tts/stream`."""

from __future__ import annotations

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
    models,
    opened,
    run,
    sdk,
    streaming,
    tokens,
)

pytestmark = MARKS


def test_a_turn_token_by_token(server: Any, seconds_of: Callable[[str, str], float]) -> None:
    async def main() -> tuple[Heard, Any, Any]:
        async with (
            opened(server.http) as client,
            client.tts.streaming_session(voice_id=VOICE, language="en") as session,
        ):
            heard = Heard()
            for token in tokens(TEXT):
                async for chunk in session.send(token):
                    heard.add(chunk)
            await heard.all(session.drain())
            stats = await session.end_session()
            return heard, stats, session.last_usage

    heard, stats, usage = run(main)
    assert heard.seconds == approx(seconds_of(TEXT, str(VOICE)))
    assert stats["session_closed"] is True
    assert stats["total_audio_seconds"] == pytest.approx(heard.seconds, abs=0.01)
    assert usage.audio_seconds == pytest.approx(heard.seconds, abs=0.01)
    assert usage.characters == len("".join(tokens(TEXT)))
    assert usage.cost_cents is None
    assert not usage.cost_available


def test_flushed_turns_end_promptly_and_share_one_socket(
    server: Any, seconds_of: Callable[[str, str], float]
) -> None:
    async def main() -> list[Heard]:
        turns = []
        async with (
            opened(server.http) as client,
            client.tts.streaming_session(voice_id=VOICE, language="en") as session,
        ):
            turns.append(await listen(session.send(TEXT, flush=True)))
            await listen(session.send("Hello there, this is the first sentence. And here comes"))
            turns.append(await listen(session.flush()))
            turns.append(await listen(session.send(SORRY, flush=True)))
            for said in (session.last_usage.audio_seconds, session.last_final["total_audio_seconds"]):
                assert said == pytest.approx(turns[-1].seconds, abs=0.01)
            assert (await session.end_session())["session_closed"]
            turns.append(await listen(session.send(SORRY, flush=True)))
            assert await session.close()
        return turns

    seconds = {text: seconds_of(text, str(VOICE)) for text in (TEXT, SORRY)}
    whole, _, sorry, again = turns = run(main)
    assert all(heard.ended - heard.last < PROMPTLY for heard in turns)
    assert whole.seconds == approx(seconds[TEXT])
    assert sorry.seconds == pytest.approx(again.seconds) == approx(seconds[SORRY])
    server.logged("socket_closed", 1)
    assert len(server.logged("socket_opened", 1)) == 1
    assert [end["reason"] for end in server.logged("context_closed", 4)] == ["completed"] * 4


def test_another_voice_after_end_session(server: Any, seconds_of: Callable[[str, str], float]) -> None:
    async def main() -> list[Heard]:
        turns = []
        async with (
            opened(server.http) as client,
            client.tts.streaming_session(voice_id=VOICE, language="en") as session,
        ):
            for voice in (VOICE, OTHER, VOICE):
                session.update_config(voice_id=voice)
                await listen(session.send("Sorry, go ahead"))
                turns.append(await listen(session.drain()))
                await session.end_session()
        return turns

    first, other, again = run(main)
    assert first.seconds == pytest.approx(again.seconds)
    assert first.seconds != pytest.approx(other.seconds, abs=0.001)
    for heard, voice in ((first, VOICE), (other, OTHER)):
        assert heard.seconds == approx(seconds_of("Sorry, go ahead", str(voice)))


def test_what_is_not_drained_is_gone_with_the_session(
    server: Any, seconds_of: Callable[[str, str], float]
) -> None:
    """end_session throws the rest away; nothing of it may be heard in the next turn."""

    async def main() -> Heard:
        async with (
            opened(server.http) as client,
            client.tts.streaming_session(voice_id=VOICE, language="en") as session,
        ):
            await listen(session.send("Nobody listens to this any more"))
            stats = await session.end_session()
            assert stats["total_audio_seconds"] > 0
            return await listen(session.send(SORRY, flush=True))

    assert run(main).seconds == approx(seconds_of(SORRY, str(VOICE)))


def test_after_cancel_current_the_next_turn_is_clean(
    server: Any, seconds_of: Callable[[str, str], float]
) -> None:
    async def main() -> list[Heard]:
        async with (
            opened(server.http) as client,
            client.tts.streaming_session(voice_id=VOICE, language="en") as session,
        ):
            turns = []
            for text in (LONG, "Half a sentence that nobody"):
                await listen(session.send(text, flush=text is LONG), until=0.5)
                began = time.monotonic()
                await session.cancel_current()
                assert time.monotonic() - began < PROMPTLY
                turns.append(await listen(session.send(SORRY, flush=True)))
            await session.cancel_current()  # with nothing to cancel
            turns.append(await listen(session.send(SORRY, flush=True)))
            return turns

    seconds = seconds_of(SORRY, str(VOICE))
    for sorry in run(main):
        assert sorry.seconds == approx(seconds)
        assert sorry.ended - sorry.last < PROMPTLY
    (cut, *_) = server.logged("context_closed", 5)
    assert cut["reason"] == "cancelled"
    assert cut["audio_sent_ms"] < 60_000, "it would speak for four minutes"


def test_update_settings_is_acknowledged_and_heard_from_the_next_turn_on(
    server: Any, seconds_of: Callable[[str, str], float]
) -> None:
    async def main() -> tuple[Any, Heard]:
        async with (
            opened(server.http) as client,
            client.tts.streaming_session(voice_id=VOICE) as session,
        ):
            settings = await session.update_settings(speed=0.8, language="en")
            with pytest.raises(errors.ValidationError, match=r"0\.8"):
                await session.update_settings(speed=9)
            return settings, await listen(session.send(TEXT, flush=True))

    settings, heard = run(main)
    assert settings["speed"] == 0.8
    assert settings["language"] == "en"
    assert settings["temperature"] is None, "it was never set"
    assert heard.seconds == approx(seconds_of(TEXT, str(VOICE)) / 0.8)


@pytest.mark.parametrize(("token", "rate", "width"), [("ulaw_8000", 8000, 1), ("pcm_16000", 16000, 2)])
def test_an_output_format_beside_the_default_sample_rate(
    server: Any, seconds_of: Callable[[str, str], float], token: str, rate: int, width: int
) -> None:
    """The SDK says `sample_rate: 24000` in any case."""

    async def main() -> list[Heard]:
        one, many = Heard(width), Heard(width)
        config = models.StreamConfig(voice_id=VOICE, output_format=token, language="en")
        async with streaming.StreamingSession("any", server.http, config=config) as session:
            await one.all(session.send(TEXT, flush=True))
        async with streaming.MultiContextSession(
            "any", server.http, default_voice_id=VOICE, output_format=token, language="en"
        ) as contexts:
            await many.all(contexts.send("a", TEXT, flush=True))
        return [one, many]

    for heard in run(main):
        assert len(heard.audio) / width / heard.seconds == pytest.approx(rate)
        assert heard.seconds == approx(seconds_of(TEXT, str(VOICE)))


def test_word_times_of_a_session(server: Any) -> None:
    words = Words()

    async def main() -> float:
        async with (
            opened(server.http) as client,
            client.tts.streaming_session(
                voice_id=VOICE, language="en", word_timestamps=True, on_word_timestamps=words
            ) as session,
        ):
            heard = await listen(session.send(TEXT, flush=True))
            last = [word.word for word in session.last_word_timestamps]
            assert last == SENTENCES[-1].split(), "the words of the last chunk, says the SDK"
            return heard.seconds

    words.check(SENTENCES, run(main))


def test_the_synchronous_session(server: Any, seconds_of: Callable[[str, str], float]) -> None:
    with (
        sdk.KugelAudio(api_key="any", api_url=server.http) as client,
        client.tts.streaming_session_sync(voice_id=VOICE, language="en") as session,
    ):
        chunks = [chunk for token in tokens(SORRY) for chunk in session.send(token)]
        chunks += session.drain()
        session.cancel_current()
        again = session.send(SORRY, flush=True)
        assert session.update_settings(speed=1.1)["speed"] == 1.1
    for turn in (chunks, again):
        assert sum(chunk.duration_seconds for chunk in turn) == approx(seconds_of(SORRY, str(VOICE)))


@pytest.mark.parametrize("flush", [True, False])
def test_a_session_goes_on_after_an_error(
    server: Any, seconds_of: Callable[[str, str], float], flush: bool
) -> None:
    """A text without a voice; after it the SDK waits for the end of the turn, if that was flushed."""

    async def main() -> Heard:
        async with opened(server.http) as client, client.tts.streaming_session(language="en") as session:
            with pytest.raises(errors.ValidationError) as refused:
                await listen(session.send(SORRY, flush=flush))
            assert refused.value.error_code == "MISSING_VOICE_ID"
            assert refused.value.request_id
            began = time.monotonic()
            await session.end_session()
            assert time.monotonic() - began < PROMPTLY
            session.update_config(voice_id=VOICE)
            return await listen(session.send(SORRY, flush=True))

    assert run(main).seconds == approx(seconds_of(SORRY, str(VOICE)))
