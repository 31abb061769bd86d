"""What is remembered of contexts that have ended, by id."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

__all__ = ["IdMemory"]

Value = TypeVar("Value")


class IdMemory(Generic[Value]):
    """The last `most` ids that were added and not discarded, each with a value.

    An id of more than `id_bytes` characters takes no more room than that, and equals none that is shorter.
    """

    def __init__(self, most: int, id_bytes: int) -> None:
        self._most = most
        self._length = id_bytes + 1
        self._ids: OrderedDict[str, Value] = OrderedDict()

    def add(self, id: str, value: Value) -> None:
        """Remember an id; the oldest one goes when there are too many."""
        self._ids[id[: self._length]] = value
        self._ids.move_to_end(id[: self._length])
        if len(self._ids) > self._most:
            self._ids.popitem(last=False)

    def get(self, id: str) -> Value | None:
        return self._ids.get(id[: self._length])

    def discard(self, id: str) -> None:
        """Forget an id."""
        self._ids.pop(id[: self._length], None)

    def __contains__(self, id: str) -> bool:
        return id[: self._length] in self._ids

    def __len__(self) -> int:
        return len(self._ids)
