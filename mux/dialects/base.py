"""What a dialect is, seen from a server's socket and from a client's link."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import msgspec

from mux.errors import Problem
from mux.protocol.messages import Alignment, Command, ContextClosed, Event, Warning
from mux.protocol.pcm import Pcm

__all__ = [
    "AudioFrame",
    "ClientDialect",
    "ContextError",
    "Credentials",
    "Decoded",
    "Flushed",
    "Received",
    "ServerDialect",
    "SocketError",
    "Sound",
]


class Credentials(msgspec.Struct, frozen=True):
    """A key that came inside a message."""

    key: str


Decoded: TypeAlias = Command | Credentials


class Sound(msgspec.Struct, frozen=True, gc=False):
    """Speech of one segment as it goes out. `payload` is in the context's output format: `encoding` is its
    codec, `sample_rate` (Hz) its rate. `slices` are the characters that begin in it. `payload` may be empty:
    then characters are all that is left to say."""

    context: str
    serial: int
    segment: int
    payload: Pcm
    encoding: str
    sample_rate: int
    slices: Sequence[Alignment]


class ServerDialect(Protocol):
    """One socket's wire, spoken by a server."""

    @property
    def single(self) -> bool:
        """Whether the socket carries one context and ends with it."""
        ...

    @property
    def whole_segments(self) -> bool:
        """Whether its client is told where the audio of each segment ends; conversion then begins anew with
        the next one."""
        ...

    def decode(self, data: str | bytes) -> list[Decoded]:
        """What a client's message asks for, in order. Never raises: what cannot be read is `Invalid`."""
        ...

    def audio(self, sound: Sound) -> Sequence[str | bytes]:
        """The frames for a piece of speech; none where none is due yet."""
        ...

    def event(self, event: Event) -> Sequence[str | bytes]:
        """The frames for any other event; none where the wire has no word for it."""
        ...


class AudioFrame(msgspec.Struct, frozen=True):
    """Audio as a client receives it: `audio` in the socket's output format, and the characters that begin
    in it, or whose times came with it (None: unknown). `audio` may be empty: then only those came, or only
    the word that all audio is there that a flush asked for (`flushed`)."""

    context: str
    audio: Pcm
    alignment: Alignment | None = None
    flushed: bool = False


class ContextError(msgspec.Struct, frozen=True):
    """Why a context is about to end; its `ContextClosed` follows."""

    context: str
    problem: Problem


class Flushed(msgspec.Struct, frozen=True):
    """All audio that a flush of this context asked for has come."""

    context: str


class SocketError(msgspec.Struct, frozen=True):
    """Why the socket is about to be closed."""

    problem: Problem


Received: TypeAlias = AudioFrame | ContextError | ContextClosed | Flushed | SocketError | Warning


class ClientDialect(Protocol):
    """The same wire, spoken by a client."""

    @property
    def session_id(self) -> str | None:
        """What the server calls this socket; None where it does not tell, or has not told yet."""
        ...

    def encode(self, command: Command) -> str:
        """The message for a command."""
        ...

    def decode(self, data: str | bytes) -> list[Received]:
        """What a server's frame says. An unreadable frame is a `SocketError` with code `upstream_error`."""
        ...
