"""KugelAudio's wire as a client speaks it: to mux, and to the vendor as its documents have it."""

from __future__ import annotations

import base64
import json
from functools import partial
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mux.dialects.base import (
    AudioFrame,
    ClientDialect,
    ContextError,
    Decoded,
    Flushed,
    Received,
    SocketError,
    Sound,
    Unreadable,
)
from mux.dialects.elevenlabs import ElevenLabsClient
from mux.dialects.kugelaudio import KugelAudioServer, client
from mux.dialects.kugelaudio.client import KugelAudioClient
from mux.engines.base import Engine
from mux.engines.espeak import EspeakEngine
from mux.engines.tone import ToneEngine
from mux.errors import ERRORS, MuxError, Problem
from mux.links.link import open_link
from mux.links.router import Ended
from mux.protocol.messages import (
    Alignment,
    Close,
    CloseSocket,
    Command,
    Configure,
    ContextClosed,
    ContextOpened,
    Flush,
    FlushDone,
    Invalid,
    KeepAlive,
    Open,
    Reason,
    SegmentDone,
    SegmentStarted,
    SessionClosed,
    Text,
    Usage,
    Warning,
)
from mux.protocol.voice import ContextSettings
from mux.testing import memory_server

USAGE = Usage(characters_accepted=12, characters_sent=10, audio_generated_ms=100.5, audio_sent_ms=100.5)
PROBLEM = Problem(code="busy", message="Too much.", limit=3.0, retry_after_ms=500, allowed=("a",))
AUDIO = base64.b64encode(bytes(4800)).decode()
"""100 ms at 24 kHz."""


