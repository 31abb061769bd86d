"""A server of one's own for the length of a command: `demo` and `say` start it when no URL is given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from mux.config import Settings
from mux.server.app import create_app
from mux.server.engines import make_gateway
from mux.server.listener import open_listener
from mux.server.run import serve
from mux.server.service import start_service
from mux.tasks import owned_tasks

__all__ = ["local_server"]


@asynccontextmanager
async def local_server(settings: Settings) -> AsyncIterator[str]:
    """Serve on a free loopback port; gives the base URL once the engine has spoken its first word.

    Cancelling, like leaving the block, stops it and its workers.
    """
    async with start_service(make_gateway(settings), settings) as service, owned_tasks() as tasks:
        listener = open_listener("127.0.0.1", 0)
        tasks.start_soon(serve, create_app(service), listener, anyio.Event())
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
