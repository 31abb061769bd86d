"""The gateway against every fault of the mock, by name: all text is heard once, in order, or its end says
why."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache

import anyio
import pytest

from mux.engines.base import Chunk, Job, Relay
from mux.engines.remote import Dialect, RemoteEngine, Upstream
from mux.engines.tone import ToneEngine
from mux.engines.utterance import Repair
from mux.errors import MuxError
from mux.mock import FAULTS, Fault, Mock, serve_mock

pytestmark = pytest.mark.anyio

DEEP = os.environ.get("MUX_PROFILE") == "deep"
PACE = 25.0 if DEEP else 60.0
"""Times speaking speed: fast enough for a test, slow enough that there is a middle of a word."""
TEXTS = [f"This is sentence {number}, and it has an end. " for number in range(4 if DEEP else 2)]
RATES = {
    "unauthorized": 0.0,  # the first two are for good, and have a test of their own
    "forbidden": 0.0,
    "out_of_credits": 0.0,  # trying again does not help
    "slow_handshake": 0.3,
    "stall_socket": 0.04,
    "stall": 0.15,
    "zero_audio": 0.3,
    "final_never": 0.3,
    "oversized_frame": 0.02,
    "wrong_id": 0.2,
    "malformed_json": 0.01,  # each ends a socket: it may have been anybody's audio
}
"""How often a fault strikes; 0.25 where nothing is said."""
PER_SOCKET = 0.12
"""The same for what ends a whole socket, with all that its contexts have."""


@cache
def spoken(text: str, voice: str) -> bytes:
    """What is heard of a text when nothing goes wrong."""

    async def alone() -> bytes:
        async with ToneEngine(24000).start(1) as (tone,), tone.speak(Job(text, voice)) as chunks:
            return b"".join([chunk.pcm async for chunk in chunks])

    audio: bytes = anyio.run(alone)
    return audio


SPOKEN = {(text, voice): spoken(text, voice) for text in TEXTS for voice in ("anna", "bert")}


def upstream(mock: Mock, dialect: Dialect, repair: Repair = "exact") -> Upstream:
    return Upstream(
        name="mock", dialect=dialect, url=mock.url, sockets=2, repair=repair, stall_seconds=0.5, patience=10.0
    )


async def heard(slot: Relay, text: str, voice: str) -> list[Chunk]:
    chunks: list[Chunk] = []
    await slot.relay(Job(text, voice), chunks.append)
    return chunks


async def speak_all(slots: Sequence[Relay], apps: int = 6) -> list[str]:
    """Several apps speak all texts at the same time; returns the codes of what could not be said."""
    failed: list[str] = []

    async def app(number: int) -> None:
        voice = ("anna", "bert")[number % 2]
        for text in TEXTS:
            try:
                chunks = await heard(slots[number], text, voice)
            except MuxError as error:
                failed.append(error.code)
                continue
            assert b"".join(bytes(chunk.pcm) for chunk in chunks) == SPOKEN[text, voice], (
                "lost or heard twice"
            )

    async with anyio.create_task_group() as tasks:
        for number in range(apps):
            tasks.start_soon(app, number)
    return failed


@pytest.mark.parametrize("dialect", ["elevenlabs", "kugelaudio"])
@pytest.mark.parametrize("name", [name for name in FAULTS if RATES.get(name) != 0.0])
async def test_nothing_is_lost_or_heard_twice(name: str, dialect: Dialect) -> None:
    ends_sockets = name.startswith(("close_1", "error_without", "turned", "refused"))
    rate = RATES.get(name, PER_SOCKET if ends_sockets else 0.25)
    with anyio.fail_after(50):
        async with serve_mock(dialect, (Fault(name, rate=rate),), seed=7, pace=PACE) as mock:
            async with RemoteEngine(upstream(mock, dialect)).start(1) as slots:
                failed = await speak_all(slots)
            assert len(failed) <= 1, failed  # an end that says why, and rarely


@pytest.mark.parametrize("dialect", ["elevenlabs", "kugelaudio"])
@pytest.mark.parametrize("name", ["unauthorized", "forbidden"])
async def test_a_refusal_for_good_is_told_at_the_start(name: str, dialect: Dialect) -> None:
    async with serve_mock(dialect, (Fault(name),)) as mock:
        with pytest.raises(MuxError) as caught:
            async with RemoteEngine(upstream(mock, dialect)).start(1):
                raise AssertionError
        assert caught.value.code == "invalid_api_key"
        assert mock.handshakes == 1, "and not tried again"


@pytest.mark.parametrize("dialect", ["elevenlabs", "kugelaudio"])
async def test_promise_11_an_upstream_that_drops_in_mid_utterance_loses_no_text(dialect: Dialect) -> None:
    killed = 0

    async def killer(mock: Mock) -> None:
        nonlocal killed
        for pause in (0.03, 0.08, 0.05, 0.3, 0.07):
            await anyio.sleep(pause)
            killed += mock.kill()

    async with (
        serve_mock(dialect, pace=20.0) as mock,
        RemoteEngine(upstream(mock, dialect)).start(1) as slots,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(killer, mock)
        assert await speak_all(slots) == []
    assert killed >= 2


@pytest.mark.parametrize("dialect", ["elevenlabs", "kugelaudio"])
async def test_an_unexact_voice_goes_on_at_a_word(dialect: Dialect) -> None:
    """At most a word is heard twice, or cut short, for each time that the socket breaks."""
    text = "One two three four five six seven eight nine ten eleven twelve. "
    async with (
        serve_mock(dialect, (Fault("close_1006", times=1, after_ms=1500),), pace=PACE) as mock,
        RemoteEngine(upstream(mock, dialect, "words")).start(1) as slots,
    ):
        chunks = await heard(slots[0], text, "anna")
    audio = b"".join(bytes(chunk.pcm) for chunk in chunks)
    assert mock.fired["close_1006"] == 1
    assert abs(len(audio) / 48 - len(text) * 50) <= len("eleven ") * 50
    starts = sum(len(chunk.starts) for chunk in chunks)
    assert starts in (0, len(text)), "the mock of KugelAudio may give no words"


@pytest.mark.parametrize("dialect", ["elevenlabs", "kugelaudio"])
async def test_a_setting_ends_what_broke_off_and_says_how_much_was_heard(dialect: Dialect) -> None:
    async with (
        serve_mock(dialect, (Fault("close_1011", times=1, after_ms=1000),), pace=PACE) as mock,
        RemoteEngine(upstream(mock, dialect, "fail")).start(1) as slots,
    ):
        with pytest.raises(MuxError, match=r"\d+ ms of the segment were heard") as caught:
            await heard(slots[0], "A sentence that is cut off somewhere in its middle. ", "anna")
    assert 500 <= (caught.value.problem.observed or 0) <= 2000


@pytest.mark.parametrize("dialect", ["elevenlabs", "kugelaudio"])
async def test_leaving_early_reaches_the_service_at_once(dialect: Dialect) -> None:
    """A barge-in: its synthesis stops, its late frames go nowhere, its slot comes back."""
    async with serve_mock(dialect, pace=5.0) as mock:
        async with RemoteEngine(upstream(mock, dialect)).start(1) as slots:
            with anyio.CancelScope() as listening:
                text = "A very long answer that nobody wants. " * 8
                await slots[0].relay(Job(text, "anna"), lambda chunk: listening.cancel())
            assert listening.cancelled_caught
            chunks_after = await heard(slots[0], TEXTS[0], "anna")
            assert b"".join(bytes(chunk.pcm) for chunk in chunks_after) == SPOKEN[TEXTS[0], "anna"]
            with anyio.fail_after(5):
                while not mock.history[0].ends:  # noqa: ASYNC110 (another task ends it)
                    await anyio.sleep(0.01)
        assert mock.history[0].sent_ms < 3000
