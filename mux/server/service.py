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
from mux.engines.base import Engine
from mux.engines.scheduler import Scheduler
from mux.errors import MuxError, Problem
from mux.links.transport import Disconnected, Transport
from mux.log import Logger, get_logger
from mux.protocol.limits import STRICT, Limits
from mux.protocol.messages import ContextClosed, SessionClosed
from mux.protocol.session import Session
from mux.protocol.voice import ContextSettings
from mux.server.auth import KeyRing
from mux.server.socket import ServerSocket
from mux.server.spelling import Spelling
from mux.server.tokens import Tokens
from mux.tasks import owned_tasks

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

    def __init__(self, engine: Engine, scheduler: Scheduler, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings
        self.keys = KeyRing(settings.api_keys)
        self.strict = settings.profile == "elevenlabs-strict"
        own = Limits(discard_unflushed=settings.unflushed_close == "discard")
        self.limits = STRICT if self.strict else own
        self.tokens = Tokens(anyio.current_time)
        self.draining = False
        self.characters = 0
        """Accepted since the start, in contexts that have ended."""
        self._scheduler = scheduler
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
        spelling: Spelling = Spelling(),  # noqa: B008
    ) -> None:
        """Serve one accepted socket until it ends. Cancelling drops it at once.

        A bug in its handling closes this socket with 1011 and is logged; no other socket notices.
        """
        bound = log.bind(session=session_id)

        def closed(event: ContextClosed) -> None:
            self.characters += event.usage.characters_accepted
            _log_end(bound, event)

        session = Session(settings, limits=self.limits, check_voice=self.engine.check, id=session_id)
        socket = ServerSocket(
            transport,
            session,
            dialect,
            self._scheduler,
            output,
            keys=self.keys,
            authentication_seconds=None if authenticated else self.settings.authentication_timeout,
            on_closed=closed,
            spell=lambda effect: spelling.spell(
                effect.text, self.engine.language(effect.voice, effect.language)
            ),
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
async def start_service(engine: Engine, settings: Settings) -> AsyncIterator[Service]:
    """Start the engine's workers and the scheduler; entered once every worker has spoken.

    Raises:
        MuxError: the engine does not start.
    """
    if opus.installed():
        # Its first use can take 0.2 s, which no open socket should feel.
        await anyio.to_thread.run_sync(opus.warm)
    async with engine.start(settings.workers) as synthesizers:
        scheduler = Scheduler(synthesizers, engine.sample_rate)
        async with owned_tasks() as tasks:
            tasks.start_soon(scheduler.run)
            yield Service(engine, scheduler, settings)


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
