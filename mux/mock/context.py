"""A context as the mock sees it from the outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mux.mock.faults import Behaviour
    from mux.mock.socket import MockSocket

__all__ = ["TEXT_CHARACTERS", "Context"]

TEXT_CHARACTERS = 1_000_000
"""How much of a context's text is kept."""


class Context:
    """What was said in a context, both ways, and the faults that it was dealt. `number` counts the socket's
    contexts from 1."""

    def __init__(self, socket: MockSocket, id: str, number: int) -> None:
        self.socket = socket
        self.id = id
        self.number = number
        self.text = ""
        """What the client said, joined; also what a fault lost. Empty unless the mock keeps texts."""
        self.closed = False
        """Whether the client has closed it."""
        self.spoken_ms = 0.0
        """Audio that the server spoke, in ms, whatever the faults made of it."""
        self.sent_ms = 0.0
        """Audio that was sent to the client, in ms."""
        self.ends = 0
        """How often the client was told its end."""
        self.due = 0.0
        """When the next audio leaves, if the mock speaks at a pace."""
        self.faults: list[Behaviour] = []

    def hear(self, speech: str) -> None:
        """Keep what the client said, up to a bound."""
        self.text += speech[: TEXT_CHARACTERS - len(self.text)]
