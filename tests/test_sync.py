"""The synchronous face: real sockets over loopback, and nothing left behind."""

from __future__ import annotations

import inspect
import signal
import subprocess
import sys
import threading
import wave
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import pytest
from anyio.from_thread import start_blocking_portal

import mux
import mux.sync
from mux import client
from mux.client import Callbacks, ClosedEarly, ContextEnd, Refused
from mux.config import Settings
from mux.engines.tone import ToneEngine
from mux.errors import MuxError
from mux.protocol.messages import Reason
from mux.server.app import create_app
from mux.server.listener import open_listener
from mux.server.run import serve
from mux.server.service import Service, start_service
from mux.tasks import owned_tasks

RATE = 24000  # Hz
EACH = 2400
"""Bytes that a character of the tone engine sounds like."""
ENDLESS = "word " * 4000


@asynccontextmanager
async def _serving(engine: ToneEngine, settings: Settings) -> AsyncIterator[tuple[str, Service]]:
    async with start_service(engine, settings) as service, owned_tasks() as tasks:
        listener = open_listener("127.0.0.1", 0)
        tasks.start_soon(serve, create_app(service), listener, anyio.Event())
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}", service


@contextmanager
def served(chunk_delay: float = 0, **settings: object) -> Iterator[tuple[str, Service]]:
    """A server in a thread of its own."""
    engine = ToneEngine(chunk_delay=chunk_delay)
    with start_blocking_portal(name="server") as portal:
        serving = _serving(engine, Settings(engine="tone", **settings))  # type: ignore[arg-type]
        with portal.wrap_async_context_manager(serving) as running:
            yield running


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served() as (url, _):
        yield url


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "mux.sync"]


def wait_until_idle(service: Service) -> None:
    """The server notices a moment later."""
    for _ in range(200):
        if not (service.contexts or service.sockets):
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"{service.contexts} contexts, {service.sockets} sockets are left")


# --- one call ----------------------------------------------------------------------------------------


