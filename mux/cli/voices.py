"""`mux voices`: what can be said with which voice."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from mux.engines.espeak import EspeakEngine
from mux.errors import MuxError

__all__ = ["command"]


@click.command("voices")
@click.option("--language", metavar="CODE", help="Only voices of this language (en, de, pt-BR ...).")
def command(language: str | None) -> None:
    """List the local voices.

    Any other voice id is spoken too: each by a stable local voice of its own.
    """
    wanted = (language or "").lower()
    voices = [v for v in EspeakEngine().voices() if v.language.lower().startswith(wanted)]
    if not voices:
        raise MuxError.of(
            "unsupported_language",
            f"No local voice speaks {language!r}. Give a code such as en, de or pt-BR: "
            "`mux voices` lists them all.",
        )
    console = Console()
    if not console.is_terminal:
        for voice in voices:
            click.echo(f"{voice.id}\t{voice.language}\t{voice.name}\t{voice.description}")
        return
    table = Table("voice id", "language", "name", "", box=None)
    for voice in voices:
        table.add_row(voice.id, voice.language, voice.name, voice.description)
    console.print(table)
