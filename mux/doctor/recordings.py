"""Reading a recording: what each socket's messages, handshake and end show, and all of them together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from mux.audio.formats import FORMATS
from mux.doctor.answers import cause_of_close, cause_of_error, cause_of_status, read_body
from mux.doctor.findings import Finding, fine, skipped
from mux.doctor.words import LONGEST_TIMEOUT, blame, clues
from mux.exchange import Exchange, Recording, SocketWatch
from mux.exchange.endpoints import endpoint_of
from mux.exchange.model import LOST, UNSTATED
from mux.exchange.watch import ContextWatch, watch

__all__ = ["explain_recording"]

OVERTAKEN = 0.3
"""Seconds between text and close in which services were seen to lose the text."""
WAITED = 8.0
"""Seconds without audio or an end, after which it is not coming."""
SLOW = 3.0
"""Seconds to the first audio, after which Pipecat gives up."""
LATE = 1.5
"""Seconds that audio may go on after a cancel (KugelAudio's own tests allow as much)."""
QUIET = 10.0
"""Seconds without a message that make a cut look like somebody's idle timeout."""
SHORT = 30.0
"""Seconds that a socket for one utterance lasts at most."""
QUOTED = 240
"""Characters of an error that stand as evidence."""
TURNS = 3
"""So many sockets of one short utterance each are a habit."""

PATHS = ("/text-to-speech/", "/text-to-dialogue/", "/tts", "/voices", "/models", "/generate")
"""Parts of the paths that plain HTTP requests for speech have."""
GRAVITY = {"problem": 0, "warning": 1, "ok": 2, "skipped": 3}


def explain_recording(recording: Recording) -> list[Finding]:
    """The findings of all exchanges, the gravest first. What several sockets show is told once."""
    sockets = [one for one in recording.exchanges if one.websocket]
    known = [one for one in sockets if endpoint_of(one.path).dialect]
    watched = [(one, watch(one)) for one in known or sockets]
    findings: list[Finding] = []
    for exchange, watching in watched:
        number = recording.exchanges.index(exchange) + 1
        findings += [_of(finding, f"socket #{number}") for finding in _socket(exchange, watching)]
    for number, exchange in enumerate(recording.exchanges, 1):
        if not exchange.websocket and any(part in exchange.path for part in PATHS):
            findings += [_of(finding, f"request #{number}") for finding in _answer(exchange)]
    findings += _habits(watched)
    if sockets and not known:
        findings.append(blame("unknown_path", path=sockets[0].path, verdict="warning"))
    findings = _merged(findings)
    if not watched:
        findings.append(skipped("file", "There is no WebSocket in this recording."))
    elif not any(finding.verdict in ("problem", "warning") for finding in findings):
        contexts = sum(len(watching.contexts) for _, watching in watched)
        seen = f"sockets: {len(watched)}, contexts: {contexts}"
        findings.append(fine("file", f"Nothing is wrong in this recording ({seen})."))
    if dropped := sum(one.dropped for one in sockets):
        findings.append(skipped("file", f"The {dropped} oldest messages are not in the recording."))
    return sorted(findings, key=lambda finding: GRAVITY[finding.verdict])


def _socket(exchange: Exchange, watching: SocketWatch) -> Iterator[Finding]:
    yield from _asked(exchange)
    if exchange.failure and exchange.status is None:
        yield from _unreached(exchange)
    elif exchange.status not in (101, None):
        yield from _answer(exchange)
    yield from _said(watching)
    for context in watching.contexts:
        yield from _context(context, watching, exchange)
    yield from _errors(watching)
    yield from _end(exchange, watching)


def _asked(exchange: Exchange) -> Iterator[Finding]:
    """What the URL asks for."""
    query = exchange.query
    timeout = query.get("inactivity_timeout", "")
    try:
        if float(timeout) > LONGEST_TIMEOUT:
            yield blame(
                "timeout_over_max",
                f"inactivity_timeout={timeout}",
                seconds=timeout,
                limit=LONGEST_TIMEOUT,
            )
    except ValueError:
        pass
    model = query.get("model_id", "")
    if model.startswith("eleven_v3") and "/text-to-dialogue/" not in exchange.path:
        yield blame("model_not_here", f"model_id={model}", model=model)
    format = query.get("output_format")
    if format and format not in FORMATS:
        yield blame("format_unknown", f"output_format={format}", format=format, allowed=", ".join(FORMATS))


def _unreached(exchange: Exchange) -> Iterator[Finding]:
    named = next(iter(clues(exchange.failure)), None)
    if named is not None:
        yield blame(named.cause, exchange.failure, **named.facts)
    else:
        yield blame("handshake_cut", exchange.failure)


def _answer(exchange: Exchange) -> Iterator[Finding]:
    """An HTTP status that is no success; of a WebSocket's handshake, anything but 101."""
    status = exchange.status or 0
    if not exchange.websocket and status < 400:
        return
    told = read_body(exchange.body.encode())
    names = {name.lower(): value for name, value in exchange.response_headers}
    evidence = [f"HTTP {status}" + (f": {told.message}" if told.message else "")]
    evidence += [f"{name}: {names[name]}" for name in ("server", "via") if name in names]
    if 300 <= status < 400:
        yield blame("redirected", *evidence, location=names.get("location", "another address"))
    elif exchange.websocket and (status < 400 or status == 426):
        yield blame("upgrade_stripped", *evidence, status=f"HTTP {status}")
    else:
        model = exchange.query.get("model_id", "")
        cause = cause_of_status(status, told.code, told.message)
        if cause == "forbidden" and model.startswith("eleven_v3"):
            cause = "model_not_here"
        if cause == "key_refused" and not _keyed(exchange):
            cause = "key_missing"
        yield blame(cause, *evidence, status=status, path=exchange.path, model=model)


def _keyed(exchange: Exchange) -> bool:
    """Whether a key stands in the request. A browser may have left it out of the file."""
    names = {name.lower() for name, _ in exchange.request_headers} | exchange.query.keys()
    return bool(names & {"xi-api-key", "x-api-key", "authorization", "api_key", "single_use_token", "token"})


def _said(watching: SocketWatch) -> Iterator[Finding]:
    """What the client did that no context stands for."""
    spoken = [context.last_text_at for context in watching.contexts if context.last_text_at is not None]
    ends = watching.ends_at
    if ends and (len(ends) > 1 or not spoken or watching.texts_after_end):
        yield blame("empty_keepalive", *(f'{at:.1f} s: {{"text": ""}}' for at in ends[:3]))
    elif ends and ends[0] - max(spoken) > WAITED:
        quiet = ends[0] - max(spoken)
        yield blame(
            "empty_keepalive",
            f'{ends[0]:.1f} s: {{"text": ""}}, {quiet:.1f} s after the text',
            verdict="warning",
        )
    if watching.texts_after_end:
        yield blame("text_after_end", f"{watching.texts_after_end} messages")
    if watching.phantom_flushes:
        count = watching.phantom_flushes
        yield blame(
            "never_closed",
            f"{count} flushes of ids that were not open: the vendor opens a context for each",
            verdict="warning",
            count=count,
            limit=watching.endpoint.limit or "few",
        )
    left = [c for c in watching.contexts if c.close_at is None and c.audio_bytes and not _ended_itself(c)]
    if watching.endpoint.multi and len(left) > 1:
        yield blame(
            "never_closed",
            "for example " + ", ".join(context.id for context in left[:3]),
            verdict="problem" if len(left) >= (watching.endpoint.limit or 5) else "warning",
            count=len(left),
            limit=watching.endpoint.limit or "few",
        )


def _ended_itself(context: ContextWatch) -> bool:
    return context.ended_at is not None and not context.ended.startswith("socket closed")


def _context(context: ContextWatch, watching: SocketWatch, exchange: Exchange) -> Iterator[Finding]:
    last = max(watching.last_said_at or 0.0, watching.last_told_at or 0.0, _closed_at(watching))
    # Pings and keepalives go on where nothing is said, so a recording may end long after its last message.
    last = max(last, exchange.ended or 0.0) if exchange.close is None else last
    name = context.id
    if context.error:
        cause = cause_of_error(context.error, context.message) or "error_unscoped"
        said = f"{context.error}: {context.message}"[:QUOTED]
        yield blame(cause, said, context=name, error=context.error, **_numbers(watching))
    if context.reopened and context.close_at is None and not _ended_itself(context):
        yield blame("text_after_close", f"{context.opened_at:.1f} s", context=name)
    if context.audio_after_end:
        yield blame("late_frames", f"{context.audio_after_end} messages", context=name)
    if context.immediate and context.close_at is not None and context.last_audio_at is not None:
        late = context.last_audio_at - context.close_at
        if late > LATE:
            yield blame("late_after_cancel", context=name, seconds=late, verdict="warning")
    if context.first_audio_ms is not None and context.first_audio_ms > SLOW * 1000:
        yield blame("slow_start", context=name, seconds=context.first_audio_ms / 1000, verdict="warning")
    if context.error or context.immediate:
        return
    if context.texts and not context.audio_bytes:
        yield from _silent(context, watching, exchange, last)
    elif context.audio_bytes and context.close_at is not None and not _ended_itself(context):
        quiet = last - (context.last_audio_at or 0.0)
        if quiet > WAITED:
            yield blame("no_end", f"nothing for {quiet:.1f} s", context=name)


def _silent(
    context: ContextWatch, watching: SocketWatch, exchange: Exchange, last: float
) -> Iterator[Finding]:
    """Text, and no audio."""
    said, name = context.last_text_at or 0.0, context.id
    speaks = exchange.query.get("auto_mode") == "true" or watching.endpoint.turns
    if context.close_at is None and context.unflushed and not speaks:
        if _closed_at(watching) or last - said > WAITED:
            shown = f"{context.unflushed} characters"
            yield blame("not_flushed", shown, context=name)
    elif _ended_itself(context):
        gap = None if context.close_at is None else context.close_at - said
        if gap is not None and (context.unflushed or gap < OVERTAKEN):
            flushed = "without a flush" if context.unflushed else "after the text"
            yield blame("close_overtakes", f"closed {gap * 1000:.0f} ms {flushed}", context=name)
            # It looks the same when an account is empty: only a turn that is closed later tells them apart.
            yield blame("silent_success", context=name, verdict="warning")
        else:
            yield blame("silent_success", f"ended with {context.ended}", context=name)
    elif last - said > WAITED and not _explained(watching):
        yield blame("no_audio", context=name, seconds=last - said)


def _explained(watching: SocketWatch) -> bool:
    return bool(watching.errors) or (watching.close is not None and watching.close.code != 1000)


def _errors(watching: SocketWatch) -> Iterator[Finding]:
    """What the service told."""
    for told in watching.errors:
        cause = cause_of_error(told.error, told.message) or "error_unscoped"
        named = next((clue for clue in clues(told.message) if clue.cause == cause), None)
        facts = {**_numbers(watching), "error": told.error, **(named.facts if named else {})}
        if cause == "input_timeout" and watching.keepalives:
            facts["what"] = "the socket, in spite of keepalives,"
        yield blame(cause, f"{told.error}: {told.message}"[:QUOTED], context=told.context, **facts)
    if watching.unreadable_told:
        yield blame("frame_unreadable", f"{watching.unreadable_told} messages")
    if watching.unreadable_said:
        yield blame("invalid_message", f"{watching.unreadable_said} messages are no JSON objects")
    if watching.stray_audio:
        yield blame("wrong_id", f"{watching.stray_audio} messages")


def _numbers(watching: SocketWatch) -> dict[str, Any]:
    limit = watching.endpoint.limit or 1
    return {"number": watching.peak_contexts, "limit": limit, "scope": f", of which it may have {limit}"}


def _end(exchange: Exchange, watching: SocketWatch) -> Iterator[Finding]:
    close = watching.close
    if close is None:
        return
    shown = f"{close.at:.1f} s: close {close.code} by the {close.by}" + (
        f": {close.reason}" if close.reason else ""
    )
    quiet = close.at - max(watching.last_said_at or 0.0, watching.last_told_at or 0.0)
    silent = close.at - (watching.last_said_at or 0.0)
    cause = cause_of_close(close.code, close.reason)
    if "ping" in close.reason and close.code == 1011:
        cause = "starved_loop"
    if close.code == 1009:
        largest = max((context.largest_audio for context in watching.contexts), default=0)
        yield blame("frame_too_big", shown, bytes=largest * 4 // 3 if largest else "too many")
    elif cause is not None:
        told = next((clue for clue in clues(close.reason) if clue.cause == cause), None)
        yield blame(cause, shown, **{**_numbers(watching), **(told.facts if told else {})})
    elif close.code == 1008 and not watching.errors:
        timeout = _timeout(exchange)
        if silent >= timeout - 1:
            yield blame("input_timeout", shown, seconds=silent, what="the socket")
        else:
            yield blame("policy", shown)
    elif close.by == "service" and close.code in (1000, 1001, UNSTATED, LOST) and not watching.errors:
        yield from _without_reason(watching, shown, quiet)


def _without_reason(watching: SocketWatch, shown: str, quiet: float) -> Iterator[Finding]:
    assert watching.close is not None
    speaking = [
        context
        for context in watching.contexts
        if context.ended.startswith("socket closed") and context.texts and not context.error
    ]
    code = watching.close.code
    if quiet > QUIET and code != 1000:
        yield blame("idle_cut", shown, seconds=quiet)
    elif speaking and watching.close_socket_at is None and not watching.ends_at:
        midway = code in (1000, 1001, UNSTATED)
        yield blame("closed_midway" if midway else "connection_cut", shown, context=speaking[0].id, code=code)
    elif code == LOST:
        yield blame("connection_cut", shown)


def _habits(watched: list[tuple[Exchange, SocketWatch]]) -> Iterator[Finding]:
    """What only many sockets show."""
    short = [
        (exchange, watching)
        for exchange, watching in watched
        if sum(context.texts > 0 for context in watching.contexts) == 1
        and watching.close is not None
        and watching.close.at < SHORT
    ]
    if len(short) >= TURNS:
        first = [exchange.messages[0].at for exchange, _ in short if exchange.messages]
        yield blame(
            "socket_per_turn", verdict="warning", count=len(short), seconds=sorted(first)[len(first) // 2]
        )


def _timeout(exchange: Exchange) -> float:
    try:
        return min(float(exchange.query.get("inactivity_timeout", "20")), LONGEST_TIMEOUT)
    except ValueError:
        return 20.0


def _closed_at(watching: SocketWatch) -> float:
    return watching.close.at if watching.close is not None else 0.0


def _of(finding: Finding, where: str) -> Finding:
    return msgspec.structs.replace(finding, evidence=(where, *finding.evidence))


def _merged(findings: list[Finding]) -> list[Finding]:
    """One finding for each cause: the first, with how often there were others."""
    first: dict[tuple[str | None, str], Finding] = {}
    more: dict[tuple[str | None, str], int] = {}
    for finding in findings:
        key = (finding.cause, finding.verdict)
        if key in first:
            more[key] = more.get(key, 0) + 1
        else:
            first[key] = finding
    return [
        msgspec.structs.replace(finding, evidence=(*finding.evidence, f"and {more[key]} more"))
        if key in more
        else finding
        for key, finding in first.items()
    ]