def test_one_call_speaks_a_text(url: str, tmp_path: Path) -> None:
    speech = mux.sync.speak(url, "Hi there.", voice="bob")
    assert len(speech.audio) == 9 * EACH
    assert speech.alignment is not None
    assert speech.alignment.text.rstrip() == "Hi there."
    assert speech.alignment.starts[3] == 150
    assert len(speech.alignment.starts) == len(speech.alignment.ends) == len(speech.alignment.text)
    assert speech.usage is not None
    assert speech.usage.characters_accepted == 9
    assert speech.usage.audio_sent_ms == 450
    speech.save(tmp_path / "speech.wav")
    with wave.open(str(tmp_path / "speech.wav")) as file:
        assert (file.getframerate(), file.getnframes()) == (RATE, 9 * EACH // 2)


def test_the_alignment_of_a_long_text_is_that_of_all_its_audio(url: str) -> None:
    text = "All that is said has its time. " * 30
    alignment = mux.sync.speak(url, text).alignment
    assert alignment is not None
    assert alignment.text.split() == text.split()
    assert list(alignment.starts) == sorted(alignment.starts)
    assert alignment.ends[-1] == pytest.approx(len(text.rstrip()) * 50, abs=100)


def test_speech_that_is_no_pcm_is_saved_as_it_is(url: str, tmp_path: Path) -> None:
    speech = mux.sync.speak(url, "Hi.", output_format="ulaw_8000")
    assert (speech.output_format, len(speech.audio)) == ("ulaw_8000", 3 * 400)
    speech.save(tmp_path / "speech.ulaw")
    assert (tmp_path / "speech.ulaw").read_bytes() == speech.audio
    with pytest.raises(MuxError, match="pcm_24000") as caught:
        speech.save(tmp_path / "speech.wav")
    assert caught.value.code == "unsupported_format"
    assert not (tmp_path / "speech.wav").exists()


def test_in_a_thread_that_has_an_event_loop(url: str) -> None:
    """As in a notebook."""

    async def cell() -> int:
        return len(mux.sync.speak(url, "Hi.").audio)

    assert anyio.run(cell) == 3 * EACH


# --- sessions ----------------------------------------------------------------------------------------


def test_a_session_with_contexts(url: str) -> None:
    with mux.sync.connect(url) as session:
        assert session.is_connected
        with session.context("narrator", voice="bob") as narrator:
            narrator.send("Once upon ")
            narrator.send("a time.", flush=True)
            first = next(narrator)
            assert first.context == "narrator"
            assert session.active_contexts == ["narrator"]
            narrator.close()
            audio = first.audio + b"".join(chunk.audio for chunk in narrator)
            assert len(audio) == 17 * EACH
            assert narrator.audio_ms == 850
            assert narrator.split(850)[0] == "Once upon a time."
        assert narrator.ended is not None
        assert narrator.ended.reason is Reason.COMPLETED
        assert narrator.error is None
        assert narrator.usage is not None
        assert session.usage_for("narrator") == narrator.usage == session.context_usage["narrator"]
    assert not session.is_connected
    assert narrator.split(850) == ("Once upon a time.", "")
    with pytest.raises(ClosedEarly):
        narrator.send("More.")
    with pytest.raises(ClosedEarly):
        session.create_context("another")


def test_all_contexts_in_one_iteration(url: str) -> None:
    with mux.sync.connect(url) as session:
        for name in ("anne", "bob"):
            session.send(name, "Hello.")
            session.close_context(name)
        audio = {"anne": 0, "bob": 0}
        ends: list[str] = []
        with session.events() as events:
            for event in events:
                if isinstance(event, ContextEnd):
                    ends.append(event.context)
                else:
                    audio[event.context] += len(event.audio)
        assert audio == {"anne": 6 * EACH, "bob": 6 * EACH}
        assert sorted(ends) == ["anne", "bob"]


def test_callbacks_are_called_and_may_not_wait_for_their_own_session(url: str) -> None:
    heard: list[str] = []
    callbacks = Callbacks(on_context_closed=lambda name, usage: heard.append(name))
    with mux.sync.connect(url, callbacks=callbacks) as session:
        session.send("anne", "Hi.")
        session.close_context("anne")
    assert heard == ["anne"]

    refused: list[str] = []

    def closed(name: str, usage: mux.Usage | None) -> None:
        assert session.active_contexts == []
        with pytest.raises(RuntimeError, match="another thread"):
            session.send("another", "Hi.")
        refused.append(name)

    with mux.sync.connect(url, callbacks=Callbacks(on_context_closed=closed)) as session:
        session.send("anne", "Hi.")
        session.close_context("anne")
    assert refused == ["anne"]


def test_many_threads_share_one_session() -> None:
    with served() as (url, service), mux.sync.connect(url) as session:

        def talk(number: int) -> int:
            with session.context(f"actor {number}") as context:
                for _ in range(number):
                    context.send("x")
                context.close()
                return sum(len(chunk.audio) for chunk in context)

        with ThreadPoolExecutor(12) as threads:
            assert list(threads.map(talk, range(1, 13))) == [number * EACH for number in range(1, 13)]
        assert service.sockets == 1
        assert session.dropped_frames == 0


def test_whoever_reads_in_another_thread_is_told_of_the_end() -> None:
    with served(chunk_delay=0.01) as (url, _), ThreadPoolExecutor(2) as threads:
        with pytest.raises(KeyError), mux.sync.connect(url) as session:  # noqa: PT012
            context = session.create_context("anne")
            context.send(ENDLESS, flush=True)
            next(context)
            reader = threads.submit(list, context)
            waiter = threads.submit(context.wait_ended)
            raise KeyError
        with pytest.raises(ClosedEarly):
            reader.result()
        assert waiter.exception() is None or isinstance(waiter.exception(), ClosedEarly)


# --- ends --------------------------------------------------------------------------------------------


def test_leaving_early_cancels() -> None:
    with served(chunk_delay=0.01) as (url, _), mux.sync.connect(url) as session:
        with session.context("narrator") as narrator:
            narrator.send(ENDLESS)
            narrator.close()
            for _ in narrator:
                break
        assert narrator.wait_ended().reason is Reason.CANCELLED
        assert session.active_contexts == []
        with session.context("next") as context:
            context.send(ENDLESS, flush=True)
            next(context)
            assert context.cancel().reason is Reason.CANCELLED
            assert not list(context)


def test_errors_are_those_of_the_async_client() -> None:
    with served(api_keys=("sesame",)) as (url, _):
        with pytest.raises(Refused) as refused, mux.sync.connect(url, api_key="wrong"):
            pass
        assert refused.value.code == "invalid_api_key"
        with mux.sync.connect(url) as session, pytest.raises(Refused) as refused:
            list(session.create_context("narrator"))
        assert refused.value.code == "authentication_required"
        assert refused.value.context == "narrator"
        with pytest.raises(Refused, match=r"voice_settings\.speed must be"):
            mux.sync.speak(url, "Hi.", api_key="sesame", settings={"speed": 9})
    with pytest.raises(ClosedEarly) as early:
        mux.sync.speak("ws://127.0.0.1:9", "Hi.")
    assert early.value.code == "connection_refused"


def test_a_server_that_goes_away_is_told_to_who_reads() -> None:
    with ExitStack() as stack:
        with served(chunk_delay=0.01) as (url, _):
            session = stack.enter_context(mux.sync.connect(url))
            context = session.create_context("anne")
            context.send(ENDLESS, flush=True)
            next(context)
        with pytest.raises(ClosedEarly) as caught:
            list(context)
    assert caught.value.retryable
    assert caught.value.context == "anne"
    assert caught.value.unspoken
    assert context.error is not None


def test_an_exception_in_the_block_comes_out_as_it_is_and_leaves_nothing() -> None:
    with served(chunk_delay=0.01) as (url, service):
        with pytest.raises(KeyError, match="mine"), mux.sync.connect(url) as session:  # noqa: PT012
            context = session.create_context("anne")
            context.send(ENDLESS, flush=True)
            next(context)
            raise KeyError("mine")
        wait_until_idle(service)


SCRIPT = """
import gc, sys, threading, mux.sync
try:
    {program}
finally:
    gc.collect()
    print("left:", [thread.name for thread in threading.enumerate()], flush=True)
"""
PROGRAMS = {
    "reading": """
    with mux.sync.connect({url!r}) as session, session.context("a") as context:
        context.send("word " * 4000, flush=True)
        for number, chunk in enumerate(context):
            if number == 2: print("speaking", flush=True)
""",
    "all at once": """
    threading.Timer(0.3, print, ["speaking"], dict(flush=True)).start()
    mux.sync.speak({url!r}, "word " * 4000)
""",
    "waiting for the end": """
    with mux.sync.connect({url!r}) as session:
        context = session.create_context("a")
        context.send("word " * 4000, flush=True)
        next(context)
        print("speaking", flush=True)
""",
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_ctrl_c_leaves_nothing_behind(program: str) -> None:
    with served(chunk_delay=0.02) as (url, service):
        script = SCRIPT.format(program=PROGRAMS[program].strip().format(url=url))
        with subprocess.Popen(
            [sys.executable, "-W", "error", "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == "speaking\n"
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=10)
        assert output == "left: ['MainThread']\n"
        assert process.returncode == -signal.SIGINT
        assert errors.rstrip().endswith("KeyboardInterrupt")
        assert not [
            word for word in ("Warning", "ignored", "destroyed", "ExceptionGroup") if word in errors
        ], errors
        wait_until_idle(service)


# --- the same as the async client ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs"), [(mux.sync.Session, client.Session), (mux.sync.Context, client.Context)]
)
def test_it_has_what_the_async_client_has(ours: type, theirs: type) -> None:
    for name, member in vars(theirs).items():
        if name.startswith("_"):
            continue
        mine = inspect.getattr_static(ours, name)
        if isinstance(member, property):
            assert mine.fget.__annotations__ == member.fget.__annotations__, name
        else:
            assert _parameters(mine) == _parameters(member), name
    assert _parameters(mux.sync.connect) == _parameters(client.connect)


def _parameters(function: object) -> list[tuple[str, object, object]]:
    signature = inspect.signature(function)  # type: ignore[arg-type]
    return [(one.name, one.kind, one.default) for one in signature.parameters.values()]


def test_speak_takes_what_connect_takes() -> None:
    theirs = {name: default for name, _, default in _parameters(client.connect)}
    for name, _, default in _parameters(mux.sync.speak):
        assert name == "text" or theirs[name] == default
