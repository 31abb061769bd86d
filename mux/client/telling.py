"""What a session tells its app of all its contexts: in one iteration, or by calling back."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

import anyio
import anyio.abc
import msgspec
from anyio.streams.memory import MemoryObjectSendStream

from mux.client.context import Chunk, Context, Flushed
from mux.client.errors import SpeechError
from mux.links.router import Ended
from mux.protocol.messages import Reason, Usage

__all__ = ["Callbacks", "ContextEnd", "Event", "Merged"]

Called: TypeAlias = Awaitable[None] | None


class ContextEnd(msgspec.Struct, frozen=True):
    """The end of a context, in `Session.events`; `error` is None if it was completed or cancelled."""

    context: str
    ended: Ended
    error: SpeechError | None


Event: TypeAlias = Chunk | ContextEnd


class Callbacks(msgspec.Struct, frozen=True, kw_only=True):
    """Functions, plain or async, that a session calls; each may be left out.

    Calls about one context come one after the other, in order; a slow one delays only its own context, which
    ends as `slow_consumer` when too much waits. What a function raises ends the session, and comes out of its
    block.
    """

    on_session_started: Callable[[str | None], Called] | None = None
    """The session is open: (session id, where the service tells it)."""
    on_context_created: Callable[[str], Called] | None = None
    on_chunk: Callable[[Chunk], Called] | None = None
    on_final: Callable[[str], Called] | None = None
    """All audio of a context has come; also, where the service says so, all that a flush asked for."""
    on_context_closed: Callable[[str, Usage | None], Called] | None = None
    """The last word about a context, however it ended: (name, what it used)."""
    on_context_timeout: Callable[[str], Called] | None = None
    on_session_closed: Callable[[Mapping[str, Usage]], Called] | None = None
    """The session is over: (what each context used)."""
    on_error: Callable[[SpeechError, str | None], Called] | None = None
    """A context failed: (why, its name); or a socket was lost: (why, None)."""

    async def call(self, name: str, *arguments: Any) -> None:
        """Call one of them, if it is there."""
        function = getattr(self, name)
        if function is not None:
            result = function(*arguments)
            if inspect.isawaitable(result):
                await result

    async def follow(self, context: Context) -> None:
        """Tell all of one context, from its creation to its end."""
        await self.call("on_context_created", context.name)
        final = False
        while (event := await context.next_event()) is not None:
            final = isinstance(event, Flushed)
            if isinstance(event, Chunk):
                await self.call("on_chunk", event)
            else:
                await self.call("on_final", context.name)
        ended = await context.wait_ended()
        if ended.reason is Reason.TIMED_OUT:
            await self.call("on_context_timeout", context.name)
        if ended.reason is Reason.COMPLETED and not final:
            await self.call("on_final", context.name)
        if error := context.error:
            await self.call("on_error", error, context.name)
        await self.call("on_context_closed", context.name, ended.usage)


class Merged:
    """One iteration over all contexts of a session; see `Session.events`."""

    def __init__(self, tasks: anyio.abc.TaskGroup, contexts: Iterable[Context], *, stay: bool) -> None:
        self._tasks = tasks
        self._stay = stay
        self._open = 0
        """Contexts whose end has not been told."""
        self._ended = False
        self._send, self._receive = anyio.create_memory_object_stream[Event](0)
        for context in contexts:
            self.add(context)

    def add(self, context: Context) -> None:
        """Tell of this one, too."""
        if not self._ended:
            self._open += 1
            self._tasks.start_soon(self._pump, context, self._send.clone())

    def end(self) -> None:
        """No contexts are added any more."""
        self._ended = True
        self._send.close()

    def close(self) -> None:
        """Nobody reads any more: what was taken from a context goes back."""
        self.end()
        self._receive.close()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        if not self._open and not self._stay:
            raise StopAsyncIteration
        try:
            event = await self._receive.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None
        self._open -= isinstance(event, ContextEnd)
        return event

    async def _pump(self, context: Context, send: MemoryObjectSendStream[Event]) -> None:
        with send, suppress(anyio.BrokenResourceError):
            while (chunk := await context.next_chunk()) is not None:
                try:
                    await send.send(chunk)
                except BaseException:
                    context.put_back(chunk)
                    raise
            await send.send(ContextEnd(context.name, await context.wait_ended(), context.error))
