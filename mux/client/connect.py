"""Opening a session."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, get_args
from urllib.parse import SplitResult, parse_qsl, urlsplit

from mux.client.session import Session, checked_timeout, checked_voice, told_as_speech_error
from mux.client.telling import Callbacks
from mux.errors import MuxError
from mux.links.endpoint import DEFAULT_TIMEOUT, Dialect, Endpoint, Pools, dialect_of
from mux.links.pool import BUFFER_BYTES
from mux.links.transport import Transport
from mux.protocol.voice import ContextSettings, VoiceSettings
from mux.tasks import owned_tasks

__all__ = ["connect", "open_session", "session_over"]

DIALECTS: tuple[str, ...] = get_args(Dialect)
SLOT_SECONDS = 5.0
"""How long a context waits for a slot; as a rule an earlier one is just ending."""


@asynccontextmanager
async def connect(
    url: str,
    *,
    dialect: Dialect | None = None,
    api_key: str | None = None,
    voice: str | None = None,
    model: str | None = None,
    language: str | None = None,
    output_format: str = "pcm_24000",
    settings: VoiceSettings | Mapping[str, Any] | None = None,
    auto_mode: bool | None = None,
    chunk_length_schedule: tuple[int, ...] | None = None,
    inactivity_timeout: float = DEFAULT_TIMEOUT,
    callbacks: Callbacks | None = None,
    reconnect: bool = False,
    sockets: int = 1,
    contexts_per_socket: int | None = None,
    open_timeout: float = 10.0,
    slot_timeout: float = SLOT_SECONDS,
    buffer_bytes: int = BUFFER_BYTES,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[Session]:
    """Open a multi-context session.

    Args:
        url: the service's base URL (`ws://127.0.0.1:8790`, with or without `/v1`; http and https do too), or
            a whole socket URL, whose query then wins over the other arguments.
        dialect: "elevenlabs", "kugelaudio" or "mux"; None: as the URL tells (`dialect_of`).
        voice: what contexts speak with that name no voice. Sockets of ElevenLabs are of one voice: there,
            contexts of several voices take several sockets.
        output_format: `pcm_24000`, `mp3_44100_128`, `ulaw_8000`, ... as the service has them.
        settings: voice settings of contexts that give none.
        auto_mode: every `send` is spoken by itself at once (ElevenLabs, mux), or at the first sentence end
            (KugelAudio); None: as the service does it.
        inactivity_timeout: seconds after which an idle context ends, 1 to 180.
        callbacks: call these instead of being iterated over.
        reconnect: open another socket when one is lost, and say again there what was not heard. What was
            heard is left out by its word's times, so this needs pcm, ulaw or alaw audio; else a context that
            was heard in part ends as `ClosedEarly`.
        sockets: how many may be open at a time, when contexts outnumber what one may carry.
        contexts_per_socket: how many that is; None: 5 at ElevenLabs, 20 elsewhere.
        slot_timeout: seconds that a context waits for a free place, before it fails as `busy`.
        buffer_bytes: what one context may leave unread before it ends as `slow_consumer`.

    Leaving the block closes the sockets; after a normal exit contexts that still speak are let finish (at
    most 10 s). Cancelling closes them at once.

    Raises:
        SpeechError: the socket could not be opened (`ClosedEarly`, `Refused`, `OverLimit`); the sentence says
            at which step and why. Or `Refused`: an argument is out of its range.
    """
    with told_as_speech_error():
        parts = _split(url)
        _check("dialect", dialect or "mux", among=DIALECTS)
        _check("sockets", sockets, least=1)
        _check("contexts_per_socket", 1 if contexts_per_socket is None else contexts_per_socket, least=1)
        _check("buffer_bytes", buffer_bytes, least=1)
        _check("open_timeout", open_timeout, least=0.001)
        _check("slot_timeout", slot_timeout, least=0)
        asked = dict(parse_qsl(parts.query))
        endpoint = Endpoint(
            name=parts.hostname or "the service",
            dialect=dialect or dialect_of(url),
            url=url,
            key=api_key,
            output_format=asked.get("output_format", output_format),
            settings=ContextSettings(
                voice=voice,
                model=model,
                language=language,
                voice_settings=checked_voice(settings),
                auto_mode=auto_mode,
                chunk_length_schedule=chunk_length_schedule,
                inactivity_timeout=checked_timeout(inactivity_timeout),
            ),
            contexts=contexts_per_socket,
            sockets=sockets,
            open_timeout=open_timeout,
            buffer_bytes=buffer_bytes,
            place_seconds=slot_timeout,
            patience=3 if reconnect else 1,
            reopen=reconnect,
            ssl_context=ssl_context,
        )
    async with open_session(endpoint, callbacks) as session:
        yield session


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as error:
        raise MuxError.of("invalid_parameter", f"The URL cannot be read ({error}).") from None


def _check(name: str, value: float | str, *, least: float = 0, among: tuple[str, ...] = ()) -> None:
    if value in among or (not among and isinstance(value, (int, float)) and value >= least):
        return
    allowed = f"one of {', '.join(among)}" if among else f"at least {least:g}"
    message = f"{name} must be {allowed}, received {value!r}."
    raise MuxError.of("invalid_parameter", message, limit=allowed, observed=value, param=name)


@asynccontextmanager
async def open_session(endpoint: Endpoint, callbacks: Callbacks | None = None) -> AsyncIterator[Session]:
    """A session with an endpoint (see `connect`)."""
    async with owned_tasks() as tasks:
        with told_as_speech_error():
            pools = Pools(endpoint, tasks)
            if not endpoint.needs_voice:
                await pools.get(ContextSettings()).first()
        session = Session(pools, tasks, replay=endpoint.reopen, callbacks=callbacks)
        pools.on_lost = session._tell_lost
        if callbacks is not None:
            await callbacks.call("on_session_started", session.session_id)
        try:
            yield session
            await session.close()
            if callbacks is not None:
                await callbacks.call("on_session_closed", session.context_usage)
        finally:
            session._leave()


@asynccontextmanager
async def session_over(transport: Transport, **options: Any) -> AsyncIterator[Session]:
    """A session over one transport that is open already; `options` are those of `Endpoint`."""

    there = [transport]

    @asynccontextmanager
    async def opened() -> AsyncIterator[Transport]:
        if not there:
            raise MuxError.of("connection_lost", "The session's only socket has ended.")
        yield there.pop()

    given = {"name": "the service", "dialect": "mux", "url": "", "reopen": False, "patience": 1, **options}
    async with open_session(Endpoint(opener=opened, **given)) as session:
        yield session
