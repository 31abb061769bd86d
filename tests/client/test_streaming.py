"""Turn by turn: tokens in, audio out, interruptions; over a server in memory in both dialects."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Literal

import anyio
import anyio.lowlevel
import pytest

from mux.cli.local import local_server
from mux.client import Session, SpeechError
from mux.client.chunking import CHUNKING, chunking_of
from mux.client.connect import session_over
from mux.client.errors import OverLimit, Refused, TimedOut
from mux.client.streaming import UNREAD, StreamingSession, streaming_over, streaming_session
from mux.client.turn import StreamingCallbacks, Turn
from mux.config import Settings
from mux.engines.base import Job
from mux.engines.tone import ToneEngine
from mux.links.memory import memory_pair
from mux.protocol.messages import Reason
from mux.protocol.voice import ContextSettings
from mux.testing import MemoryServer, memory_server

pytestmark = pytest.mark.anyio
Connect = Callable[..., AbstractAsyncContextManager[Session]]
Dialect = Literal["mux", "kugelaudio"]
DIALECTS: tuple[Dialect, ...] = ("mux", "kugelaudio")
BYTES_EACH = 160
"""What a character of `quick` sounds like: 10 ms of pcm_8000."""


def quick(**options: Any) -> ToneEngine:
    return ToneEngine(**{"sample_rate": 8000, "character_seconds": 0.01, **options})


@asynccontextmanager
async def speaking(
    engine: ToneEngine | None = None, *, dialect: Dialect = "mux", **options: Any
) -> AsyncIterator[tuple[StreamingSession, MemoryServer]]:
    settings = ContextSettings(voice="default")
    async with (
        memory_server(engine or quick()) as server,
        server.connect(dialect=dialect, output_format="pcm_8000", settings=settings) as session,
        streaming_over(session, **options) as streaming,
    ):
        yield streaming, server


async def alone(text: str, voice: str = "default") -> bytes:
    async with quick().start(1) as (synthesizer,), synthesizer.speak(Job(text, voice)) as chunks:
        return b"".join([chunk.pcm async for chunk in chunks])


async def heard(turn: Turn) -> bytes:
    return b"".join([chunk.audio async for chunk in turn])


async def next_of(session: StreamingSession) -> Turn:
    return await anext(session.turns())


# --- speaking ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_tokens_become_turns_of_audio_on_one_socket(dialect: Dialect) -> None:
    texts = ["The first answer, of some length.", "Another one.", "And the last."]
    spoken: list[bytes] = []
    async with speaking(dialect=dialect) as (session, server), anyio.create_task_group() as tasks:

        async def play() -> None:
            async for turn in session.turns():
                spoken.append(await heard(turn))

        tasks.start_soon(play)
        for text in texts:
            for letter in text:
                await session.send(letter)
            usage = await session.end_session()
            assert usage is not None
            assert session.last_usage == usage
            if dialect == "mux":
                assert usage.characters_accepted == len(text)
        await session.close()
    assert [len(audio) for audio in spoken] == [len(text) * BYTES_EACH for text in texts]
    assert len(server.transports) == 1


@pytest.mark.virtual_time
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_thousand_tokens_cost_no_waiting(dialect: Dialect) -> None:
    async with speaking(quick(delay=3.0), dialect=dialect) as (session, _):
        begun = anyio.current_time()
        for _ in range(1000):
            await session.send("tok ")
        assert anyio.current_time() == begun
        await session.cancel_current()


@pytest.mark.virtual_time
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_the_end_of_a_turn_is_known_without_any_idle_waiting(dialect: Dialect) -> None:
    async with speaking(quick(delay=0.5), dialect=dialect) as (session, _):
        begun = anyio.current_time()
        await session.send("Short.")
        await session.end_session()
        assert anyio.current_time() - begun == pytest.approx(0.5, abs=0.001)


@pytest.mark.virtual_time
async def test_flush_speaks_now_and_the_turn_goes_on() -> None:
    async with speaking() as (session, _):
        await session.send("Well", flush=True)
        turn = await next_of(session)
        assert (await anext(turn)).audio == await alone("Well")
        await session.send(" then.")
        await session.end_session()
        assert len(await heard(turn)) == 6 * BYTES_EACH


@pytest.mark.virtual_time
async def test_the_next_turn_may_be_sent_while_the_last_one_is_still_spoken() -> None:
    async with speaking(quick(delay=1.0)) as (session, _), anyio.create_task_group() as tasks:
        await session.send("One.")
        tasks.start_soon(session.end_session)
        await anyio.wait_all_tasks_blocked()
        await session.send("Number two.")
        tasks.start_soon(session.end_session)
        turns = session.turns()
        first, second = await anext(turns), await anext(turns)
        assert (first.number, second.number) == (1, 2)
        assert (len(await heard(first)), len(await heard(second))) == (4 * BYTES_EACH, 11 * BYTES_EACH)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_new_configuration_holds_from_the_next_turn_on(dialect: Dialect) -> None:
    async with speaking(dialect=dialect) as (session, _):
        await session.send("Same words.")
        session.update_config(voice="bob", settings={"speed": 0.8})
        await session.send(" And")
        await session.end_session()
        await session.send("Same words.")
        await session.end_session()
        session.update_config(settings={})
        await session.send("Same words.")
        await session.end_session()
        await session.close()
        first, second, third = [await heard(turn) async for turn in session.turns()]
    assert len(first) == 15 * BYTES_EACH
    assert len(second) == 11 * BYTES_EACH / 0.8
    assert third == await alone("Same words.", "bob")


async def test_a_bad_configuration_is_refused_and_changes_nothing() -> None:
    async with speaking() as (session, _):
        with pytest.raises(Refused, match=r"voice_settings\.speed"):
            session.update_config(voice="bob", settings={"speed": 7})
        with pytest.raises(Refused, match="Name one of low-latency, balanced, high-quality"):
            session.update_config(voice="bob", chunking="fast")
        for schedule in ((), (3,), (50, 501)):
            with pytest.raises(Refused, match="from 5 to 500"):
                session.update_config(voice="bob", chunking=schedule)
        await session.send("Hm.")
        await session.end_session()
        assert await heard(await next_of(session)) == await alone("Hm.")


# --- chunking ----------------------------------------------------------------------------------------


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("dialect", "chunking", "needed"),
    [
        ("mux", "low-latency", 50),
        ("mux", "balanced", 80),
        ("mux", "high-quality", 120),
        ("mux", (200,), 200),
        # There a piece ends with a sentence, which is over when the next one begins.
        ("kugelaudio", "low-latency", 13 + 1),
        ("kugelaudio", "balanced", 7 * 13 + 1),
        ("kugelaudio", "high-quality", 10 * 13 + 1),
    ],
)
async def test_a_preset_says_how_much_text_is_gathered(
    dialect: Dialect, chunking: str | Sequence[int], needed: int
) -> None:
    async with speaking(dialect=dialect) as (session, _), anyio.create_task_group() as tasks:
        session.update_config(chunking=chunking)
        begun = anyio.Event()

        async def play() -> None:
            await anext(await next_of(session))
            begun.set()

        tasks.start_soon(play)
        sent = 0
        while not begun.is_set():
            await session.send("One two six. "[sent % 13])
            sent += 1
            await anyio.sleep(0.01)
        assert sent == needed
        await session.cancel_current()


def test_the_presets_are_the_documented_ones() -> None:
    assert {name: preset.schedule for name, preset in CHUNKING.items()} == {
        "low-latency": (50, 100, 150, 250),
        "balanced": (80, 150, 250),
        "high-quality": (120, 200, 300),
    }
    assert chunking_of("low-latency", "kugelaudio")["auto_mode"] is True
    assert chunking_of("balanced", "kugelaudio")["auto_mode"] is False
    assert "auto_mode" not in chunking_of("low-latency", "elevenlabs")


# --- interruptions -----------------------------------------------------------------------------------

STORY = "A long story that nobody wants to hear to its very end. " * 4


@pytest.mark.virtual_time
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_an_interruption_stops_the_audio_at_the_call_and_tells_what_was_heard(dialect: Dialect) -> None:
    async with speaking(quick(chunk_delay=0.06), dialect=dialect) as (session, server):
        got: list[int] = []
        ended_at: list[float] = []
        async with anyio.create_task_group() as tasks:

            async def play() -> None:
                turn = await next_of(session)
                async for chunk in turn:
                    got.append(len(chunk.audio))
                ended_at.append(anyio.current_time())
                assert turn.interrupted

            tasks.start_soon(play)
            await session.send(STORY, flush=True)
            await anyio.sleep(1.5)  # KugelAudio's wire tells the times of words when their piece is complete
            called, before = anyio.current_time(), len(got)
            (turn,) = await session.cancel_current()
            assert ended_at in ([], [called])
        assert ended_at == [called]
        assert len(got) == before
        assert turn.ended is not None
        assert turn.ended.reason is Reason.CANCELLED
        assert turn.audio_ms == sum(got) / 16
        spoken, unspoken = turn.split(200)
        assert spoken + unspoken == STORY
        assert spoken.rstrip() == "A long story that"  # 17 characters of 10 ms, then half a word
        assert session.last_usage == turn.usage
        await anyio.sleep(2)
        assert session.session.dropped_frames == 0
        assert server.service.contexts == 0


@pytest.mark.virtual_time
async def test_the_next_turn_is_heard_while_the_interruption_is_still_on_its_way() -> None:
    async with speaking(quick(chunk_delay=0.06)) as (session, _), anyio.create_task_group() as tasks:
        await session.send(STORY, flush=True)
        turns = session.turns()
        await anext(await anext(turns))
        begun = anyio.current_time()
        tasks.start_soon(session.cancel_current)
        await anyio.wait_all_tasks_blocked()
        await session.send("Sorry?", flush=True)
        answer = await anext(turns)
        assert (await anext(answer)).audio == await alone("Sorry?")
        assert anyio.current_time() == begun
        assert answer.split(1000) == ("Sorry?", "")


@pytest.mark.virtual_time
async def test_an_interruption_also_stops_what_was_ended_but_not_heard_yet() -> None:
    async with speaking(quick(chunk_delay=0.06)) as (session, _), anyio.create_task_group() as tasks:
        for text in (STORY, "And another thing."):
            await session.send(text)
            tasks.start_soon(session.end_session)
            await anyio.sleep(0.01)
        turns = session.turns()
        first = await anext(turns)
        await anext(first)
        stopped = await session.cancel_current()
        assert [turn.number for turn in stopped] == [1, 2]
        assert [chunk async for chunk in first] == []
        assert [chunk async for chunk in await anext(turns)] == []
        assert stopped[1].split(0) == ("", "And another thing.")
        assert await session.cancel_current() == []


@pytest.mark.virtual_time
async def test_a_turns_block_is_left_at_an_interruption_whatever_it_waits_for() -> None:
    steps: list[str] = []
    async with speaking() as (session, _), anyio.create_task_group() as tasks:

        async def answer(words: Sequence[str], thinking: float) -> None:
            async with session.turn() as turn:
                for word in words:
                    await turn.send(word)
                    await anyio.sleep(thinking)
                steps.append("never")
            steps.append(f"{turn.number} interrupted {turn.interrupted} at {anyio.current_time() - begun:g}")
            with pytest.raises(SpeechError, match=r"begin another one|was closed"):
                await turn.send("too late")

        begun = anyio.current_time()
        tasks.start_soon(answer, ["One ", "two "], 10.0)
        tasks.start_soon(answer, [], 0.0)
        await anyio.sleep(1)
        (turn,) = await session.cancel_current()
        await anyio.wait_all_tasks_blocked()
        assert turn.split(10_000) == ("", "One ")
    assert "1 interrupted True at 1" in steps


@pytest.mark.virtual_time
async def test_a_model_that_has_not_said_a_word_yet_is_interrupted_too() -> None:
    async with speaking() as (session, _), anyio.create_task_group() as tasks:
        left: list[Turn] = []

        async def answer() -> None:
            async with session.turn() as turn:
                await anyio.sleep(30)
                await turn.send("Much too late.")
            left.append(turn)

        tasks.start_soon(answer)
        await anyio.sleep(1)
        assert await session.cancel_current() == []
        await anyio.wait_all_tasks_blocked()
        assert left
        assert left[0].interrupted
        assert left[0].error is None
        await session.close()
        assert [turn async for turn in session.turns()] == []


@pytest.mark.virtual_time
async def test_an_exception_in_a_turns_block_interrupts_the_turn_alone() -> None:
    async with speaking(quick(chunk_delay=0.06)) as (session, _):

        async def answer() -> None:
            async with session.turn() as turn:
                await turn.send(STORY, flush=True)
                await anyio.sleep(0.5)
                raise KeyError("the model broke")

        with pytest.raises(KeyError):
            await answer()
        turn = await next_of(session)
        assert turn.interrupted
        assert await heard(turn) == b""
        await session.send("Next.")
        await session.end_session()
        assert await heard(await next_of(session)) == await alone("Next.")


# --- failures ----------------------------------------------------------------------------------------


@pytest.mark.virtual_time
async def test_a_failed_turn_raises_in_its_place_and_the_next_one_goes_on() -> None:
    class Choosy(ToneEngine):
        def check(self, voice: str | None, language: str | None) -> str | None:
            return "Nobody has no voice." if voice == "nobody" else None

    async with speaking(Choosy(8000, 0.01)) as (session, _):
        turns = session.turns()
        session.update_config(voice="nobody")
        await session.send("Not heard.")
        with pytest.raises(SpeechError) as caught:
            await session.end_session()
        assert caught.value.code == "unknown_voice"
        session.update_config(voice="bob")
        await session.send("Heard.")
        await session.end_session()
        failed = await anext(turns)
        with pytest.raises(SpeechError) as caught:
            await heard(failed)
        assert caught.value.code == "unknown_voice"
        assert caught.value.unspoken == "Not heard."
        assert await heard(await anext(turns)) == await alone("Heard.", "bob")


@pytest.mark.virtual_time
async def test_a_turn_that_cannot_be_opened_fails_for_who_sends_and_who_reads() -> None:
    ours, theirs = memory_pair()
    async with session_over(ours) as inner, streaming_over(inner) as session:
        theirs.cut()
        await anyio.sleep(0.1)
        for _ in range(2):
            with pytest.raises(SpeechError) as caught:
                await session.send("Hello?")
            assert caught.value.code == "connection_lost"
        turn = await next_of(session)
        with pytest.raises(SpeechError) as caught:
            await anext(turn)
        assert caught.value.code == "connection_lost"
        assert turn.split(0) == ("", "Hello?")
        with pytest.raises(SpeechError):
            await session.end_session()
        assert await session.end_session() is None
        assert not session.is_connected


@pytest.mark.virtual_time
async def test_a_lost_socket_fails_the_turn_and_half_an_answer_is_not_begun() -> None:
    async with speaking(quick(chunk_delay=0.06)) as (session, server):
        await session.send(STORY, flush=True)
        turn = await next_of(session)
        await anext(turn)
        server.transports[0].cut()
        with pytest.raises(SpeechError) as caught:
            await heard(turn)
        assert caught.value.code == "connection_lost"
        for _ in range(2):
            with pytest.raises(SpeechError):
                await session.send("the rest of it")
        assert server.service.contexts == 0


@pytest.mark.virtual_time
@pytest.mark.parametrize("how", ["end_session", "cancel_current"])
async def test_a_silent_server_holds_nobody_up_for_ever(how: str) -> None:
    ours, theirs = memory_pair(unread_bytes=1_000_000)
    async with session_over(ours) as inner, streaming_over(inner) as session:
        await session.send("Hello?")
        begun = anyio.current_time()
        if how == "end_session":
            with pytest.raises(TimedOut):
                await session.end_session()
            assert anyio.current_time() - begun == pytest.approx(30, abs=10)
        else:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(session.cancel_current)
                # Who plays is told at once all the same.
                assert await heard(await next_of(session)) == b""
                assert anyio.current_time() == begun
            assert anyio.current_time() - begun == 5.0
        await theirs.aclose()


@pytest.mark.virtual_time
async def test_turns_that_nobody_reads_are_bounded() -> None:
    async with speaking() as (session, _):
        for _ in range(UNREAD):
            await session.send("Nobody listens.")
            await session.end_session()
        with pytest.raises(OverLimit, match="wait to be read") as caught:
            await session.send("Not even to this.")
        assert caught.value.code == "slow_consumer"


@pytest.mark.virtual_time
async def test_a_closed_session_takes_no_text() -> None:
    async with speaking(quick(delay=1)) as (session, _):
        await session.send("The very last words.")
        await session.close()
        with pytest.raises(SpeechError, match="was closed"):
            await session.send("More.")
        assert [await heard(turn) async for turn in session.turns()] == [await alone("The very last words.")]


# --- cancelling --------------------------------------------------------------------------------------


@pytest.mark.virtual_time
@pytest.mark.parametrize("after", [0, 1, 2, 3, 4, 6, 9, 15])
async def test_whoever_is_cancelled_the_session_goes_on(after: int) -> None:
    """Feeder and reader are cancelled after some steps; the next turn is as if nothing had happened."""
    async with speaking(quick(chunk_delay=0.06)) as (session, server):

        async def feed() -> None:
            for word in STORY.split():
                await session.send(word + " ")
            await session.end_session()

        async def read() -> None:
            async for turn in session.turns():
                await heard(turn)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(feed)
            tasks.start_soon(read)
            for _ in range(after):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        await session.cancel_current()
        await session.send("Fine.")
        await session.end_session()
        await session.close()
        *_, last = [turn async for turn in session.turns()]
        assert await heard(last) == await alone("Fine.")
    await anyio.sleep(1)
    assert server.service.contexts == 0


@pytest.mark.virtual_time
async def test_nobody_waits_for_a_session_that_was_left_by_an_exception() -> None:
    async with anyio.create_task_group() as tasks:

        async def read(session: StreamingSession) -> None:
            async for turn in session.turns():
                await heard(turn)

        async def leave() -> None:
            async with speaking(quick(delay=5)) as (session, _):
                tasks.start_soon(read, session)
                await session.send(STORY)
                await anyio.sleep(1)
                raise KeyError("mine")

        with pytest.raises(KeyError):
            await leave()


# --- callbacks ---------------------------------------------------------------------------------------


@pytest.mark.virtual_time
async def test_callbacks_tell_everything_in_order() -> None:
    told: list[Any] = []

    async def chunk(chunk: Any) -> None:
        if not told or told[-1] != ("chunk", chunk.context):
            told.append(("chunk", chunk.context))
        await anyio.lowlevel.checkpoint()

    callbacks = StreamingCallbacks(
        on_turn=lambda turn: told.append(("turn", turn.number)),
        on_chunk=chunk,
        on_final=lambda turn: told.append(("final", turn.number)),
        on_interrupted=lambda turns: told.append(("interrupted", [turn.number for turn in turns])),
        on_session_closed=lambda turn, usage: told.append(
            ("closed", turn.number, usage and usage.characters_accepted)
        ),
        on_error=lambda error, turn: told.append((error.code, turn.number)),
    )
    async with speaking(quick(chunk_delay=0.06), callbacks=callbacks) as (session, server):
        with pytest.raises(ValueError, match="callbacks"):
            session.turns()
        await session.send("One.")
        await session.end_session()
        await anyio.sleep(0.1)
        await session.send(STORY, flush=True)
        await anyio.sleep(0.5)
        await session.cancel_current()
        await session.cancel_current()
        await session.send("Three.")
        await session.end_session()
        await session.send("Four.", flush=True)
        await anyio.sleep(0.1)
        server.transports[0].cut()
        await anyio.sleep(0.1)
    assert told.pop()[:2] == ("closed", 4)
    assert told == [
        ("turn", 1),
        ("chunk", "turn-1"),
        ("final", 1),
        ("closed", 1, 4),
        ("turn", 2),
        ("chunk", "turn-2"),
        ("interrupted", [2]),
        ("closed", 2, len(STORY)),
        ("interrupted", []),
        ("turn", 3),
        ("chunk", "turn-3"),
        ("final", 3),
        ("closed", 3, 6),
        ("turn", 4),
        ("chunk", "turn-4"),
        ("connection_lost", 4),
    ]


@pytest.mark.virtual_time
async def test_leaving_the_block_waits_until_slow_callbacks_know_all() -> None:
    heard_bytes = 0

    async def play(chunk: Any) -> None:
        nonlocal heard_bytes
        await anyio.sleep(len(chunk.audio) / 16000)
        heard_bytes += len(chunk.audio)

    async with speaking(callbacks=StreamingCallbacks(on_chunk=play)) as (session, _):
        await session.send(STORY * 10)
    assert heard_bytes == len(STORY * 10) * BYTES_EACH


# --- everywhere --------------------------------------------------------------------------------------


async def test_the_same_with_every_service(connect: Connect) -> None:
    async with connect() as inner, streaming_over(inner, chunking="low-latency") as session:
        sizes: list[int] = []

        async def play() -> None:
            async for turn in session.turns():
                sizes.append(len(await heard(turn)))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(play)
            for text in ("The first answer. ", "And the second one, by the word."):
                async with session.turn() as turn:
                    for word in text.split(" "):
                        await turn.send(word + " ")
                await turn.wait_spoken()
            while len(sizes) < 2:  # what is not read is broken off, too
                await anyio.lowlevel.checkpoint()
            await session.send("This is a story that is broken off. " * 5, flush=True)
            await session.cancel_current()
            await session.send("Yes?")
            usage = await session.end_session()
            await session.close()
    assert usage is not None
    assert usage.characters_accepted == 4
    assert session.last_usage == usage
    assert len(sizes) == 4
    assert sizes[0] == pytest.approx(19 * 2400, abs=2 * 2400)
    assert sizes[1] == pytest.approx(33 * 2400, abs=2 * 2400)
    assert sizes[3] == 4 * 2400


# --- over a socket -----------------------------------------------------------------------------------


async def test_over_a_real_socket() -> None:
    async with (
        local_server(Settings(engine="tone", api_keys=("sesame",))) as url,
        streaming_session(
            url, api_key="sesame", voice="bob", output_format="pcm_8000", chunking="low-latency"
        ) as session,
    ):
        assert session.is_connected
        async with session.turn() as turn:
            for word in ("Over ", "the ", "network."):
                await turn.send(word)
        assert len(await heard(await next_of(session))) == 17 * 800
        await session.close()
        assert not session.is_connected


@pytest.mark.parametrize("options", [{"chunking": "slow"}, {"settings": {"speed": 9}}])
async def test_a_bad_option_is_refused_by_name(options: dict[str, Any]) -> None:
    async with local_server(Settings(engine="tone")) as url:
        with pytest.raises(Refused):
            async with streaming_session(url, **options):
                pass
