"""A multi-context session for apps: one socket, many contexts, each a flow of text that becomes audio."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import anyio
import anyio.lowlevel
import msgspec

from mux.dialects.base import AudioFrame
from mux.dialects.elevenlabs import ElevenLabsClient, socket_url
from mux.errors import MuxError, Problem
from mux.links.link import Link, LinkContext, open_link
from mux.links.router import Ended
from mux.links.transport import Transport, open_transport
from mux.protocol.messages import Alignment, Reason
from mux.protocol.voice import INACTIVITY_RANGE, ContextSettings, VoiceSettings, voice_settings

__all__ = ["Chunk", "Context", "Session", "connect", "session_over"]

FRAME_SECONDS = 30.0
"""How long a closed context may stay silent before its reader gives up."""
BUFFER_BYTES = 16 * 1024 * 1024
DEFAULT_TIMEOUT = 20.0
"""Seconds of quiet after which a server ends a context, where nobody asked for another time."""


class Chunk(msgspec.Struct, frozen=True):
    """A piece of a context's audio, in the session's output format; `alignment` has times in ms from the
    context's start (None: unknown)."""

    context: str
    audio: bytes
    alignment: Alignment | None


class Context:
    """One flow of text that becomes audio; made by `Session.context`.

    One task may send while another one iterates over the audio.
    """

    def __init__(self, name: str, inner: LinkContext) -> None:
        self.name = name
        self._inner = inner

    @property
    def ended(self) -> Ended | None:
        """How it ended (reason, usage, problem), or None while it lives."""
        return self._inner.inbox.ended

    async def send(self, text: str) -> None:
        """Send text, in pieces of any size; they are joined as they are, without spaces.

        Waits only while much text waits for the socket. Cancelling sends nothing of this piece.

        Raises:
            MuxError: the context has ended (the problem says why) or was closed.
        """
        await anyio.lowlevel.checkpoint()
        await self._inner.send(text)

    async def flush(self) -> None:
        """Have everything that was sent so far spoken now. Raises as `send` does."""
        await anyio.lowlevel.checkpoint()
        self._inner.flush()

    async def keep_alive(self) -> None:
        """Restart the server's inactivity timer by hand. Raises as `send` does."""
        await anyio.lowlevel.checkpoint()
        self._inner.keep_alive()

    async def close(self) -> None:
        """That was all. What was sent is still spoken; its audio ends the iteration. Does not wait."""
        await anyio.lowlevel.checkpoint()
        self._inner.close()

    async def cancel(self) -> Ended:
        """Stop at once (barge-in): no more audio is delivered from the moment of the call. Waits until the
        server has confirmed, at most 5 s, and returns how the context ended, with its usage."""
        return await self._inner.cancelled()

    async def wait_ended(self) -> Ended:
        """Wait for the context's end without reading its audio."""
        return await self._inner.inbox.wait_ended()

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        """The next audio. The iteration ends when the context was completed or cancelled.

        Raises:
            MuxError: the context failed, timed out, or lost its socket; or it was closed and then nothing
                came for 30 s (`timed_out`).
        """
        frame = await self._next_frame()
        if frame is not None:
            return Chunk(self.name, frame.audio, frame.alignment)
        ended = self.ended
        assert ended is not None
        if ended.reason in (Reason.COMPLETED, Reason.CANCELLED):
            raise StopAsyncIteration
        raise MuxError(ended.problem or Problem(code="closed_early", message="The context ended early."))

    async def _next_frame(self) -> AudioFrame | None:
        # Also who has much to read, or to send, lets others go on.
        await anyio.lowlevel.checkpoint()
        begun = anyio.current_time()
        while True:
            # Another task may close the context meanwhile; patience is counted from then on.
            closing = self._inner.closing
            since = max(begun, self._inner.said_at) if closing else anyio.current_time()
            with anyio.move_on_at(since + FRAME_SECONDS):
                return await self._inner.inbox.get()
            if closing:
                raise MuxError.of(
                    "timed_out",
                    f"Context {self.name!r} was closed, but nothing came from it for {FRAME_SECONDS:g} s.",
                )


