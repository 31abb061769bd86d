"""What a dialect is, seen from a server's socket and from a client's link."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import msgspec

from mux.errors import Problem
from mux.protocol.messages import Alignment, Command, ContextClosed, Event, Warning

__all__ = [
    "AudioFrame",
    "ClientDialect",
    "ContextError",
    "Credentials",
    "Decoded",
    "Received",
    "ServerDialect",
    "SocketError",
]


class Credentials(msgspec.Struct, frozen=True):
    """A key that came inside a message."""

    key: str


Decoded: TypeAlias = Command | Credentials


class ServerDialect(Protocol):
    """One socket's wire, spoken by a server. Holds no state of contexts."""

    @property
    def single(self) -> bool:
        """Whether the socket carries one context and ends with it."""
        ...

    def decode(self, data: str | bytes) -> list[Decoded]:
        """What a client's message asks for, in order. Never raises: what cannot be read is `Invalid`."""
        ...

    def audio(self, context: str, payload: bytes, slices: Sequence[Alignment]) -> str | bytes:
        """A frame of converted audio, with the characters that begin in it; empty where none is due yet."""
        ...

    def event(self, event: Event) -> Sequence[str | bytes]:
        """The frames for any other event; none where the wire has no word for it."""
        ...


class AudioFrame(msgspec.Struct, frozen=True):
    """Audio as a client receives it: `audio` in the socket's output format, and the characters that begin
    in it (None: unknown)."""

    context: str
    audio: bytes
    alignment: Alignment | None = None


class ContextError(msgspec.Struct, frozen=True):
    """Why a context is about to end; its `ContextClosed` follows."""

    context: str
    problem: Problem


class SocketError(msgspec.Struct, frozen=True):
    """Why the socket is about to be closed."""

    problem: Problem


Received: TypeAlias = AudioFrame | ContextError | ContextClosed | SocketError | Warning


class ClientDialect(Protocol):
    """The same wire, spoken by a client."""

    def encode(self, command: Command) -> str:
        """The message for a command."""
        ...

    def decode(self, data: str | bytes) -> list[Received]:
        """What a server's frame says. An unreadable frame is a `SocketError` with code `upstream_error`."""
        ...
