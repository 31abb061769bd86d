"""How a tap looks: a live table on a terminal, plain lines elsewhere. Never what was said, only how much."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mux.exchange.recorder import Recorder, Track
from mux.exchange.watch import ContextWatch, Happening

__all__ = ["PlainView", "TableView"]

_STYLES = {"open": "bold green", "draining": "green", "ended": "dim"}
HEAD_LINES = 6
"""Of the terminal, for title, header and the lines before the table."""


class PlainView:
    """A line for everything that happens: the seconds since the exchange began, its number, the context."""

    def tell(self, track: Track, happened: list[Happening]) -> None:
        for one in happened:
            context = f" {_plain(one.context)}" if one.context is not None else ""
            click.echo(f"{one.at:9.3f} #{track.number}{context}: {_plain(one.what)}")

    def showing(self, recorder: Recorder) -> AbstractContextManager[object]:
        return nullcontext()


class TableView:
    """A row for every socket and, below it, one for each of its contexts; redrawn a few times a second."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._recorder = Recorder()

    def tell(self, track: Track, happened: list[Happening]) -> None:
        """Nothing: the table is drawn from the recorder."""

    def showing(self, recorder: Recorder) -> AbstractContextManager[object]:
        self._recorder = recorder
        return Live(console=self._console, get_renderable=self.table, refresh_per_second=8)

    def table(self) -> Table:
        """The newest rows that the terminal has room for."""
        table = Table(box=None)
        table.add_column("socket, context", no_wrap=True)
        table.add_column("state", min_width=9)
        for column in ("text in", "flushes", "audio", "first audio"):
            table.add_column(column, justify="right", min_width=8)
        table.add_column("ended")
        rows = [row for track in self._recorder.tracks for row in _rows(track)]
        room = max(4, self._console.height - HEAD_LINES)
        if len(rows) > room:
            table.add_row(Text(f"... {len(rows) - room} rows above", style="dim"))
        for style, cells in rows[-room:]:
            table.add_row(*(Text(_plain(cell)) for cell in cells), style=style)
        return table


def _rows(track: Track) -> Iterator[tuple[str, list[str]]]:
    exchange, watch = track.exchange, track.watch
    close = exchange.close
    over = close is not None or exchange.ended is not None
    if exchange.websocket:
        what = watch.endpoint.name if watch.endpoint.dialect else exchange.path
    else:
        what = f"{exchange.method} {exchange.path}"
    if close is not None:
        ended = f"{close.code} by the {close.by}" + (f": {close.reason}" if close.reason else "")
    elif exchange.failure:
        ended = exchange.failure
    else:
        ended = f"HTTP {exchange.status}" if over and exchange.status != 101 else ""
    state = "closed" if over else "open" if exchange.status else "opening"
    refused = (exchange.status or 0) >= 400 or bool(exchange.failure)
    bad = refused or (close is not None and close.code not in (1000, 1001, 1005))
    style = "bold red" if bad else "bold dim" if over else "bold"
    yield style, [f"#{track.number} {what}", state, "", "", "", "", ended]
    for context in watch.contexts:
        yield _row(context)


def _row(context: ContextWatch) -> tuple[str, list[str]]:
    first = context.first_audio_ms
    ended = context.ended
    if context.error:
        ended = f"{context.error}: {context.message}" if context.message else context.error
    cells = [
        f"   {context.id}",
        context.state,
        f"{context.characters}",
        f"{context.flushes}",
        f"{context.audio_ms:.0f} ms",
        "" if first is None else f"{first:.0f} ms",
        ended,
    ]
    silent = context.state == "ended" and context.texts and not context.audio_bytes
    return "red" if context.error or silent else _STYLES[context.state], cells


def _plain(text: str) -> str:
    """Ids and reasons come from both ends; a terminal must not take orders from them."""
    return "".join(character if character.isprintable() else "?" for character in text)[:200]
