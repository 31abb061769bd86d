"""Everything that the sockets of one process share: the engine's scheduler, the door, the list of sockets,
and how the process winds down."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio

from mux.audio import opus
from mux.audio.formats import AudioFormat
from mux.config import Settings
from mux.dialects.base import ServerDialect
from mux.dialects.kugelaudio import VoiceNumbers
from mux.engines.base import Engine
from mux.engines.dispatch import Dispatcher
from mux.engines.gateway import Gateway
from mux.errors import MuxError, Problem
from mux.links.transport import Disconnected, Transport
from mux.log import Logger, get_logger
from mux.protocol.limits import STRICT, Limits
from mux.protocol.messages import ContextClosed, SessionClosed
from mux.protocol.session import Session
from mux.protocol.voice import ContextSettings
from mux.server.auth import KeyRing
from mux.server.socket import ServerSocket
from mux.server.tokens import Tokens

__all__ = ["Service", "new_session_id", "start_service"]

log = get_logger("mux.service")

CRASH_SECONDS = 5.0
"""How long telling a client of a bug may take."""

_DRAINING = Problem(
    code="draining",
    message="This server is being restarted: running contexts finish, new ones are refused. "
    "Connect again to open one.",
    retry_after_ms=1000,
)
_RESTARTING = SessionClosed(1012, "server is restarting; connect again", _DRAINING)


class Service:
    """The shared part of a server process; made by `start_service`."""

    def __init__(self, engine: Gateway, dispatcher: Dispatcher, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings
        self.keys = KeyRing(settings.api_keys, {app.key: app.name or "" for app in settings.apps})
        self.strict = settings.profile == "elevenlabs-strict"
        own = Limits(discard_unflushed=settings.unflushed_close == "discard")
        self.limits = STRICT if self.strict else own
        self.tokens = Tokens(anyio.current_time)
        self.price = settings.price
        self.voice_numbers = VoiceNumbers(voice.id for voice in engine.voices())
        self.draining = False
        self.characters = 0
        """Accepted since the start, in contexts that have ended."""
        self._dispatcher = dispatcher
        self._sockets: set[ServerSocket] = set()
        self._emptied = anyio.Event()

    @property
    def sockets(self) -> int:
        """How many sockets are being served."""
        return len(self._sockets)

    @property
    def contexts(self) -> int:
        """How many contexts have not ended yet, over all sockets."""
        return sum(socket.session.live_contexts for socket in self._sockets)

    def admit(self) -> None:
        """Raises MuxError if no further socket may be opened now."""
        if self.draining:
            raise MuxError(_DRAINING)
        if len(self._sockets) >= self.settings.max_sockets:
            raise MuxError.of(
                "too_many_sockets",
                f"All {self.settings.max_sockets} sockets are taken. Try again later or raise max_sockets.",
                limit=self.settings.max_sockets,
                observed=len(self._sockets) + 1,
                retry_after_ms=1000,
            )

    async def serve_socket(
        self,
        transport: Transport,
        session_id: str,
        dialect: ServerDialect,
        settings: ContextSettings,
        output: AudioFormat,
        *,
        authenticated: bool,
        app: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Serve one accepted socket until it ends; `app` is whose key has opened it, `limits` are its own,
        where they differ from everybody's. Cancelling drops it at once.

        A bug in its handling closes this socket with 1011 and is logged; no other socket notices.
        """
        bound = log.bind(session=session_id)

        def closed(event: ContextClosed) -> None:
            self.characters += event.usage.characters_accepted
            _log_end(bound, event)

        session = Session(
            settings, limits=limits or self.limits, check_voice=self.engine.check, id=session_id
        )
        socket = ServerSocket(
            transport,
            session,
            dialect,
            self._dispatcher,
            output,
            keys=self.keys,
            app=app,
            authentication_seconds=None if authenticated else self.settings.authentication_timeout,
            on_closed=closed,
        )
        bound.info("socket_opened", format=output.token)
        self._sockets.add(socket)
        if self.draining:  # since it was admitted
            socket.wind_down(_DRAINING, _RESTARTING)
        try:
            await socket.run()
        except Exception:
            bound.exception("socket_failed")
            with anyio.move_on_after(CRASH_SECONDS, shield=True):
                await _say_internal_error(transport, dialect, session_id)
        finally:
            self._sockets.remove(socket)
            bound.info("socket_closed")
            if not self._sockets:
                self._emptied.set()
                self._emptied = anyio.Event()

    # --- winding down: what `run.serve` asks for at SIGTERM ----------------------------------------------

    def start_draining(self) -> None:
        """From now on: health says 503, no new socket or context, every socket closes with 1012 once its
        contexts have ended."""
        self.draining = True
        for socket in list(self._sockets):
            socket.wind_down(_DRAINING, _RESTARTING)

    async def wait_drained(self) -> None:
        """Wait until the last socket is closed."""
        while self._sockets:
            await self._emptied.wait()

    async def close_all(self) -> None:
        """End what is left, telling everybody why."""
        for socket in list(self._sockets):
            socket.fail(_DRAINING)
        await self.wait_drained()


@asynccontextmanager
async def start_service(engine: Engine | Gateway, settings: Settings) -> AsyncIterator[Service]:
    """Start the engines' workers and what gives them work; entered once every worker has spoken.

    Raises:
        MuxError: an engine that is needed does not start.
    """
    gateway = engine if isinstance(engine, Gateway) else Gateway({engine.name: engine}, engine.name)
    if opus.installed():
        # Its first use can take 0.2 s, which no open socket should feel.
        await anyio.to_thread.run_sync(opus.warm)
    weights = {app.name: app.weight for app in settings.apps if app.name}
    async with gateway.start(settings.workers, settings.busy_wait, weights) as dispatcher:
        yield Service(gateway, dispatcher, settings)


def new_session_id() -> str:
    return secrets.token_hex(8)


async def _say_internal_error(transport: Transport, dialect: ServerDialect, session_id: str) -> None:
    message = f"Something went wrong inside the server; its log has the session {session_id}. Connect again."
    closed = SessionClosed(1011, message, Problem(code="internal_error", message=message))
    with suppress(Disconnected):
        for frame in dialect.event(closed):
            await transport.send(frame)
    await transport.aclose(closed.code, closed.reason)


def _log_end(bound: Logger, closed: ContextClosed) -> None:
    bound.info(
        "context_closed",
        context=closed.context[:64],
        reason=closed.reason.value,
        code=closed.problem.code if closed.problem else None,
        characters=closed.usage.characters_accepted,
        audio_sent_ms=round(closed.usage.audio_sent_ms),
        audio_dropped_ms=round(closed.usage.audio_dropped_ms),
    )
