"""Sessions and contexts whose methods wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mux import client
from mux.client.context import Chunk, Flushed
from mux.client.errors import SpeechError
from mux.client.telling import Event
from mux.errors import Problem
from mux.links.endpoint import Endpoint
from mux.links.router import Ended
from mux.protocol.messages import Usage
from mux.protocol.voice import ContextSettings
from mux.sync.loop import Loop, like, like_method, own_loop

__all__ = ["Context", "Session", "connect"]


class Context:
    """`mux.Context` with calls that wait. Iterate over it for its audio; leaving the iteration early leaves
    the context open, leaving the block of `Session.context` cancels it."""

    def __init__(self, context: client.Context, loop: Loop) -> None:
        self._context = context
        self._loop = loop

    @property
    def name(self) -> str:
        return self._context.name

    @property
    def settings(self) -> ContextSettings:
        """What it was opened with."""
        return self._context.settings

    @property
    def ended(self) -> Ended | None:
        """How it ended (reason, usage, problem), or None while it lives."""
        return self._loop.read(lambda: self._context.ended)

    @property
    def error(self) -> SpeechError | None:
        """Why it ended otherwise than wished, as it is raised; None while it lives and if all is well."""
        return self._loop.read(lambda: self._context.error)

    @property
    def audio_ms(self) -> float | None:
        """How much audio was read of it, in ms; None if the output format does not tell (mp3, opus)."""
        return self._loop.read(lambda: self._context.audio_ms)

    @property
    def usage(self) -> Usage | None:
        """What it used; None while it lives."""
        return self._loop.read(lambda: self._context.usage)

    def split(self, played_ms: float) -> tuple[str, str]:
        """See `mux.Context.split`."""
        return self._loop.read(lambda: self._context.split(played_ms))

    def send(self, text: str, *, flush: bool = False) -> None:
        """See `mux.Context.send`."""
        self._loop.run(lambda: self._context.send(text, flush=flush))

    def flush(self) -> None:
        """See `mux.Context.flush`."""
        self._loop.run(self._context.flush)

    def keep_alive(self) -> None:
        """See `mux.Context.keep_alive`."""
        self._loop.run(self._context.keep_alive)

    def close(self) -> None:
        """That was all. What was sent is still spoken; its audio ends the iteration. Does not wait."""
        self._loop.run(self._context.close)

    def cancel(self) -> Ended:
        """Stop at once; see `mux.Context.cancel`."""
        return self._loop.run(self._context.cancel)

    def stop(self) -> None:
        """`cancel` without waiting."""
        self._loop.read(self._context.stop)

    def wait_ended(self) -> Ended:
        """Wait for the context's end without reading its audio."""
        return self._loop.run(self._context.wait_ended)

    def next_chunk(self) -> Chunk | None:
        """The next audio, or None when no more comes, whatever the reason (see `error`)."""
        return self._loop.run(self._context.next_chunk)

    def put_back(self, chunk: Chunk) -> None:
        """Undo a `next_chunk`: its next reader begins with it."""
        self._loop.read(lambda: self._context.put_back(chunk))

    def next_event(self) -> Chunk | Flushed | None:
        """Likewise, with the word that a flush has been answered."""
        return self._loop.run(self._context.next_event)

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        """The next audio. The iteration ends when the context was completed or cancelled.

        Raises:
            SpeechError: as `mux.Context` does.
        """
        try:
            return self._loop.run(self._context.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None


class Session:
    """`mux.Session` with calls that wait; made by `connect`."""

    def __init__(self, session: client.Session, loop: Loop) -> None:
        self._session = session
        self._loop = loop

    @property
    def endpoint(self) -> Endpoint:
        """Where its sockets go."""
        return self._session.endpoint

    @property
    def is_connected(self) -> bool:
        """Whether a socket is open that takes contexts."""
        return self._loop.read(lambda: self._session.is_connected)

    @property
    def session_id(self) -> str | None:
        """What the service calls this session; None where it does not tell."""
        return self._loop.read(lambda: self._session.session_id)

    @property
    def active_contexts(self) -> list[str]:
        """The names of the contexts that have not ended, the oldest first."""
        return self._loop.read(lambda: self._session.active_contexts)

    @property
    def context_usage(self) -> dict[str, Usage]:
        """What the last ended context of each name used; the last 1,000 names."""
        return self._loop.read(lambda: self._session.context_usage)

    @property
    def dropped_frames(self) -> int:
        """Frames that came for contexts that had ended: late audio that reached nobody."""
        return self._loop.read(lambda: self._session.dropped_frames)

    @property
    def warnings(self) -> list[Problem]:
        """What the service warned of, the last 100 of each socket."""
        return self._loop.read(lambda: self._session.warnings)

    def usage_for(self, name: str) -> Usage | None:
        """What the last ended context of this name used; None until one has ended."""
        return self._loop.read(lambda: self._session.usage_for(name))

    @like_method(client.Session.context)
    @contextmanager
    def context(self, *args: Any, **kwargs: Any) -> Iterator[Context]:
        """Open a context for the length of the block; see `mux.Session.context`. Leaving the block cancels
        whatever is still unread."""
        with self._loop.held(self._session.context(*args, **kwargs)) as context:
            yield Context(context, self._loop)

    @like_method(client.Session.create_context)
    def create_context(self, *args: Any, **kwargs: Any) -> Context:
        """Open a context that lives until it ends or the session does; see `mux.Session.create_context`."""
        return Context(self._loop.run(lambda: self._session.create_context(*args, **kwargs)), self._loop)

    def send(self, name: str, text: str, *, flush: bool = False) -> None:
        """`Context.send` by name; a context that is not open is opened."""
        self._loop.run(lambda: self._session.send(name, text, flush=flush))

    def flush(self, name: str) -> None:
        """`Context.flush` by name. Raises `Refused` if there is no such context."""
        self._loop.run(lambda: self._session.flush(name))

    def keep_alive(self, name: str) -> None:
        """`Context.keep_alive` by name. Raises `Refused` if there is no such context."""
        self._loop.run(lambda: self._session.keep_alive(name))

    def close_context(self, name: str, *, immediate: bool = False) -> None:
        """`Context.close` by name; with `immediate` it is cancelled. Harmless if there is no such context."""
        self._loop.run(lambda: self._session.close_context(name, immediate=immediate))

    @contextmanager
    def events(self, *, stay: bool = False) -> Iterator[Iterator[Event]]:
        """All contexts in one iteration; see `mux.Session.events`.

        >>> with session.events() as events:
        ...     for event in events: ...
        """
        with self._loop.held(self._session.events(stay=stay)) as merged:
            yield self._loop.each(merged)

    def close(self) -> None:
        """Have every context say what it has, and close the sockets; waits at most 10 s."""
        self._loop.run(self._session.close)


@like(client.connect)
@contextmanager
def connect(*args: Any, **kwargs: Any) -> Iterator[Session]:
    """Open a session; see `mux.connect`.

    Leaving the block closes the sockets and ends the thread: after a normal exit contexts that still speak
    are let finish (at most 10 s), after an exception or KeyboardInterrupt they are cut at once.
    """
    with own_loop() as loop, loop.held(client.connect(*args, **kwargs)) as session:
        yield Session(session, loop)
