"""The voice for Patter, over loopback: against the mock of ElevenLabs' service, and against mux itself."""

from __future__ import annotations

import asyncio
import gc
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from enum import StrEnum
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from mux.cli.local import local_server
from mux.client.errors import ClosedEarly, OverLimit, Refused, SpeechError, TimedOut
from mux.client.patter import (
    ElevenLabsPlanError,
    ElevenLabsTTSError,
    ElevenLabsWebSocketTTS,
    resolve_voice_id,
)
from mux.config import Settings
from mux.links.memory import MemoryTransport, memory_pair
from mux.mock import Fault, Mock, serve_mock

RACHEL = "21m00Tcm4TlvDq8ikWAM"
TEXT = "Hello there."
EACH = 1600
"""Bytes of pcm_16000 that a character of the tone engine sounds like."""
WHOLE = (len(TEXT) + 1) * EACH
"""Of a text, with the space that ends its last word."""
LONG = "This goes on and on. " * 50


def voice(mock: Mock | None = None, **options: Any) -> ElevenLabsWebSocketTTS:
    """A voice that takes the mock for ElevenLabs itself."""
    where = {} if mock is None else {"base_url": mock.url, "dialect": "elevenlabs"}
    return ElevenLabsWebSocketTTS("sesame", **{**where, **options})


async def size(tts: ElevenLabsWebSocketTTS, text: str = TEXT) -> int:
    return sum([len(audio) async for audio in tts.synthesize(text)])


async def settled(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(5):
        while not condition():  # noqa: ASYNC110 - calls and sockets tell nobody
            await anyio.sleep(0.005)


# --- the constructor ---------------------------------------------------------------------------------


def test_the_defaults_are_those_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELEVENLABS_API_KEY", "from-outside")
    tts = ElevenLabsWebSocketTTS()
    assert (tts.api_key, tts.voice_id, tts.model_id) == ("from-outside", RACHEL, "eleven_flash_v2_5")
    assert (tts.output_format, tts.voice_settings, tts.language_code) == ("pcm_16000", None, None)
    assert (tts.auto_mode, tts.inactivity_timeout, tts.chunk_length_schedule) == (True, 60, None)
    assert (tts.open_timeout, tts.frame_timeout) == (5.0, 30.0)
    assert (tts.provider_key, tts.model, tts.sample_rate) == ("elevenlabs_ws", "eleven_flash_v2_5", 16000)
    assert (tts.base_url, tts.dialect) == ("https://api.elevenlabs.io", "elevenlabs")


def test_arguments_stand_where_patter_has_them() -> None:
    tts = ElevenLabsWebSocketTTS("k", "bob", "m", "pcm_8000", {"speed": 1.1}, "de", chunk_size=4096)
    assert (tts.voice_id, tts.model_id, tts.output_format) == ("bob", "m", "pcm_8000")
    assert (tts.voice_settings, tts.language_code, tts.sample_rate) == ({"speed": 1.1}, "de", 8000)
    assert ElevenLabsWebSocketTTS("k", inactivity_timeout=None).inactivity_timeout == 60


def test_without_a_key_it_says_where_one_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ELEVENLABS_API_KEY", raising=False)
    for make in (
        ElevenLabsWebSocketTTS,
        ElevenLabsWebSocketTTS.for_twilio,
        ElevenLabsWebSocketTTS.for_telnyx,
    ):
        with pytest.raises(ValueError, match="ELEVENLABS_API_KEY"):
            make()


def test_the_key_is_not_shown() -> None:
    assert "sesame" not in repr(voice())
    assert RACHEL in repr(voice())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model_id": "eleven_v3"}, "eleven_v3"),
        ({"model_id": "eleven_v3_preview"}, "ElevenLabsRestTTS"),
        ({"inactivity_timeout": 181}, "1 to 180"),
        ({"inactivity_timeout": 0}, "1 to 180"),
        ({"chunk_length_schedule": [4, 100]}, "5 to 500"),
        ({"chunk_length_schedule": [100, 501]}, "5 to 500"),
        ({"open_timeout": 0}, "open_timeout"),
        ({"frame_timeout": -1}, "frame_timeout"),
        ({"voice_settings": {"stability": 2}}, "stability"),
    ],
)
def test_what_is_out_of_its_range_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        voice(**options)
    model = options.get("model_id")
    if model:

        class Model(StrEnum):
            V3 = model

        with pytest.raises(ValueError, match=said):
            voice(model_id=Model.V3)


