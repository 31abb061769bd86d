"""The end of a socket: whether the service answers a goodbye."""

from __future__ import annotations

from mux.doctor.case import Case
from mux.doctor.conversation import converse
from mux.doctor.findings import Tell, fine, found
from mux.doctor.patience import Patience

__all__ = ["leave"]

NAME = "doctor-leaving"


async def leave(case: Case, patience: Patience, tell: Tell) -> None:
    """Open a socket, ask the service to close it, and if it does not, close it from this side.

    Raises:
        MuxError: the socket could not be opened.
    """
    async with converse(case, patience) as talk:
        await talk.say(*talk.wire.open(NAME), *talk.wire.leave())
        await talk.listen(patience.close)
        if talk.ending is None:
            began = talk.now
            await talk.transport.aclose()
            closed = talk.transport.closed
            if closed is None or not closed.received:
                tell(found("close", "close_unanswered", verdict="warning").took(talk.now - began))
                return
            sentence = "The service answered the close frame (but not the message that asks for the close)"
            tell(fine("close", sentence).took(talk.now - began))
            return
        if talk.ending.code == 1000:
            tell(fine("close", "Asked to close, the service closed with 1000").took(talk.now))
            return
        findings = talk.failure("close", NAME)
        findings = findings or [found("close", "close_unanswered", *talk.closed(), verdict="warning")]
        for finding in findings:
            tell(finding.took(talk.now))
