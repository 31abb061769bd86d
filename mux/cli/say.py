"""`mux say`: a script becomes one audio file, rendered over one socket."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import anyio.abc
import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mux.audio.mix import Track
from mux.audio.wav import check_suffix, save
from mux.cli.local import local_server
from mux.cli.output import check_directory, writing
from mux.cli.script import Line, parse_script
from mux.client import Session, connect
from mux.config import Settings
from mux.errors import MuxError
from mux.server.logs import configure_logging
from mux.server.run import run_program

__all__ = ["command"]

SAMPLE_RATE = 24_000
PAUSE = 0.35
"""Seconds of silence between two turns."""
AHEAD = 4
"""Contexts that are rendered at the same time."""


@click.command("say")
@click.argument("script", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The file to write: .wav, .mp3, .ulaw, .alaw, .pcm or .raw.",
)
@click.option("--url", help="A running server's base URL; without it, one is started for the occasion.")
@click.option("--api-key", envvar="MUX_API_KEY", help="Its key (also MUX_API_KEY).")
def command(script: Path, output: Path, url: str | None, api_key: str | None) -> None:
    """Speak a script with one or many voices into an audio file.

    SCRIPT is a text file, or - for standard input. Words in capitals before a colon are speakers, each with a
    voice of its own. A blank line makes a pause; # starts a comment line.

    \b
        ANNE: Is there still coffee?
        BOB: No.

    Or the speakers are declared first, in TOML between +++ lines, and then need no capitals:

    \b
        +++
        anne = "en-us-f3"
        [bob]
        voice = "en-us-klatt4"
        speed = 0.9
        +++
        Anne: Is there still coffee?
        Bob: No.

    A speaker has voice, language, stability, similarity_boost, style, use_speaker_boost and speed.
    Text before the first speaker is the narrator's.
    """
    check_suffix(output)
    check_directory(output)
    lines = parse_script(*_read(script))
    configure_logging("text", "error")
    track = run_program(lambda: _render(lines, url, api_key), "asyncio")
    with writing(output):
        save(output, track.pcm(), SAMPLE_RATE)
    voices = len({line.speaker.name for line in lines})
    click.echo(f"{output}: {len(track) / SAMPLE_RATE:.1f} s, {voices} {'voice' if voices == 1 else 'voices'}")


def _read(script: Path) -> tuple[str, str]:
    name = "standard input" if str(script) == "-" else str(script)
    try:
        data = sys.stdin.buffer.read() if str(script) == "-" else script.read_bytes()
        return data.decode(), name
    except OSError as error:
        raise MuxError.of("invalid_config", f"{name} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise MuxError.of(
            "invalid_config", f"{name}, line {number}: this is not UTF-8 text; save the file as UTF-8."
        ) from None


async def _render(lines: list[Line], url: str | None, api_key: str | None) -> Track:
    """Render a few turns ahead of each other, and lay them down in order."""
    track = Track(SAMPLE_RATE)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(local_server(Settings())) if url is None else url
        session = await stack.enter_async_context(
            connect(server, api_key=api_key, output_format=f"pcm_{SAMPLE_RATE}")
        )
        progress = stack.enter_context(_progress_bar())
        bar = progress.add_task("speaking", total=sum(len(line.text) for line in lines))
        tasks = await stack.enter_async_context(anyio.create_task_group())
        turns = [_Turn(line) for line in lines]
        for index, turn in enumerate(turns):
            for ahead in turns[index : index + AHEAD]:
                ahead.start(tasks, session)
            pcm = await turn.finished()
            track.add(pcm, len(track) + (int(PAUSE * SAMPLE_RATE) if len(track) else 0))
            progress.update(bar, advance=len(turn.line.text))
    return track


class _Turn:
    """One line being rendered."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self._pcm = bytearray()
        self._started = False
        self._finished = anyio.Event()

    def start(self, tasks: anyio.abc.TaskGroup, session: Session) -> None:
        if not self._started:
            self._started = True
            tasks.start_soon(self._render, session)

    async def finished(self) -> bytes:
        await self._finished.wait()
        pcm = bytes(self._pcm)
        self._pcm.clear()
        return pcm

    async def _render(self, session: Session) -> None:
        who = self.line.speaker
        async with session.context(
            who.name, voice=who.voice, language=who.language, settings=who.settings
        ) as context:
            await context.send(self.line.text)
            await context.close()
            async for chunk in context:
                self._pcm += chunk.audio
        self._finished.set()


def _progress_bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not console.is_terminal)
