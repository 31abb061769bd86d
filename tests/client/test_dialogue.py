"""Turns of several voices: in order, without gaps, not too far ahead, and what an interruption tells."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any, Literal

import anyio
import anyio.lowlevel
import pytest

import mux
from mux.cli.local import local_server
from mux.client import Chunk, Session, SpeechError
from mux.client.connect import session_over
from mux.client.dialogue import Dialogue, DialogueTurn, Interrupted, dialogue
from mux.client.errors import OverLimit, Refused
from mux.client.feeding import is_between_sentences, sentences
from mux.client.playhead import Playhead
from mux.config import Settings
from mux.engines.base import Chunk as Spoken
from mux.engines.base import Job, Synthesizer
from mux.engines.tone import ToneEngine
from mux.links.memory import memory_pair
from mux.protocol.messages import Reason
from mux.protocol.voice import ContextSettings
from mux.testing import MemoryServer, memory_server

pytestmark = pytest.mark.anyio
Connect = Callable[..., AbstractAsyncContextManager[Session]]
Dialect = Literal["mux", "kugelaudio"]
MS_EACH = 10
BYTES_EACH = 160
"""What a character of `quick` sounds like: 10 ms of pcm_8000."""


def quick(**options: Any) -> ToneEngine:
    return ToneEngine(**{"sample_rate": 8000, "character_seconds": 0.01, **options})


@asynccontextmanager
async def served(
    engine: ToneEngine | None = None, *, dialect: Dialect = "mux", **options: Any
) -> AsyncIterator[tuple[Session, MemoryServer]]:
    settings = ContextSettings(voice="default")
    async with (
        memory_server(engine or quick()) as server,
        server.connect(
            dialect=dialect, **{"output_format": "pcm_8000", "settings": settings, **options}
        ) as session,
    ):
        yield session, server


@asynccontextmanager
async def speaking(
    engine: ToneEngine | None = None, *, dialect: Dialect = "mux", **options: Any
) -> AsyncIterator[Dialogue]:
    async with served(engine, dialect=dialect) as (session, _), dialogue(session, **options) as running:
        yield running


async def alone(text: str, voice: str = "default") -> bytes:
    async with quick().start(1) as (synthesizer,), synthesizer.speak(Job(text, voice)) as chunks:
        return b"".join([chunk.pcm async for chunk in chunks])


async def heard(chunks: AsyncIterator[Chunk]) -> bytes:
    return b"".join([chunk.audio async for chunk in chunks])


async def tokens(text: str, pause: float = 0.0) -> AsyncIterator[str]:
    for at in range(0, len(text), 3):
        await anyio.sleep(pause)
        yield text[at : at + 3]


class Player:
    """Plays at speaking pace, and counts the silence between what it was given."""

    def __init__(self) -> None:
        self.audio = bytearray()
        self.names: list[str] = []
        self.gaps: list[float] = []
        self.turns: list[DialogueTurn] = []

    async def play(self, running: Dialogue, *, stay: bool = False) -> None:
        until = None
        async for turn in running.turns(stay=stay):
            self.turns.append(turn)
            async for chunk in turn:
                now = anyio.current_time()
                if until is not None and now > until + 1e-6:
                    self.gaps.append(now - until)
                self.audio += chunk.audio
                self.names.append(chunk.context)
                until = max(until or now, now) + len(chunk.audio) / 16000
                await anyio.sleep(until - now)


# --- order -------------------------------------------------------------------------------------------

SCENE = [
    ("narrator", "The wolf came to the house of bricks. He knocked."),
    ("wolf", "Little pig, little pig, let me come in!"),
    ("pig", "Not by the hair of my chinny chin chin."),
    ("narrator", "So he huffed, and he puffed."),
]


@pytest.mark.parametrize("dialect", ["mux", "kugelaudio"])
async def test_turns_are_heard_in_order_each_with_its_voice(dialect: Dialect) -> None:
    voices = {"narrator": "n", "wolf": "w", "pig": "p"}
    async with speaking(dialect=dialect, voices=voices) as running:
        for number, (name, text) in enumerate(SCENE):
            running.say(name, text if number % 2 else tokens(text))
        chunks = [chunk async for chunk in running.audio()]
    parts = [await alone(text, voices[name]) for name, text in SCENE]
    if dialect == "mux":  # a text that is cut elsewhere has the same length, and another phase
        assert b"".join(chunk.audio for chunk in chunks)[: len(parts[0])] == parts[0]
    assert len(b"".join(chunk.audio for chunk in chunks)) == sum(map(len, parts))
    names = [chunk.context for chunk in chunks]
    assert [name for at, name in enumerate(names) if not at or names[at - 1] != name] == [
        name for name, _ in SCENE
    ]


@pytest.mark.virtual_time
@pytest.mark.parametrize("dialect", ["mux", "kugelaudio"])
async def test_the_next_turn_is_prepared_while_one_plays_so_that_there_is_no_gap(dialect: Dialect) -> None:
    # Every piece takes 0.1 s to begin, and is spoken twice as fast as it plays.
    player = Player()
    async with speaking(quick(delay=0.1, chunk_delay=0.03), dialect=dialect) as running:
        for name, text in SCENE * 2:
            running.say(name, text)
        begun = anyio.current_time()
        await player.play(running)
        took = anyio.current_time() - begun
    seconds = 2 * sum(len(text) for _, text in SCENE) * MS_EACH / 1000
    assert player.gaps == []
    assert len(player.audio) == seconds * 16000
    assert took == pytest.approx(0.1 + seconds, abs=0.05)


@pytest.mark.virtual_time
async def test_a_turn_may_be_said_while_others_are_heard() -> None:
    player = Player()
    async with speaking() as running, anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: player.play(running, stay=True))
        for name, text in SCENE:
            await anyio.sleep(10)
            running.say(name, text)
        running.end()
        with pytest.raises(SpeechError, match="was ended"):
            running.say("late", "Too late.")
    assert [turn.name for turn in player.turns] == [name for name, _ in SCENE]
    assert len(player.audio) == sum(len(text) for _, text in SCENE) * BYTES_EACH


async def test_clips_go_through_the_same_queue() -> None:
    jingle = bytes(range(256)) * 50
    async with speaking() as running:
        running.say("a", "Before.")
        running.clip(jingle, "Ding dong ding", name="bell")
        running.say("a", "After.")
        running.say("a", "   ")
        assert await heard(running.audio()) == await alone("Before.") + jingle + await alone("After.")
        with pytest.raises(Refused, match="even number of bytes"):
            running.clip(b"odd")


# --- look-ahead --------------------------------------------------------------------------------------

SENTENCE = "This sentence has forty characters, yes. "
"""0.41 s of `quick`."""


@pytest.mark.virtual_time
@pytest.mark.parametrize("source", ["text", "tokens"])
@pytest.mark.parametrize("dialect", ["mux", "kugelaudio"])
async def test_nobody_reads_and_no_more_is_spoken_than_the_look_ahead(dialect: Dialect, source: str) -> None:
    async with (
        served(dialect=dialect) as (session, server),
        dialogue(session, look_ahead=3.0, contexts=3) as running,
    ):
        for _ in range(5):
            text = SENTENCE * 10
            running.say("a", text if source == "text" else tokens(text))
        await anyio.sleep(600)
        turns = list(running._order)
        waits = sum(turn.received_ms for turn in turns) / 1000
        assert 2.5 <= waits <= 3.0 + 0.42
        assert server.service.contexts <= 3
        # Who then reads, hears all of it.
        assert len(await heard(running.audio())) == 50 * len(SENTENCE) * BYTES_EACH
        assert all(turn.error is None for turn in turns)


@pytest.mark.virtual_time
async def test_the_look_ahead_never_grows_and_playing_has_no_gap() -> None:
    player, most = Player(), 0.0
    async with speaking(quick(delay=0.2, chunk_delay=0.02), look_ahead=2.0) as running:

        async def watch() -> None:
            nonlocal most
            while True:
                await anyio.sleep(0.05)
                waits = sum(turn.received_ms - turn.released_ms for turn in running._order)
                most = max(most, waits / 1000)

        for number in range(6):
            running.say(f"speaker {number}", SENTENCE * (1 + 7 * (number % 2)))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await player.play(running)
            tasks.cancel_scope.cancel()
    assert player.gaps == []
    assert len(player.audio) == 27 * len(SENTENCE) * BYTES_EACH
    assert most <= 2.0 + 0.42


@pytest.mark.virtual_time
async def test_a_voice_that_is_faster_than_expected_is_fed_in_time() -> None:
    player = Player()
    async with speaking(quick(delay=0.05), look_ahead=1.0) as running:
        running.say("a", SENTENCE * 10)
        await player.play(running)
    assert player.gaps == []
    assert len(player.audio) == 10 * len(SENTENCE) * BYTES_EACH


class Untimed(ToneEngine):
    """Says nothing of where its characters are."""

    @asynccontextmanager
    async def start(self, workers: int) -> AsyncGenerator[Sequence[Synthesizer], None]:
        async with super().start(workers) as synthesizers:
            yield [_Untimed(synthesizer) for synthesizer in synthesizers]


class _Untimed:
    def __init__(self, inner: Synthesizer) -> None:
        self._inner = inner

    @asynccontextmanager
    async def speak(self, job: Job) -> AsyncGenerator[AsyncIterator[Spoken], None]:
        async def chunks() -> AsyncGenerator[Spoken, None]:
            async for chunk in timed:
                yield Spoken(chunk.pcm)

        async with self._inner.speak(job) as timed, aclosing(chunks()) as untimed:
            yield untimed


@pytest.mark.virtual_time
@pytest.mark.parametrize("engine", [ToneEngine, Untimed])
@pytest.mark.parametrize("speed", [0.002, 0.3])
async def test_a_voice_far_from_what_is_expected_is_heard_to_the_end(
    engine: type[ToneEngine], speed: float
) -> None:
    """Also where nothing tells which characters were spoken: then only silence tells that all were."""
    async with (
        served(engine(8000, speed)) as (session, _),
        dialogue(session, look_ahead=5.0) as running,
    ):
        for _ in range(2):
            running.say("a", SENTENCE * 20)
        played = len(await heard(running.audio()))
    assert played == pytest.approx(2 * 20 * len(SENTENCE) * speed * 16000, rel=0.01)


@pytest.mark.virtual_time
async def test_a_models_answer_is_not_read_before_its_turn_is_near() -> None:
    begun: list[int] = []

    async def answer(number: int) -> AsyncIterator[str]:
        begun.append(number)
        yield SENTENCE

    async with speaking(look_ahead=1.0, contexts=2) as running:
        running.clip(bytes(10 * 16000))
        for number in range(3):
            running.say("a", answer(number))
        await anyio.sleep(5)
        assert begun == []
        audio = running.audio()
        for _ in range(91):
            await anext(audio)
        await anyio.sleep(1)
        assert begun == [0]


@pytest.mark.parametrize("options", [{"look_ahead": 0}, {"look_ahead": float("nan")}, {"contexts": 0}])
async def test_a_bad_bound_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="look_ahead must be over 0"):
        async with speaking(**options):
            pass


async def test_what_waits_is_bounded() -> None:
    async with speaking() as running:
        clip = bytes(30 * 1024 * 1024)
        running.clip(clip)
        running.clip(clip)
        with pytest.raises(OverLimit, match="Read the audio"):
            running.clip(clip)


async def test_a_session_with_few_slots_is_enough() -> None:
    async with (
        served(contexts_per_socket=1, slot_timeout=0.5) as (session, _),
        dialogue(session, contexts=3) as running,
    ):
        for name, text in SCENE:
            running.say(name, text)
        assert len(await heard(running.audio())) == sum(len(text) for _, text in SCENE) * BYTES_EACH


# --- interruptions -----------------------------------------------------------------------------------


@pytest.mark.virtual_time
@pytest.mark.parametrize("dialect", ["mux", "kugelaudio"])
async def test_an_interruption_tells_what_was_spoken_and_drops_the_rest(dialect: Dialect) -> None:
    player = Player()
    async with (
        served(quick(chunk_delay=0.03), dialect=dialect) as (session, server),
        dialogue(session) as running,
        anyio.create_task_group() as tasks,
    ):
        first, second, third = (running.say(name, text) for name, text in SCENE[:3])
        tasks.start_soon(lambda: player.play(running, stay=True))
        # 49 characters of the first turn, then "Little pig, little" and half a word.
        await anyio.sleep(0.49 + 0.205)
        told = await running.interrupt()
        assert told.turn is second
        assert told.spoken == "Little pig, little "
        assert told.unspoken == "pig, let me come in!"
        assert told.spoken_ms == pytest.approx(205, abs=1)
        assert told.spoken_ms + told.unspoken_ms == pytest.approx(second.received_ms)
        assert told.dropped == (third,)
        assert (first.interrupted, second.interrupted, third.interrupted) == (False, True, True)
        before = len(player.audio)
        running.say("narrator", "Sorry?")
        running.end()
        await anyio.sleep(1)
        assert len(player.audio) - before == 6 * BYTES_EACH
        assert server.service.contexts == 0
        assert running.played_ms == pytest.approx(490 + 205 + 60, abs=1)
    assert [turn.name for turn in player.turns] == ["narrator", "wolf", "narrator"]


@pytest.mark.virtual_time
async def test_a_player_that_buffers_tells_what_it_has_played() -> None:
    async with speaking() as running:
        turns = [running.say(name, text) for name, text in SCENE]
        running.clip(bytes(16000), "Ding dong ding dong")
        assert len(await heard(running.audio())) > 0  # all of it lies in the player's buffer
        told = await running.interrupt(played_ms=100)
        assert (told.turn, told.spoken) == (turns[0], "The wolf ")
        assert told.spoken_ms == 100
        assert told.unspoken_ms == turns[0].received_ms - 100
        assert told.dropped[:3] == tuple(turns[1:])
        assert len(told.dropped) == 4
        # The player has dropped what it had: its clock goes on from there.
        clip = running.clip(bytes(16000), "Ding dong ding dong")
        last = running.say("wolf", "Enough.")
        await heard(running.audio())
        told = await running.interrupt(played_ms=100 + 500)
        assert told == Interrupted(clip, "Ding dong", " ding dong", 500, 500, (last,))
        running.say("wolf", "Well.")
        await heard(running.audio())
        told = await running.interrupt(played_ms=10_000)
        assert told == Interrupted(None, "", "", 0, 0, ())


@pytest.mark.virtual_time
async def test_an_interruption_between_turns_and_before_the_first() -> None:
    async with speaking(quick(delay=5)) as running, anyio.create_task_group() as tasks:
        assert await running.interrupt() == Interrupted(None, "", "", 0, 0, ())
        turn = running.say("a", "Not heard at all.")
        told = await running.interrupt()
        assert told == Interrupted(None, "", "", 0, 0, (turn,))
        assert turn.split(0) == ("", "Not heard at all.")
        player = Player()
        tasks.start_soon(lambda: player.play(running, stay=True))
        first, second = running.say("a", "One."), running.say("b", tokens("Two."))
        await anyio.sleep(1)
        told = await running.interrupt()
        assert told.dropped == (first, second)
        assert second.text == "Two."
        tasks.cancel_scope.cancel()


@pytest.mark.virtual_time
async def test_an_interrupted_models_answer_is_closed_and_what_it_wrote_is_told() -> None:
    closed: list[float] = []

    async def model() -> AsyncIterator[str]:
        try:
            for word in SENTENCE.split():
                yield word + " "
                await anyio.sleep(0.5)
        finally:
            closed.append(anyio.current_time())

    async with speaking() as running:
        turn = running.say("agent", model())
        await anyio.sleep(1.2)
        told = await running.interrupt()
        assert told.dropped == (turn,)
        assert turn.text == "This sentence has "
        await anyio.wait_all_tasks_blocked()
        assert closed == [anyio.current_time()]


@pytest.mark.virtual_time
async def test_a_reader_that_waits_is_told_at_the_call() -> None:
    async with speaking(quick(delay=5)) as running, anyio.create_task_group() as tasks:
        ended: list[float] = []

        async def read() -> None:
            assert await heard(running.audio()) == b""
            ended.append(anyio.current_time())

        running.say("a", "Never heard.")
        tasks.start_soon(read)
        await anyio.sleep(1)
        await running.interrupt()
        await anyio.wait_all_tasks_blocked()
        assert ended == [anyio.current_time()]


async def test_who_asks_for_the_next_turn_does_not_want_the_rest() -> None:
    async with speaking() as running:
        running.say("a", SENTENCE * 5)
        running.say("b", "Next.")
        sizes = []
        async for turn in running.turns():
            sizes.append(len((await anext(turn)).audio))
        assert len(sizes) == 2
        assert turn.name == "b"


# --- failures ----------------------------------------------------------------------------------------


class Choosy(ToneEngine):
    def check(self, voice: str | None, language: str | None) -> str | None:
        return "Nobody has no voice." if voice == "nobody" else None


@pytest.mark.virtual_time
async def test_a_turn_that_fails_is_told_in_its_place_and_the_dialogue_goes_on() -> None:
    async def broken() -> AsyncIterator[str]:
        yield "Half an ans"
        raise ConnectionError("the model broke")

    async with speaking(Choosy(8000, 0.01)) as running:
        running.say("a", "One.")
        running.say("b", "Not heard.", voice="nobody")
        half = running.say("c", broken())
        last = running.say("d", "Four.")
        told: list[Any] = []
        async for turn in running.turns():
            try:
                told.append(len(await heard(turn)) // BYTES_EACH)
            except (SpeechError, ConnectionError) as error:
                told.append(getattr(error, "code", str(error)))
        assert told == [4, "unknown_voice", "the model broke", 5]
        assert half.released_ms == len("Half an ans") * MS_EACH
        assert last.usage is not None
        assert last.usage.characters_accepted == 5

        running.say("b", "Not heard.", voice="nobody")
        running.say("c", broken())
        running.say("d", "Four.")
        with pytest.raises(SpeechError):
            await heard(running.audio())
        with pytest.raises(ConnectionError):
            await heard(running.audio())
        assert await heard(running.audio()) == await alone("Four.")


async def test_a_bad_setting_is_refused_at_once() -> None:
    async with speaking() as running:
        with pytest.raises(Refused, match="speed"):
            running.say("a", "Fast.", settings={"speed": 9})
        assert await heard(running.audio()) == b""


@pytest.mark.virtual_time
async def test_a_lost_socket_fails_each_turn_in_its_place() -> None:
    async with served(quick(chunk_delay=0.06)) as (session, server), dialogue(session) as running:
        first = running.say("a", SENTENCE)
        running.say("b", SENTENCE)
        await anyio.sleep(0.2)
        server.transports[0].cut()
        running.say("c", SENTENCE)
        errors = []
        async for turn in running.turns():
            with pytest.raises(SpeechError) as caught:
                await heard(turn)
            errors.append(caught.value.code)
        assert errors == ["connection_lost"] * 3
        assert first.received_ms > 0


@pytest.mark.virtual_time
async def test_with_reconnect_a_lost_socket_is_not_heard() -> None:
    async with (
        served(quick(chunk_delay=0.06), reconnect=True) as (session, server),
        dialogue(session) as running,
    ):
        for name, text in SCENE:
            running.say(name, text)
        await anyio.sleep(0.2)
        server.transports[0].cut()
        assert len(await heard(running.audio())) == sum(len(text) for _, text in SCENE) * BYTES_EACH


@pytest.mark.virtual_time
@pytest.mark.parametrize("after", [0, 1, 2, 3, 5, 8, 12, 20])
async def test_leaving_at_any_point_leaves_no_context(after: int) -> None:
    async with served(quick(chunk_delay=0.06)) as (session, server):
        async with dialogue(session) as running, anyio.create_task_group() as tasks:
            for name, text in SCENE:
                running.say(name, tokens(text))
            tasks.start_soon(heard, running.audio())
            for _ in range(after):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        await anyio.sleep(1)
        assert server.service.contexts == 0
        async with session.context() as context:
            await context.send("Fine.")
            await context.close()
            assert await heard(context) == await alone("Fine.")
            assert context.ended is not None
            assert context.ended.reason is Reason.COMPLETED


@pytest.mark.virtual_time
@pytest.mark.parametrize("broken", [False, True])
async def test_nobody_waits_for_a_dialogue_that_was_left(broken: bool) -> None:
    async def leave() -> None:
        async with speaking(quick(delay=5)) as running:
            running.say("a", SENTENCE)
            tasks.start_soon(heard, running.audio(stay=True))
            await anyio.sleep(1)
            if broken:
                raise KeyError("mine")

    async with anyio.create_task_group() as tasks:
        if broken:
            with pytest.raises(KeyError):
                await leave()
        else:
            await leave()


@pytest.mark.virtual_time
async def test_cancelling_a_reader_loses_nothing() -> None:
    audio = b""
    async with speaking(quick(chunk_delay=0.06)) as running:
        running.say("a", SENTENCE * 3)
        chunks = running.audio()
        while True:
            with anyio.move_on_after(0.05):
                chunk = await anext(chunks, None)
                if chunk is None:
                    break
                audio += chunk.audio
    assert len(audio) == 3 * len(SENTENCE) * BYTES_EACH


# --- formats -----------------------------------------------------------------------------------------


@pytest.mark.virtual_time
@pytest.mark.parametrize("output_format", ["ulaw_8000", "mp3_44100_128"])
async def test_other_formats_are_counted_too(output_format: str) -> None:
    async with (
        served(output_format=output_format) as (session, _),
        dialogue(session, look_ahead=2.0) as running,
    ):
        turn = running.say("a", SENTENCE * 20)
        await anyio.sleep(60)
        assert turn.received_ms / 1000 == pytest.approx(2.2, abs=0.5)
        await heard(running.audio())
        assert turn.received_ms / 1000 == pytest.approx(20 * 0.41, rel=0.1)


# --- everywhere --------------------------------------------------------------------------------------


async def test_the_same_with_every_service(connect: Connect) -> None:
    async with connect(sockets=3) as session, dialogue(session, voices={"wolf": "w"}) as running:
        for name, text in SCENE[1:]:
            running.say(name, tokens(text))
        turns = [(turn.name, len(await heard(turn))) async for turn in running.turns()]
        assert turns == [(name, len(text) * 2400) for name, text in SCENE[1:]]
        turn = running.say("wolf", SENTENCE * 5)
        last = running.say("pig", SENTENCE)
        async for _ in running.audio():
            if turn.released_ms >= 2500:
                break
        before = sum(len(text) for _, text in SCENE[1:]) * 50
        told = await running.interrupt(played_ms=before + 2000)
        assert (told.turn, told.dropped, told.spoken_ms) == (turn, (last,), 2000)
        running.say("pig", "Good.")
        assert len(await heard(running.audio())) == 5 * 2400


# --- over a socket -----------------------------------------------------------------------------------


async def test_over_a_real_socket() -> None:
    async with (
        local_server(Settings(engine="tone")) as url,
        mux.connect(url, output_format="pcm_8000") as session,
        dialogue(session, voices={"wolf": "w"}) as running,
    ):
        for name, text in SCENE:
            running.say(name, tokens(text))
        assert len(await heard(running.audio())) == sum(len(text) for _, text in SCENE) * 800


# --- the parts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "One. Two! Three? Four",
        "  Dr. Smith paid 3.50 for e.g. tea.\n\nThen he left.  ",
        "“Yes.” said nobody. 第一句。第二句！",
        "word " * 300,
        "x" * 1000,
    ],
)
def test_sentences_joined_are_the_text(text: str) -> None:
    found = list(sentences(text))
    assert "".join(found) == text
    assert all(0 < len(piece) <= 410 for piece in found)


def test_sentences_end_where_a_reader_sees_it() -> None:
    text = "Dr. Smith paid 3.50 for tea. Then he left! Did he? "
    assert list(sentences(text)) == ["Dr. Smith paid 3.50 for tea. ", "Then he left! ", "Did he? "]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("Hello.", " There", True),
        ("Hello. ", "There", True),
        ("Hello", ". There", False),
        ("It costs 3.", "14", False),
        ("Dr.", " Smith", False),
        ("Hello there", " you", False),
        ("第一句。", "第二", True),
        ("word " * 100, "word", True),
        ("word " * 100 + "wo", "rd", False),
        ("x" * 900, "x", True),
        ("", "Hello", False),
    ],
)
def test_where_feeding_may_stop(before: str, after: str, expected: bool) -> None:
    assert is_between_sentences(before, after) is expected


def test_a_playhead_keeps_speaking_pace_and_waits_for_audio() -> None:
    playhead = Playhead()
    assert playhead.at(5) == 0
    playhead.release(1000, now=10)
    assert playhead.at(10.4) == pytest.approx(400)
    assert playhead.at(99) == 1000
    playhead.release(1000, now=100)  # it had run dry
    assert playhead.at(100.5) == pytest.approx(1500)
    playhead.cut(1500, now=100.5)
    assert playhead.at(200) == playhead.released == 1500
    playhead.release(100, now=200)
    assert playhead.at(200.05) == pytest.approx(1550)


async def test_a_format_that_does_not_tell_how_long_it_lasts_is_refused() -> None:
    ours, theirs = memory_pair()
    async with session_over(ours, output_format="flac_24000") as session:
        with pytest.raises(Refused, match="'flac_24000' does not tell"):
            async with dialogue(session):
                pass
        await theirs.aclose()
