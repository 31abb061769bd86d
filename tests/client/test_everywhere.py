"""The same for every service: mux in both dialects, in memory and over loopback, and the stand-ins for
ElevenLabs and KugelAudio; on both loops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mux.client import Callbacks, Chunk, Context, ContextEnd, Session, SpeechError
from mux.protocol.messages import Reason, Usage

pytestmark = pytest.mark.anyio
Connect = Callable[..., AbstractAsyncContextManager[Session]]
EACH = 2400
"""Bytes of a character, which lasts 50 ms."""
TEXT = "Hello there, in pieces."


async def heard(context: Context) -> bytes:
    return b"".join([chunk.audio async for chunk in context])


def seconds(audio: bytes) -> float:
    return len(audio) / 48000


async def say(context: Context, text: str = TEXT) -> bytes:
    await context.send(text)
    await context.close()
    return await heard(context)


async def test_text_in_pieces_becomes_audio_with_times_and_usage(connect: Connect) -> None:
    async with connect() as session, session.context("a") as context:
        for piece in (TEXT[:3], TEXT[3:4], TEXT[4:]):
            await context.send(piece)
        await context.close()
        chunks = [chunk async for chunk in context]
        audio = b"".join(chunk.audio for chunk in chunks)
        assert len(audio) == len(TEXT) * EACH
        assert any(audio)
        assert "".join(c.alignment.text for c in chunks if c.alignment).split() == TEXT.split()
        starts = [start for c in chunks if c.alignment for start in c.alignment.starts]
        assert starts == sorted(starts)
        assert starts[-1] == pytest.approx(50 * (len(TEXT) - 1), abs=60)
        assert context.ended is not None
        assert context.ended.reason is Reason.COMPLETED
        assert context.error is None
        assert context.audio_ms == 50 * len(TEXT)
        assert context.usage is not None
        assert context.usage.characters_accepted == len(TEXT)
        assert context.usage.audio_sent_ms == pytest.approx(50 * len(TEXT))
        assert session.usage_for("a") == context.usage
        assert session.context_usage == {"a": context.usage}
        assert context.split(10_000) == (TEXT, "")


async def test_a_flush_is_spoken_and_the_context_goes_on(connect: Connect) -> None:
    async with connect() as session, session.context() as context:
        await context.send("First. ", flush=True)
        first = b""
        while len(first) < len("First.") * EACH:
            first += (await anext(context)).audio
        assert context.ended is None
        await context.keep_alive()
        await context.send("Second.")
        await context.close()
        assert len(first + await heard(context)) >= len("First. Second.") * EACH - EACH


async def test_barge_in_is_silent_at_once_and_the_next_turn_is_clean(connect: Connect) -> None:
    async with connect() as session:
        context = await session.create_context("turn")
        await context.send("A long story that nobody wants to hear to its end. " * 20, flush=True)
        await anext(context)
        ended = await context.cancel()
        assert ended.reason is Reason.CANCELLED
        assert await heard(context) == b""
        async with session.context("turn") as again:
            assert len(await say(again, "Yes?")) == 4 * EACH
        assert session.usage_for("turn") == again.usage


async def test_many_tasks_on_many_contexts(connect: Connect) -> None:
    texts = {f"speaker {number}": f"This is number {number}, and so on. " * 3 for number in range(5)}
    results: dict[str, bytes] = {}
    async with connect() as session, anyio.create_task_group() as tasks:

        async def talk(name: str) -> None:
            async with session.context(name) as context, anyio.create_task_group() as pair:

                async def send() -> None:
                    for word in texts[name].split(" "):
                        await context.send(word + " ")
                        await anyio.lowlevel.checkpoint()
                    await context.close()

                pair.start_soon(send)
                results[name] = await heard(context)

        for name in texts:
            tasks.start_soon(talk, name)
    for name, text in texts.items():
        assert seconds(results[name]) == pytest.approx(len(text) * 0.05, abs=0.2)


async def test_contexts_by_name_and_all_in_one_iteration(connect: Connect) -> None:
    texts = {"narrator": "The story begins. ", "character": "Hello! ", "empty": ""}
    async with connect() as session:
        for name in texts:
            await session.create_context(name)
        assert session.active_contexts == list(texts)
        assert session.is_connected
        await session.send("narrator", "The story ")
        await session.send("narrator", "begins. ")
        await session.send("character", "Hello! ", flush=True)
        await session.keep_alive("narrator")
        for name in texts:
            await session.close_context(name)
        audio = dict.fromkeys(texts, b"")
        ends: list[str] = []
        async with session.events() as events:
            async for event in events:
                match event:
                    case Chunk(name, data):
                        assert name not in ends
                        audio[name] += data
                    case ContextEnd(name, ended, error):
                        assert (ended.reason, error) == (Reason.COMPLETED, None)
                        ends.append(name)
        assert sorted(ends) == sorted(texts)
        for name, text in texts.items():
            assert seconds(audio[name]) == pytest.approx(len(text) * 0.05, abs=0.11)
        assert session.active_contexts == []
        await session.close_context("narrator")
        await session.close_context("nobody", immediate=True)
        with pytest.raises(SpeechError, match="No context 'nobody' is open; open are: none"):
            await session.flush("nobody")
        with pytest.raises(SpeechError):
            await session.keep_alive("narrator")
        # One that is not open is opened by its first text.
        await session.send("narrator", "Again.")
        assert session.active_contexts == ["narrator"]


async def test_one_iteration_over_contexts_that_come_and_go(connect: Connect) -> None:
    ends: list[str] = []
    async with connect() as session, anyio.create_task_group() as tasks:

        async def turns() -> None:
            for number in range(4):
                name = f"turn {number}"
                await session.send(name, "Yes. ")
                await session.close_context(name, immediate=number == 2)
            await session.close()

        async with session.events(stay=True) as events:
            tasks.start_soon(turns)
            async for event in events:
                if isinstance(event, ContextEnd):
                    ends.append(event.context)
                else:
                    assert event.context != "turn 2"
    assert sorted(ends) == [f"turn {number}" for number in range(4)]


async def test_the_service_names_the_session(connect: Connect, place: str) -> None:
    async with connect() as session, session.context() as context:
        await say(context)
        assert bool(session.session_id) == (place not in ("memory", "mock-elevenlabs"))


async def test_a_flush_that_was_answered_is_told_where_the_wire_tells_it(
    connect: Connect, place: str
) -> None:
    heard = Heard()
    async with connect(callbacks=heard.callbacks()) as session:
        await session.send("a", TEXT, flush=True)
        if place.endswith("kugelaudio"):
            with anyio.fail_after(5):
                while "final" not in heard.of("a"):  # noqa: ASYNC110 - told by a callback
                    await anyio.sleep(0.01)
            assert len(heard.audio["a"]) == len(TEXT) * EACH
            assert session.active_contexts == ["a"]
        await session.close_context("a")
    assert heard.of("a").count("final") == (2 if place.endswith("kugelaudio") else 1)
    assert heard.of("a")[-1] == "closed"


class Heard:
    """What is called back, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.audio: dict[str, bytes] = {}
        self.ended = anyio.Event()

    def callbacks(self) -> Callbacks:
        return Callbacks(
            on_session_started=lambda id: self.note("started", None),
            on_context_created=lambda name: self.note("created", name),
            on_chunk=self.chunk,
            on_final=lambda name: self.note("final", name),
            on_context_closed=self.closed,
            on_context_timeout=lambda name: self.note("timeout", name),
            on_session_closed=self.over,
            on_error=lambda error, name: self.note(error.code, name),
        )

    def note(self, what: str, name: Any) -> None:
        self.calls.append((what, name))

    async def chunk(self, chunk: Chunk) -> None:
        await anyio.lowlevel.checkpoint()
        if chunk.context not in self.audio:
            self.note("chunk", chunk.context)
        self.audio[chunk.context] = self.audio.get(chunk.context, b"") + chunk.audio

    def closed(self, name: str, usage: Usage | None) -> None:
        assert usage is not None
        self.note("closed", name)

    def over(self, usage: Mapping[str, Usage]) -> None:
        self.note("over", sorted(usage))

    def of(self, name: str) -> list[str]:
        return [what for what, who in self.calls if who == name]


