"""`POST /v1/text-to-speech/...`: what an answer is."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import anyio
import httpx
import pytest
from loopback import until
from speaking import ENDPOINTS, SPEECH, Served, WatchedEngine, served

pytestmark = pytest.mark.anyio
TEXT = "One sentence, and then a second one, which is the last. "
LONG = " ".join(f"This is sentence number {number}." for number in range(40))
BYTES_EACH = 160


def lines_of(answer: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.text.splitlines()]


async def socket_says(server: Served, text: str, query: str) -> bytes:
    async with server.socket(query) as client:
        await client.say({"text": text}, {"text": ""})
        await client.to_the_end(10)
    return b"".join(base64.b64decode(frame["audio"]) for frame in client.frames if frame.get("audio"))


# --- the answer --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format", "content_type"),
    [
        ("pcm_8000", "audio/pcm"),
        ("pcm_16000", "audio/pcm"),
        ("ulaw_8000", "audio/basic"),
        ("mp3_22050_32", "audio/mpeg"),
    ],
)
async def test_every_endpoint_says_what_a_socket_says(format: str, content_type: str) -> None:
    async with served() as server:
        expected = await socket_says(server, LONG, f"output_format={format}")
        if format == "pcm_8000":
            assert len(expected) == BYTES_EACH * len(LONG)
        for path in ENDPOINTS:
            answer = await server.post(path, {"text": LONG}, params={"output_format": format})
            assert answer.status_code == 200
            if "timestamps" in path:
                assert answer.headers["content-type"] == "application/json"
                audio = b"".join(base64.b64decode(line["audio_base64"]) for line in lines_of(answer))
            else:
                assert answer.headers["content-type"] == content_type
                audio = answer.content
            assert audio == expected
        await server.nobody_speaks()


async def test_without_a_format_it_is_mp3() -> None:
    async with served() as server:
        answer = await server.http.post(SPEECH, json={"text": TEXT})
        assert answer.headers["content-type"] == "audio/mpeg"
        assert answer.content[:2] in (b"\xff\xfb", b"\xff\xf3")


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_an_answer_has_the_headers_that_clients_log(path: str) -> None:
    async with served() as server:
        answer = await server.post(path, {"text": TEXT})
        headers = answer.headers
        assert headers["request-id"] == headers["x-trace-id"] == headers["history-item-id"]
        assert len(headers["request-id"]) == 16
        assert headers["character-cost"] == str(len(TEXT))
        assert headers["current-concurrent-requests"] == "1"
        assert headers["maximum-concurrent-requests"] == "1000"
        assert int(headers["tts-latency-ms"]) >= 0
        # Only a whole answer knows its length.
        whole = "stream" not in path
        assert headers.get("content-length") == (str(len(answer.content)) if whole else None)
        assert headers.get("transfer-encoding") == (None if whole else "chunked")


async def test_what_was_asked_for_reaches_the_engine() -> None:
    async with served() as server:
        wanted = {
            "text": TEXT,
            "model_id": "eleven_v3",
            "language_code": "en",
            "voice_settings": {"speed": 1.2, "stability": "0.25", "style": None},
            "previous_text": "Before.",
            "seed": 4294967295,
        }
        assert (await server.post("", wanted)).status_code == 200
        (job,) = server.engine.jobs
        assert (job.text, job.voice, job.language) == (TEXT, "alice", "en")
        assert (job.settings.speed, job.settings.stability, job.settings.style) == (1.2, 0.25, 0.0)


async def test_pipecats_word_none_is_the_default_voice() -> None:
    async with served() as server:
        answer = await server.http.post("/v1/text-to-speech/None/stream", json={"text": TEXT})
        assert answer.status_code == 200
        assert server.engine.jobs[0].voice is None


@pytest.mark.parametrize("settings", [{"unflushed_close": "discard"}, {"profile": "elevenlabs-strict"}])
async def test_the_text_is_spoken_whatever_becomes_of_unflushed_text_on_sockets(settings: Any) -> None:
    async with served(**settings) as server:
        assert len((await server.post("", {"text": TEXT})).content) == BYTES_EACH * len(TEXT)


async def test_a_connection_serves_one_request_after_the_other() -> None:
    async with served() as server:
        for path in ENDPOINTS * 2:
            assert (await server.post(path)).status_code == 200
            assert (await server.post(path, {})).status_code == 422
        await server.nobody_speaks()


async def test_what_is_spoken_counts_as_used() -> None:
    async with served() as server:
        await server.post("/stream", {"text": TEXT})
        await server.nobody_speaks()
        used = (await server.http.get("/v1/user/subscription")).json()
        assert used["character_count"] == len(TEXT)


# --- times -------------------------------------------------------------------------------------------


def checked(times: dict[str, list[Any]]) -> tuple[str, list[float], list[float]]:
    assert set(times) == {
        "characters",
        "character_start_times_seconds",
        "character_end_times_seconds",
    }
    characters = times["characters"]
    starts, ends = times["character_start_times_seconds"], times["character_end_times_seconds"]
    assert len(characters) == len(starts) == len(ends) > 0
    assert all(start <= end for start, end in zip(starts, ends, strict=True))
    assert all(len(character) == 1 for character in characters)
    return "".join(characters), starts, ends


async def test_times_run_on_from_line_to_line() -> None:
    async with served() as server:
        answer = await server.post("/stream/with-timestamps", {"text": LONG})
    assert answer.text.endswith("\n")
    lines = lines_of(answer)
    assert len(lines) > 10
    text, starts, ends, heard = "", [], [], 0.0
    for line in lines:
        assert set(line) == {"audio_base64", "alignment", "normalized_alignment"}
        assert line["normalized_alignment"] == line["alignment"]
        heard += len(base64.b64decode(line["audio_base64"])) / 16000
        assert len(json.dumps(line)) < 512 * 1024
        said, started, ended = checked(line["alignment"])
        assert ended[-1] == pytest.approx(heard)
        text, starts, ends = text + said, starts + started, ends + ended
    assert text == LONG
    assert starts == sorted(starts)
    assert starts == pytest.approx([0.01 * index for index in range(len(LONG))])
    assert ends[:-1] == starts[1:]


async def test_a_whole_answer_has_all_times_in_one_object() -> None:
    async with served() as server:
        answer = await server.post("/with-timestamps", {"text": LONG})
    timed = answer.json()
    text, starts, ends = checked(timed["alignment"])
    assert text == LONG
    assert (starts, starts[0]) == (sorted(starts), 0.0)
    assert ends[-1] == pytest.approx(len(base64.b64decode(timed["audio_base64"])) / 16000)


# --- streaming ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/stream", "/stream/with-timestamps"])
async def test_a_stream_begins_before_its_speech_is_made(path: str) -> None:
    engine = WatchedEngine(held_after=1)
    async with served(engine) as server:
        async with server.stream(path, TEXT) as answer:
            pieces = answer.aiter_lines() if "timestamps" in path else answer.aiter_raw()
            assert await anext(pieces)
            assert engine.speaks == 1, "there is more to come"
            engine.go.set()
            assert [piece async for piece in pieces]
        await server.nobody_speaks()


@pytest.mark.parametrize("path", ["/stream", "/stream/with-timestamps"])
async def test_who_hangs_up_while_it_speaks_stops_the_engine(path: str) -> None:
    engine = WatchedEngine(held_after=1)
    async with served(engine) as server:
        body = json.dumps({"text": TEXT})
        head = (
            f"POST {SPEECH}{path}?output_format=pcm_8000 HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}"
        )
        # Not with httpx, which on trio is not tidy about what it leaves.
        async with await anyio.connect_tcp("127.0.0.1", server.port) as client:
            await client.send(f"{head}\r\n\r\n{body}".encode())
            answer = b""
            while not answer.partition(b"\r\n\r\n")[2]:
                answer += await client.receive()
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert engine.speaks == 1
        await server.nobody_speaks()
        # The next one is served as if nothing had been.
        engine.go.set()
        assert len((await server.post("", {"text": TEXT})).content) == BYTES_EACH * len(TEXT)


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_who_hangs_up_before_the_first_byte_stops_the_engine(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = WatchedEngine(held_after=0)
    async with served(engine) as server:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.post, path)
            await until(lambda: engine.speaks == 1)
            tasks.cancel_scope.cancel()
        await server.nobody_speaks()
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


# --- wav ---------------------------------------------------------------------------------------------


async def test_a_whole_answer_may_be_a_wav_file() -> None:
    async with served() as server:
        params = {"output_format": "wav_8000"}
        answer = await server.post("", {"text": LONG}, params=params)
        assert answer.headers["content-type"] == "audio/wav"
        data = answer.content
        assert (data[:4], data[8:12]) == (b"RIFF", b"WAVE")
        assert struct.unpack("<I", data[4:8])[0] == len(data) - 8
        start = data.index(b"data") + 8
        assert struct.unpack("<I", data[start - 4 : start])[0] == BYTES_EACH * len(LONG)
        assert data[start:] == (await server.post("", {"text": LONG})).content
        timed = (await server.post("/with-timestamps", {"text": LONG}, params=params)).json()
        assert base64.b64decode(timed["audio_base64"]) == data
        for path in ("/stream", "/stream/with-timestamps"):
            refused = await server.post(path, params=params)
            assert (refused.status_code, refused.json()["detail"]["code"]) == (400, "unsupported_format")
