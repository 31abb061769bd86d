"""`POST /v1/text-to-speech/...`: failures, drains and slow readers; where a certain moment matters, without
a server."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from loopback import until
from speaking import ENDPOINTS, SPEECH, WatchedEngine, served
from starlette.types import Message
from wire import quick, say_alone

from mux.config import Settings
from mux.dialects.base import Sound
from mux.dialects.elevenlabs import SpeechAnswer
from mux.dialects.elevenlabs.speech import PIECE
from mux.engines.tone import ToneEngine
from mux.server.app import create_app
from mux.server.http_body import BODY_SECONDS
from mux.server.service import Service, start_service
from mux.server.socket import SEND_SECONDS

pytestmark = pytest.mark.anyio
TEXT = "One sentence, and then a second one, which is the last. "
LONG = " ".join(f"This is sentence number {number}." for number in range(40))
BYTES_EACH = 160


# --- what fails --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_a_failure_before_the_first_byte_is_a_plain_error(path: str) -> None:
    async with served(WatchedEngine(fails_after=0)) as server:
        answer = await server.post(path)
        detail = answer.json()["detail"]
        assert (answer.status_code, detail["code"], detail["retryable"]) == (502, "engine_failed", True)
        assert "audio" not in answer.headers["content-type"]
        await server.nobody_speaks()


@pytest.mark.parametrize("path", ["/stream", "/stream/with-timestamps"])
async def test_a_failure_after_the_first_byte_breaks_the_answer_off(path: str) -> None:
    engine = WatchedEngine(held_after=1, fails_after=1)
    async with served(engine) as server:
        async with server.stream(path, TEXT) as answer:
            pieces = answer.aiter_raw()
            assert await anext(pieces)
            engine.go.set()
            with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
                assert [piece async for piece in pieces] == "an end"
        await server.nobody_speaks()
        assert (await server.http.get("/healthz")).json()["contexts"] == 0


@pytest.mark.parametrize("path", ["", "/with-timestamps"])
async def test_a_whole_answer_is_all_or_an_error(path: str) -> None:
    async with served(WatchedEngine(fails_after=3)) as server:
        answer = await server.post(path, {"text": TEXT})
        assert (answer.status_code, answer.json()["detail"]["code"]) == (502, "engine_failed")


@pytest.mark.parametrize("after", [0, 1])
async def test_a_bug_of_ours_is_never_taken_for_a_whole_answer(
    after: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    frames = 0

    def audio(self: SpeechAnswer, sound: Sound) -> list[bytes]:
        nonlocal frames
        frames += 1
        if frames > after:
            raise LookupError("a bug in the server")
        return [sound.payload]

    monkeypatch.setattr(SpeechAnswer, "audio", audio)
    async with served() as server:
        if after:
            with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
                await server.post("/stream", {"text": LONG})
        else:
            answer = await server.post("/stream", {"text": LONG})
            assert (answer.status_code, answer.json()["detail"]["code"]) == (500, "internal_error")
        await server.nobody_speaks()
    assert "socket_failed" in [record.getMessage() for record in caplog.records]


# --- winding down ------------------------------------------------------------------------------------


async def test_during_a_drain_answers_are_finished_and_new_ones_refused() -> None:
    engine = WatchedEngine(held_after=1)
    async with served(engine) as server:
        async with server.stream("/stream", TEXT) as answer:
            pieces = answer.aiter_raw()
            audio = await anext(pieces)
            server.service.start_draining()
            for path in ENDPOINTS:
                refused = await server.post(path)
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
                assert refused.json()["detail"]["code"] == "draining"
            engine.go.set()
            audio += b"".join([piece async for piece in pieces])
        assert audio == await say_alone(engine, TEXT, "alice")
        with anyio.fail_after(5):
            await server.service.wait_drained()


async def test_what_is_cut_off_at_the_end_of_a_drain_is_told_or_broken_off() -> None:
    engine = WatchedEngine(held_after=1)
    async with served(engine) as server, anyio.create_task_group() as tasks:
        whole: list[httpx.Response] = []

        async def speak() -> None:
            whole.append(await server.post())

        tasks.start_soon(speak)
        async with server.stream("/stream", TEXT) as answer:
            pieces = answer.aiter_raw()
            assert await anext(pieces)
            await until(lambda: engine.speaks == 2)
            server.service.start_draining()
            await server.service.close_all()
            with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
                assert [piece async for piece in pieces] == "an end"
        await until(lambda: bool(whole))
        assert (whole[0].status_code, whole[0].json()["detail"]["code"]) == (503, "draining")


# --- without a server: certain moments, and virtual time ---------------------------------------------


class Call:
    """One request, handed to the application by the test itself."""

    def __init__(self, path: str = "/stream", text: str = TEXT) -> None:
        self.scope = {
            "type": "http",
            "method": "POST",
            "path": SPEECH + path,
            "query_string": b"output_format=pcm_8000",
            "headers": [],
        }
        self.body = json.dumps({"text": text}).encode()
        self.said: list[Message] = []
        self._asked = 0

    async def receive(self) -> Message:
        self._asked += 1
        if self._asked == 1:
            return await self.arrive()
        await anyio.sleep_forever()
        raise AssertionError

    async def arrive(self) -> Message:
        return {"type": "http.request", "body": self.body, "more_body": False}

    async def send(self, message: Message) -> None:
        self.said.append(message)

    @property
    def status(self) -> int:
        return int(self.said[0]["status"])

    @property
    def content(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.said[1:])

    @property
    def complete(self) -> bool:
        return not self.said[-1].get("more_body", False)


@asynccontextmanager
async def application(engine: ToneEngine | None = None) -> AsyncIterator[tuple[Any, Service]]:
    async with start_service(engine or quick(), Settings(engine="tone")) as service:
        yield create_app(service), service


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_a_drain_that_begins_while_the_body_arrives(path: str) -> None:
    async with application() as (app, service):
        call = Call(path)

        async def arrive() -> Message:
            service.start_draining()
            return await Call.arrive(call)

        call.arrive = arrive  # type: ignore[method-assign]
        await app(call.scope, call.receive, call.send)
        assert call.status == 503
        assert (b"retry-after", b"1") in call.said[0]["headers"]


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_a_drain_that_begins_just_before_the_text_is_read(path: str) -> None:
    async with application() as (app, service):
        call = Call(path)
        serve_socket = service.serve_socket

        async def serve(*args: Any, **options: Any) -> None:
            service.start_draining()
            await serve_socket(*args, **options)

        service.serve_socket = serve  # type: ignore[method-assign]
        await app(call.scope, call.receive, call.send)
        assert call.status == 503
        assert json.loads(call.content)["detail"]["code"] == "draining"


async def test_who_hangs_up_while_the_body_arrives_gets_nothing() -> None:
    async with application() as (app, _):
        call = Call()

        async def arrive() -> Message:
            return {"type": "http.disconnect"}

        call.arrive = arrive  # type: ignore[method-assign]
        await app(call.scope, call.receive, call.send)
        assert call.said == []


@pytest.mark.virtual_time
async def test_a_body_has_a_deadline() -> None:
    async with application() as (app, service):
        call = Call()
        call.arrive = anyio.sleep_forever  # type: ignore[method-assign,assignment]
        begun = anyio.current_time()
        await app(call.scope, call.receive, call.send)
        assert anyio.current_time() - begun == pytest.approx(BODY_SECONDS)
        assert call.status == 422
        assert service.sockets == 0


@pytest.mark.virtual_time
async def test_a_reader_who_takes_nothing_is_cut_off_without_an_end() -> None:
    async with application() as (app, service):
        call = Call(text=LONG)

        async def send(message: Message) -> None:
            call.said.append(message)
            if len(call.said) == 3:
                await anyio.sleep_forever()

        begun = anyio.current_time()
        await app(call.scope, call.receive, send)
        assert anyio.current_time() - begun == pytest.approx(SEND_SECONDS, abs=2)
        assert (call.status, call.complete) == (200, False)
        assert (service.sockets, service.contexts) == (0, 0)


@pytest.mark.virtual_time
@pytest.mark.parametrize("path", ["", "/with-timestamps"])
async def test_a_slow_reader_who_gets_on_gets_all_of_a_whole_answer(path: str) -> None:
    text = LONG * 2
    async with application() as (app, _):
        call = Call(path, text)

        async def send(message: Message) -> None:
            if message.get("body"):
                await anyio.sleep(SEND_SECONDS * 0.7)
            call.said.append(message)

        await app(call.scope, call.receive, send)
        assert (call.status, call.complete) == (200, True)
        headers = dict(call.said[0]["headers"])
        assert headers[b"content-length"] == str(len(call.content)).encode()
        assert max(len(message.get("body", b"")) for message in call.said) <= PIECE
        audio = base64.b64decode(json.loads(call.content)["audio_base64"]) if path else call.content
        assert len(audio) == BYTES_EACH * len(text) > 3 * PIECE


@pytest.mark.virtual_time
async def test_when_every_worker_is_busy_for_too_long_the_answer_says_so() -> None:
    async with application(quick(delay=1000)) as (app, service), anyio.create_task_group() as tasks:
        calls = [Call(path) for path in ("/stream", "/stream", "/stream", "")]
        for call in calls[:2]:
            tasks.start_soon(app, call.scope, call.receive, call.send)
        await anyio.sleep(1)
        for call in calls[2:]:
            await app(call.scope, call.receive, call.send)
            assert call.status == 429
            assert json.loads(call.content)["detail"]["code"] == "busy"
        tasks.cancel_scope.cancel()
    assert service.sockets == 0