def test_names_of_stock_voices_are_known() -> None:
    assert resolve_voice_id("Rachel") == resolve_voice_id(RACHEL) == RACHEL
    assert resolve_voice_id("SARAH") == "EXAVITQu4vr4xnSDxMaL"
    assert resolve_voice_id("en-us-f2") == "en-us-f2"
    assert voice(voice_id="george").voice_id == "JBFqnCBsd6RMkjVDRZzb"


def test_the_makers_for_the_telephone() -> None:
    twilio = ElevenLabsWebSocketTTS.for_twilio("k", voice_id="bob", open_timeout=1)
    assert (twilio.output_format, twilio.sample_rate, twilio.voice_id) == ("ulaw_8000", 8000, "bob")
    assert twilio.voice_settings == {"stability": 0.6, "similarity_boost": 0.75, "use_speaker_boost": False}
    given = {"stability": 0.1}
    assert ElevenLabsWebSocketTTS.for_twilio("k", voice_settings=given).voice_settings == given
    telnyx = ElevenLabsWebSocketTTS.for_telnyx("k", voice_settings=given, language_code="it")
    assert (telnyx.output_format, telnyx.voice_settings, telnyx.language_code) == ("pcm_16000", given, "it")


@pytest.mark.parametrize("carrier", ["twilio", "telnyx", "plivo"])
def test_the_carrier_decides_the_format_unless_it_was_given(carrier: str) -> None:
    tts = voice()
    tts.set_telephony_carrier("custom")
    assert tts.output_format == "pcm_16000"
    tts.set_telephony_carrier(carrier)
    assert tts.output_format == "ulaw_8000"
    given = voice(output_format="pcm_24000")
    given.set_telephony_carrier(carrier)
    assert given.output_format == "pcm_24000"


# --- speaking ----------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_five_sentences_take_one_socket() -> None:
    async with serve_mock("elevenlabs") as mock, voice(mock) as tts:
        assert [await size(tts) for _ in range(5)] == [WHOLE] * 5
        assert (mock.sockets, mock.contexts) == (1, 5)
        assert {context.text.strip() for context in mock.history} == {TEXT}
    assert mock.open_sockets == 0