@pytest.fixture(autouse=True)
def short_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames here are no longer than what is held back, unless a test says otherwise."""
    monkeypatch.setattr(client, "HELD_SECONDS", 60.0)


def test_of_a_long_frame_only_the_end_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "HELD_SECONDS", 0.02)
    wire = opened()
    vendor(wire, generation_started=True, chunk_id=0, text="Hi")
    data = base64.b64encode(bytes(4800)).decode()
    for expected in (4800 - 960, 4800):
        assert [size for size, _ in heard(vendor(wire, audio=data, sr=24000, chunk_id=0))] == [expected]
    assert [size for size, _ in heard(vendor(wire, chunk_complete=True, chunk_id=0))] == [960]


def sent(command: Command, client: KugelAudioClient | None = None) -> dict[str, Any]:
    message: dict[str, Any] = json.loads((client or KugelAudioClient()).encode(command))
    return message


def opened(*ids: str, **arguments: Any) -> KugelAudioClient:
    client = KugelAudioClient(**arguments)
    for id in ids or ("a",):
        client.encode(Open(id))
    return client


def vendor(client: KugelAudioClient, **fields: Any) -> list[Received]:
    """What a frame says; of context a where nothing else is said."""
    return client.decode(json.dumps({"context_id": "a"} | fields))


# --- what is sent ------------------------------------------------------------------------------------


def test_a_context_is_opened_as_the_vendors_clients_do() -> None:
    assert sent(Open("a", ContextSettings(voice="1071")), KugelAudioClient(model="kugel-3.5")) == {
        "text": " ",
        "context_id": "a",
        "voice_settings": {"voice_id": 1071},
        "model_id": "kugel-3.5",
        "sample_rate": 24000,
        "output_format": "pcm_24000",
        "word_timestamps": True,
    }


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (Text("a", 'é 😀 "\\\n\0'), {"text": 'é 😀 "\\\n\0', "context_id": "a"}),
        (Flush("a"), {"flush": True, "context_id": "a"}),
        (Close("a"), {"close_context": True, "context_id": "a"}),
        (Close("a", immediate=True), {"close_context": True, "context_id": "a", "immediate": True}),
        (KeepAlive("a"), {"text": "", "context_id": "a"}),
        (KeepAlive(), {"text": ""}),
        (CloseSocket(), {"close_socket": True}),
    ],
)
def test_messages_say_no_more_than_they_must(command: Command, message: dict[str, Any]) -> None:
    assert sent(command) == message


@pytest.mark.parametrize(
    "command",
    [Text("a", "Hello. "), Flush("a"), Close("a"), Close("a", immediate=True), KeepAlive("a"), CloseSocket()],
)
def test_mux_understands_what_a_client_means(command: Command) -> None:
    assert KugelAudioServer().decode(KugelAudioClient().encode(command)) == [command]


def test_mux_understands_all_settings() -> None:
    own = ContextSettings(
        voice="bob",
        language="de-AT",
        voice_settings={"stability": 0.2, "similarity_boost": 0.9, "speed": 1.1, "style": 0.5},
        normalize=False,
        chunk_length_schedule=(50, 90),
        longest_segment=300,
        flush_timeout=0.25,
        inactivity_timeout=7.5,
    )
    client = KugelAudioClient(model="m", output_format="ulaw_8000")
    session = ContextSettings(
        language="de",
        voice_settings={"stability": 0.2, "speed": 1.1},
        model="m",
        output_format="ulaw_8000",
        word_timestamps=True,
        normalize=False,
        chunk_length_schedule=(50, 90),
        longest_segment=300,
        flush_timeout=0.25,
        inactivity_timeout=7.5,
    )
    voice = ContextSettings(voice="bob", voice_settings={"similarity_boost": 0.9})
    expected: list[Decoded] = [Configure(session), Open("a", voice, anew=True), Text("a", " ")]
    assert KugelAudioServer().decode(client.encode(Open("a", own))) == expected


@pytest.mark.parametrize(
    ("voice", "id"),
    [("1071", 1071), ("bob", "bob"), ("10 ", "10 "), ("007", "007"), ("٣", "٣"), ("9" * 40, "9" * 40)],
)
def test_a_voice_of_digits_is_a_number(voice: str, id: int | str) -> None:
    assert sent(Open("a", ContextSettings(voice=voice)))["voice_settings"] == {"voice_id": id}


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ({"stability": 0.5}, "temperature", 0.5),
        ({"stability": 1.0}, "temperature", 0.0),
        ({"speed": 0.7}, "speed", 0.8),
        ({"speed": 1.2}, "speed", 1.2),
    ],
)
def test_voice_settings_are_turned_into_the_vendors(given: Any, name: str, value: float) -> None:
    assert sent(Open("a", ContextSettings(voice_settings=given)))[name] == value


def test_similarity_is_the_contexts_own_guidance() -> None:
    message = sent(Open("a", ContextSettings(voice_settings={"similarity_boost": 0.75})))
    assert message["voice_settings"] == {"cfg_scale": 2.0}


def test_what_one_context_asks_for_does_not_hold_for_the_next() -> None:
    client = KugelAudioClient()
    own = ContextSettings(voice_settings={"speed": 1.1, "stability": 0.2}, inactivity_timeout=7)
    sent(Open("a", own), client)
    after = sent(Open("b"), client)
    assert (after["speed"], after["temperature"], after["inactivity_timeout"]) == (1.0, 0.5, 20.0)


def test_what_a_session_was_given_holds_for_all_contexts_that_say_nothing_else() -> None:
    client = KugelAudioClient(settings=ContextSettings(voice="5", language="fr"))
    assert sent(Configure(ContextSettings(voice_settings={"speed": 1.1})), client) == {
        "text": "",
        "voice_id": 5,
        "language": "fr",
        "speed": 1.1,
        "sample_rate": 24000,
        "output_format": "pcm_24000",
        "word_timestamps": True,
    }
    message = sent(Open("a", ContextSettings(language="de")), client)
    assert (message["voice_settings"], message["language"], message["speed"]) == ({"voice_id": 5}, "de", 1.1)


def test_a_format_of_another_wire_is_refused_by_name() -> None:
    with pytest.raises(MuxError, match="mp3_44100_128") as caught:
        KugelAudioClient(output_format="mp3_44100_128")
    assert caught.value.code == "unsupported_format"


def test_a_client_has_no_word_for_invalid() -> None:
    with pytest.raises(ValueError, match="server"):
        KugelAudioClient().encode(Invalid(PROBLEM))


# --- ends --------------------------------------------------------------------------------------------


class Pair:
    """mux's server and a client, and what the client hears of context a."""

    def __init__(self, *, word_timestamps: bool = True) -> None:
        self.client = opened(word_timestamps=word_timestamps)
        self.server = KugelAudioServer(session_id="s1")

    def hears(self, *events: Any) -> list[Received]:
        frames: list[str] = []
        for event in events:
            frames += self.server.audio(event) if isinstance(event, Sound) else self.server.event(event)
        return [received for frame in frames for received in self.client.decode(frame)]


OPENED = ContextOpened("a", 1, ContextSettings(word_timestamps=True))


@pytest.mark.parametrize("reason", [Reason.COMPLETED, Reason.CANCELLED, Reason.TIMED_OUT])
def test_muxs_end_comes_once_with_its_reason_and_usage(reason: Reason) -> None:
    pair = Pair()
    assert pair.hears(OPENED) == []
    assert pair.client.session_id == "s1"
    received = pair.hears(ContextClosed("a", 1, reason, USAGE))
    assert received[-1] == ContextClosed("a", 0, reason, USAGE)
    assert [item for item in received[:-1] if not isinstance(item, Flushed)] == []


