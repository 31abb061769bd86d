from __future__ import annotations

import logging
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import pytest
from openai_stub import (
    KEY,
    PCM,
    QUICK,
    TEXT,
    RawServer,
    Stream,
    ToneServer,
    answering,
    failure,
    head,
    say,
    served,
    speaking,
    spoken,
    start_failure,
    started,
    until_left,
    whole,
)

from mux.audio.riff import WavEncoder
from mux.engines.base import Job, Synthesizer
from mux.errors import MuxError

pytestmark = pytest.mark.anyio


async def test_samples_are_joined_however_the_body_was_cut() -> None:
    async def speak(stream: Stream, asked: dict[str, Any]) -> None:
        await stream.send(head(content_type="audio/pcm", transfer_encoding="chunked"))
        rest = PCM
        for size in (1, 2, 3, 1001, 1, len(PCM)):
            piece, rest = rest[:size], rest[size:]
            await stream.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            await anyio.sleep(0.001)
        await stream.send(b"0\r\n\r\n")

    async with RawServer(speak).served() as url, started(url) as synthesizer:
        async with synthesizer.speak(Job(TEXT)) as chunks:
            pieces = [chunk async for chunk in chunks]
        assert b"".join(piece.pcm for piece in pieces) == PCM
        assert len(pieces) > 1
        assert all(len(piece.pcm) % 2 == 0 and piece.pcm and not piece.starts for piece in pieces)


async def test_the_first_audio_is_heard_before_the_last_is_made() -> None:
    heard = anyio.Event()

    async def speak(stream: Stream, asked: dict[str, Any]) -> None:
        await stream.send(head(content_type="audio/pcm", content_length=8) + b"1234")
        await heard.wait()
        await stream.send(b"5678")

    async with speaking(RawServer(speak)) as chunks:
        assert (await anext(chunks)).pcm == b"1234"
        heard.set()
        assert await spoken(chunks) == b"5678"


async def test_others_run_between_the_chunks_of_one_packet() -> None:
    packet = head(content_type="audio/pcm", transfer_encoding="chunked") + b"2\r\nab\r\n" * 50 + b"0\r\n\r\n"
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with speaking(answering(packet)) as chunks, anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        assert await spoken(chunks) == b"ab" * 50
        assert turns >= 48
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    "content_type",
    ["audio/pcm", "audio/pcm; rate=24000", "Audio/L16;channels=1;rate=24000", "application/octet-stream", ""],
)
async def test_pcm_by_any_name_is_spoken(content_type: str) -> None:
    server = answering(whole(PCM, content_type=content_type))
    async with server.served() as url, started(url) as synthesizer:
        assert await say(synthesizer) == PCM


async def test_wav_is_spoken_without_its_header() -> None:
    encoder = WavEncoder(24000)
    encoder.encode(PCM)
    server = answering(whole(encoder.flush(), content_type="audio/wav"))
    async with server.served() as url, started(url) as synthesizer:
        assert await say(synthesizer) == PCM


async def test_speech_at_another_rate_is_refused_not_played_at_the_wrong_pitch() -> None:
    encoder = WavEncoder(22050)
    encoder.encode(PCM)
    answers = [
        whole(encoder.flush(), content_type="audio/wav"),
        whole(PCM, content_type="audio/pcm;rate=22050"),
    ]
    async with answering(*answers).served() as url, started(url) as synthesizer:
        for _ in answers:
            found = await failure(synthesizer)
            assert found.code == "upstream_error"
            assert "22050" in str(found)
            assert "24000" in str(found)
    async with answering(*answers).served() as url, started(url, sample_rate=22050) as synthesizer:
        for _ in answers:
            assert await say(synthesizer) == PCM


@pytest.mark.parametrize("content_type", ["audio/mpeg", "text/event-stream", "application/json", "text/html"])
async def test_what_is_no_pcm_is_refused(content_type: str) -> None:
    server = answering(whole(PCM, content_type=content_type), whole(PCM))
    async with server.served() as url, started(url) as synthesizer:
        found = await failure(synthesizer)
        assert found.code == "upstream_error"
        assert content_type in str(found)
        assert await say(synthesizer) == PCM


async def test_a_success_without_audio_is_an_error() -> None:
    async with answering(whole(b""), whole(PCM)).served() as url, started(url) as synthesizer:
        assert (await failure(synthesizer)).code == "empty_synthesis"
        assert await say(synthesizer) == PCM


