"""Task groups whose owner is a `with` block."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.abc

__all__ = ["owned_tasks"]


@asynccontextmanager
async def owned_tasks() -> AsyncIterator[anyio.abc.TaskGroup]:
    """A task group for the length of a block; its tasks are cancelled at the end.

    What the block itself raises comes out as it is: a plain task group would wrap it into a group, where no
    `except MuxError` finds it. A task that fails cancels the block and comes out in a group.
    """
    failure: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        try:
            yield tasks
        except anyio.get_cancelled_exc_class():
            raise  # the task group knows whether it was its own scope that was cancelled
        except BaseException as exc:
            failure = exc
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
