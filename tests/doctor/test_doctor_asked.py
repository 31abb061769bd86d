"""What is told from URL, key and options alone, and how they are read."""

from __future__ import annotations

from typing import Any

import pytest
from servers import examined

from mux.doctor.asked import check_asked
from mux.doctor.case import SIBLINGS, key_from, read_case
from mux.errors import MuxError
from mux.mock import serve_mock

ELEVENLABS = "wss://api.elevenlabs.io/v1/text-to-speech/anne/multi-stream-input"
KUGELAUDIO = "wss://api.kugelaudio.com/ws/tts/multi"


def asked(url: str, **options: Any) -> dict[str | None, str]:
    return {finding.cause: finding.sentence for finding in check_asked(read_case(url, **options))}


@pytest.mark.parametrize(
    ("url", "options", "cause", "words"),
    [
        ("https" + ELEVENLABS[3:], {}, "scheme", "https://"),
        ("http://127.0.0.1:8790/ws/tts", {}, "scheme", "http://"),
        ("wss://api.elevenlabs.io/v1/text-to-speech/anne/stream", {}, "unknown_path", "/anne/stream"),
        (f"{ELEVENLABS}?inactivity_timeout=300", {}, "timeout_over_max", "300"),
        (ELEVENLABS, {"inactivity_timeout": 180.5}, "timeout_over_max", "180.5"),
        (f"{ELEVENLABS}?model_id=eleven_v3", {}, "model_not_here", "eleven_v3"),
        (
            f"{ELEVENLABS}?model_id=eleven_flash_v2_5",
            {"model": "eleven_v3_alpha"},
            "model_not_here",
            "v3_alpha",
        ),
        (f"{ELEVENLABS}?output_format=pcm_24", {}, "format_unknown", "pcm_24"),
        (KUGELAUDIO, {"output_format": "mp3_44100_128", "voice": "1"}, "format_unknown", "mp3_44100_128"),
        (ELEVENLABS, {"api_key": ""}, "key_unusable", "empty"),
        (ELEVENLABS, {"api_key": "sesame\n"}, "key_unusable", "empty"),
        (ELEVENLABS, {"api_key": "“sesame”"}, "key_unusable", "empty"),
        (ELEVENLABS.replace("anne", "None"), {}, "voice_missing", "No voice"),
        (KUGELAUDIO, {}, "voice_missing", "No voice"),
        (KUGELAUDIO, {"api_key": "eu-sesame", "voice": "1"}, "region", "api.kugelaudio.com"),
    ],
)
def test_it_is_seen_before_anything_is_sent(url: str, options: Any, cause: str, words: str) -> None:
    found = asked(url, **options)
    assert list(found) == [cause]
    assert words in found[cause]
    assert "sesame" not in str(found)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        (ELEVENLABS, {}),
        (f"{ELEVENLABS}?inactivity_timeout=180&model_id=eleven_flash_v2_5&output_format=ulaw_8000", {}),
        (f"{ELEVENLABS}?inactivity_timeout=300", {"inactivity_timeout": 60}),
        ("http://127.0.0.1:8790/v1", {}),
        (
            "wss://api.elevenlabs.io/v1/text-to-dialogue/multi-stream-input",
            {"voice": "a", "model": "eleven_v3"},
        ),
        (KUGELAUDIO, {"voice": "1071", "output_format": "ulaw_8000"}),
        ("wss://api.eu.kugelaudio.com", {"voice": "1071", "api_key": "eu-sesame"}),
    ],
)
def test_nothing_is_said_against_what_may_work(url: str, options: Any) -> None:
    assert asked(url, **options) == {}


@pytest.mark.parametrize(
    ("url", "options", "dialect", "wanted"),
    [
        ("ws://h:1", {}, "elevenlabs", "ws://h:1/v1/text-to-speech/default/multi-stream-input"),
        (
            "http://h:1/v1",
            {"voice": "a b"},
            "elevenlabs",
            "ws://h:1/v1/text-to-speech/a%20b/multi-stream-input",
        ),
        ("https://api.kugelaudio.com", {}, "kugelaudio", "wss://api.kugelaudio.com/ws/tts/multi"),
        ("ws://h/kugelaudio", {"dialect": "kugelaudio"}, "kugelaudio", "ws://h/kugelaudio/ws/tts/multi"),
        ("ws://h/ws/tts/stream", {}, "kugelaudio", "ws://h/ws/tts/stream"),
        (
            f"{ELEVENLABS}?model_id=a&auto_mode=true",
            {"model": "b", "voice": "bob", "language": "de", "inactivity_timeout": 5},
            "elevenlabs",
            ELEVENLABS.replace("anne", "bob")
            + "?auto_mode=true&model_id=b&language_code=de&inactivity_timeout=5",
        ),
    ],
)
def test_the_url_is_the_one_that_the_app_opens(url: str, options: Any, dialect: str, wanted: str) -> None:
    case = read_case(url, **options)
    assert (case.dialect, case.url) == (dialect, wanted)


def test_what_is_tried_by_default_is_what_the_service_allows() -> None:
    assert read_case(ELEVENLABS).contexts == 5
    assert read_case(KUGELAUDIO).contexts == 20
    assert read_case("ws://h/v1/text-to-speech/a/stream-input").contexts == 0
    assert read_case(ELEVENLABS, contexts=7).contexts == 7


@pytest.mark.parametrize(
    "url",
    [
        "api.elevenlabs.io",
        "ftp://h",
        "ws://[::1",
        f"{ELEVENLABS}?single_use_token=sesame-once",
        "?key=sesame",
    ],
)
def test_what_cannot_be_tried_is_refused(url: str) -> None:
    with pytest.raises(MuxError) as refused:
        read_case(url)
    assert refused.value.code == "invalid_parameter"
    assert "sesame" not in str(refused.value)


def test_a_vendor_s_key_goes_to_the_vendor_alone() -> None:
    keys = {"ELEVENLABS_API_KEY": "e", "KUGELAUDIO_API_KEY": "k", "MUX_API_KEY": "m"}
    assert key_from(keys, ELEVENLABS) == "e"
    assert key_from({"ELEVEN_API_KEY": "lk"}, "https://api.us.elevenlabs.io") == "lk"
    assert key_from(keys, KUGELAUDIO) == "k"
    for url in ("ws://127.0.0.1:8790", "wss://api.elevenlabs.io.evil.test/v1", "wss://notelevenlabs.io"):
        assert key_from(keys, url) == "m"
    assert key_from({}, ELEVENLABS) is None


def test_a_case_shows_no_key() -> None:
    case = read_case(f"{KUGELAUDIO}?api_key=sesame-1", api_key="eu-sesame-2")
    assert case.headers == {"authorization": "Bearer sesame-2"}  # "prefixes are stripped before auth"
    assert "sesame" not in repr(case)
    assert case.shown("keys sesame-1\nand sesame-2!") == "keys *** and ***!"


def test_every_region_knows_the_others() -> None:
    for host, hosts in SIBLINGS.items():
        assert host in hosts
        assert len(read_case(f"wss://{host}", voice="v").siblings) == len(hosts) - 1


@pytest.mark.anyio
async def test_a_key_that_no_header_can_carry_is_not_sent() -> None:
    async with serve_mock() as mock:
        findings = await examined(mock.url, api_key="sesame\n")
        assert mock.handshakes == 0
    assert [finding.cause for finding in findings if finding.verdict == "problem"] == ["key_unusable"]