def test_a_flush_is_answered_and_so_is_a_close() -> None:
    pair = Pair()
    assert pair.hears(OPENED, FlushDone("a", 1, 1)) == [Flushed("a")]


def test_muxs_error_comes_with_all_its_facts_and_the_usage() -> None:
    assert Pair().hears(OPENED, ContextClosed("a", 1, Reason.FAILED, USAGE, PROBLEM)) == [
        ContextError("a", PROBLEM),
        ContextClosed("a", 0, Reason.FAILED, USAGE),
    ]


def test_a_refusal_is_an_end() -> None:
    assert Pair().hears(ContextClosed("a", 1, Reason.FAILED, Usage(), PROBLEM)) == [
        ContextError("a", PROBLEM),
        ContextClosed("a", 0, Reason.FAILED, Usage()),
    ]


@pytest.mark.parametrize("before", [[], [OPENED]])
def test_what_a_restart_turns_away_has_ended(before: list[Any]) -> None:
    problem = Problem(code="draining", message="Restart.")
    assert Pair().hears(*before, ContextClosed("a", 1, Reason.FAILED, Usage(), problem)) == [
        Warning(problem, "a"),
        ContextError("a", problem),
        ContextClosed("a", 0, Reason.FAILED, Usage()),
    ]


def test_an_end_with_the_socket_keeps_its_usage() -> None:
    warning, end = Pair().hears(OPENED, ContextClosed("a", 1, Reason.SOCKET_CLOSED, USAGE))
    assert isinstance(warning, Warning)
    assert isinstance(end, ContextClosed)
    assert (end.reason, end.usage.audio_sent_ms, end.usage.characters_sent) == (
        Reason.SOCKET_CLOSED,
        100.5,
        10,
    )


@pytest.mark.parametrize("code", [code for code, row in ERRORS.items() if row.close != 1012])
def test_every_code_survives_the_wire(code: str) -> None:
    problem = Problem(code=code, message="Why.")
    assert Pair().hears(SessionClosed(1008, "", problem)) == [SocketError(problem)]


def test_a_restart_is_warned_of() -> None:
    problem = Problem(code="draining", message="Restart.")
    assert Pair().hears(SessionClosed(1012, "", problem)) == [Warning(problem)]


def test_a_warning_ends_nobody() -> None:
    problem = Problem(code="setting_clamped", message="Clamped.")
    pair = Pair()
    received = pair.hears(OPENED, Warning(problem, "a"), Warning(problem))
    assert received == [Warning(problem, "a"), Warning(problem)]


def test_the_vendors_end() -> None:
    client = opened()
    spent = {"audio_seconds": 4.1, "cost_cents": 0.37, "currency": "eur", "model_id": "kugel-3"}
    assert vendor(client, final=True) == [Flushed("a")]
    assert vendor(client, context_closed=True, usage=spent) == [
        ContextClosed("a", 0, Reason.COMPLETED, Usage(audio_generated_ms=4100.0, audio_sent_ms=4100.0))
    ]
    assert vendor(client, context_closed=True, usage=spent) == []


def test_the_vendors_characters_are_counted() -> None:
    (end,) = vendor(opened(), context_closed=True, usage={"audio_seconds": 1, "characters": 57})
    assert isinstance(end, ContextClosed)
    assert end.usage.characters_sent == end.usage.characters_accepted == 57


def test_the_vendors_end_after_a_cancel() -> None:
    client = opened("a", "b")
    client.encode(Close("a", immediate=True))
    client.encode(Close("b"))
    assert vendor(client, context_closed=True) == [ContextClosed("a", 0, Reason.CANCELLED, Usage())]
    assert vendor(client, context_closed=True, context_id="b") == [
        ContextClosed("b", 0, Reason.COMPLETED, Usage())
    ]


def test_the_vendors_timeout_ends_a_context_whether_or_not_its_close_is_told() -> None:
    client = opened()
    assert vendor(client, context_created=True) == []
    assert vendor(client, context_timeout=True) == [ContextClosed("a", 0, Reason.TIMED_OUT, Usage())]
    assert vendor(client, context_closed=True) == []


