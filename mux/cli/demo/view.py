"""How the demo looks: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from mux.cli.demo.stage import Part, Status

__all__ = ["PlainView", "TableView"]

_STYLES = {
    Status.PLAYING: "bold green",
    Status.HEARD: "dim",
    Status.INTERRUPTED: "yellow",
    Status.DROPPED: "yellow",
    Status.TIMED_OUT: "red",
}


class PlainView:
    """A line for everything that happens."""

    def __init__(self, console: Console) -> None:
        pass

    def __enter__(self) -> PlainView:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, parts: list[Part], part: Part, what: str) -> None:
        click.echo(f"{part.number:02} {part.name:<10} {what}")


class TableView:
    """One row per context, redrawn a few times a second."""

    def __init__(self, console: Console) -> None:
        self._parts: list[Part] = []
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=12)

    def __enter__(self) -> TableView:
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)

    def show(self, parts: list[Part], part: Part, what: str) -> None:
        self._parts = parts

    def _table(self) -> Table:
        table = Table(title="one WebSocket", box=None)
        table.add_column("context")
        table.add_column("state", min_width=15)
        for column in ("text in", "audio", "first audio", "lead"):
            table.add_column(column, justify="right", min_width=7)
        table.add_column("ended", min_width=9)
        for part in sorted(self._parts, key=lambda part: part.number):
            first = "" if part.first_audio_ms is None else f"{part.first_audio_ms:.0f} ms"
            table.add_row(
                f"{part.number:02} {part.name}",
                part.status.value,
                f"{part.characters}",
                f"{part.audio_seconds:.1f} s",
                first,
                f"{part.lead:.1f} s" if part.status in (Status.PLAYING, Status.READY, Status.WRITING) else "",
                part.ended.reason.value if part.ended else "",
                style=_STYLES.get(part.status, ""),
            )
        return table