async def test_calling_back(connect: Connect) -> None:
    heard = Heard()
    async with connect(callbacks=heard.callbacks()) as session:
        for name in ("a", "b"):
            await session.create_context(name)
            await session.send(name, TEXT, flush=True)
        with pytest.raises(ValueError, match="are being read"):
            async with session.events():
                pass
        await session.close_context("a")
        await session.close_context("b", immediate=True)
        with anyio.fail_after(10):
            while "closed" not in heard.of("a") or "closed" not in heard.of("b"):  # noqa: ASYNC110
                await anyio.sleep(0.01)
    assert heard.calls[0] == ("started", None)
    assert heard.calls[-1] == ("over", ["a", "b"])
    a = heard.of("a")
    assert (a[0], a[-2:], "chunk" in a) == ("created", ["final", "closed"], True)
    b = heard.of("b")
    assert (b[0], b[-1], "final" in b) == ("created", "closed", False)
    assert seconds(heard.audio["a"]) == pytest.approx(len(TEXT) * 0.05)


async def test_what_a_callback_raises_comes_out(connect: Connect) -> None:
    def fail(chunk: Chunk) -> None:
        raise ZeroDivisionError("mine")

    async def listen() -> None:
        async with connect(callbacks=Callbacks(on_chunk=fail)) as session:
            await session.send("a", TEXT, flush=True)
            await anyio.sleep(10)

    with pytest.raises(ExceptionGroup) as caught:
        await listen()
    assert caught.value.subgroup(ZeroDivisionError)


async def test_more_contexts_than_a_socket_carries(connect: Connect, place: str) -> None:
    most = 5 if place == "mock-elevenlabs" else 20
    async with connect(sockets=2) as session, AsyncExitStack() as stack:
        contexts = [
            await stack.enter_async_context(session.context(f"c{number}")) for number in range(most + 2)
        ]
        for context in contexts:
            await context.send("Yes.")
            await context.close()
        for context in contexts:
            assert len(await heard(context)) == 4 * EACH


async def test_names_that_are_used_again_while_they_speak(connect: Connect) -> None:
    async with connect() as session, session.context("x") as a, session.context("x") as b:
        await a.send("The one. ")
        await b.send("The other one. ")
        await b.close()
        await a.close()
        assert seconds(await heard(a)) == pytest.approx(9 * 0.05, abs=0.06)
        assert seconds(await heard(b)) == pytest.approx(15 * 0.05, abs=0.06)


async def test_cancelling_a_task_that_waits_for_audio_disturbs_nobody(connect: Connect) -> None:
    async with connect() as session, session.context("other") as other:
        with anyio.move_on_after(0.05):
            async with session.context("waiting") as waiting:
                await waiting.send("Never flushed")
                await heard(waiting)
        assert len(await say(other)) == len(TEXT) * EACH
        assert session.dropped_frames == 0


async def test_closing_the_session_lets_everybody_finish(connect: Connect) -> None:
    async with connect() as session:
        a = await session.create_context("a")
        b = await session.create_context("b")
        await a.send("The end of a.")
        await b.send("The end of b.")
        await session.close()
        for context in (a, b):
            assert len(await heard(context)) == 13 * EACH
        assert not session.is_connected
        with pytest.raises(SpeechError):
            await session.create_context("late")