def test_the_vendors_error_ends_a_context_whether_or_not_its_close_is_told() -> None:
    client = opened("a", "b")
    vendor(client, context_created=True)
    assert vendor(client, error="Slow down.", error_code="RATE_LIMITED", code=429, retry_after=2) == [
        ContextError("a", Problem(code="busy", message="Slow down.", retry_after_ms=2000)),
        ContextClosed("a", 0, Reason.FAILED, Usage()),
    ]
    assert vendor(client, error="Slow down.") == []
    assert vendor(client, context_closed=True, usage={"audio_seconds": 1}) == []
    assert vendor(client, context_closed=True, context_id="b") != []


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"error_code": "VALIDATION_ERROR", "code": 400}, "invalid_message"),
        ({"error_code": "MISSING_VOICE_ID", "code": 400}, "missing_voice"),
        ({"error_code": "UNAUTHORIZED", "code": 401}, "invalid_api_key"),
        ({"error_code": "INSUFFICIENT_CREDITS", "code": 402}, "upstream_error"),
        ({"error_code": "NOT_FOUND", "code": 404}, "unknown_voice"),
        ({"error_code": "TOO_MANY_CONTEXTS", "code": 429}, "too_many_contexts"),
        ({"error_code": "EMPTY_AUDIO", "code": 500}, "empty_synthesis"),
        ({"error_code": "INTERNAL_ERROR", "code": 500}, "engine_failed"),
        ({"error_code": "MODEL_UNAVAILABLE", "code": 503}, "engine_failed"),
        ({"code": 429}, "busy"),
        ({"code": 403}, "invalid_api_key"),
        ({}, "upstream_error"),
        ({"error_code": "NEW", "code": 418, "mux": {"code": "newer", "message": "x"}}, "upstream_error"),
        ({"error_code": "EMPTY_AUDIO", "mux": 5}, "empty_synthesis"),
    ],
)
def test_the_vendors_errors_keep_their_sentence_and_get_our_code(fields: dict[str, Any], code: str) -> None:
    error, _ = vendor(opened(), error="What it says.", **fields)
    assert error == ContextError("a", Problem(code=code, message="What it says."))
    problem = Problem(code=code, message="What it says.")
    assert vendor(opened(), context_id=None, error="What it says.", **fields) == [SocketError(problem)]


@pytest.mark.parametrize("mux", [{"reason": "evaporated", "usage": {}}, {"reason": 7}, [], "x", None])
def test_an_end_is_an_end_even_with_additions_that_nobody_knows(mux: Any) -> None:
    for usage in ({}, None, 5, {"audio_seconds": "much"}):
        assert vendor(opened(), context_closed=True, mux=mux, usage=usage) == [
            ContextClosed("a", 0, Reason.COMPLETED, Usage())
        ]


@pytest.mark.parametrize("warning", ["careful", {"message": "careful"}])
def test_a_warning_of_any_shape_is_told(warning: Any) -> None:
    problem = Problem(code="setting_ignored", message="careful")
    assert vendor(opened(), warning=warning) == [Warning(problem, "a")]
    assert vendor(opened(), warning=True, context_id=None) != []


@pytest.mark.parametrize(
    "frame",
    [
        {"session_started": True, "session_id": "s"},
        {"context_created": True, "context_id": "a"},
        {"settings_updated": True, "settings": {"speed": None}},
        {"session_closed": True, "total_audio_seconds": 6.1},
        {"generation_started": True, "context_id": "a", "chunk_id": 0, "text": "Hi."},
        {"something": "new", "context_id": "a"},
        {"context_closed": True, "context_id": "unheard of"},
        {},
    ],
)
def test_frames_that_say_nothing(frame: dict[str, Any]) -> None:
    assert opened().decode(json.dumps(frame)) == []


def test_audio_that_belongs_to_nobody_is_given_on_to_be_counted() -> None:
    assert vendor(opened(), context_id="gone", audio=AUDIO) == [AudioFrame("gone", bytes(4800))]


@pytest.mark.parametrize(
    "data",
    [
        "",
        "nonsense",
        b"\xff",
        "\ud800",
        "[]",
        '{"audio": 5}',
        '{"audio": "a"}',
        '{"audio": "é"}',
        '{"context_closed": "yes"}',
        '{"error": {}}',
        '{"word_timestamps": [{"word": "x"}]}',
        "[" * 100_000,
        '{"mux": ' + "[" * 100_000,
    ],
)
def test_a_frame_of_another_protocol_is_told_and_raises_nothing(data: str | bytes) -> None:
    (error,) = opened().decode(data)
    if str(data).startswith('{"') and "[[[" not in str(data):  # it can be read, and names nobody
        assert error == SocketError(error.problem)
        assert error.problem.code == "upstream_error"
    else:
        assert error == Unreadable(error.problem, None)
        assert error.problem.code == "connection_lost"


# --- audio and times ---------------------------------------------------------------------------------


def word(text: str, start: float, end: float, at: int) -> dict[str, Any]:
    last = at + len(text)
    return {"word": text, "start_ms": start, "end_ms": end, "char_start": at, "char_end": last}


def audio(client: KugelAudioClient, chunk: int = 0) -> list[Received]:
    return vendor(client, audio=AUDIO, enc="pcm_s16le", idx=0, sr=24000, samples=2400, chunk_id=chunk)


