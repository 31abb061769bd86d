"""The contexts of one socket, and what is remembered of those that have ended."""

from __future__ import annotations

from mux.protocol.context import Context
from mux.protocol.id_memory import IdMemory
from mux.protocol.limits import Limits
from mux.protocol.table import State

__all__ = ["Roster"]


class Roster:
    """Contexts by serial (`live`) and by id. Of one id several may live: each waits for the ends of those
    before it, and only the latest is spoken to."""

    def __init__(self, limits: Limits) -> None:
        self.live: dict[int, Context] = {}
        self._latest: dict[str, Context] = {}
        self._dead: IdMemory[None] = IdMemory(limits.remembered_ids, limits.id_bytes)
        """Ids that the server ended; their late messages are ignored until their `Close`."""
        self._expired: IdMemory[str | None] = IdMemory(limits.remembered_ids, limits.id_bytes)
        """Ids that were idle, and their voices, where expiry closes."""

    def all(self) -> list[Context]:
        return list(self.live.values())

    def of(self, id: str) -> list[Context]:
        """All that live under an id."""
        return [context for context in self.live.values() if context.id == id]

    def resting(self) -> list[Context]:
        """All, if they are open and none has anything left to say; otherwise none."""
        live = self.all()
        return live if all(context.state is State.OPEN and context.at_rest for context in live) else []

    def latest(self, id: str) -> Context | None:
        return self._latest.get(id)

    def accepting(self, id: str) -> Context | None:
        """The context that text for this id goes to."""
        context = self._latest.get(id)
        return context if context is not None and context.state is State.OPEN else None

    def add(self, context: Context) -> None:
        predecessor = self._latest.get(context.id)
        if predecessor is not None:
            predecessor.successor = context
        self.live[context.serial] = self._latest[context.id] = context

    def remove(self, context: Context) -> None:
        """A context's end was pulled: its successor may speak."""
        del self.live[context.serial]
        if context.successor is not None:
            context.successor.part.release()
        else:
            del self._latest[context.id]

    # --- ids that the server ended ---------------------------------------------------------------------

    def bury(self, context: Context) -> None:
        """Keep a context's id dead, unless its client has closed it already and will not do so again, or has
        opened the next one of that id."""
        if not context.close_requested and self._latest[context.id] is context:
            self._dead.add(context.id, None)

    def note_expiry(self, context: Context) -> None:
        """More text for this id opens a new context, with the same voice."""
        self._expired.add(context.id, context.settings.voice)

    def forgive(self, id: str) -> None:
        """The client has closed this id, or means a new context: it may be used again."""
        self._dead.discard(id)
        self._expired.discard(id)

    def is_dead(self, id: str) -> bool:
        return id in self._dead

    def voice(self, id: str) -> str | None:
        """The voice of the context of this id that expired."""
        return self._expired.get(id)
