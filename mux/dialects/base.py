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
    "Unreadable",
    "unreadable",
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


class Unreadable(msgspec.Struct, frozen=True):
    """A frame that cannot be read: something of `context` is missing (None: whose it was is not known)."""

    problem: Problem
    context: str | None = None


Received: TypeAlias = AudioFrame | ContextError | ContextClosed | Flushed | SocketError | Unreadable | Warning


class _Named(msgspec.Struct):
    """The ids that a frame may carry, whatever else stands in it."""

    contextId: str | None = None
    context_id: str | None = None


_name_in = msgspec.json.Decoder(_Named).decode


def unreadable(data: str | bytes, error: Exception) -> Unreadable | SocketError:
    """What to make of a frame that a decoder refused: what names no context is missing to none."""
    cause = f"The server sent a frame that is not of this protocol ({type(error).__name__})."
    try:
        named = _name_in(data)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return Unreadable(Problem(code="connection_lost", message=f"{cause} The socket was left."))
    if context := named.contextId or named.context_id:
        return Unreadable(Problem(code="engine_failed", message=cause), context)
    return SocketError(Problem(code="upstream_error", message=cause))


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
        """What a server's frame says. Never raises: a frame of another protocol is `Unreadable`."""
        ...
