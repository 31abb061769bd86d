"""The context table as a mermaid diagram: `python -m mux.protocol.diagram` prints it for docs/protocol.md."""

from __future__ import annotations

from collections import defaultdict

from mux.protocol.table import TABLE, State

__all__ = ["state_diagram"]


def state_diagram() -> str:
    """One arrow for all inputs that lead from one state to another, and none for what changes nothing."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.OPEN.name}: open, or first text"]
    for state, entries in TABLE.items():
        arrows: dict[State, list[str]] = defaultdict(list)
        for input, (_, target) in entries.items():
            arrows[target].append(input.value)
        for target, inputs in arrows.items():
            lines.append(f"    {state.name} --> {target.name}: {', '.join(inputs)}")
    lines.append(f"    {State.CLOSED.name} --> [*]")
    return "\n".join(lines)


if __name__ == "__main__":
    print(state_diagram())
