"""`mux mock`: a stand-in for the real services that fails on purpose."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from mux.engines.tone import ToneEngine
from mux.mock import FAULTS, Mock, Scenario, load_scenario, mock_settings, parse_fault
from mux.server.listener import open_listener
from mux.server.logs import configure_logging
from mux.server.run import run_program, serve_until_signal
from mux.server.service import start_service

__all__ = ["command"]

HOST = "127.0.0.1"


@click.command("mock")
@click.option("--dialect", type=click.Choice(["elevenlabs", "kugelaudio"]), help="Whose service it is.")
@click.option("--port", type=click.IntRange(0, 65535), default=8791, show_default=True, help="0: a free one.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="NAME[=RATE]",
    help="A fault, and how likely it is at each opportunity (0 to 1; without: always). May be repeated.",
)
@click.option(
    "--scenario", "file", type=click.Path(path_type=Path), help="A TOML file of faults (docs/mock.md)."
)
@click.option("--seed", type=int, help="The same seed gives the same faults.  [default: 0]")
@click.option(
    "--pace",
    type=click.FloatRange(0, 1000, min_open=True),
    help="Send audio so many times as fast as it is spoken.  [default: as fast as it can]",
)
@click.option(
    "--backend",
    type=click.Choice(["asyncio", "trio"]),
    default="asyncio",
    show_default=True,
    help="The loop.",
)
@click.option("--list-faults", is_flag=True, help="List the faults by name, and end.")
def command(
    dialect: str | None,
    port: int,
    faults: tuple[str, ...],
    file: Path | None,
    seed: int | None,
    pace: float | None,
    backend: str,
    list_faults: bool,
) -> None:
    """Stand in for ElevenLabs or KugelAudio, and fail on purpose, until SIGTERM.

    Any key is accepted and every voice is a tone. Flags win over the scenario; their faults are added to its.
    """
    if list_faults:
        _list_faults()
        return
    given = {"dialect": dialect, "seed": seed, "pace": pace}
    scenario = load_scenario(file) if file else Scenario()
    scenario = msgspec.structs.replace(
        scenario,
        **{name: value for name, value in given.items() if value is not None},
        faults=(*scenario.faults, *map(parse_fault, faults)),
    )
    configure_logging()
    run_program(lambda: _serve(scenario, port), "trio" if backend == "trio" else "asyncio")


async def _serve(scenario: Scenario, port: int) -> None:
    listener = open_listener(HOST, port)
    async with start_service(ToneEngine(), mock_settings(scenario.dialect)) as service:
        mock = Mock(service, scenario, f"ws://{HOST}:{listener.getsockname()[1]}")
        _say_ready(mock, service.limits.contexts)
        await serve_until_signal(mock, listener, service, drain_timeout=0)
    for name, times in sorted(mock.fired.items()):
        click.echo(f"  {name} happened {times} times")


def _say_ready(mock: Mock, contexts: int) -> None:
    scenario = mock.scenario
    http = mock.url.replace("ws://", "http://")
    pace = f"{scenario.pace:g} times speaking speed" if scenario.pace else "as fast as it can"
    click.echo(
        f"mux mock is ready: {scenario.dialect}, {contexts} contexts a socket, seed {scenario.seed}, {pace}"
    )
    if scenario.dialect == "elevenlabs":
        click.echo(f'  LiveKit   base_url="{http}/v1"')
        click.echo(f'  Pipecat   url="{mock.url}"')
    else:
        click.echo(f'  Kugel     api_url="{http}"')
    for fault in scenario.faults:
        click.echo(f"  fault     {_shown(fault)}")
    sys.stdout.flush()


def _shown(fault: msgspec.Struct) -> str:
    values = {name: getattr(fault, name) for name in fault.__struct_fields__}
    return " ".join(
        [values.pop("name"), *(f"{name}={value}" for name, value in values.items() if value is not None)]
    )


def _list_faults() -> None:
    console = Console()
    if not console.is_terminal:
        for name, kind in FAULTS.items():
            click.echo(f"{name}\t{kind.opportunity}\t{kind.what}\t{kind.shows}")
        return
    table = Table("fault", "per", "what happens", "what it shows", box=None)
    for name, kind in FAULTS.items():
        table.add_row(name, kind.opportunity, kind.what, kind.shows)
    console.print(table)
