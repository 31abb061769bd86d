"""Reading a log, a traceback or an issue: which causes its lines name, and where they leave it open, which
ones are possible and what would tell them apart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise

from mux.doctor.findings import Finding, fine
from mux.doctor.words import Clue, blame, clues

__all__ = ["explain_lines"]

QUOTED = 160
"""Characters of a line that stand as evidence: never the whole line, which may hold what was said."""
AT_ONCE = 8.0
"""Seconds: an attempt that fails sooner was not ended by an idle timeout, whose default is 20 s."""
IDLE = ((19.0, 24.0, 20), (178.0, 186.0, 180))
"""Seconds of quiet that look like a timeout of ElevenLabs'."""

CLOSED = re.compile(
    r"(?:web)?socket (?:connection )?closed unexpectedly|connection closed(?: unexpectedly)?\b[^\n\"]{0,60}"
    r"|ConnectionClosed(?:Error|OK)?\b|socket hang up|closed before (?:the )?(?:end|final)",
    re.IGNORECASE,
)
STAMP = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)[.,](\d{1,6})")
AT_ONCE_SAID = re.compile(
    r"(?:soon|shortly|right|immediately|seconds) after (?:connect|opening|the handshake|it was opened)\w*"
    r"|not after idle|closes? immediately",
    re.IGNORECASE,
)
KEY_WORKS = re.compile(r"works with the same (?:API )?key|same (?:API )?key[^\n.]{0,40}works", re.IGNORECASE)
EMPTY_TEXT = re.compile(r"""["']text["']\s*:\s*(?:""|'')\s*\}""")
MULTI_CLIENTS = re.compile(r"multi-stream-input|livekit|pipecat", re.IGNORECASE)

POSSIBLE = {
    "input_timeout": (
        "nothing was sent for 20 seconds (or for inactivity_timeout), and the service ended the socket",
        "Compare the time of the close with that of the last text: it is the timeout, to the second.",
    ),
    "key_refused": (
        "the key, the plan or the credits are refused after the handshake: ElevenLabs opens the socket "
        "first, and closes it then with 1008",
        "`mux doctor URL --api-key KEY` fails at the same step; over plain HTTP the same key gets 401, 402 "
        "or 403.",
    ),
    "timeout_over_max": (
        "inactivity_timeout is over 180",
        "Look for it where the text-to-speech object is made, and in the socket's URL.",
    ),
    "model_not_here": (
        "a v3 model is asked for on a text-to-speech socket",
        "The handshake itself is then refused (HTTP 400 or 403): that the socket was open speaks against it.",
    ),
    "too_many_contexts": (
        "interrupted turns left their contexts open, and one more was too many (5 on ElevenLabs)",
        "It never happens at the first turn, and sooner with many interruptions; `mux tap` counts the "
        "contexts.",
    ),
    "empty_keepalive": (
        'an empty text "" is sent on stream-input, where it ends the stream',
        '`mux tap` shows it; a single space " " is the keepalive there.',
    ),
    "connection_cut": (
        "a proxy or the network cut the connection",
        "It happens with every model and key, but not from another network; `mux doctor URL` tries the way.",
    ),
}


def explain_lines(text: str) -> list[Finding]:
    """What a log says, the surest first. Evidence is quoted with its line's number."""
    lines = text.splitlines()
    sure, looks_like = _named(lines)
    findings = [*sure, *looks_like]
    closes = [(number, match) for number, line in enumerate(lines, 1) if (match := CLOSED.search(line))]
    if closes:
        unexplained = _unexplained(lines, closes, explained=bool(sure))
        findings = [*sure, *looks_like, *unexplained] if sure else [*unexplained, *looks_like]
    if not findings:
        return [fine("file", f"Nothing in these {len(lines)} lines is a failure that the doctor knows.")]
    return findings