@pytest.mark.parametrize(
    ("answer", "audio"),
    [
        (head(content_type="audio/pcm", content_length=100) + PCM[:50], PCM[:50]),
        (head(content_type="audio/pcm", transfer_encoding="chunked") + b"32\r\n" + PCM[:50], PCM[:50]),
        (head(content_type="audio/pcm", transfer_encoding="chunked") + b"32\r\n" + PCM[:49], PCM[:48]),
        (head(content_type="audio/pcm", transfer_encoding="chunked") + b"zz\r\n", b""),
        (head(content_type="audio/pcm", connection="close") + PCM[:49], PCM[:48]),
        (b"HTTP/1.1 200", b""),
        (b"", b""),
        (b"SSH-2.0-OpenSSH_9.2\r\n", b""),
    ],
)
async def test_a_body_that_ends_early_is_an_error_after_what_came(answer: bytes, audio: bytes) -> None:
    async def speak(stream: Stream, asked: dict[str, Any]) -> None:
        if server.posts <= broken_times:
            await stream.send(answer)
            await stream.aclose()
        await stream.send(whole(PCM))

    async def listen(synthesizer: Synthesizer) -> None:
        async with synthesizer.speak(Job(TEXT)) as chunks:
            async for chunk in chunks:
                heard.append(chunk.pcm)

    # Nothing of an answer: the kept connection may just have been too old, so it is asked again.
    broken_times = 1 if answer.startswith(b"HTTP/1.1 200 OK") else 2
    heard: list[bytes] = []
    server = RawServer(speak)
    async with server.served() as url, started(url) as synthesizer:
        with pytest.raises(MuxError) as caught:
            await listen(synthesizer)
        assert caught.value.code == "engine_failed"
        assert caught.value.retryable
        assert b"".join(heard) == audio
        assert await say(synthesizer) == PCM
        assert server.posts == broken_times + 1


async def test_an_idle_connection_that_the_server_has_closed_costs_no_text() -> None:
    async def speak(stream: Stream, asked: dict[str, Any]) -> None:
        await stream.send(whole(PCM))
        if server.posts == 1:  # no `connection: close`: it goes while the next request is on its way
            await stream.receive(1)
            await stream.aclose()

    server = RawServer(speak)
    async with server.served() as url, started(url) as synthesizer:
        assert [await say(synthesizer) for _ in range(3)] == [PCM] * 3
        assert server.connections == 2


async def test_a_refusal_costs_neither_the_next_job_nor_the_connection() -> None:
    refused = whole(b'{"detail": {"message": "Voice not found."}}', "400 No", content_type="application/json")
    server = answering(refused, whole(b"", "429 Slow", retry_after=2), whole(PCM))
    async with server.served() as url, started(url, model="m1", default_voice="v1") as synthesizer:
        found = await failure(synthesizer)
        assert found.code == "upstream_error"
        assert all(word in str(found) for word in ("Voice not found", "m1", "v1", "127.0.0.1"))
        busy = await failure(synthesizer)
        assert (busy.code, busy.problem.retry_after_ms) == ("busy", 2000)
        assert await say(synthesizer) == PCM
        assert server.connections == 1


async def test_a_refusal_that_never_ends_is_still_told() -> None:
    async def speak(stream: Stream, asked: dict[str, Any]) -> None:
        await stream.send(head("500 Sorry", transfer_encoding="chunked"))
        while True:
            await stream.send(b"1000\r\n" + bytes(0x1000) + b"\r\n")

    async with RawServer(speak).served() as url, started(url) as synthesizer:
        assert (await failure(synthesizer)).code == "engine_failed"


async def test_neither_key_nor_text_is_logged_or_repeated(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    sentences: list[str] = []
    quoting = b'{"error": {"message": "%s %s", "input": "%s"}}' % (KEY.encode(), TEXT.encode(), TEXT.encode())
    statuses = ("400 a", "401 a", "403 a", "404 a", "429 a", "500 a")
    server = answering(*(whole(quoting, status) for status in statuses))
    async with server.served() as url, started(url, api_key=KEY) as synthesizer:
        for _ in statuses:
            sentences.append(str(await failure(synthesizer)))
    async with served(ToneServer(key=KEY).app) as url:
        async with started(url, api_key=KEY) as synthesizer:
            await say(synthesizer)
        sentences.append(str(await start_failure(url, api_key=KEY + "x")))
    everything = "\n".join([caplog.text, *sentences])
    assert "HTTP Request" in everything  # the library's own log is among it
    assert KEY not in everything
    assert TEXT not in everything


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nx-slow: ",
        head(content_type="audio/pcm", content_length=100),
        head(content_type="audio/pcm", content_length=100) + b"1",
        head(content_type="audio/pcm", content_length=100) + b"12345678",
    ],
)
async def test_a_server_that_falls_silent_is_left(beginning: bytes) -> None:
    async def speak(stream: Stream, asked: dict[str, Any]) -> None:
        if server.posts == 1:
            await stream.send(beginning)
            await until_left(stream)
        await stream.send(whole(PCM))

    server = RawServer(speak)
    async with server.served() as url, started(url, deadlines=QUICK) as synthesizer:
        found = await failure(synthesizer)
        assert (found.code, found.problem.limit) == ("engine_stalled", 0.05)
        assert await say(synthesizer) == PCM
        assert server.open == 1


async def test_a_listener_that_takes_its_time_is_no_stall() -> None:
    async with speaking(answering(whole(PCM)), deadlines=QUICK) as chunks:
        await anyio.sleep(0.1)
        assert await spoken(chunks) == PCM
