"""What the doctor reads in logs: lines of the shape that frameworks and SDKs write, and issues about them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mux.doctor.files import explain_log
from mux.doctor.findings import Finding
from mux.doctor.logs import explain_lines

LIVEKIT = """\
agent | {"message": "websocket closed unexpectedly", "level": "WARNING", "name": "livekit.plugins", \
"timestamp": "2026-01-02T08:00:00.482568+00:00"}
agent | livekit.agents.APIStatusError: connection closed (status_code=-1, request_id=None, body=None)
agent | 2026-01-02 08:00:00,500 - livekit.agents - WARNING - failed to synthesize speech, retrying in 0.1s
agent | {"message": "websocket closed unexpectedly", "timestamp": "2026-01-02T08:00:01.402568+00:00"}
agent | {"message": "websocket closed unexpectedly", "timestamp": "2026-01-02T08:00:04.302568+00:00"}
"""

STATED: dict[str, str] = {
    "timeout_over_max": "tts = elevenlabs.TTS(voice_id=voice, model='turbo', inactivity_timeout=600)",
    "model_not_here": "connecting to wss://h/v1/text-to-speech/x/stream-input?model_id=eleven_v3",
    "key_refused": 'elevenlabs tts returned error {"message":"Invalid API key","error":"invalid_api_key"}',
    "key_missing": "None of the authentication methods (xi-api-key, authorization header) were found.",
    "forbidden": "aiohttp.client_exceptions.WSServerHandshakeError: 403, message='Invalid response status'",
    "quota_exceeded": "Error: This request exceeds your quota of 10000. You have 3 credits remaining",
    "rate_limited": "websockets.exceptions.InvalidStatus: server rejected WebSocket connection: HTTP 429",
    "too_many_contexts": "received 1008 (policy violation) Maximum simultaneous contexts per WebSocket"
    " connection exceeded (5). Please close an existing context",
    "input_timeout": "ERROR Have not received a new text input within the timeout of 20.0 seconds. Streaming",
    "settings_changed": "sent 1008 voice_settings field must be provided in the first message and then",
    "voice_unknown": "A voice with voice_id abc123 does not exist.",
    "voice_missing": '{"error": "no voice", "error_code": "MISSING_VOICE_ID", "code": 400}',
    "format_refused": 'error: "output_format_not_allowed"',
    "invalid_message": "Could not parse input message, make sure it is a json",
    "service_restarting": "connection closed with code 1012 (service restart)",
    "try_later": "websocket closed: received 1013 (try again later); then sent 1013",
    "starved_loop": "ConnectionClosedError: sent 1011 (internal error) keepalive ping timeout",
    "service_failed": "ConnectionClosedError: received 1011 (internal error) oops; then sent 1011",
    "frame_too_big": "ConnectionClosedError: sent 1009 (message too big); no close frame received",
    "policy": "APIStatusError: connection closed (status_code=1008, request_id=None, body=None)",
    "shared_reader": "ConcurrencyError: cannot call recv while another coroutine is already running recv",
    "dns_failed": "socket.gaierror: [Errno -2] Name or service not known",
    "tcp_refused": "Error: connect ECONNREFUSED 127.0.0.1:8790",
    "tls_untrusted": "SSLError: certificate verify failed: unable to get local issuer certificate",
    "tls_expired": "certificate verify failed: certificate has expired (_ssl.c:1006)",
    "tls_not_spoken": "ssl.SSLError: [SSL: WRONG_VERSION_NUMBER] wrong version number",
    "path_not_found": "Error: Unexpected server response: 404",
    "upgrade_stripped": "Error: Unexpected server response: 200",
    "redirected": "websocket._exceptions.WebSocketBadStatusException: Handshake status 301 Moved Permanently",
    "handshake_silent": "TimeoutError: timed out during opening handshake",
}


def causes(findings: list[Finding]) -> list[str | None]:
    return [finding.cause for finding in findings]


@pytest.mark.parametrize("cause", STATED)
def test_a_line_that_states_the_cause_is_enough(cause: str) -> None:
    findings = explain_lines(f"INFO started\n{STATED[cause]}\nINFO waiting\n")
    assert findings[0].cause == cause, causes(findings)
    assert findings[0].verdict == "problem"
    assert findings[0].evidence[0].startswith("line 2: ")
    assert "{" not in findings[0].sentence


@pytest.mark.parametrize(
    ("cause", "line"),
    [
        ("answer_never_ends", "ElevenLabsTTSError: ElevenLabs WS no frame for 30.0s"),
        ("retry_says_nothing", "APIError: no audio frames were pushed for text (retryable=True)"),
        ("connection_cut", "ConnectionClosedError: no close frame received or sent"),
        ("unclosed_session", "asyncio ERROR Unclosed client session"),
    ],
)
def test_a_symptom_is_told_and_is_no_excuse_for_what_is_stated(cause: str, line: str) -> None:
    assert cause in causes(explain_lines(line))
    findings = explain_lines(f"{line}\n{STATED['quota_exceeded']}")
    assert findings[0].cause == "quota_exceeded"
    assert cause in causes(findings[1:])


def test_numbers_and_names_are_taken_from_the_line() -> None:
    assert "is 600," in explain_lines(STATED["timeout_over_max"])[0].sentence
    assert "eleven_v3" in explain_lines(STATED["model_not_here"])[0].sentence
    assert "number 6" in explain_lines(STATED["too_many_contexts"])[0].sentence
    assert "abc123" in explain_lines(STATED["voice_unknown"])[0].sentence
    assert "20 s" in explain_lines(STATED["input_timeout"])[0].sentence


@pytest.mark.parametrize(
    "value", ["inactivity_timeout=180", '"inactivity_timeout": 20', "inactivity_timeout (max 180)"]
)
def test_a_timeout_that_is_allowed_is_no_cause(value: str) -> None:
    findings = explain_lines(f"{value}\nwebsocket closed unexpectedly")
    assert [one.cause for one in findings if one.verdict == "problem"] == ["closed_unexplained"]


def test_an_issue_with_the_cause_in_its_own_reproduction_gets_it_first() -> None:
    """The shape of an issue that stayed unexplained: the setting that did it stands in the steps."""
    issue = (
        "The socket connects, then closes shortly after with no HTTP status (status_code=-1). Logs show:\n"
        "websocket closed unexpectedly\n"
        "APIStatusError: connection closed (status_code=-1, request_id=None, body=None, retryable=True)\n"
        "Unclosed client session\n"
        "1. Make an agent with elevenlabs.TTS(voice_id=..., inactivity_timeout=300)\n"
        "HTTP works with the same API key. No 403. The close comes soon after connecting, not after idle.\n"
    )
    findings = explain_lines(issue)
    assert causes(findings) == ["timeout_over_max", "unclosed_session", "closed_unexplained"]
    assert findings[0].evidence == ("line 5: inactivity_timeout=300",)
    assert "300" in findings[0].sentence
    assert "180" in findings[0].sentence
    assert findings[2].verdict == "warning"


def test_attempts_that_fail_at_once_were_not_idle() -> None:
    findings = explain_lines(LIVEKIT)
    assert findings[0].cause == "closed_unexplained"
    assert "soon after it was opened" in findings[0].sentence
    assert "mux tap" in (findings[0].remedy or "")
    assert any("no idle timeout" in line for line in findings[0].evidence)
    possible = findings[1:]
    assert causes(possible)[0] == "key_refused"
    assert "input_timeout" not in causes(possible)
    assert all(finding.verdict == "warning" and finding.remedy for finding in possible)
    assert possible[0].sentence.startswith("Possible (1 of ")


def test_a_key_that_works_elsewhere_is_not_suspected() -> None:
    findings = explain_lines(LIVEKIT + "Plain HTTP works with the same API key and model.\n")
    assert "key_refused" not in causes(findings)


def test_a_close_after_twenty_quiet_seconds_was_idle() -> None:
    findings = explain_lines(
        "2026-01-02 08:00:00,000 INFO sent the text\n"
        "2026-01-02 08:00:20,300 ERROR websocket closed unexpectedly\n"
    )
    assert "after a time of quiet" in findings[0].sentence
    assert causes(findings)[1] == "input_timeout"


def test_advice_that_lists_causes_is_no_evidence_for_them() -> None:
    advice = (
        'Most closes: an empty string "" ends the stream; eleven_v3 has no WebSockets; an invalid\n'
        "key (see invalid_api_key or too_many_concurrent_requests, 401/403/429); the timeout: you can\n"
        'raise it with inactivity_timeout (max 180 seconds), or end with {"close_socket": true}.\n'
        'GET /api/v1/health HTTP/1.1" 200 OK\n'
    )
    (finding,) = explain_lines(advice)
    assert finding.verdict == "ok"


def test_an_empty_text_on_a_socket_that_it_ends_is_pointed_out() -> None:
    log = 'connecting to wss://h/v1/text-to-speech/x/stream-input\nDEBUG > {"text": ""}\n'
    log += "websocket closed unexpectedly\n"
    findings = explain_lines(log)
    assert "empty_keepalive" in causes(findings)
    other = log.replace("/stream-input", "/multi-stream-input")
    assert "empty_keepalive" not in causes(explain_lines(other))


def test_a_bare_1008_gives_way_to_what_explains_it() -> None:
    log = "connection closed (status_code=1008)\n" + STATED["settings_changed"]
    assert causes(explain_lines(log))[0] == "settings_changed"
    assert "policy" not in causes(explain_lines(log))


def test_what_was_said_is_no_evidence() -> None:
    log = 'DEBUG > {"text": "secret plan", "xi_api_key": "sk_0123"} error="invalid_api_key" "quiet words"'
    findings = explain_lines(log)
    assert findings[0].cause == "key_refused"
    assert not any(word in repr(findings) for word in ("secret plan", "sk_0123", "quiet"))


def test_a_file_is_read_whatever_bytes_are_in_it(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_bytes(b"\xff\xfe\x00 ok\nwebsocket closed unexpectedly\n")
    assert explain_log(path)[0].cause == "closed_unexplained"
    path.write_bytes(b"")
    assert explain_log(path)[0].verdict == "ok"
