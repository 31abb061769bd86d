"""Several contexts at once on one socket: how many the service takes."""

from __future__ import annotations

from mux.doctor.case import Case
from mux.doctor.conversation import Conversation, converse
from mux.doctor.findings import Tell, fine, found
from mux.doctor.patience import Patience

__all__ = ["open_many"]

WORD = "Hi. "


async def open_many(case: Case, patience: Patience, tell: Tell) -> None:
    """Have a short word spoken in each of `case.contexts` contexts, all open at the same time, and tell how
    far it went.

    Raises:
        MuxError: the socket could not be opened.
    """
    async with converse(case, patience) as talk:
        names = [f"doctor-{number}" for number in range(1, case.contexts + 1)]
        for name in names:
            await talk.say(*talk.wire.open(name), *talk.wire.speak(name, WORD))
        # None is closed before all were heard: a closed one might make room for the next.
        await _wait(talk, names, patience, ended=False)
        if not _refused(talk, names):
            for name in names:
                await talk.say(*talk.wire.end(name))
            await _wait(talk, names, patience, ended=True)
        refused = _refused(talk, names)
        if refused:
            await talk.listen(1.0)  # the close that follows says more
        took = talk.now
    silent = [name for name in names if not talk.context(name).audio_bytes]
    endless = [name for name in names if talk.context(name).ended_at is None]
    if refused:
        name = next((name for name in names if _error(talk, name)), names[-1])
        findings = talk.failure("contexts", name)
        code = talk.ending.code if talk.ending is not None else 1006
        findings = findings or [found("contexts", "closed_midway", *talk.closed(), code=code)]
        for finding in findings:
            tell(finding.took(took))
    elif silent:
        evidence = f"{len(silent)} of {len(names)} contexts"
        tell(found("contexts", "no_audio", evidence, seconds=patience.audio).took(took))
    elif endless:
        tell(found("contexts", "no_end", f"{len(endless)} of {len(names)} contexts").took(took))
    else:
        for finding in talk.oddities("contexts"):
            tell(finding)
        tell(fine("contexts", f"{len(names)} contexts spoke on one socket at the same time").took(took))


async def _wait(talk: Conversation, names: list[str], patience: Patience, *, ended: bool) -> None:
    """Until each context was heard, or has ended; or one failed; or nothing comes any more."""
    since = talk.now

    def over() -> bool:
        contexts = [talk.context(name) for name in names]
        if talk.watch.errors or (not ended and any(one.error for one in contexts)):
            return True
        return all(one.ended_at is not None if ended else one.audio_bytes for one in contexts)

    def deadline() -> float:
        heard = (talk.context(name).last_audio_at or 0.0 for name in names)
        return max(since, *heard) + patience.audio

    await talk.until(over, deadline)


def _refused(talk: Conversation, names: list[str]) -> bool:
    return bool(talk.watch.errors) or talk.ending is not None or any(_error(talk, name) for name in names)


def _error(talk: Conversation, name: str) -> bool:
    return bool(talk.context(name).error)
