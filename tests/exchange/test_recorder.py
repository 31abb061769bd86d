from __future__ import annotations

import json
import os
from pathlib import Path

import anyio
import pytest

from mux.errors import MuxError
from mux.exchange import read_har
from mux.exchange.recorder import INTERVAL, Recorder, Track
from mux.exchange.watch import Happening

URL = "wss://h/v1/text-to-speech/anne/multi-stream-input?output_format=pcm_24000"


def opened(recorder: Recorder, at: float = 10.0) -> Track:
    track = recorder.begin(
        at, method="GET", url=URL, headers=[("xi-api-key", "sk_0123456789")], websocket=True
    )
    track.answered(at, 101, [])
    return track


def test_what_happens_is_told_at_once() -> None:
    told: list[tuple[int, Happening]] = []
    recorder = Recorder(tell=lambda track, happened: told.extend((track.number, one) for one in happened))
    track = opened(recorder)
    track.message(11.0, "client", json.dumps({"text": "Hello. ", "context_id": "a"}))
    track.closed(12.5, "service", 1008, "no sk_0123456789")
    track.closed(13.0, "client", 1000, "")
    assert [(number, one.at, one.context, one.what) for number, one in told] == [
        (1, 0.0, None, "HTTP 101"),
        (1, 1.0, "a", "opened"),
        (1, 1.0, "a", "7 characters"),
        (1, 2.5, None, "closed 1008 by the service: no ***"),
        (1, 2.5, "a", "ended (socket closed 1008), 0 ms of audio"),
    ]


def test_memory_is_bounded_and_the_recording_says_what_it_lost() -> None:
    recorder = Recorder(limit=20_000)
    for at in range(5):
        track = opened(recorder, float(at))
        track.message(at, "client", json.dumps({"text": "x" * 1000, "context_id": "a"}))
        track.ended(at)
    live = opened(recorder)
    for _ in range(100):
        live.message(11.0, "service", json.dumps({"text": "y" * 1000}))
    recording = recorder.recording()
    assert recording.notes == ["The 5 oldest exchanges were dropped."]
    (exchange,) = recording.exchanges
    assert 10 < len(exchange.messages) < 20
    assert exchange.dropped + len(exchange.messages) == 100


def test_one_message_over_the_limit_is_kept_as_the_last_one() -> None:
    recorder = Recorder(limit=5000)
    track = opened(recorder)
    for _ in range(3):
        track.message(11.0, "service", "z" * 9000)
    assert len(track.exchange.messages) == 1


def test_refusals_keep_their_body_and_others_their_size() -> None:
    recorder = Recorder()
    for status in (200, 500):
        track = recorder.begin(0.0, method="GET", url="http://h/x", headers=[], websocket=False)
        track.answered(0.0, status, [])
        track.body(b"a" * 5000)
        track.body(b"b" * 5000)
        track.ended(1.0)
    fine, refused = recorder.recording().exchanges
    assert (fine.body, fine.body_bytes) == ("", 10_000)
    assert (refused.body, refused.body_bytes) == ("a" * 4096, 10_000)


@pytest.mark.anyio
async def test_a_file_is_written_whole_and_for_its_owner_alone(tmp_path: Path) -> None:
    recorder, path = Recorder(), tmp_path / "tap.har"
    track = opened(recorder)
    track.message(11.0, "client", '{"text":"Hello."}')
    track.ended(12.0)
    await recorder.write(path)
    assert read_har(path.read_bytes()).exchanges == [track.exchange]
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["tap.har"]


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_it_is_written_now_and_then_but_only_when_there_is_something_new(tmp_path: Path) -> None:
    recorder, path = Recorder(), tmp_path / "tap.har"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(recorder.keep_writing, path)
        await anyio.sleep(INTERVAL * 3)
        assert not path.exists()
        opened(recorder)
        while not path.exists():  # noqa: ASYNC110 - a thread writes it
            await anyio.sleep(INTERVAL)
        assert not recorder.changed
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_a_place_where_nothing_can_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(MuxError, match="cannot be written"):
        await Recorder().write(tmp_path / "nowhere" / "tap.har")
