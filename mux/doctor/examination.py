"""The whole examination of a socket, step by step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from mux.doctor.answers import cause_of_status, explained
from mux.doctor.asked import check_asked
from mux.doctor.case import Case
from mux.doctor.findings import STEPS, Finding, Step, Tell, found, skipped
from mux.doctor.handshake import judge, shake_hands
from mux.doctor.leaving import leave
from mux.doctor.many import open_many
from mux.doctor.network import proxied, reach, speaks_tls
from mux.doctor.patience import Patience
from mux.doctor.silence import stay_silent
from mux.doctor.speech import speak_a_word
from mux.doctor.wires import wire_of
from mux.errors import MuxError
from mux.links.opening import Opening

__all__ = ["examine"]

FAILURES = {
    "through the proxy": "proxy_failed",
    "Looking up": "dns_failed",
    "certificate": "tls_untrusted",
    "TLS": "tls_not_spoken",
    "Within": "handshake_silent",
    "handshake": "handshake_cut",
}
"""What a later socket failed of, by words of `Opening`'s sentences; the first was tried piece by piece."""


async def examine(case: Case, tell: Tell, patience: Patience = Patience()) -> list[Finding]:  # noqa: B008
    """Try everything, in the order of `STEPS`, up to the step that makes the rest pointless. Each finding is
    told as it is made, and all are returned. It takes about 15 s, or 2 s if the case is quick, and
    `patience.whole` at the most.

    What it costs at a paid service: a word (or two), and a short one for each context that is tried.

    Raises:
        MuxError: the URL cannot be used at all. Cancelling closes whatever is open.
    """
    findings: list[Finding] = []

    def note(finding: Finding) -> None:
        findings.append(finding)
        tell(finding)

    with anyio.move_on_after(patience.whole) as scope:
        await _examine(case, note, patience)
    if scope.cancelled_caught:
        note(found("close", "unfinished", seconds=patience.whole))
    tried = {finding.step for finding in findings} | {"url", "tls", "file"}
    if "tcp" in tried:
        tried.add("handshake")  # what it was refused for may be another step's
    for step in STEPS:
        if step not in tried:
            note(skipped(step, "Not tried, because of what was found before"))
    return findings


async def _examine(case: Case, tell: Tell, patience: Patience) -> None:
    asked = check_asked(case)
    for finding in asked:
        tell(finding)
    if any(finding.cause == "key_unusable" for finding in asked):
        return  # no header can carry it
    opening = Opening(case.url, case.headers, case.ssl_context)
    if not await _open(case, opening, tell, patience):
        return
    if not await _attempt("speech", case, patience, tell, lambda: speak_a_word(case, patience, tell)):
        return
    if case.quick:
        for step in ("keepalive", "timeout"):
            tell(skipped(step, "Not tried: --quick"))
    else:
        await _attempt("keepalive", case, patience, tell, lambda: stay_silent(case, patience, tell))
    if not wire_of(case).contexts:
        tell(skipped("contexts", "A socket of this endpoint carries one at a time"))
    elif case.contexts:
        await _attempt("contexts", case, patience, tell, lambda: open_many(case, patience, tell))
    else:
        tell(skipped("contexts", "Not tried: --contexts 0"))
    await _attempt("close", case, patience, tell, lambda: leave(case, patience, tell))


async def _open(case: Case, opening: Opening, tell: Tell, patience: Patience) -> bool:
    """Reach the service and shake hands; whether that went well."""
    if proxied(opening):
        for step in ("dns", "tcp", "handshake"):
            tell(skipped(step, "Not tried by itself: this environment sends connections through a proxy"))
        return True
    stream = await reach(opening, patience, tell)
    if stream is None:
        return False
    answer, seconds = await shake_hands(stream, opening, patience)
    findings = judge(case, opening, answer, seconds, patience)
    cut = any(finding.cause == "handshake_cut" for finding in findings)
    if cut and opening.tls is None and await speaks_tls(opening, patience):
        findings = [found("handshake", "tls_needed", where=opening.where)]
    for finding in findings:
        tell(finding.took(seconds))
    return not any(finding.verdict == "problem" for finding in findings)


async def _attempt(
    step: Step, case: Case, patience: Patience, tell: Tell, probe: Callable[[], Awaitable[bool | None]]
) -> bool | None:
    """Run a probe; a socket that could not be opened is a finding of its step."""
    try:
        return await probe()
    except MuxError as error:
        status = error.problem.observed
        if isinstance(status, int):
            cause = cause_of_status(status, error.code, str(error))
        else:
            nearest = Opening(case.url, {}, case.ssl_context)
            unreached = "proxy_failed" if proxied(nearest) else "tcp_refused"
            cause = next((cause for words, cause in FAILURES.items() if words in str(error)), unreached)
        facts = {"status": status, "where": case.host, "seconds": patience.handshake}
        for finding in explained(case, step, cause, str(error), **facts):
            tell(finding)
        return False
