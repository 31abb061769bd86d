"""What a service does with a context in which nothing is said: whether a keepalive keeps it, when it ends
without one, and how."""

from __future__ import annotations

from mux.doctor.answers import cause_of_close, cause_of_error, explained
from mux.doctor.case import Case
from mux.doctor.conversation import Conversation, converse
from mux.doctor.findings import Finding, Tell, fine, found, skipped
from mux.doctor.patience import Patience

__all__ = ["stay_silent"]

NAME = "doctor-idle"
KEPT = 1.7
"""How many times its timeout a context is kept alive."""
EARLY = 0.8
"""Before so much of the timeout, it was not the timeout that ended something."""


async def stay_silent(case: Case, patience: Patience, tell: Tell) -> None:
    """Keep a context alive for longer than its timeout, then no more, and tell what happened. The timeout is
    a short one that is asked for here, so that this does not take minutes.

    Raises:
        MuxError: the socket could not be opened.
    """
    asked = case.with_query(inactivity_timeout=f"{patience.inactivity:g}")
    async with converse(asked, patience) as talk:
        if talk.wire.keepalive is None:
            sentence = f"Turns on {case.path} end by themselves: there is nothing to keep alive"
            tell(skipped("keepalive", sentence))
            tell(skipped("timeout", sentence))
            return
        await talk.say(*talk.wire.open(NAME))
        kept = await _keep_alive(talk, case, patience)
        tell(kept.took(talk.now))
        if kept.verdict == "problem":
            tell(skipped("timeout", "Not tried, because the keepalive did not work"))
            return
        began = talk.now
        tell((await _time_out(talk, patience)).took(talk.now - began))


async def _keep_alive(talk: Conversation, case: Case, patience: Patience) -> Finding:
    given = case.keepalive if case.keepalive is not None else talk.wire.keepalive or ""
    until = talk.now + patience.inactivity * KEPT
    says = 0
    while talk.now < until and not _over(talk):
        await talk.listen(min(patience.inactivity / 3, until - talk.now))
        if not _over(talk):
            await talk.say(*talk.wire.keep_alive(NAME, given))
            says += 1
    if not _over(talk):
        how, seconds = talk.wire.spelt(given), patience.inactivity
        sentence = f"{how} kept a context alive for {talk.now:.0f} s (its timeout was {seconds:g} s)"
        return fine("keepalive", sentence[0].upper() + sentence[1:])
    evidence = [f"{says} keepalives were sent: {given!r}", *talk.closed()]
    if given == "" and not talk.wire.contexts and talk.watch.endpoint.dialect == "elevenlabs":
        return found("keepalive", "empty_keepalive", *evidence)
    if _by_timeout(talk):
        return found("keepalive", "keepalive_ignored", *evidence)
    if talk.ending is not None and talk.ending.code == 1006:
        return found("keepalive", "idle_cut", *evidence, seconds=talk.now)
    return next(iter(talk.failure("keepalive", NAME)), found("keepalive", "keepalive_ignored", *evidence))


async def _time_out(talk: Conversation, patience: Patience) -> Finding:
    seconds = patience.inactivity
    since = talk.now
    await talk.until(lambda: _over(talk), lambda: since + seconds + patience.overdue)
    spent = talk.now - since
    if not _over(talk):
        return found("timeout", "timeout_ignored", verdict="warning", seconds=seconds)
    early = spent < seconds * EARLY
    if not early and (_by_timeout(talk) or talk.ending is None or not talk.wire.contexts):
        what = "context" if talk.ending is None else "socket"
        words = [f"{one.error}: {one.message}" for one in talk.watch.errors]
        context = talk.context(NAME)
        words += [f"{context.error}: {context.message}"] if context.error else []
        sentence = f"After {spent:.1f} s of silence ({seconds:g} s were asked for) the {what} was ended"
        return fine("timeout", sentence, *map(talk.case.shown, words), *talk.closed())
    if talk.ending is not None and talk.ending.code == 1006:
        return found("timeout", "idle_cut", *talk.closed(), seconds=spent)
    failure = talk.failure("timeout", NAME)
    return (
        failure[0]
        if failure
        else explained(talk.case, "timeout", "idle_cut", *talk.closed(), seconds=spent)[0]
    )


def _over(talk: Conversation) -> bool:
    # A dialogue's context is open before there was text in it, which the watch does not count.
    return talk.ending is not None or talk.context(NAME).ended_at is not None or bool(talk.ends[NAME])


def _by_timeout(talk: Conversation) -> bool:
    """Whether the service says that it was for the silence."""
    context = talk.context(NAME)
    told = [(context.error, context.message), *((one.error, one.message) for one in talk.watch.errors)]
    if any(cause_of_error(*words) == "input_timeout" for words in told):
        return True
    if context.ended == "context_timeout":
        return True
    ending = talk.ending
    return ending is not None and cause_of_close(ending.code, ending.reason) == "input_timeout"
