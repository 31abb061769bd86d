from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from mux.tasks import owned_tasks

pytestmark = pytest.mark.anyio


async def test_tasks_end_with_the_block() -> None:
    ended = False

    async def work() -> None:
        nonlocal ended
        try:
            await anyio.sleep_forever()
        finally:
            ended = True

    async with owned_tasks() as tasks:
        tasks.start_soon(work)
        await anyio.lowlevel.checkpoint()
    assert ended


async def test_what_the_block_raises_is_not_wrapped() -> None:
    async def fail() -> None:
        async with owned_tasks() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await fail()


async def test_a_task_that_fails_ends_the_block_and_is_not_hidden() -> None:
    async def broken() -> None:
        raise ValueError("broken")

    async def run() -> None:
        async with owned_tasks() as tasks:
            tasks.start_soon(broken)
            await anyio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await run()
    assert caught.group_contains(ValueError, match="broken")


async def test_cancelling_its_own_tasks_ends_the_block_and_nothing_else() -> None:
    async with owned_tasks() as tasks:
        tasks.start_soon(anyio.sleep_forever)
        tasks.cancel_scope.cancel()
        await anyio.sleep_forever()
    await anyio.lowlevel.checkpoint()


async def test_cancelling_the_block_is_a_cancel() -> None:
    with anyio.CancelScope() as scope:
        async with owned_tasks() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
