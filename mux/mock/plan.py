"""One line of a scenario: which fault, how often, and to whom."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated

import msgspec
from msgspec import Meta

__all__ = ["Fault"]

Count = Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="a whole number from 1")]
Name = Annotated[str, Meta(description="the name of a fault (`mux mock --list-faults`)")]
Rate = Annotated[float, Meta(ge=0, le=1, description="a probability from 0 to 1")]
Glob = Annotated[
    Annotated[str, Meta(min_length=1)] | None, Meta(description="a pattern of ids, such as turn-*")
]
Milliseconds = Annotated[
    Annotated[float, Meta(ge=0, le=3_600_000)] | None, Meta(description="milliseconds, from 0 to 3600000")
]
Seconds = Annotated[Annotated[float, Meta(ge=0, le=3600)] | None, Meta(description="seconds, from 0 to 3600")]
Bytes = Annotated[
    Annotated[int, Meta(ge=1, le=100_000_000)] | None, Meta(description="bytes, from 1 to 100000000")
]
Switch = Annotated[bool | None, Meta(description="true or false")]


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fault that is planned. A field's description says what it may be.

    An opportunity is a handshake, a context, or (frame) every 100 ms of a context's audio:
    `FAULTS[name].opportunity` says which.
    """

    name: Name
    rate: Rate = 1.0
    """The probability that it strikes at an opportunity."""
    nth: Count = None
    """Only at the n-th opportunity: the n-th handshake of the mock, the n-th fitting context of a socket, the
    n-th 100 ms of a context's audio."""
    times: Count = None
    """At most so often in the mock's life."""
    socket: Count = None
    """Only on the n-th socket; every handshake counts as one."""
    context: Glob = None
    """Only in contexts whose id fits (`*`, `?` and `[…]`)."""
    after_ms: Milliseconds = None
    """Not before so much of the context's audio has gone."""
    seconds: Seconds = None
    """How long, or how late."""
    bytes: Bytes = None
    """How large."""
    instead: Switch = None
    """Replace the audio frame; otherwise it is sent as well."""

    def fits(self, socket: int, context: str | None = None) -> bool:
        """Whether it is meant for this socket and context."""
        return self.socket in (None, socket) and (
            context is None or self.context is None or fnmatchcase(context, self.context)
        )
