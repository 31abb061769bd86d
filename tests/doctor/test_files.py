"""What the doctor reads in recordings: a cause for each, and nothing where nothing is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mux.doctor.causes import CAUSES
from mux.doctor.files import explain_har
from mux.doctor.findings import Finding
from mux.errors import MuxError
from mux.exchange import Close, Exchange, Message, Recording, write_har

MULTI = "wss://api.elevenlabs.io/v1/text-to-speech/anne/multi-stream-input?output_format=pcm_24000"
STREAM = "wss://api.elevenlabs.io/v1/text-to-speech/anne/stream-input?output_format=pcm_24000"
KUGEL = "wss://api.kugelaudio.com/ws/tts/multi?api_key=***"
AUDIO = "<4800 bytes of audio>"


class Socket:
    """A conversation as a test writes it down: what is said, what is told, and how long nothing happens."""

    def __init__(self, url: str = MULTI, **facts: Any) -> None:
        self.exchange = Exchange(url=url, started=1_790_000_000.0, status=101)
        for name, value in facts.items():
            setattr(self.exchange, name, value)
        self.now = 0.0

    def wait(self, seconds: float) -> Socket:
        self.now = round(self.now + seconds, 6)
        return self

    def said(self, text: str | None = None, context: str | None = None, /, **fields: Any) -> Socket:
        named = ("text", text), ("context_id", context)
        return self._pass("client", {name: value for name, value in named if value is not None} | fields)

    def told(self, context: str | None = None, /, **fields: Any) -> Socket:
        return self._pass("service", ({"contextId": context} if context else {}) | fields)

    def audio(self, context: str | None = None, /) -> Socket:
        return self.told(context, audio=AUDIO)

    def final(self, context: str | None = None, /) -> Socket:
        return self.told(context, audio=None, isFinal=True)

    def turn(self, context: str = "a") -> Socket:
        """One as it should be."""
        self.said(" ", context).said("Hello. ", context, flush=True).wait(0.2).audio(context)
        return self.wait(1).said(None, context, close_context=True).wait(0.1).final(context)

    def closed(self, code: int, reason: str = "", by: Any = "service") -> Socket:
        self.exchange.close = Close(code, reason, by, self.now)
        self.exchange.ended = self.now
        return self

    def _pass(self, by: Any, fields: dict[str, Any]) -> Socket:
        self.exchange.messages.append(Message(self.now, by, json.dumps(fields)))
        return self.wait(0.01)


def explain(tmp_path: Path, *sockets: Socket) -> list[Finding]:
    path = tmp_path / "tap.har"
    path.write_bytes(write_har(Recording(exchanges=[socket.exchange for socket in sockets])))
    return explain_har(path)


CASES: dict[str, Socket] = {
    "timeout_over_max": Socket(MULTI + "&inactivity_timeout=300").turn().closed(1000),
    "model_not_here": Socket(MULTI + "&model_id=eleven_v3").turn().closed(1000),
    "format_unknown": Socket(MULTI.replace("pcm_24000", "flac")).turn().closed(1000),
    "empty_keepalive": Socket(STREAM)
    .said(" ")
    .said("One. ")
    .audio()
    .wait(5)
    .said("")
    .wait(5)
    .said("")
    .closed(1000),
    "text_after_end": Socket(STREAM)
    .said(" ")
    .said("One. ")
    .said("")
    .audio()
    .final()
    .said("Two. ")
    .closed(1000),
    "text_after_close": Socket()
    .said("One. ", "a", flush=True)
    .said(None, "a", close_context=True)
    .said("Two. ", "a")
    .audio("a")
    .final("a"),
    "not_flushed": Socket().said("Hello", "a").wait(12).said("", "a").wait(1).closed(1000, by="client"),
    "close_overtakes": Socket()
    .said("Hello. ", "a", flush=True)
    .said(None, "a", close_context=True)
    .wait(0.1)
    .final("a"),
    "silent_success": Socket()
    .said("Hello. ", "a", flush=True)
    .wait(2)
    .said(None, "a", close_context=True)
    .final("a"),
    "no_audio": Socket().said("Hello. ", "a", flush=True).wait(12).said("", "a").closed(1000, by="client"),
    "no_end": Socket()
    .said("Hello. ", "a", flush=True)
    .audio("a")
    .said(None, "a", close_context=True)
    .wait(12)
    .closed(1000, by="client"),
    "slow_start": Socket().said("Hello. ", "a", flush=True).wait(4).audio("a").wait(1).turn("b").closed(1000),
    "late_frames": Socket().turn().audio("a").closed(1000),
    "wrong_id": Socket().turn().audio("z").closed(1000),
    "frame_unreadable": Socket().turn().closed(1000),
    "error_unscoped": Socket().told(error="odd_thing", message="An odd thing.", code=1008).closed(1008),
    "key_refused": Socket().told(error="invalid_api_key", message="Invalid API key", code=1008).closed(1008),
    "quota_exceeded": Socket().told(message="This request exceeds your quota of 5.", code=1008, error="x"),
    "settings_changed": Socket()
    .turn()
    .closed(1008, "voice_settings field must be provided in the first message and then"),
    "idle_cut": Socket().turn().wait(60).closed(1006),
    "connection_cut": Socket().said("Hello. ", "a", flush=True).audio("a").closed(1006),
    "closed_midway": Socket().said("Hello. ", "a", flush=True).audio("a").closed(1000),
    "policy": Socket().turn().closed(1008, "computer says no"),
    "frame_too_big": Socket().said("Hello. ", "a", flush=True).audio("a").closed(1009, "", "client"),
    "starved_loop": Socket().turn().closed(1011, "keepalive ping timeout", "client"),
    "service_failed": Socket().turn().closed(1011),
    "service_restarting": Socket().turn().closed(1012),
    "try_later": Socket().turn().closed(1013),
    "upgrade_stripped": Socket(status=200, response_headers=[("Server", "nginx")]),
    "redirected": Socket(status=301, response_headers=[("Location", "https://elsewhere/")]),
    "key_missing": Socket(status=401, body='{"detail":{"message":"Not so."}}'),
    "forbidden": Socket(status=403, request_headers=[("xi-api-key", "***")]),
    "rate_limited": Socket(status=429),
    "path_not_found": Socket(status=404),
    "rejected": Socket(status=418),
    "tls_untrusted": Socket(status=None, failure="TLS failed (unable to get local issuer certificate)"),
    "dns_failed": Socket(status=None, failure="Looking up the name failed (Name or service not known)"),
    "handshake_cut": Socket(status=None, failure="It was gone."),
    "unknown_path": Socket("wss://h/chat").said("Hello. ").closed(1000),
}
CASES["frame_unreadable"].exchange.messages.append(Message(0.1, "service", '{"audio": '))


@pytest.mark.parametrize("cause", CASES)
def test_a_cause_is_named(cause: str, tmp_path: Path) -> None:
    findings = explain(tmp_path, CASES[cause])
    named = [finding for finding in findings if finding.cause == cause]
    assert named, [finding.cause for finding in findings]
    assert named[0].step == "file"
    assert named[0].verdict in ("problem", "warning")
    assert "socket #1" in named[0].evidence or cause == "unknown_path"
    assert "{" not in named[0].sentence
    assert "Hello" not in repr(findings), "what was said is nobody's evidence"


def test_the_sixth_context_is_counted(tmp_path: Path) -> None:
    socket = Socket()
    for number in range(6):
        socket.said("Hello. ", f"turn-{number}", flush=True).audio(f"turn-{number}")
    sentence = "Maximum simultaneous contexts per WebSocket connection exceeded (5)."
    socket.told(error="max_active_conversations", message=sentence, code=1008).closed(1008, sentence)
    findings = explain(tmp_path, socket)
    assert [finding.cause for finding in findings[:2]] == ["never_closed", "too_many_contexts"]
    assert "6 contexts were never told to close" in findings[0].sentence
    assert "The context number 6 was too many" in findings[1].sentence


def test_the_21st_context_of_kugelaudio_is_one_contexts_failure(tmp_path: Path) -> None:
    socket = Socket(KUGEL)
    for number in range(21):
        socket.said("", f"{number}").told(context_created=True, context_id=f"{number}")
    socket.told(
        error="Too many concurrent contexts", error_code="TOO_MANY_CONTEXTS", code=429, context_id="20"
    )
    (finding,) = (one for one in explain(tmp_path, socket) if one.cause == "too_many_contexts")
    assert finding.context == "20"
    assert "20" in (finding.remedy or "")


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("", []),
        (
            "Have not received a new text input within the timeout of 60.0 seconds.",
            ["input_timeout_exceeded"],
        ),
    ],
)
def test_an_idle_close_is_told_with_its_seconds(tmp_path: Path, reason: str, told: list[str]) -> None:
    socket = Socket(MULTI + "&inactivity_timeout=60").turn().wait(60)
    for error in told:
        socket.told(error=error, message=reason, code=1008)
    findings = explain(tmp_path, socket.closed(1008, reason))
    assert {finding.cause for finding in findings} == {"input_timeout"}
    assert "Nothing was sent for 60" in findings[0].sentence


def test_audio_that_goes_on_after_a_cancel(tmp_path: Path) -> None:
    socket = Socket(KUGEL).said("Hello. ", "a", flush=True).told(audio=AUDIO, context_id="a")
    socket.said(None, "a", close_context=True, immediate=True).wait(3).told(audio=AUDIO, context_id="a")
    socket.told(context_closed=True, context_id="a").closed(1000)
    (finding,) = explain(tmp_path, socket)
    assert finding.cause == "late_after_cancel"
    assert "3.0 s" in finding.sentence


def test_a_socket_for_every_sentence_is_a_habit(tmp_path: Path) -> None:
    sockets = [
        Socket(STREAM).wait(0.4).said(" ").said("Hello. ").said("").audio().final().closed(1000)
        for _ in range(5)
    ]
    (finding,) = explain(tmp_path, *sockets)
    assert (finding.cause, finding.verdict) == ("socket_per_turn", "warning")
    assert "5 sockets" in finding.sentence
    assert "0.40 s" in finding.sentence


def test_where_all_is_well_it_says_so(tmp_path: Path) -> None:
    good = Socket().turn("a").turn("b").wait(30).said("", "c").wait(10).turn("c").said(close_socket=True)
    stream = Socket(STREAM).said(" ").said("Hello. ").said("").audio().final().closed(1000)
    kugel = Socket(KUGEL).said("Hello.", "a", flush=True).told(audio=AUDIO, context_id="a")
    kugel.said(None, "a", close_context=True).told(context_closed=True, context_id="a").closed(
        1000, by="client"
    )
    (finding,) = explain(tmp_path, good.closed(1000), stream, kugel)
    assert finding.verdict == "ok"
    assert "sockets: 3, contexts: 5" in finding.sentence


def test_an_interruption_is_no_failure(tmp_path: Path) -> None:
    socket = (
        Socket()
        .said("Hello. ", "a", flush=True)
        .said(None, "a", close_context=True, immediate=True)
        .final("a")
    )
    (finding,) = explain(tmp_path, socket.closed(1000))
    assert finding.verdict == "ok"


def test_the_same_on_many_sockets_is_told_once(tmp_path: Path) -> None:
    sockets = [Socket().turn().closed(1012) for _ in range(2)]
    (finding,) = explain(tmp_path, *sockets)
    assert finding.evidence[-1] == "and 1 more"


def test_plain_http_of_the_service_is_read_and_others_is_not(tmp_path: Path) -> None:
    facts: dict[str, Any] = {"websocket": False, "status": 402}
    speech = Socket("https://api.elevenlabs.io/v1/text-to-speech/anne/stream", **facts)
    assert "quota_exceeded" in [finding.cause for finding in explain(tmp_path, speech)]
    other = Socket("https://shop.example/cart", **facts)
    assert [finding.verdict for finding in explain(tmp_path, other)] == ["skipped"]


def test_a_shortened_recording_is_called_one(tmp_path: Path) -> None:
    socket = Socket(dropped=7).turn().closed(1000)
    assert "7 oldest messages" in explain(tmp_path, socket)[-1].sentence


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MuxError, match=r"nothing\.har cannot be read"):
        explain_har(tmp_path / "nothing.har")


def test_every_cause_has_words_that_a_file_can_fill() -> None:
    from mux.doctor.words import blame

    special = {"format_unknown": {"allowed": "x", "format": "y"}, "scheme": {"scheme": "x", "instead": "y"}}
    special |= {"unexplained": {"code": 1}, "closed_midway": {"code": 1}, "tls_expired": {}}
    for cause in CAUSES:
        try:
            blame(cause, **special.get(cause, {}))
        except KeyError as missing:
            pytest.fail(f"{cause} needs {missing}")
