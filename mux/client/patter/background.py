"""A task that nobody's block owns, for apps that have no block.

Patter calls `synthesize` from whatever task it has, and gives its adapters no task group; a socket that stays
open between two of them needs a task of its own, and anyio has none without an owner. asyncio has; Patter
runs on asyncio alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

import sniffio

__all__ = ["in_background"]

_running: set[asyncio.Task[None]] = set()
"""asyncio itself forgets tasks that nobody knows."""


def in_background(run: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a function in a task that ends by itself, or with its loop: `asyncio.run` cancels it.

    Raises:
        RuntimeError: this is not asyncio.
    """
    library = sniffio.current_async_library()
    if library != "asyncio":
        raise RuntimeError(
            f"On {library} every task has an owner: write `async with ElevenLabsWebSocketTTS(...) as tts:` "
            "around what speaks."
        )
    # Nothing of the call that happens to be the first shall be seen in it.
    task = asyncio.get_running_loop().create_task(run(), context=Context())
    _running.add(task)
    task.add_done_callback(_running.discard)