@pytest.mark.anyio
async def test_against_mux() -> None:
    async with local_server(Settings(engine="tone", api_keys=("sesame",))) as url:
        async with ElevenLabsWebSocketTTS.for_twilio("sesame", base_url=url) as tts:
            assert [await size(tts) for _ in range(2)] == [WHOLE // 4] * 2
        async with ElevenLabsWebSocketTTS("wrong", base_url=url) as tts:
            with pytest.raises(ElevenLabsTTSError) as caught:
                await size(tts)
            assert caught.value.code == "invalid_api_key"
            assert "wrong" not in str(caught.value)


@pytest.mark.anyio
async def test_blanks_take_no_socket_and_end_at_once() -> None:
    async with serve_mock("elevenlabs") as mock, voice(mock) as tts:
        assert [await size(tts, text) for text in ("", " ", "\n\t ")] == [0, 0, 0]
        assert mock.handshakes == 0
        assert await size(tts, "...") == 4 * EACH


@pytest.mark.anyio
@pytest.mark.parametrize("auto_mode", [True, False])
async def test_what_the_service_is_told(monkeypatch: pytest.MonkeyPatch, auto_mode: bool) -> None:
    async with wired(monkeypatch) as (urls, sockets):
        tts = voice(
            voice_id="a/b",
            language_code="de",
            voice_settings={"stability": 0.3},
            chunk_length_schedule=[5, 500],
            auto_mode=auto_mode,
            inactivity_timeout=90,
        )
        async with tts, anyio.create_task_group() as tasks:
            tasks.start_soon(size, tts, "Hi")
            server = await sockets.receive()
            (opening, text, flush) = [json.loads(await server.receive()) for _ in range(3)]
            await server.send(json.dumps({"contextId": flush["context_id"], "audio": AUDIO}))
            await server.send(json.dumps({"contextId": flush["context_id"], "isFinal": True}))
            await server.aclose()
    path, _, query = urls[0].partition("?")
    assert path == "wss://api.elevenlabs.io/v1/text-to-speech/a%2Fb/multi-stream-input"
    told = dict(pair.split("=") for pair in query.split("&"))
    assert told["model_id"] == "eleven_flash_v2_5"
    assert told["output_format"] == "pcm_16000"
    assert told["inactivity_timeout"] == "90"
    assert told["language_code"] == "de"
    assert told.get("auto_mode") == ("true" if auto_mode else None)
    assert opening["voice_settings"] == {"stability": 0.3}
    schedule = opening.get("generation_config")
    assert schedule == (None if auto_mode else {"chunk_length_schedule": [5, 500]})
    assert text["text"] == "Hi "
    assert flush["flush"] is True


@pytest.mark.anyio
async def test_more_texts_at_once_than_a_socket_takes() -> None:
    """ElevenLabs allows five contexts on a socket."""
    async with serve_mock("elevenlabs", pace=20) as mock, voice(mock) as tts:
        sizes: list[int] = []

        async def speak() -> None:
            sizes.append(await size(tts))

        async with anyio.create_task_group() as tasks:
            for _ in range(9):
                tasks.start_soon(speak)
        assert sizes == [WHOLE] * 9
        assert mock.sockets == 2


@pytest.mark.anyio
async def test_a_change_of_format_or_voice_takes_another_socket_and_closes_the_idle_one() -> None:
    async with serve_mock("elevenlabs") as mock, voice(mock) as tts:
        await tts.warmup()
        tts.set_telephony_carrier("twilio")
        assert await size(tts) == WHOLE // 4
        tts.voice_id = "bob"
        assert await size(tts) == WHOLE // 4
        assert mock.sockets == 3
        await settled(lambda: mock.open_sockets == 1)


@pytest.mark.anyio
async def test_warming_up_opens_the_socket_that_is_used_then() -> None:
    async with serve_mock("elevenlabs") as mock, voice(mock) as tts:
        await tts.warmup()
        assert (mock.sockets, mock.contexts) == (1, 0)
        assert await size(tts) == WHOLE
        assert mock.sockets == 1
    async with voice(base_url="ws://127.0.0.1:9") as tts:
        await tts.warmup()  # told with the first text


# --- what goes wrong ---------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("dead", ["known", "just now"])
async def test_a_socket_that_died_while_nobody_spoke_is_replaced(dead: str) -> None:
    async with serve_mock("elevenlabs") as mock, voice(mock) as tts:
        assert await size(tts) == WHOLE
        mock.kill()
        if dead == "known":
            await anyio.sleep(0.05)
        assert await size(tts) == WHOLE
        assert mock.sockets == 2


@pytest.mark.anyio
async def test_a_socket_that_dies_under_a_text_before_its_audio_is_replaced_once() -> None:
    once = Fault("close_1011", after_ms=0, times=1)
    async with serve_mock("elevenlabs", [once]) as mock, voice(mock) as tts:
        assert await size(tts) == WHOLE
        assert mock.sockets == 2
    always = Fault("close_1011", after_ms=0)
    async with serve_mock("elevenlabs", [always]) as mock, voice(mock) as tts:
        with pytest.raises(ElevenLabsTTSError):
            await size(tts)
        assert mock.sockets == 2


FAULTS: list[tuple[Fault, type[SpeechError], str]] = [
    (Fault("unauthorized"), Refused, "invalid_api_key"),
    (Fault("forbidden"), Refused, "invalid_api_key"),
    (Fault("too_many_requests", seconds=60), OverLimit, "busy"),
    (Fault("slow_handshake", seconds=2), ClosedEarly, "connection_refused"),
    (Fault("refused"), ClosedEarly, "connection_refused"),
    (Fault("turned_away"), Refused, "invalid_api_key"),
    (Fault("close_1000"), ClosedEarly, "connection_lost"),
    (Fault("close_1006"), ClosedEarly, "connection_lost"),
    (Fault("close_1008"), ClosedEarly, "connection_lost"),
    (Fault("close_1011"), ClosedEarly, "connection_lost"),
    (Fault("error_without_id"), SpeechError, "internal_error"),
    (Fault("oversized_frame"), ClosedEarly, "connection_lost"),
    (Fault("stall", seconds=2), TimedOut, "timed_out"),
    (Fault("stall_socket", seconds=2), TimedOut, "timed_out"),
    (Fault("final_never"), TimedOut, "timed_out"),
    (Fault("zero_audio"), TimedOut, "timed_out"),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("fault", "kind", "code"), FAULTS, ids=[fault.name for fault, *_ in FAULTS])
async def test_every_failure_is_one_exception(fault: Fault, kind: type[SpeechError], code: str) -> None:
    async with serve_mock("elevenlabs", [fault], pace=50) as mock:
        with pytest.raises(ElevenLabsTTSError) as caught:
            async with voice(mock, open_timeout=0.2, frame_timeout=0.2) as tts:
                await size(tts, LONG[:60])
    failure = caught.value
    cause = failure.__cause__
    assert type(cause) is kind
    assert (failure.code, failure.reason, failure.retryable) == (code, cause.reason, cause.retryable)
    assert not isinstance(failure, ElevenLabsPlanError)


@pytest.mark.anyio
async def test_after_a_silence_the_next_text_takes_another_socket_and_others_go_on() -> None:
    silent = Fault("stall", nth=2, seconds=0.6)
    async with (
        serve_mock("elevenlabs", [silent], pace=80) as mock,
        anyio.create_task_group() as tasks,
        voice(mock, frame_timeout=0.3) as tts,
    ):
        calls = Calls(tts, tasks)
        calls.begin("A")
        await settled(lambda: mock.contexts == 1)
        with pytest.raises(ElevenLabsTTSError, match=r"nothing for 0\.3 s"):
            await size(tts)
        assert await size(tts) == WHOLE
        assert mock.sockets == 2
        await settled(lambda: "A" in calls.over)
        assert calls.heard["A"] == ALL
        calls.orders["A"].send_nowait("close")


@pytest.mark.anyio
async def test_nobody_there() -> None:
    with pytest.raises(ElevenLabsTTSError) as caught:
        async with voice(base_url="ws://127.0.0.1:9") as tts:
            await size(tts)
    assert (caught.value.code, caught.value.retryable) == ("connection_refused", True)


AUDIO = b64encode(b"ab").decode()


@asynccontextmanager
async def wired(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[list[str], Any]]:
    """Sockets whose other end is the test: their URLs, and a stream of the server's ends."""
    urls: list[str] = []
    send, receive = anyio.create_memory_object_stream[MemoryTransport](10)

    @asynccontextmanager
    async def opened(url: str, **options: Any) -> AsyncIterator[MemoryTransport]:
        ours, theirs = memory_pair(unread_bytes=10_000_000)
        urls.append(url)
        send.send_nowait(theirs)
        try:
            yield ours
        finally:
            ours.cut()

    monkeypatch.setattr("mux.links.pool.open_transport", opened)
    with send, receive:
        yield urls, receive


async def told(server: MemoryTransport, word: str) -> str | None:
    """Wait until the server is told so; of which context."""
    while True:
        message = json.loads(await server.receive())
        if message.get(word):
            return message.get("context_id")


async def answered(tts: ElevenLabsWebSocketTTS, sockets: Any, *frames: dict[str, Any]) -> int:
    """What a text sounds like whose service answers with these frames, and then no more."""

    async def answer() -> None:
        server = await sockets.receive()
        id = await told(server, "flush")
        for frame in frames:
            await server.send(json.dumps(frame if "error" in frame else {"contextId": id, **frame}))
        await server.aclose(1008 if "error" in frame else 1000)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        try:
            return await size(tts)
        except ElevenLabsTTSError as error:
            failure = error
    raise failure


@pytest.mark.anyio
async def test_a_frame_of_over_512_kb_is_an_error_of_its_text_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    most = b64encode(bytes(512 * 1024 // 4 * 3)).decode()
    more = b64encode(bytes(512 * 1024 // 4 * 3 + 1)).decode()
    assert len(most) == 512 * 1024
    async with wired(monkeypatch) as (urls, sockets), voice() as tts:
        end = {"isFinal": True}
        assert await answered(tts, sockets, {"audio": most}, {"audio": most}, end) == 2 * 512 * 768
    async with wired(monkeypatch) as (urls, sockets), voice() as tts:
        with pytest.raises(ElevenLabsTTSError, match="512 KB") as caught:
            await answered(tts, sockets, {"audio": AUDIO}, {"audio": more}, end)
        assert isinstance(caught.value.__cause__, OverLimit)
        assert len(urls) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    "frame", [{"error": "payment_required"}, {"error": "x", "message": "Payment is required."}]
)
async def test_a_plan_that_does_not_include_it(
    monkeypatch: pytest.MonkeyPatch, frame: dict[str, Any]
) -> None:
    async with wired(monkeypatch) as (_, sockets), voice() as tts:
        with pytest.raises(ElevenLabsPlanError):
            await answered(tts, sockets, frame)


@pytest.mark.anyio
async def test_an_end_without_any_audio_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    async with wired(monkeypatch) as (_, sockets), voice() as tts:
        with pytest.raises(ElevenLabsTTSError, match="without any audio"):
            await answered(tts, sockets, {"isFinal": True})


@pytest.mark.anyio
async def test_the_service_may_be_slow_as_long_as_it_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    async with wired(monkeypatch) as (_, sockets), anyio.create_task_group() as tasks:

        async def answer() -> None:
            server = await sockets.receive()
            id = await told(server, "flush")
            for _ in range(5):
                await anyio.sleep(0.1)
                await server.send(json.dumps({"contextId": id, "audio": AUDIO}))
            await told(server, "immediate")
            await server.send(json.dumps({"contextId": id, "isFinal": True}))
            await told(server, "close_socket")
            await server.aclose()

        tasks.start_soon(answer)
        async with voice(frame_timeout=0.3) as tts:
            with pytest.raises(ElevenLabsTTSError, match=r"nothing for 0\.3 s") as caught:
                await size(tts)
        assert caught.value.audio_ms == pytest.approx(10 / 32)


# --- many calls --------------------------------------------------------------------------------------


class Calls:
    """Phone calls as Patter has them: each in a task of its own, which says when it begins."""

    def __init__(self, tts: ElevenLabsWebSocketTTS, tasks: Any, *, announced: bool = True) -> None:
        self.tts = tts
        self.announced = announced
        self.heard: dict[str, int] = {}
        self.over: set[str] = set()
        self.orders: dict[str, Any] = {}
        self._tasks = tasks

    def begin(self, name: str, text: str = LONG) -> None:
        send, receive = anyio.create_memory_object_stream[str](5)
        self.orders[name] = send
        self._tasks.start_soon(self._serve, name, text, receive)

    async def _serve(self, name: str, text: str, orders: Any) -> None:
        if self.announced:
            self.tts.set_telephony_carrier("custom")
        async with anyio.create_task_group() as tasks:
            with orders, self.orders[name]:
                if self.announced:
                    tasks.start_soon(self._speak, name, text)
                    async for order in orders:
                        await self._obey(order)
                        if order == "close":
                            break
                    return
                await self._speak(name, text, orders)

    async def _speak(self, name: str, text: str, orders: Any = None) -> None:
        self.heard[name] = 0
        async for audio in self.tts.synthesize(text):
            self.heard[name] += len(audio)
            if orders is not None and orders.statistics().current_buffer_used:
                await self._obey(await orders.receive())
        self.over.add(name)

    async def _obey(self, order: str) -> None:
        if order == "cancel":
            self.tts.cancel_active_stream()
        elif order == "close":
            await self.tts.close()


ALL = (len(LONG) + 1) * EACH


@pytest.mark.anyio
@pytest.mark.parametrize("announced", [True, False])
async def test_cancelling_a_call_never_touches_another(announced: bool) -> None:
    async with (
        serve_mock("elevenlabs", pace=200) as mock,
        voice(mock) as tts,
        anyio.create_task_group() as tasks,
    ):
        calls = Calls(tts, tasks, announced=announced)
        for name in "AB":
            calls.begin(name)
        await settled(lambda: all(calls.heard.get(name, 0) > 5 * EACH for name in "AB"))
        calls.orders["A"].send_nowait("cancel")
        await settled(lambda: "A" in calls.over)
        assert "B" not in calls.over
        assert calls.heard["A"] < ALL / 2
        await settled(lambda: "B" in calls.over)
        assert calls.heard["B"] == ALL
        assert mock.sockets == 1
        if announced:
            calls.orders["A"].send_nowait("cancel")  # it says nothing any more: nobody else is meant
            calls.begin("C")
            await settled(lambda: calls.heard.get("C", 0) > 5 * EACH)
            calls.orders["B"].send_nowait("cancel")
            await settled(lambda: "C" in calls.over)
            assert calls.heard["C"] == ALL
            for orders in calls.orders.values():
                orders.send_nowait("close")


@pytest.mark.anyio
async def test_a_call_that_hangs_up_leaves_the_socket_to_the_others() -> None:
    async with serve_mock("elevenlabs", pace=200) as mock, anyio.create_task_group() as tasks:
        # As Patter does it: `close` is all that it says at the end of each call.
        async with voice(mock) as tts:
            calls = Calls(tts, tasks)
            calls.begin("A")
            calls.begin("B")
            await settled(lambda: all(calls.heard.get(name, 0) > 5 * EACH for name in "AB"))
            calls.orders["A"].send_nowait("close")
            await settled(lambda: "A" in calls.over)
            assert calls.heard["A"] < ALL / 2
            await settled(lambda: "B" in calls.over)
            assert calls.heard["B"] == ALL
            assert mock.open_sockets == 1
            calls.orders["B"].send_nowait("close")
            calls.begin("C", TEXT)
            await settled(lambda: "C" in calls.over)
            assert mock.sockets == 1, "the block holds it"
            calls.orders["C"].send_nowait("close")
        assert mock.open_sockets == 0


@pytest.mark.anyio
async def test_who_belongs_to_no_call_means_the_only_one_or_nobody() -> None:
    async with (
        serve_mock("elevenlabs", pace=200) as mock,
        voice(mock) as tts,
        anyio.create_task_group() as tasks,
    ):
        tts.cancel_active_stream()  # nobody speaks
        calls = Calls(tts, tasks)
        calls.begin("A")
        await settled(lambda: calls.heard.get("A", 0) > 5 * EACH)
        calls.begin("B")
        await settled(lambda: calls.heard.get("B", 0) > 5 * EACH)
        tts.cancel_active_stream()
        await anyio.sleep(0.02)
        assert not calls.over, "whom it means cannot be known"
        calls.orders["A"].send_nowait("close")
        await settled(lambda: "A" in calls.over)
        assert calls.heard["A"] < ALL
        await anyio.to_thread.run_sync(tts.cancel_active_stream)
        await settled(lambda: "B" in calls.over)
        assert calls.heard["B"] < ALL
        calls.orders["B"].send_nowait("close")


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["aclose", "cancel"])
async def test_leaving_a_text_stops_it_alone(how: str) -> None:
    async with serve_mock("elevenlabs", pace=100) as mock, voice(mock) as tts:
        if how == "aclose":
            async with aclosing(tts.synthesize(LONG)) as chunks:
                await anext(chunks)
        else:
            with anyio.move_on_after(0.05):
                await size(tts, LONG)
        assert await size(tts) == WHOLE
        assert mock.sockets == 1
        left = mock.history[0]
        await settled(lambda: left.ends == 1)
        assert left.sent_ms < 50_000, "the service was told to stop"


@pytest.mark.anyio
async def test_a_call_may_be_cancelled_while_its_socket_is_being_opened() -> None:
    slow = Fault("slow_handshake", seconds=1, times=1)
    async with (
        serve_mock("elevenlabs", [slow]) as mock,
        voice(mock) as tts,
        anyio.create_task_group() as tasks,
    ):
        calls = Calls(tts, tasks)
        calls.begin("A")
        await settled(lambda: mock.handshakes == 1)
        with anyio.fail_after(0.5):
            calls.orders["A"].send_nowait("cancel")
            await settled(lambda: "A" in calls.over)
        assert calls.heard["A"] == 0
        calls.orders["A"].send_nowait("close")


# --- its life ----------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_what_fails_in_the_block_comes_out_of_it_and_closes_the_sockets() -> None:
    async with serve_mock("elevenlabs") as mock:
        tts = voice(mock)
        with pytest.raises(ZeroDivisionError):
            async with tts:
                assert 1 / (await size(tts) - WHOLE)
        await settled(lambda: mock.open_sockets == 0)
        async with tts:
            assert await size(tts) == WHOLE
        await settled(lambda: mock.open_sockets == 0)


@pytest.mark.anyio
async def test_without_a_block_it_lives_on_asyncio_until_it_is_closed(anyio_backend_name: str) -> None:
    async with serve_mock("elevenlabs") as mock:
        tts = voice(mock)
        if anyio_backend_name == "trio":
            with pytest.raises(RuntimeError, match="async with"):
                await size(tts)
            await tts.close()
            return
        assert [await size(tts) for _ in range(2)] == [WHOLE] * 2
        assert mock.open_sockets == 1
        await tts.close()
        assert mock.open_sockets == 0
        assert await size(tts) == WHOLE
        await tts.aclose()
        await tts.aclose()
        assert (mock.sockets, mock.open_sockets) == (2, 0)


def test_an_instance_may_be_used_in_one_loop_after_the_other() -> None:
    """Warnings are errors here: nothing is left open, also when it was not closed."""

    async def main(closing: bool) -> None:
        async with serve_mock("elevenlabs", port=0) as mock:
            tts.base_url = mock.url
            assert await size(tts) == WHOLE
            if closing:
                await tts.close()
                assert [task for task in asyncio.all_tasks() if "Line" in repr(task)] == []

    tts = voice(dialect="elevenlabs", base_url="ws://127.0.0.1:9")
    for closing in (True, False, False, True):
        asyncio.run(main(closing))
        gc.collect()
