"""`mux tap`: listens, passes on, shows, and writes a recording."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import anyio
import click
from rich.console import Console

from mux.cli.output import check_directory
from mux.cli.tap.view import PlainView, TableView
from mux.exchange.recorder import Recorder
from mux.exchange.tap import Service, serve_tap
from mux.server.listener import open_listener
from mux.server.run import run_program
from mux.tasks import owned_tasks

__all__ = ["command"]


@click.command("tap")
@click.option("--to", "to", required=True, metavar="URL", help="The service: https://api.elevenlabs.io, ...")
@click.option("--port", type=click.IntRange(0, 65535), default=8792, show_default=True, help="0: a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The recording.  [default: tap-DATE-TIME.har, in this place]",
)
@click.option("--audio", is_flag=True, help="Record audio too, not only how much it was.")
@click.option("--no-text", is_flag=True, help="Record how long texts were, but not what was said.")
@click.option(
    "--backend",
    type=click.Choice(["asyncio", "trio"]),
    default="asyncio",
    show_default=True,
    help="The loop.",
)
def command(
    to: str, port: int, host: str, out: Path | None, audio: bool, no_text: bool, backend: str
) -> None:
    """Stand between an app and its service, record what they say to each other, and show it as it happens.

    Point the app's base URL at http://127.0.0.1:8792 (or ws://); everything goes on to the service and back
    as it is, keys included. The recording never holds a key. `mux doctor --har FILE` explains it.
    """
    service = Service(to)
    path = out or Path(time.strftime("tap-%Y%m%d-%H%M%S.har"))
    check_directory(path)
    console = Console()
    view = TableView(console) if console.is_terminal else PlainView()
    recorder = Recorder(audio=audio, text=not no_text, tell=view.tell)

    async def run() -> None:
        listener = open_listener(host, port)
        name, bound = listener.getsockname()[:2]
        _say_ready(f"{f'[{name}]' if ':' in name else name}:{bound}", service, path)
        await recorder.write(path)  # so that a place where nothing can be written is known now
        try:
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals, view.showing(recorder):
                async with owned_tasks() as tasks:
                    tasks.start_soon(serve_tap, listener, service, recorder)
                    tasks.start_soon(recorder.keep_writing, path)
                    await anext(aiter(signals))
        finally:
            await recorder.write(path)
        click.echo(f"{path} holds {_count(recorder)}; mux doctor --har {path} explains it")

    run_program(run, "trio" if backend == "trio" else "asyncio")


def _say_ready(where: str, service: Service, path: Path) -> None:
    click.echo(f"mux tap is ready: http://{where} and ws://{where} lead to {service.shown}")
    click.echo(f"  recording {path}; it holds what is said, unless --no-text; never keys")
    sys.stdout.flush()


def _count(recorder: Recorder) -> str:
    sockets = sum(track.exchange.websocket for track in recorder.tracks)
    requests = len(recorder.tracks) - sockets
    return f"{sockets} socket{'s' * (sockets != 1)} and {requests} HTTP request{'s' * (requests != 1)}"
