"""The demo's dialogue: who speaks, what they say, and where somebody is interrupted."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["CAST", "TURNS", "WATCH", "Actor", "Turn"]


class Actor(msgspec.Struct, frozen=True):
    """A voice of the play. `settings` are voice settings."""

    name: str
    voice: str
    settings: dict[str, Any] = {}


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One context's worth of text. `pace` is how many tokens a second the imagined model writes,
    `interrupted_after` the second of its playing at which somebody cuts in. The turn after an interrupted one
    is what its actor was going to say next: it is pre-buffered, and dropped, so nobody ever hears it."""

    actor: str
    text: str
    pace: float = 30.0
    interrupted_after: float | None = None


CAST = {
    actor.name: actor
    for actor in (
        Actor("narrator", "en-us-f2", {"speed": 0.95, "stability": 0.6}),
        Actor("captain", "en-us-edward", {"stability": 0.4}),
        Actor("engineer", "en-us-klatt4", {"speed": 1.1, "stability": 0.3}),
        Actor("navigator", "en-us-f3", {"speed": 1.05}),
    )
}

WATCH = "lookout"
"""A context that nobody feeds and that does not keep itself alive: it times out while the others go on."""

TURNS = (
    Turn(
        actor="narrator",
        text="The freighter had been drifting for three days. On the bridge, nobody had slept.",
    ),
    Turn(actor="captain", text="Engineer, tell me the good news. You promised me good news by noon."),
    Turn(
        actor="engineer",
        text="Well, captain, it depends on what you call good. The main coil is not melted, which is good. "
        "The spare coil, on the other hand, is what we used to fix the coffee machine in March, and so, "
        "if you look at it from the point of view of the crew, and of the coffee,",
        pace=5.0,
        interrupted_after=4.2,
    ),
    Turn(
        actor="engineer",
        text="and before anybody blames me, the coffee was very good indeed, and I have a list of everybody "
        "who had a second cup, and it begins with you, captain, and it ends with you, "
        "and the middle of the list is you as well, because you came back twice.",
        pace=8.0,
    ),
    Turn(actor="captain", text="Stop. Can we fly, yes or no?"),
    Turn(actor="engineer", text="Yes. Slowly, and without coffee."),
    Turn(
        actor="navigator",
        text="Course is laid in, captain. Eleven days to the nearest port, if the wind is kind.",
    ),
    Turn(
        actor="narrator",
        text="There is no wind in space, of course. But nobody on the bridge was going to correct her.",
    ),
)