def begin(client: KugelAudioClient, text: str, chunk: int = 0) -> None:
    assert vendor(client, generation_started=True, chunk_id=chunk, text=text) == []


def words(client: KugelAudioClient, *words: dict[str, Any], chunk: int = 0) -> list[Received]:
    return vendor(client, word_timestamps=list(words), chunk_id=chunk)


def heard(received: list[Received]) -> list[tuple[int, Alignment | None]]:
    assert all(isinstance(item, AudioFrame) for item in received)
    return [(len(item.audio), item.alignment) for item in received if isinstance(item, AudioFrame)]


def test_the_newest_audio_waits_for_its_words() -> None:
    client = opened()
    begin(client, "Hi, you.")
    assert audio(client) == []
    assert heard(audio(client)) == [(4800, None)]
    assert words(client, word("Hi", 10, 30, 0)) == []
    assert words(client, word("you", 50, 80, 4)) == []
    assert heard(vendor(client, chunk_complete=True, chunk_id=0)) == [
        (4800, Alignment("Hi, you.", (10, 20, 30, 40, 50, 60, 70, 80), (20, 30, 40, 50, 60, 70, 80, 200), 0))
    ]


@pytest.mark.parametrize("last", [{"final": True}, {"context_closed": True}, {"error": "x"}])
def test_audio_waits_no_longer_than_for_the_next_frame_of_its_context(last: dict[str, Any]) -> None:
    client = opened("a", "b")
    begin(client, "Hi")
    audio(client)
    assert vendor(client, context_id="b", **last) != [AudioFrame("a", bytes(4800))]
    assert vendor(client, **last)[0] == AudioFrame("a", bytes(4800))


def test_no_audio_waits_where_no_words_are_to_come() -> None:
    client = opened(word_timestamps=False)
    begin(client, "Hi")
    assert heard(audio(client)) == [(4800, None)]
    assert "word_timestamps" not in sent(Open("a"), KugelAudioClient(word_timestamps=False))
    client = opened()
    assert heard(audio(client)) == [(4800, None)]
    begin(client, "Hi")
    audio(client)
    words(client, word("Hi", 0, 90, 0))
    vendor(client, chunk_complete=True, chunk_id=0)
    assert heard(audio(client)) == [(4800, None)]


def test_words_that_never_come_cost_no_audio_and_make_no_times() -> None:
    client = opened()
    received: list[Received] = []
    for chunk in range(100):
        begin(client, "Hi there.", chunk)
        received += [*audio(client, chunk), *vendor(client, chunk_complete=True, chunk_id=chunk)]
    assert heard(received) == [(4800, None)] * 100
    assert vendor(client, context_closed=True) == [ContextClosed("a", 0, Reason.COMPLETED, Usage())]


def test_words_after_the_end_of_their_chunk_ride_on_what_comes_next() -> None:
    client = opened()
    begin(client, "Hi. ", 0)
    audio(client)
    vendor(client, chunk_complete=True, chunk_id=0)
    begin(client, "You.", 1)
    audio(client, 1)
    assert words(client, word("Hi", 10, 50, 0), chunk=0) == []
    # The chunk's last signs last as long as its audio; the next one's times count from there.
    hi = Alignment("Hi. ", (10, 30, 50, 75), (30, 50, 75, 100), 0)
    assert heard(audio(client, 1)) == [(4800, hi)]
    assert heard(vendor(client, chunk_complete=True, chunk_id=1)) == [(4800, None)]
    you = Alignment("You.", (110, 120, 130, 140), (120, 130, 140, 300), 100)
    assert heard(words(client, word("You", 10, 40, 0), chunk=1)) == [(0, you)]


def test_a_chunk_counts_from_its_first_audio_though_it_was_announced_earlier() -> None:
    client = opened()
    begin(client, "a ", 0)
    begin(client, "b", 1)
    audio(client, 0)
    audio(client, 0)
    audio(client, 1)
    words(client, word("a", 0, 100, 0), chunk=0)
    words(client, word("b", 20, 80, 0), chunk=1)
    assert heard(vendor(client, final=True)[:1]) == [
        (4800, Alignment("a b", (0, 100, 220), (100, 200, 280), 0))
    ]


def test_a_chunk_without_words_is_left_out() -> None:
    client = opened()
    for chunk, text in enumerate(["Mute. ", "Said."]):
        begin(client, text, chunk)
        audio(client, chunk)
        vendor(client, chunk_complete=True, chunk_id=chunk)
    (((size, alignment)),) = heard(words(client, word("Said.", 0, 50, 0), chunk=1))
    assert size == 0
    assert alignment == Alignment("Said.", (100, 110, 120, 130, 140), (110, 120, 130, 140, 150), 0)