def _named(lines: list[str]) -> tuple[list[Finding], list[Finding]]:
    """The causes that lines state, and those that they look like; each once, with all its evidence."""
    places: dict[str, tuple[Clue, list[str]]] = {}
    for number, line in enumerate(lines, 1):
        for clue in clues(line):
            first, evidence = places.setdefault(clue.cause, (clue, []))
            if clue.facts and not first.facts:
                places[clue.cause] = (clue, evidence)
            quote = f"line {number}: {_quoted(clue.words)}"
            if quote not in evidence and len(evidence) < 3:
                evidence.append(quote)
    if (found := _empty_text(lines)) is not None:
        places.setdefault("empty_keepalive", (Clue("empty_keepalive", "", False, {}), [found]))
    # A bare 1008 is explained by whatever else was stated.
    if "policy" in places and sum(clue.sure for clue, _ in places.values()) > 1:
        del places["policy"]
    sure: list[Finding] = []
    looks_like: list[Finding] = []
    for clue, evidence in places.values():
        verdict = "problem" if clue.sure or clue.cause == "unclosed_session" else "warning"
        finding = blame(clue.cause, *evidence, verdict=verdict, **clue.facts)  # type: ignore[arg-type]
        (sure if clue.sure else looks_like).append(finding)
    return sure, looks_like


def _unexplained(
    lines: list[str], closes: list[tuple[int, re.Match[str]]], *, explained: bool
) -> Iterator[Finding]:
    """A close without a reason: when it was, and what it may have been."""
    number, match = closes[0]
    evidence = [f"line {number}: {_quoted(match[0])}"]
    if len(closes) > 1:
        evidence.append(f"and {len(closes) - 1} more, the last in line {closes[-1][0]}")
    pace, told = _pace(lines, closes)
    if told:
        evidence.append(told)
    if any("status_code=-1" in line for line in lines):
        evidence.append("status_code=-1: the plugin had no close code to pass on")
    when = {"at once": " soon after it was opened", "idle": " after a time of quiet", "": ""}[pace]
    yield blame("closed_unexplained", *evidence, verdict="warning" if explained else "problem", when=when)
    if explained:
        return
    whole = "\n".join(lines)
    match pace:
        case "at once":
            order = ["key_refused", "timeout_over_max", "too_many_contexts", "model_not_here"]
        case "idle":
            order = ["input_timeout", "empty_keepalive", "connection_cut"]
        case _:
            order = [
                "input_timeout",
                "key_refused",
                "empty_keepalive",
                "too_many_contexts",
                "timeout_over_max",
            ]
    if KEY_WORKS.search(whole):
        order = [cause for cause in order if cause != "key_refused"]
    if MULTI_CLIENTS.search(whole):  # these never send it there
        order = [cause for cause in order if cause != "empty_keepalive"]
    for place, cause in enumerate(order, 1):
        may, tells = POSSIBLE[cause]
        yield Finding(
            step="file",
            verdict="warning",
            cause=cause,
            sentence=f"Possible ({place} of {len(order)}): {may}.",
            remedy=tells,
        )


def _pace(lines: list[str], closes: list[tuple[int, re.Match[str]]]) -> tuple[str, str]:
    """Whether attempts failed "at once" or after being "idle", and what tells so; "" if nothing does."""
    for number, line in enumerate(lines, 1):
        if match := AT_ONCE_SAID.search(line):
            return "at once", f"line {number}: {_quoted(match[0])}, which no idle timeout is"
    times = sorted({time for number, _ in closes if (time := _time(lines[number - 1])) is not None})
    gaps = [later - earlier for earlier, later in pairwise(times) if later - earlier > 0.2]
    if gaps and max(gaps) < AT_ONCE:
        shown = ", ".join(f"{gap:.1f}" for gap in gaps[:4])
        return "at once", f"the next attempts failed {shown} s later: no idle timeout, which takes 20 s"
    everything = sorted(time for line in lines if (time := _time(line)) is not None)
    for time in times:
        before = [other for other in everything if other < time - 1]
        quiet = time - before[-1] if before else 0.0
        for least, most, timeout in IDLE:
            if least <= quiet <= most:
                return "idle", f"nothing was logged for {quiet:.1f} s before: the timeout of {timeout} s"
    return "", ""


def _empty_text(lines: list[str]) -> str | None:
    """Where an empty text was sent on a socket that it ends."""
    if any("multi-stream-input" in line for line in lines):
        return None
    for number, line in enumerate(lines, 1):
        if match := EMPTY_TEXT.search(line):
            return f"line {number}: {_quoted(match[0])}"
    return None


def _time(line: str) -> float | None:
    match = STAMP.search(line)
    if match is None:
        return None
    try:
        return datetime.fromisoformat(f"{match[1]}T{match[2]}.{match[3]:0<6}").timestamp()
    except ValueError:
        return None


def _quoted(words: str) -> str:
    return " ".join(words.split())[:QUOTED]
