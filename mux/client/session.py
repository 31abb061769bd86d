"""A multi-context session: many contexts on few sockets, against mux, ElevenLabs and KugelAudio alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import anyio.abc
import msgspec

from mux.audio.formats import FORMATS
from mux.client.context import Context
from mux.client.errors import speech_error
from mux.client.holding import FRAME_SECONDS, Holding
from mux.client.ledger import Ledger
from mux.client.telling import Callbacks, Merged
from mux.errors import MuxError, Problem
from mux.links.endpoint import Endpoint, Pools
from mux.links.link import CLOSE_SECONDS
from mux.protocol.messages import Usage
from mux.protocol.voice import INACTIVITY_RANGE, ContextSettings, VoiceSettings, voice_settings
from mux.tasks import owned_tasks

__all__ = ["Session", "checked_timeout", "checked_voice"]

REMEMBERED = 1000
"""Names whose usage is remembered."""
UNREAD = 100
"""Ended contexts that may wait to be read by `Session.events`."""


class Session:
    """Contexts on one socket, or on several; made by `connect`. They may be used from many tasks at once.

    A context is used by itself (`Context`), or by its name with the methods here; a name that is used again
    means its newest context.
    """

    def __init__(
        self,
        pools: Pools,
        tasks: anyio.abc.TaskGroup,
        *,
        replay: bool = False,
        callbacks: Callbacks | None = None,
    ) -> None:
        self._pools = pools
        self._tasks = tasks
        self._replay = replay
        self._callbacks = callbacks
        known = FORMATS.get(pools.endpoint.output_format)
        self._bytes_per_ms = known.bytes_per_ms if known is not None else None
        self._contexts: dict[Context, Holding] = {}
        """Those that live, or were not read; the newest last."""
        self._usage: dict[str, Usage] = {}
        self._closed: Problem | None = None
        """Why nothing can be opened any more."""
        self._merged: Merged | None = None
        self._following: set[int] = set()
        """Tasks that tell callbacks of a context."""
        self._told = anyio.Event()

    # --- what is known -------------------------------------------------------------------------------

    @property
    def endpoint(self) -> Endpoint:
        """Where its sockets go."""
        return self._pools.endpoint

    @property
    def is_connected(self) -> bool:
        """Whether a socket is open that takes contexts."""
        return any(pool.connected for pool in self._pools)

    @property
    def session_id(self) -> str | None:
        """What the service calls this session (its first open socket); None where it does not tell."""
        links = [link for pool in self._pools for link in pool.links]
        return next((link.session_id for link in links if link.session_id), None)

    @property
    def active_contexts(self) -> list[str]:
        """The names of the contexts that have not ended, the oldest first."""
        return [context.name for context in self._contexts if context.ended is None]

    @property
    def context_usage(self) -> dict[str, Usage]:
        """What the last ended context of each name used; the last 1,000 names."""
        return dict(self._usage)

    def usage_for(self, name: str) -> Usage | None:
        """What the last ended context of this name used; None until one has ended."""
        return self._usage.get(name)

    @property
    def dropped_frames(self) -> int:
        """Frames that came for contexts that had ended: late audio that reached nobody."""
        return sum(pool.dropped for pool in self._pools)

    @property
    def warnings(self) -> list[Problem]:
        """What the service warned of, the last 100 of each socket."""
        return [problem for pool in self._pools for problem in pool.warnings]

    # --- contexts ------------------------------------------------------------------------------------

    @asynccontextmanager
    async def context(
        self,
        name: str = "context",
        *,
        voice: str | None = None,
        language: str | None = None,
        settings: VoiceSettings | Mapping[str, Any] | None = None,
        auto_mode: bool | None = None,
        chunk_length_schedule: tuple[int, ...] | None = None,
        inactivity_timeout: float | None = None,
        keepalive: bool = True,
        silence_timeout: float = FRAME_SECONDS,
    ) -> AsyncIterator[Context]:
        """Open a context for the length of the block; see `create_context`.

        A name may be used again, also at once: every context is its own. Leaving the block cancels whatever
        is still unread, so read to the end (or `wait_ended`) what should be heard.
        """
        context = await self.create_context(
            name,
            voice=voice,
            language=language,
            settings=settings,
            auto_mode=auto_mode,
            chunk_length_schedule=chunk_length_schedule,
            inactivity_timeout=inactivity_timeout,
            keepalive=keepalive,
            silence_timeout=silence_timeout,
        )
        try:
            yield context
        finally:
            context.stop()
            if holding := self._contexts.get(context):
                holding.is_read = True
                self._forget()

    async def create_context(
        self,
        name: str = "context",
        *,
        voice: str | None = None,
        language: str | None = None,
        settings: VoiceSettings | Mapping[str, Any] | None = None,
        auto_mode: bool | None = None,
        chunk_length_schedule: tuple[int, ...] | None = None,
        inactivity_timeout: float | None = None,
        keepalive: bool = True,
        silence_timeout: float = FRAME_SECONDS,
    ) -> Context:
        """Open a context that lives until it ends or the session does. Waits for a free slot. Cancelling
        opens none.

        Args:
            settings: the voice settings that differ from the session's.
            auto_mode: as in `connect`; on ElevenLabs' wire only the whole session has it.
            chunk_length_schedule: characters that make each next piece of text worth speaking.
            inactivity_timeout: seconds, 1 to 180.
            keepalive: speak up by itself before that time is over.
            silence_timeout: seconds for which nothing may come once it was closed, before it is given up.

        Raises:
            SpeechError: a setting is out of its range (`Refused`), no slot was free in time (`OverLimit`), or
                no socket can be had (`ClosedEarly`, `Refused`).
        """
        with told_as_speech_error(name):
            wanted = ContextSettings(
                voice=voice,
                language=language,
                voice_settings=checked_voice(settings),
                auto_mode=auto_mode,
                chunk_length_schedule=chunk_length_schedule,
                inactivity_timeout=checked_timeout(inactivity_timeout),
            )
            if self._closed is not None:
                raise MuxError(self._closed)
            if self.endpoint.needs_voice and voice is None:
                raise MuxError.of("missing_voice", "ElevenLabs' sockets are of one voice. Name a voice.")
        self._forget()
        ledger = Ledger(self._bytes_per_ms, late_times=self.endpoint.dialect == "kugelaudio")
        holding = Holding(
            name,
            self._pools,
            wanted,
            ledger,
            keepalive=keepalive,
            replay=self._replay,
            silence_timeout=silence_timeout,
        )
        context = Context(name, holding, ledger)
        self._contexts[context] = holding
        self._tasks.start_soon(self._live, context, holding)
        try:
            await holding.wait_placed()
        except BaseException:
            holding.stop()
            self._contexts.pop(context, None)
            raise
        if holding.inner is None and (error := context.error):
            self._contexts.pop(context, None)
            raise error
        self._tell(context)
        return context

    async def send(self, name: str, text: str, *, flush: bool = False) -> None:
        """`Context.send` by name; one that is not there, or was closed, is opened."""
        context = self._newest(name)
        if context is None or self._contexts[context].closing:
            context = await self.create_context(name)
        await context.send(text, flush=flush)

    async def flush(self, name: str) -> None:
        """`Context.flush` by name. Raises `Refused` if there is no such context."""
        await self._named(name).flush()

    async def keep_alive(self, name: str) -> None:
        """`Context.keep_alive` by name. Raises `Refused` if there is no such context."""
        await self._named(name).keep_alive()

    async def close_context(self, name: str, *, immediate: bool = False) -> None:
        """`Context.close` by name; with `immediate` it is cancelled (barge-in), without waiting for the
        confirmation. Harmless if there is no such context."""
        context = self._newest(name)
        if context is not None and immediate:
            context.stop()
        elif context is not None:
            await context.close()

    @asynccontextmanager
    async def events(self, *, stay: bool = False) -> AsyncIterator[Merged]:
        """All contexts in one iteration: `Chunk` with the name of its context, and one `ContextEnd` for each.

        >>> async with session.events() as events:
        ...     async for event in events: ...

        A context that fails ends no other. The iteration ends when no context is open; with `stay` only when
        the session was closed. What is read here is not read in another way. Who does not go on reading lets
        each context buffer to its bound; who leaves the block early can read on in another way.
        """
        if self._merged is not None or self._callbacks is not None:
            raise ValueError("The contexts of this session are being read already, all together.")
        self._forget()
        async with owned_tasks() as tasks:
            unread = [context for context, holding in self._contexts.items() if not holding.is_read]
            self._merged = Merged(tasks, unread, stay=stay)
            try:
                yield self._merged
            finally:
                self._merged.close()
                self._merged = None

    async def close(self) -> None:
        """Have every context say what it has, and close the sockets (`close_socket`); waits at most 10 s, and
        as long again for callbacks that have not been told all. Cancelling leaves the sockets to `connect`,
        which closes them."""
        self._closed = self._closed or _CLOSED
        with anyio.move_on_after(CLOSE_SECONDS):
            await self._let_finish()
        for holding in self._contexts.values():
            holding.stay()
        async with anyio.create_task_group() as tasks:
            for pool in self._pools:
                tasks.start_soon(pool.finish)
        lost = [pool.lost for pool in self._pools if pool.lost is not None]
        self._closed = lost[-1] if lost else self._closed
        if self._merged is not None:
            self._merged.end()
        if anyio.get_current_task().id not in self._following:
            with anyio.move_on_after(CLOSE_SECONDS):
                while self._following:
                    await self._told.wait()

    async def _let_finish(self) -> None:
        """Where the socket's own close would cut them short, or may break, contexts are closed before it."""
        if self.endpoint.dialect == "elevenlabs" or self.endpoint.reopen:
            living = [context for context in self._contexts if context.ended is None]
            for context in living:
                await context.close()
            for context in living:
                await context.wait_ended()

    def _leave(self) -> None:
        """Its block is left; `connect` calls it."""
        self._closed = self._closed or _CLOSED
        if self._merged is not None:
            self._merged.end()

    # --- the contexts it has -------------------------------------------------------------------------

    def _newest(self, name: str) -> Context | None:
        living = (context for context in reversed(self._contexts) if context.ended is None)
        return next((context for context in living if context.name == name), None)

    def _named(self, name: str) -> Context:
        context = self._newest(name)
        if context is None:
            known = ", ".join(map(repr, self.active_contexts)) or "none"
            message = f"No context {name!r} is open; open are: {known}. Create it first."
            raise speech_error(Problem(code="invalid_message", message=message), context=name)
        return context

    async def _live(self, context: Context, holding: Holding) -> None:
        await holding.live()
        self._usage.pop(context.name, None)
        if context.usage is not None:
            self._usage[context.name] = context.usage
        if len(self._usage) > REMEMBERED:
            del self._usage[next(iter(self._usage))]
        self._forget()

    def _forget(self) -> None:
        """What has ended and is read needs no memory, nor does the oldest of much that nobody reads."""
        waiting, unread_bytes = 0, 0
        for context, holding in reversed(list(self._contexts.items())):
            if holding.ended is not None:
                waiting += not holding.is_read
                unread_bytes += holding.unread_bytes
                if holding.is_read or waiting > UNREAD or unread_bytes > self.endpoint.buffer_bytes:
                    del self._contexts[context]

    def _tell(self, context: Context) -> None:
        if self._callbacks is not None:
            self._tasks.start_soon(self._follow, context, self._callbacks)
        elif self._merged is not None:
            self._merged.add(context)

    async def _follow(self, context: Context, callbacks: Callbacks) -> None:
        task = anyio.get_current_task().id
        self._following.add(task)
        try:
            await callbacks.follow(context)
        finally:
            self._following.remove(task)
            self._told.set()
            self._told = anyio.Event()

    def _tell_lost(self, problem: Problem) -> None:
        """A socket with contexts on it was lost."""
        if self._callbacks is not None:
            self._tasks.start_soon(self._callbacks.call, "on_error", speech_error(problem), None)


@contextmanager
def told_as_speech_error(context: str | None = None) -> Iterator[None]:
    """Whatever fails comes out as a `SpeechError`."""
    try:
        yield
    except MuxError as error:
        raise speech_error(error.problem, context=context) from None


def checked_voice(settings: VoiceSettings | Mapping[str, Any] | None) -> dict[str, float | bool] | None:
    """Voice settings as messages carry them. Raises MuxError (`invalid_setting`)."""
    given = msgspec.structs.asdict(settings) if isinstance(settings, VoiceSettings) else settings
    checked = voice_settings(dict(given) if given is not None else None)
    if isinstance(checked, Problem):
        raise MuxError(checked)
    return checked or None


def checked_timeout(seconds: float | None) -> float | None:
    """An inactivity timeout in seconds. Raises MuxError (`invalid_setting`)."""
    low, high = INACTIVITY_RANGE
    if seconds is None or low <= seconds <= high:
        return seconds
    raise MuxError.of(
        "invalid_setting",
        f"inactivity_timeout must be from {low:g} to {high:g} seconds, received {seconds:g}.",
        limit=f"{low:g} to {high:g}",
        observed=seconds,
    )


_CLOSED = Problem(code="closed_early", message="This session was closed; open another one.")
