"""Everything that a client may be connected to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import pytest

import mux
from mux.cli.local import local_server
from mux.client import Session
from mux.config import Settings
from mux.engines.tone import ToneEngine
from mux.mock import serve_mock
from mux.testing import memory_server

Connect: TypeAlias = Callable[..., AbstractAsyncContextManager[Session]]

PLACES = ["memory", "memory-kugelaudio", "mux", "mux-kugelaudio", "mock-elevenlabs", "mock-kugelaudio"]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def connect(place: str) -> Connect:
    """A session with a service that is new each time; audio is pcm_24000, and all voices are "v"."""

    @asynccontextmanager
    async def connected(**options: Any) -> AsyncIterator[Session]:
        kind, _, dialect = place.partition("-")
        options = {"voice": "v", "dialect": dialect or "mux", **options}
        if kind == "memory":
            del options["voice"]
            if dialect:
                options["settings"] = mux.protocol.voice.ContextSettings(voice="v")
            async with (
                memory_server(ToneEngine()) as server,
                server.connect(**options) as session,
            ):
                yield session
        elif kind == "mux":
            async with (
                local_server(Settings(engine="tone")) as url,
                mux.connect(url, **options) as session,
            ):
                yield session
        else:
            async with serve_mock(dialect) as mock, mux.connect(mock.url, **options) as session:  # type: ignore[arg-type]
                yield session

    return connected
