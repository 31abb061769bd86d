"""The command line: one file per command, loaded when it is called."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from mux import __version__
from mux.errors import MuxError

__all__ = ["main"]

COMMANDS = {
    "serve": "Serve text-to-speech sockets until SIGTERM.",
    "demo": "Play a scripted dialogue over one socket and write it to WAV files.",
    "say": "Speak a script with one or many voices into an audio file.",
    "voices": "List the local voices.",
    "doctor": "Say why a socket does not work, and what to do about it.",
    "mock": "Stand in for the real services, and fail on purpose.",
    "tap": "Record what an app and its service say to each other.",
}


class _Commands(click.Group):
    """Loads `mux.cli.NAME` only when NAME is called: `mux --version` need not import an audio library."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"mux.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands)
@click.version_option(__version__, package_name="ttsmux", prog_name="mux")
def mux() -> None:
    """mux: many voices over one WebSocket."""


def main() -> None:
    """The entry point of `mux` and `python -m mux`. A failure is one sentence on standard error, exit 2."""
    try:
        mux(prog_name="mux")
    except* MuxError as errors:
        click.echo(f"mux: {_first(errors)}", err=True)
        sys.exit(2)


def _first(errors: BaseExceptionGroup[MuxError]) -> MuxError:
    """Whatever task group it came through: the first failure explains the others."""
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
