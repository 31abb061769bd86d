"""Running the server: which ASGI server on which loop, and how it ends.

Signals are ours. The first SIGTERM or SIGINT starts a drain: the listener stays open, so that a load
balancer reads "draining" instead of being refused, while speech in progress ends. The second one ends at
once.
"""

from __future__ import annotations

import signal
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.util import find_spec
from typing import Literal, Protocol, TypeVar

import anyio
import sniffio
from starlette.types import ASGIApp

from mux.log import get_logger
from mux.server.limits import Limits

__all__ = ["Draining", "run_program", "serve", "serve_until_signal"]

_log = get_logger("mux.server")

CLOSE_TIMEOUT = 5.0
"""Seconds for the application to close the sockets that are left after the drain."""

ECHO = 0.2
"""Seconds in which a signal counts as the first one again: `timeout`, npm and others deliver it both to the
process and to its group."""

T = TypeVar("T")


class Draining(Protocol):
    """The application's part in ending."""

    def start_draining(self) -> None:
        """From now on: health says 503, new contexts are refused as retryable. Harmless when repeated."""
        ...

    async def wait_drained(self) -> None:
        """Return once no context has anything left to say. Cancelled when that takes too long."""
        ...

    async def close_all(self) -> None:
        """Close every socket with 1012, saying why. Cancelled after `CLOSE_TIMEOUT`."""
        ...


async def serve(
    app: ASGIApp,
    listener: socket.socket,
    stop: anyio.Event,
    *,
    limits: Limits | None = None,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Serve `app` over HTTP/1.1 and WebSocket on `listener` (see `open_listener`), which is closed at the
    end, until `stop` is set. Applications then have `limits.stop_timeout` seconds to end. With `tls` (see
    `open_tls`) nothing but TLS is spoken.

    Cancelling closes every connection at once. Either way nothing is left running when this returns.
    """
    if sniffio.current_async_library() == "trio":
        from mux.server.on_trio import serve as serve_here
    else:
        from mux.server.on_asyncio import serve as serve_here
    await serve_here(app, listener, stop, limits or Limits(), tls)


async def serve_until_signal(
    app: ASGIApp,
    listener: socket.socket,
    draining: Draining,
    *,
    drain_timeout: float,
    limits: Limits | None = None,
    tls: ssl.SSLContext | None = None,
) -> bool:
    """Serve `app` (see `serve`) until SIGTERM or SIGINT, then drain for up to `drain_timeout` seconds, close
    the sockets that are left, and stop. A second signal stops at once. Only the main thread can do this.

    Returns whether everything in progress was said: False after a second signal or the timeout.
    Cancelling closes every connection at once.
    """
    stop = anyio.Event()
    drained = False
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with anyio.create_task_group() as tasks:

            async def end() -> None:
                nonlocal drained
                with anyio.move_on_after(drain_timeout):
                    await draining.wait_drained()
                    drained = True
                with anyio.move_on_after(CLOSE_TIMEOUT):
                    await draining.close_all()
                stop.set()

            async def listen(signals: AsyncIterator[signal.Signals]) -> None:
                _log.info("draining", signal=(await anext(signals)).name, seconds=drain_timeout)
                first = anyio.current_time()
                draining.start_draining()
                tasks.start_soon(end)
                async for again in signals:
                    if anyio.current_time() - first > ECHO:
                        _log.warning("stopping_now", signal=again.name)
                        tasks.cancel_scope.cancel()

            tasks.start_soon(listen, signals)
            await serve(app, listener, stop, limits=limits, tls=tls)
            tasks.cancel_scope.cancel()
    return drained


def run_program(main: Callable[[], Awaitable[T]], backend: Literal["asyncio", "trio"]) -> T:
    """Run `main` to its end on a new event loop, on asyncio with uvloop where there is one, and return what
    it returns."""
    options = {"use_uvloop": find_spec("uvloop") is not None} if backend == "asyncio" else {}
    return anyio.run(main, backend=backend, backend_options=options)
