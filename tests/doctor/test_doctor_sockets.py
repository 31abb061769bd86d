"""What is found on an open socket: each cause is provoked, mostly at a mock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from servers import at_mock, examined, left, only, proxy, scripted, serving

from mux.config import Settings
from mux.doctor import case as cases
from mux.doctor.patience import Patience
from mux.engines.tone import ToneEngine
from mux.mock import Fault, serve_mock
from mux.server.app import create_app
from mux.server.service import start_service

pytestmark = pytest.mark.anyio
STREAM = "/v1/text-to-speech/anne/stream-input"
DIALECTS = ("elevenlabs", "kugelaudio")


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> Any:
    return request.param


class _Picky(ToneEngine):
    def check(self, voice: str | None, language: str | None) -> str | None:
        return "A voice with voice_id nobody does not exist." if voice == "nobody" else None


@asynccontextmanager
async def mux_serve(**settings: Any) -> AsyncIterator[str]:
    """mux itself, with keys and a voice that it does not know."""
    async with (
        start_service(_Picky(), Settings(engine="tone", **settings)) as service,
        serving(create_app(service)) as port,
    ):
        yield f"ws://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("dialect", "path"),
    [
        ("elevenlabs", "/v1/text-to-speech/anne/multi-stream-input"),
        ("elevenlabs", STREAM),
        ("elevenlabs", "/v1/text-to-dialogue/multi-stream-input"),
        ("elevenlabs", "/v1/text-to-dialogue/stream-input"),
        ("kugelaudio", "/ws/tts/multi"),
        ("kugelaudio", "/ws/tts/stream"),
        ("kugelaudio", "/ws/tts"),
    ],
)
@pytest.mark.parametrize("token", [None, "pcm_16000", "ulaw_8000"])
async def test_all_is_well_on_every_kind_of_socket(dialect: Any, path: str, token: str | None) -> None:
    async with serve_mock(dialect) as mock:
        findings = await examined(mock.url + path, voice="anne", output_format=token, contexts=3)
        assert all(finding.verdict in ("ok", "skipped") for finding in findings), findings
        await left(mock)
    several = path.endswith("multi") or "multi-" in path
    assert ("contexts" in {finding.step for finding in findings if finding.verdict == "ok"}) == several


# --- the key --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["mux", "elevenlabs-strict"])
async def test_no_key(dialect: Any, profile: str) -> None:
    async with mux_serve(api_keys=("sesame-1",), profile=profile) as url:
        finding = only(await examined(url, dialect=dialect, voice="1"), "key_missing")
        assert finding.step == "key"
        well = await examined(url, dialect=dialect, voice="1", api_key="sesame-1")
    assert all(finding.verdict != "problem" for finding in well)


@pytest.mark.parametrize("profile", ["mux", "elevenlabs-strict"])
async def test_a_wrong_key(dialect: Any, profile: str) -> None:
    """Told with 401, and by the strict profile only after the socket was opened."""
    async with mux_serve(api_keys=("sesame-1",), profile=profile) as url:
        finding = only(await examined(url, dialect=dialect, api_key="wrong-sesame"), "key_refused")
    assert (finding.step, finding.verdict) == ("key", "problem")
    assert "wrong-sesame" not in repr(finding)


async def test_a_key_of_another_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "SIBLINGS", {"127.0.0.1": ("127.0.0.1", "eu.speech.test")})
    findings = await at_mock("elevenlabs", Fault("unauthorized"), api_key="sesame", voice="anne")
    only(findings, "key_refused", "region")
    region = only([finding for finding in findings if finding.cause == "region"], "region")
    assert (region.verdict, region.step) == ("warning", "key")
    assert "eu.speech.test" in str(region.remedy)


async def test_a_key_that_may_not(dialect: Any) -> None:
    finding = only(
        await at_mock(dialect, Fault("forbidden"), api_key="sesame"),
        "forbidden" if dialect == "elevenlabs" else "key_refused",
    )
    assert "HTTP 403" in finding.evidence


async def test_a_service_that_turns_its_client_away_after_the_handshake() -> None:
    findings = await at_mock("elevenlabs", Fault("turned_away"), api_key="sesame")
    assert "close 1008" in str(only(findings, "key_refused").evidence)
    only(await at_mock("kugelaudio", Fault("turned_away")), "try_later")


async def test_an_account_without_credits(dialect: Any) -> None:
    finding = only(await at_mock(dialect, Fault("out_of_credits")), "quota_exceeded")
    assert "close " in finding.evidence[-1]


async def test_too_many_at_once(dialect: Any) -> None:
    finding = only(await at_mock(dialect, Fault("too_many_requests", seconds=7)), "rate_limited")
    assert "Retry-After: 7" in finding.evidence


async def test_a_second_socket_that_is_refused() -> None:
    finding = only(await at_mock("elevenlabs", Fault("too_many_requests", nth=2)), "rate_limited")
    assert finding.step == "speech"
    only(await at_mock("elevenlabs", Fault("refused", nth=2)), "handshake_cut")


# --- what is asked for ----------------------------------------------------------------------------------


async def test_no_voice() -> None:
    async with serve_mock("kugelaudio") as mock:
        finding = only(await examined(mock.url, dialect="kugelaudio"), "voice_missing")
    assert finding.step == "voice"
    assert "MISSING_VOICE_ID" in finding.evidence[0]


async def test_an_error_of_kugelaudio_for_its_socket() -> None:
    error = {"error": "Model kugel-9 is restarting", "error_code": "MODEL_UNAVAILABLE", "code": 503}
    async with scripted(error, code=4500) as url:
        finding = only(await examined(url, dialect="kugelaudio", voice="1"), "try_later")
    assert "close 4500" in finding.evidence[-1]


@pytest.mark.parametrize("profile", ["mux", "elevenlabs-strict"])
async def test_an_unknown_voice(profile: str) -> None:
    async with mux_serve(profile=profile) as url:
        finding = only(await examined(url, voice="nobody"), "voice_unknown")
    assert finding.step == "voice"
    assert "nobody" in finding.sentence


async def test_an_unknown_model() -> None:
    finding = only(await at_mock("elevenlabs", model="eleven_flesh"), "model_not_found")
    assert finding.step == "model"
    assert "eleven_flesh" in finding.sentence


async def test_v3_on_this_endpoint() -> None:
    findings = await at_mock("elevenlabs", model="eleven_v3")
    only(findings, "model_not_here")
    assert "HTTP 400" in findings[3].evidence  # the service has said so, too


async def test_a_format_that_is_none_or_not_for_this_account() -> None:
    findings = await at_mock("elevenlabs", output_format="pcm_12345")
    only(findings, "format_unknown", "format_refused")


async def test_a_parameter_that_is_wrong() -> None:
    async with mux_serve() as url:
        finding = only(await examined(f"{url}/v1?sync_alignment=perhaps"), "rejected")
    assert "sync_alignment" in str(finding.evidence)


async def test_a_path_that_is_none() -> None:
    async with serve_mock() as mock:
        findings = await examined(f"{mock.url}/v1/text-to-speech/anne/stream")
    only(findings, "unknown_path", "path_not_found")


def without_query(head: bytes) -> bytes:
    line, rest = head.split(b"\r\n", 1)
    method, target, version = line.split(b" ")
    return b" ".join([method, target.partition(b"?")[0], version]) + b"\r\n" + rest


async def test_a_proxy_strips_the_query() -> None:
    async with serve_mock() as mock, proxy(mock.url, without_query) as url:
        finding = only(await examined(url, output_format="pcm_24000"), "query_stripped")
        assert finding.step == "format"
        only(await examined(url, output_format="pcm_24000", quick=False), "query_stripped", "timeout_ignored")


async def test_a_proxy_strips_the_query_with_the_key() -> None:
    async with mux_serve(api_keys=("sesame-1",)) as mux, proxy(mux, without_query) as url:
        finding = only(await examined(f"{url}/ws/tts/multi?api_key=sesame-1"), "query_stripped")
        assert "sesame" not in repr(finding)


async def test_a_proxy_asks_for_another_format() -> None:
    def other(head: bytes) -> bytes:
        return head.replace(b"mp3_44100_128", b"pcm_16000")

    async with serve_mock() as mock, proxy(mock.url, other) as url:
        finding = only(await examined(url, output_format="mp3_44100_128"), "wrong_format")
    assert finding.step == "format"


# --- speech ---------------------------------------------------------------------------------------------


async def test_nothing_is_heard(dialect: Any) -> None:
    finding = only(await at_mock(dialect, Fault("stall", after_ms=0)), "no_audio")
    assert finding.step == "speech"


async def test_an_end_without_audio(dialect: Any) -> None:
    only(await at_mock(dialect, Fault("zero_audio")), "silent_success")


async def test_text_that_its_close_overtakes(dialect: Any) -> None:
    only(await at_mock(dialect, Fault("close_overtakes")), "close_overtakes")


async def test_audio_that_comes_late(dialect: Any) -> None:
    patience = Patience(slow_audio=0.1, settle=0.1)
    findings = await at_mock(dialect, Fault("stall", after_ms=0, seconds=0.2, nth=1), patience=patience)
    assert only(findings, "slow_start").verdict == "warning"


async def test_audio_that_stops_in_the_middle(dialect: Any) -> None:
    only(await at_mock(dialect, Fault("stall", after_ms=100, seconds=5)), "audio_stalled")


async def test_an_end_that_never_comes(dialect: Any) -> None:
    only(await at_mock(dialect, Fault("final_never")), "no_end")


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (Fault("final_twice", nth=1), "end_twice"),
        (Fault("late_frames", nth=1), "late_frames"),
        (Fault("wrong_id", nth=1), "wrong_id"),
        (Fault("malformed_json", nth=1), "frame_unreadable"),
        (Fault("oversized_frame", nth=1, bytes=2_000_000), "frame_too_big"),
    ],
)
async def test_frames_that_are_not_as_they_should_be(dialect: Any, fault: Fault, cause: str) -> None:
    finding = only(await at_mock(dialect, fault), cause)
    assert finding.verdict == "warning"


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("close_1000", "closed_midway"),
        ("close_1006", "closed_midway"),
        ("close_1008", "closed_midway"),
        ("close_1011", "service_failed"),
        ("close_1012", "service_restarting"),
        ("close_1013", "try_later"),
    ],
)
async def test_a_socket_that_ends_in_mid_word(dialect: Any, name: str, cause: str) -> None:
    finding = only(await at_mock(dialect, Fault(name)), cause)
    assert f"close {name.removeprefix('close_')}" in finding.evidence[-1]


async def test_an_error_that_names_no_context(dialect: Any) -> None:
    only(await at_mock(dialect, Fault("error_without_id")), "service_failed")
    error = {"error": "gremlins", "message": "Gremlins in the works.", "code": 1008}
    async with scripted(error, code=1008, reason="Gremlins in the works.") as url:
        finding = only(await examined(url), "error_unscoped")
    assert "Gremlins" in finding.sentence


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (
            "voice_settings field must be provided in the first message and then ... not change.",
            "settings_changed",
        ),
        ("Could not parse input message, make sure it is a json.", "invalid_message"),
        ("Have not received a new text input within the timeout of 20.0 seconds.", "input_timeout"),
        ("We are sorry, something went wrong. You are not charged for this request.", "service_failed"),
    ],
)
async def test_a_close_whose_reason_says_why(message: str, cause: str) -> None:
    async with scripted(code=1008, reason=message) as url:
        only(await examined(url), cause)


@pytest.mark.parametrize("at", ["open", "message"])
async def test_a_socket_that_closes_at_once_and_does_not_say_why(at: str) -> None:
    """As in livekit/agents#4676."""
    async with scripted(code=1000, at=at) as url:
        finding = only(await examined(url), "unexplained")
    assert finding.evidence[0].startswith("close 1000")


NONSENSE: tuple[dict[str, Any], ...] = (
    {"audio": "!!!"},
    {"audio": "AAAA", "contextId": []},
    {"audio": "AAAA", "samples": -1, "sr": "x", "context_id": 7},
    {"isFinal": "yes", "audio": None},
    {"warning": [1]},
    {"error": {}},
    {"error": "x" * 400, "error_code": 7},
    {"isFinal": True, "final": True, "session_closed": True, "context_closed": True, "context_id": "doctor"},
)


@pytest.mark.parametrize("path", ["", STREAM, "/ws/tts/multi", "/ws/tts/stream", "/ws/tts"])
@pytest.mark.parametrize("code", [None, 3000])
async def test_a_server_that_talks_nonsense(path: str, code: int | None) -> None:
    async with scripted(*NONSENSE, code=code, reason="x" * 100) as url:
        findings = await examined(url + path, voice="anne", output_format="pcm_24000", contexts=3)
    problems = [finding for finding in findings if finding.verdict == "problem"]
    assert problems
    assert all(len(fact) < 500 for finding in problems for fact in (finding.sentence, *finding.evidence))