class Session:
    """One socket and its contexts; made by `connect`."""

    def __init__(self, link: Link) -> None:
        self._link = link

    @property
    def connected(self) -> bool:
        return self._link.connected

    @property
    def dropped_frames(self) -> int:
        """Frames that came for contexts that had ended: late audio that reached nobody."""
        return self._link.router.dropped

    @property
    def warnings(self) -> list[Problem]:
        """What the server warned of, the last 100."""
        return [warning.problem for warning in self._link.router.warnings]

    @asynccontextmanager
    async def context(
        self,
        name: str = "context",
        *,
        voice: str | None = None,
        language: str | None = None,
        settings: VoiceSettings | Mapping[str, Any] | None = None,
        chunk_length_schedule: tuple[int, ...] | None = None,
        inactivity_timeout: float | None = None,
        keepalive: bool = True,
    ) -> AsyncIterator[Context]:
        """Open a context for the length of the block.

        A name may be used again, also at once: every context is its own. Leaving the block cancels whatever
        is still unread, so read to the end (or `wait_ended`) what should be heard.

        Args:
            settings: the voice settings that differ from the session's.
            inactivity_timeout: seconds, 1 to 180.
            keepalive: speak up by itself before that time is over.

        Raises:
            MuxError: a setting is out of its range, or the socket has ended.
        """
        given = msgspec.structs.asdict(settings) if isinstance(settings, VoiceSettings) else settings
        checked = voice_settings(dict(given) if given is not None else None)
        if isinstance(checked, Problem):
            raise MuxError(checked)
        wanted = ContextSettings(
            voice=voice,
            language=language,
            voice_settings=checked or None,
            chunk_length_schedule=chunk_length_schedule,
            inactivity_timeout=_checked_timeout(inactivity_timeout),
        )
        inner = self._link.open(name, wanted, keepalive=keepalive)
        try:
            yield Context(name, inner)
        finally:
            if inner.inbox.ended is None:
                inner.cancel()

    async def close(self) -> None:
        """Have every context say what it has, and close the socket (`close_socket`); waits at most 10 s."""
        await self._link.close()


@asynccontextmanager
async def connect(
    url: str,
    *,
    api_key: str | None = None,
    voice: str = "default",
    language: str | None = None,
    output_format: str = "pcm_24000",
    auto_mode: bool = False,
    inactivity_timeout: float = DEFAULT_TIMEOUT,
    open_timeout: float = 10.0,
    buffer_bytes: int = BUFFER_BYTES,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[Session]:
    """Open one multi-context socket.

    Args:
        url: the server's base URL (`ws://127.0.0.1:8790`, with or without `/v1`; http and https do too), or
            a whole socket URL, whose query then wins over the other arguments.
        voice: what contexts speak with that name no voice.
        output_format: `pcm_24000`, `mp3_44100_128`, `ulaw_8000`, ...
        auto_mode: every `send` is spoken by itself at once.
        inactivity_timeout: seconds after which an idle context ends, 1 to 180.
        buffer_bytes: what one context may leave unread before it ends as `slow_consumer`.

    Leaving the block closes the socket; after a normal exit contexts that still speak are let finish (at most
    10 s). Cancelling closes it at once.

    Raises:
        MuxError: the socket could not be opened; the sentence says at which step and why. Or
            `invalid_setting`: `inactivity_timeout` is out of its range.
    """
    _checked_timeout(inactivity_timeout)
    target = socket_url(
        url,
        voice,
        {
            "output_format": output_format,
            "sync_alignment": "true",
            "auto_mode": "true" if auto_mode else "false",
            "inactivity_timeout": f"{inactivity_timeout:g}",
            **({"language_code": language} if language else {}),
        },
    )
    headers = {"xi-api-key": api_key} if api_key else {}
    async with (
        open_transport(
            target, headers=headers, open_timeout=open_timeout, ssl_context=ssl_context
        ) as transport,
        session_over(transport, _timeout_in(target), buffer_bytes) as session,
    ):
        yield session


@asynccontextmanager
async def session_over(
    transport: Transport, inactivity_timeout: float = 20.0, buffer_bytes: int = BUFFER_BYTES
) -> AsyncIterator[Session]:
    """A session over a transport that is open already (see `connect`)."""
    async with open_link(
        transport, ElevenLabsClient(), inactivity_timeout=inactivity_timeout, buffer_bytes=buffer_bytes
    ) as link:
        session = Session(link)
        yield session
        await session.close()


def _checked_timeout(seconds: float | None) -> float | None:
    low, high = INACTIVITY_RANGE
    if seconds is None or low <= seconds <= high:
        return seconds
    raise MuxError.of(
        "invalid_setting",
        f"inactivity_timeout must be from {low:g} to {high:g} seconds, received {seconds:g}.",
        limit=f"{low:g} to {high:g}",
        observed=seconds,
    )


def _timeout_in(url: str) -> float:
    """The timeout that the server will hold a context to: the URL's, clamped as the server does."""
    low, high = INACTIVITY_RANGE
    seconds = dict(parse_qsl(urlsplit(url).query)).get("inactivity_timeout", DEFAULT_TIMEOUT)
    return min(max(float(seconds), low), high)
