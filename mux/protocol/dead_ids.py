"""Ids that the server ended, whose late messages must not start half an utterance."""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["DeadIds"]


class DeadIds:
    """The last `most` ids that were ended by the server and not yet closed by the client.

    An id of more than `id_bytes` characters takes no more room than that, and equals none that is shorter.
    """

    def __init__(self, most: int, id_bytes: int) -> None:
        self._most = most
        self._length = id_bytes + 1
        self._ids: OrderedDict[str, None] = OrderedDict()

    def add(self, id: str) -> None:
        """Remember an id; the oldest one goes when there are too many."""
        self._ids[id[: self._length]] = None
        self._ids.move_to_end(id[: self._length])
        if len(self._ids) > self._most:
            self._ids.popitem(last=False)

    def discard(self, id: str) -> None:
        """The client has closed it: it may be used again."""
        self._ids.pop(id[: self._length], None)

    def __contains__(self, id: str) -> bool:
        return id[: self._length] in self._ids

    def __len__(self) -> int:
        return len(self._ids)