def test_words_that_were_left_out_share_the_pause() -> None:
    client = opened()
    begin(client, "a bb c d")
    audio(client)
    words(client, word("a", 0, 10, 0), word("c", 60, 70, 5))
    vendor(client, chunk_complete=True, chunk_id=0)
    (released, closed) = vendor(client, context_closed=True)
    assert isinstance(closed, ContextClosed)
    assert heard([released]) == [(0, Alignment(" d", (70, 85), (85, 100), 70))]


def test_what_a_cancel_left_unsaid_has_no_times() -> None:
    client = opened()
    begin(client, "One two three.")
    audio(client)
    words(client, word("One", 0, 90, 0))
    client.encode(Close("a", immediate=True))
    frame, end = vendor(client, context_closed=True)
    assert heard([frame]) == [(4800, Alignment("One", (0, 30, 60), (30, 60, 90), 0))]
    assert end == ContextClosed("a", 0, Reason.CANCELLED, Usage())


@pytest.mark.parametrize("shift", [-3, 0, 2, 1000, -1000])
def test_words_are_found_where_offsets_count_something_else_than_characters(shift: int) -> None:
    client = opened()
    begin(client, "😀 für über")
    audio(client)
    words(client, word("für", 10, 40, 2 + shift), word("über", 50, 90, 6 + shift))
    (((_, alignment)),) = heard(vendor(client, chunk_complete=True, chunk_id=0))
    assert alignment is not None
    assert alignment.text == "😀 für über"
    assert alignment.starts == (0, 5, 10, 20, 30, 40, 50, 60, 70, 80)


def test_a_word_that_was_written_out_stands_where_its_figures_do() -> None:
    client = opened()
    begin(client, "5 or five")
    audio(client)
    spelled = {"word": "five", "start_ms": 0, "end_ms": 30, "char_start": 0, "char_end": 1}
    words(client, spelled, word("or", 40, 60, 2), word("five", 60, 90, 5))
    (((_, alignment)),) = heard(vendor(client, chunk_complete=True, chunk_id=0))
    assert alignment is not None
    assert alignment.starts[:3] == (0, 30, 40)
    assert alignment.text == "5 or five"


def test_audio_of_telephones_has_its_own_length() -> None:
    client = opened(output_format="ulaw_8000")
    data = base64.b64encode(bytes(800)).decode()
    for chunk, text in enumerate(["a ", "b"]):
        vendor(client, generation_started=True, chunk_id=chunk, text=text)
        vendor(client, audio=data, enc="mulaw", sr=8000, chunk_id=chunk)
    words(client, word("b", 0, 50, 0), chunk=1)
    assert heard(vendor(client, final=True)[:1]) == [(800, Alignment("b", (100,), (150,), 0))]


times = st.one_of(st.integers(-(10**30), 10**30), st.floats(allow_nan=False, allow_infinity=False))
frames = st.fixed_dictionaries(
    {},
    optional={
        "context_id": st.sampled_from(["a", "b", "gone"]),
        "generation_started": st.just(True),
        "text": st.text(max_size=5),
        "audio": st.sampled_from(["", "AAAAAA==", "AAA="]),
        "sr": st.integers(-1, 50000),
        "chunk_id": st.integers(-1, 3),
        "chunk_complete": st.booleans(),
        "final": st.booleans(),
        "context_created": st.booleans(),
        "context_timeout": st.booleans(),
        "context_closed": st.booleans(),
        "session_id": st.text(max_size=2),
        "error": st.text(max_size=2),
        "code": st.integers(0, 600),
        "retry_after": times,
        "warning": st.text(max_size=2),
        "usage": st.one_of(st.none(), st.fixed_dictionaries({"audio_seconds": times})),
        "word_timestamps": st.lists(
            st.fixed_dictionaries(
                {
                    "word": st.text(max_size=3),
                    "start_ms": times,
                    "end_ms": times,
                    "char_start": st.integers(-5, 10**20),
                    "char_end": st.integers(-5, 10**20),
                }
            ),
            max_size=3,
        ),
    },
)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.lists(frames, max_size=12))
def test_whatever_comes_audio_is_kept_times_never_run_back_and_each_context_ends_once(
    frames: list[dict[str, Any]],
) -> None:
    client = opened("a", "b")
    ended: set[str] = set()
    clock = {"a": 0, "b": 0}
    came = {"a": 0, "b": 0, "gone": 0, "nobody": 0, "default": 0}
    ends = [{"context_id": id, "context_closed": True} for id in ("a", "b")]
    for frame in [*frames, *ends]:
        came[frame.get("context_id", "nobody")] += len(base64.b64decode(frame.get("audio", "")))
        for item in client.decode(json.dumps(frame)):
            match item:
                case AudioFrame(id, data, alignment):
                    came[id] -= len(data)
                    if alignment is not None:
                        bounds = [alignment.origin]
                        for start, end in zip(alignment.starts, alignment.ends, strict=True):
                            bounds += [start, end]
                        assert alignment.origin == clock[id]
                        assert bounds == sorted(bounds)
                        assert len(alignment.starts) == len(alignment.text) > 0
                        clock[id] = alignment.ends[-1]
                case ContextClosed(id):
                    assert id not in ended
                    ended.add(id)
                case SocketError(problem):
                    assert "context_id" not in frame, problem.message
    assert ended == {"a", "b"}
    assert (came["a"], came["b"], came["gone"]) == (0, 0, 0)


