"""An event loop in a thread, and how to call what runs there."""

from __future__ import annotations

import inspect
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from anyio.from_thread import BlockingPortal, start_blocking_portal

from mux.client.errors import ClosedEarly
from mux.errors import Problem

__all__ = ["Loop", "like", "like_method", "own_loop"]

T = TypeVar("T")
P = ParamSpec("P")


class Loop:
    """The event loop of one session, in its thread."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal
        self._thread = portal.call(threading.current_thread)

    def run(self, function: Callable[[], Awaitable[T]]) -> T:
        """Call the async client, and wait. Whatever interrupts the wait cancels the call."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("A callback cannot wait for its own session: call this from another thread.")
        try:
            future = self._portal.start_task_soon(function)
        except RuntimeError:
            raise _over() from None
        try:
            return future.result()
        except CancelledError:
            raise _over() from None
        except BaseException:
            future.cancel()
            raise

    def read(self, look: Callable[[], T]) -> T:
        """What `look` finds while nothing else happens to the session, and also after its end. It may not
        raise."""

        async def looked() -> T:
            return look()

        if threading.current_thread() is not self._thread:
            with suppress(ClosedEarly):
                return self.run(looked)
            self._thread.join()
        return look()

    @contextmanager
    def held(self, block: AbstractAsyncContextManager[T]) -> Iterator[T]:
        """An async block around a block here."""
        with self._portal.wrap_async_context_manager(block) as value:
            yield value

    def each(self, events: AsyncIterator[T]) -> Iterator[T]:
        """An async iteration, one by one."""
        while True:
            try:
                event = self.run(lambda: anext(events))
            except StopAsyncIteration:
                return
            yield event


@contextmanager
def own_loop() -> Iterator[Loop]:
    """A loop for the length of the block. What still runs there is let finish after a normal exit, and else
    cancelled; then the thread has ended."""
    with start_blocking_portal(name="mux.sync") as portal:
        yield Loop(portal)


def _over() -> ClosedEarly:
    return ClosedEarly(Problem(code="closed_early", message="This session is over; open another one."))


def like(original: Callable[P, object]) -> Callable[[Callable[..., T]], Callable[P, T]]:
    """Have a function take what another one takes, for type checkers and for `help`."""

    def told(function: Callable[..., T]) -> Callable[P, T]:
        result = inspect.signature(function).return_annotation
        function.__signature__ = inspect.signature(original).replace(  # type: ignore[attr-defined]
            return_annotation=result
        )
        return cast("Callable[P, T]", function)

    return told


def like_method(
    original: Callable[Concatenate[Any, P], object],
) -> Callable[[Callable[..., T]], Callable[Concatenate[Any, P], T]]:
    """`like` for methods, where `self` is another."""
    return cast("Callable[[Callable[..., T]], Callable[Concatenate[Any, P], T]]", like(original))
