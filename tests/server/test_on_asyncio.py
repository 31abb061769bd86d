"""What only asyncio's and uvloop's servers do: their listening is the loop's business, so a cancellation can
come between the two."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import Any

import anyio
import pytest
from loopback import application, still_echoes

from mux.server.listener import open_listener
from mux.server.run import serve

loops = pytest.mark.parametrize(
    "use_uvloop",
    [
        False,
        pytest.param(True, marks=pytest.mark.skipif(find_spec("uvloop") is None, reason="no uvloop here")),
    ],
    ids=["asyncio", "uvloop"],
)


async def turns(count: int) -> None:
    """Let the loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


def run(use_uvloop: bool, main: Any) -> None:
    anyio.run(main, backend="asyncio", backend_options={"use_uvloop": use_uvloop})


@loops
@pytest.mark.parametrize("count", range(5))
def test_after_a_cancelled_start_the_next_server_is_heard(use_uvloop: bool, count: int) -> None:
    """A loop that still watches the old descriptor does not see the connections of the next listener, which
    gets the same number."""

    async def main() -> None:
        for _ in range(2):
            listener = open_listener("127.0.0.1", 0)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(serve, application(), listener, anyio.Event())
                await turns(count)
                tasks.cancel_scope.cancel()
        listener = open_listener("127.0.0.1", 0)
        with anyio.fail_after(2):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(serve, application(), listener, anyio.Event())
                assert await still_echoes(listener.getsockname()[1])
                tasks.cancel_scope.cancel()

    run(use_uvloop, main)


@loops
@pytest.mark.parametrize("seconds", [0, 0.05, 0.15])
def test_cancelling_a_server_that_is_stopping_ends_it_without_a_word(
    use_uvloop: bool, seconds: float
) -> None:
    async def main() -> None:
        failures: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        listener, stop = open_listener("127.0.0.1", 0), anyio.Event()
        with anyio.fail_after(2):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(serve, application(), listener, stop)
                assert await still_echoes(listener.getsockname()[1])
                stop.set()
                await asyncio.sleep(seconds)
                tasks.cancel_scope.cancel()
        await turns(3)
        assert not failures
        assert listener.fileno() == -1

    run(use_uvloop, main)