# --- with mux at the other end -----------------------------------------------------------------------

TEXT = st.text(st.sampled_from("aB é,.?!- 😀\n"), min_size=1, max_size=20)


@st.composite
def chunks(draw: st.DrawFn) -> list[list[tuple[int, Alignment]]]:
    """Chunks of (samples of a piece of audio, the characters that begin in it), on the context's clock."""
    made: list[list[tuple[int, Alignment]]] = []
    clock = 0
    for text in draw(st.lists(TEXT, min_size=1, max_size=4)):
        pieces: list[tuple[int, Alignment]] = []
        while text:
            taken = draw(st.integers(1, len(text)))
            lengths = draw(st.lists(st.integers(0, 90), min_size=taken, max_size=taken))
            starts = [clock + sum(lengths[:number]) for number in range(taken)]
            ends = [start + length for start, length in zip(starts, lengths, strict=True)]
            pieces.append((24 * sum(lengths), Alignment(text[:taken], tuple(starts), tuple(ends), clock)))
            clock, text = ends[-1], text[taken:]
        made.append(pieces)
    return made


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(chunks())
def test_what_mux_says_is_what_a_client_hears(made: list[list[tuple[int, Alignment]]]) -> None:
    pair = Pair()
    received = pair.hears(OPENED)
    for number, pieces in enumerate(made, 1):
        text = "".join(piece.text for _, piece in pieces)
        received += pair.hears(SegmentStarted("a", 1, number, text, "flush"))
        for samples, piece in pieces:
            received += pair.hears(Sound("a", 1, number, bytes(2 * samples), "pcm", 24000, [piece]))
        received += pair.hears(SegmentDone("a", 1, number, dry=False))
    received += pair.hears(ContextClosed("a", 1, Reason.COMPLETED, USAGE))
    frames = [item for item in received if isinstance(item, AudioFrame)]
    total = sum(samples for pieces in made for samples, _ in pieces)
    assert sum(len(frame.audio) for frame in frames) == 2 * total
    texts = ["".join(piece.text for _, piece in pieces) for pieces in made]
    spoken = [text for text in texts if text.strip()]
    alignments = [frame.alignment for frame in frames if frame.alignment]
    assert "".join(alignment.text for alignment in alignments) == "".join(spoken)
    # Words begin and end when they were said to; what is inside them was shared out.
    said = {start for pieces in made for _, piece in pieces for start in piece.starts}
    wholes = [start for alignment in alignments for start in alignment.starts]
    assert wholes == sorted(wholes)
    assert not wholes or (min(said) <= wholes[0] and wholes[-1] <= total // 24)


async def listen(
    kugelaudio: bool, engine: Engine, texts: list[str]
) -> tuple[dict[str, list[AudioFrame]], list[Ended | None]]:
    """Every text in a context of its own, all at once on one link."""
    frames: dict[str, list[AudioFrame]] = {}
    async with memory_server(engine) as server:
        dialect: ClientDialect = KugelAudioClient() if kugelaudio else ElevenLabsClient()
        transport = server.open_kugelaudio() if kugelaudio else server.open(sync_alignment="true")
        async with open_link(transport, dialect) as link:
            contexts = [link.open("c", ContextSettings(voice="bob", language="en")) for _ in texts]
            for context, text in zip(contexts, texts, strict=True):
                await context.send(text)
                context.flush()
                context.close()
            for context in contexts:
                frames[context.wire_id] = []
                while (frame := await context.inbox.get()) is not None:
                    frames[context.wire_id].append(frame)
            assert link.router.dropped == 0
            await link.close()
        return frames, [context.inbox.ended for context in contexts]


def check(frames: list[AudioFrame], ended: Ended | None, text: str) -> None:
    assert ended is not None
    assert ended.reason is Reason.COMPLETED
    assert ended.usage is not None
    audio_ms = sum(len(frame.audio) for frame in frames) / 48
    assert ended.usage.audio_sent_ms == pytest.approx(audio_ms, abs=1)
    alignments = [frame.alignment for frame in frames if frame.alignment]
    assert "".join(alignment.text for alignment in alignments) == text
    bounds = [bound for a in alignments for pair in zip(a.starts, a.ends, strict=True) for bound in pair]
    assert bounds == sorted(bounds)
    assert bounds[0] >= 0
    assert bounds[-1] <= audio_ms + 1
    assert all(frame.audio or frame.flushed for frame in frames), "mux's words are never too late"


@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@given(
    texts=st.lists(
        st.lists(
            st.sampled_from(["Hello", "there,", "(you)!", "Yes.", "é😀", "--", "\n", "42"]),
            min_size=1,
            max_size=12,
        ).map(lambda parts: "So " + " ".join(parts)),
        min_size=1,
        max_size=3,
    )
)
def test_any_text_in_tones_is_heard_as_on_the_other_wire(backend: str, texts: list[str]) -> None:
    texts = [text.rstrip() for text in texts]
    engine = ToneEngine(character_seconds=0.01)
    frames, ends = anyio.run(partial(listen, True, engine, texts), backend=backend)
    for text, heard_frames, ended in zip(texts, frames.values(), ends, strict=True):
        check(heard_frames, ended, text)
    others, _ = anyio.run(partial(listen, False, engine, texts), backend=backend)
    for mine, theirs in zip(frames.values(), others.values(), strict=True):
        assert b"".join(frame.audio for frame in mine) == b"".join(frame.audio for frame in theirs)


@pytest.mark.anyio
@pytest.mark.espeak
async def test_real_words_have_their_times() -> None:
    texts = [
        "Hello there, (world)! It costs five pounds; really... Yes?",
        "The quick brown fox jumps over the lazy dog. And then, on Monday, it rained.",
    ]
    frames, ends = await listen(True, EspeakEngine(), texts)
    others, _ = await listen(False, EspeakEngine(), texts)
    for text, mine, theirs, ended in zip(texts, frames.values(), others.values(), ends, strict=True):
        check(mine, ended, text)
        exact = [start for frame in theirs if frame.alignment for start in frame.alignment.starts]
        starts = [start for frame in mine if frame.alignment for start in frame.alignment.starts]
        begins = [at for at in range(len(text)) if at == 0 or text[at - 1].isspace()]
        assert all(abs(starts[at] - exact[at]) <= 2 for at in begins), "words begin when they do"


@pytest.mark.anyio
async def test_a_cancel_is_confirmed_and_harms_nobody_else() -> None:
    async with memory_server() as server, open_link(server.open_kugelaudio(), KugelAudioClient()) as link:
        first = link.open("a", ContextSettings(voice="x"))
        second = link.open("b", ContextSettings(voice="y"))
        for context in (first, second):
            await context.send("Hello, here I am. " * 5)
            context.flush()
        await first.inbox.get()
        ended = await first.cancelled()
        second.close()
        assert ended.reason is Reason.CANCELLED
        assert ended.usage is not None
        while await second.inbox.get() is not None:
            pass
        assert second.inbox.ended is not None
        assert second.inbox.ended.reason is Reason.COMPLETED


@pytest.mark.anyio
async def test_a_context_without_a_voice_fails_alone_and_says_why() -> None:
    async with memory_server() as server, open_link(server.open_kugelaudio(), KugelAudioClient()) as link:
        mute, fine = link.open("a", ContextSettings()), link.open("b", ContextSettings(voice="y"))
        for context in (mute, fine):
            await context.send("Hello. ")
            context.close()
        ended = await mute.inbox.wait_ended()
        assert ended.reason is Reason.FAILED
        assert ended.problem is not None
        assert ended.problem.code == "missing_voice"
        assert (await fine.inbox.wait_ended()).reason is Reason.COMPLETED


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_an_idle_context_ends_as_timed_out_with_its_usage() -> None:
    async with memory_server() as server:
        client = KugelAudioClient(settings=ContextSettings(inactivity_timeout=5))
        async with open_link(server.open_kugelaudio(), client) as link:
            context = link.open("a", ContextSettings(voice="x"), keepalive=False)
            await context.send("Hello. ")
            ended = await context.inbox.wait_ended()
            assert ended.reason is Reason.TIMED_OUT
            assert ended.usage is not None
            assert ended.usage.characters_sent == 7


@pytest.mark.anyio
async def test_more_contexts_than_a_socket_carries_are_refused_by_name() -> None:
    async with memory_server() as server, open_link(server.open_kugelaudio(), KugelAudioClient()) as link:
        contexts = [link.open(str(number), ContextSettings(voice="x")) for number in range(21)]
        ended = await contexts[-1].inbox.wait_ended()
        assert ended.problem is not None
        assert ended.problem.code == "too_many_contexts"
        assert all(context.inbox.ended is None for context in contexts[:-1])
