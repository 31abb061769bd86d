"""The command itself: starts a server, opens one socket, performs, writes the files."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import anyio
import click
from rich.console import Console

from mux.audio.play import Player
from mux.audio.wav import write_wav
from mux.cli.demo.stage import SAMPLE_RATE, Part, Stage
from mux.cli.demo.view import PlainView, TableView
from mux.cli.local import local_server
from mux.cli.output import writing
from mux.client import connect
from mux.config import Settings
from mux.server.logs import configure_logging
from mux.server.run import run_program

__all__ = ["command"]

FAST = 20.0
"""Seconds of speech in a second, when nobody listens."""


@click.command("demo")
@click.option("--realtime", is_flag=True, help="Keep speaking pace; the default does not wait.")
@click.option("--play", is_flag=True, help="Send the dialogue to the sound card (keeps speaking pace).")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo-out"),
    show_default=True,
    help="Where the WAV files go.",
)
@click.option("--backend", type=click.Choice(["asyncio", "trio"]), default="asyncio", show_default=True)
@click.option("--engine", type=click.Choice(["espeak", "tone"]), default="espeak", show_default=True)
def command(realtime: bool, play: bool, out: Path, backend: str, engine: str) -> None:
    """Play a scripted dialogue over one socket and write it to WAV files.

    One socket, one context per turn: text arrives in tokens, the next turn is prepared while one plays,
    somebody is interrupted, one context times out.
    """
    settings = Settings(engine=engine, backend=backend)  # type: ignore[arg-type]
    configure_logging("text", "error")
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    failures = run_program(
        lambda: _demo(settings, 1.0 if realtime or play else FAST, play, out), settings.backend
    )
    for failure in failures:
        click.echo(f"mux demo: {failure}", err=True)
    sys.exit(1 if failures else 0)


async def _demo(settings: Settings, speed: float, play: bool, out: Path) -> list[str]:
    console = Console()
    async with contextlib.AsyncExitStack() as stack:
        player = await stack.enter_async_context(Player(SAMPLE_RATE)) if play else None
        url = await stack.enter_async_context(local_server(settings))
        click.echo(f"The server listens at {url}; everything below goes over one socket.")
        session = await stack.enter_async_context(connect(url, output_format=f"pcm_{SAMPLE_RATE}"))
        with (TableView if console.is_terminal else PlainView)(console) as view:
            stage = Stage(
                session,
                speed=speed,
                on_change=lambda part, what: view.show(stage.parts, part, what),
                listen=player.write if player else None,
            )
            began = anyio.current_time()
            await stage.perform()
            seconds = anyio.current_time() - began
    with writing(out):
        files = _write(stage, out)
    spoken = len(stage.track) / SAMPLE_RATE
    click.echo(f"\n{spoken:.1f} s of dialogue in {seconds:.1f} s; one socket, {len(stage.parts)} contexts")
    click.echo(f"as a listener heard it: {files[0]}")
    click.echo(f"each context by itself: {', '.join(file.name for file in files[1:])}")
    return stage.failures()


def _write(stage: Stage, out: Path) -> list[Path]:
    """One file of the dialogue, and one of each context that was heard, as far as it was."""
    for old in out.glob("[0-9][0-9]-*.wav"):
        old.unlink()
    dialogue = out / "dialogue.wav"
    write_wav(dialogue, stage.track.pcm(), SAMPLE_RATE)
    files = [dialogue]
    heard: list[Part] = [part for part in stage.parts if part.heard_bytes]
    for part in heard:
        path = out / f"{part.number:02}-{part.name}.wav"
        write_wav(path, part.heard, SAMPLE_RATE)
        files.append(path)
    return files
