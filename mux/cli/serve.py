"""`mux serve`: the server as a program."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import click

from mux.config import FIELDS, LISTS, Settings, load_settings
from mux.protocol.voice import INACTIVITY_RANGE
from mux.server.app import create_app
from mux.server.engines import check_engines, make_gateway
from mux.server.listener import open_listener
from mux.server.logs import configure_logging
from mux.server.run import run_program, serve_until_signal
from mux.server.service import Service, start_service
from mux.server.tls import Tls, open_tls

__all__ = ["command"]

_HELP = {
    "host": "Where to listen.",
    "port": "TCP port; 0 takes a free one.",
    "engine": "Who speaks: espeak, tone, a table [engines.NAME], or elevenlabs, kugelaudio, mux, openai.",
    "upstream_url": "Base URL of the service that speaks, for --engine elevenlabs, kugelaudio, mux, openai.",
    "upstream_key": "Its key (better: MUX_UPSTREAM_KEY, which `ps` does not show).",
    "upstream_model": "The model to ask it for.",
    "upstream_voice": "Its voice for clients that name none.",
    "upstream_contexts": "Contexts that one connection to it may carry.",
    "upstream_sockets": "Connections to it, at the most.",
    "workers": "Segments that each engine of this machine speaks at the same time.",
    "busy_wait": "Seconds that a segment waits for its turn before it fails as busy.",
    "backend": "asyncio (uvicorn) or trio (hypercorn).",
    "log_format": "How to log to standard error.",
    "log_level": "From which level on to log.",
    "api_keys": "Keys that open a socket, comma-separated (better: MUX_API_KEYS, which `ps` does not show).",
    "allowed_origins": "Web pages that may connect, comma-separated.",
    "price_cents_per_minute": "Price of a minute of audio, for the usage that KugelAudio clients are told.",
    "price_cents_per_1000_characters": "Price of a thousand characters, likewise.",
    "currency": "Currency of the prices.",
    "strict_voices": "Refuse unknown voice ids instead of giving each a stable local voice.",
    "drain_timeout": "Seconds that running speech may go on after SIGTERM.",
    "unflushed_close": "What becomes of text that was not flushed when its context is closed.",
    "final_after_flush": "When stream-input says isFinal after a flush, and not only at the end.",
    "profile": "elevenlabs-strict is as harsh as the vendor, for people who test their clients.",
    "max_sockets": "Sockets that may be open.",
    "espeak_library": "The espeak-ng library to load.",
    "authentication_timeout": "Seconds that a socket may take to send its key.",
    "tls_cert": "Speak TLS with the certificate in this PEM file.",
    "tls_key": "The certificate's private key, a PEM file without a password.",
    "tls_self_signed": "Speak TLS with a certificate made for this run; says which file clients must trust.",
}


def _options(function: Callable[..., None]) -> Callable[..., None]:
    """A flag for every setting: values are checked in one place, with those of file and environment."""
    for name in reversed(list(FIELDS)):
        default = getattr(_DEFAULTS, name)
        shown = ", ".join(default) if name in LISTS else default
        if isinstance(default, bool):
            option = click.option(
                f"--{name.replace('_', '-')}/--no-{name.replace('_', '-')}",
                name,
                default=None,
                help=_HELP[name],
            )
        else:
            note = f"  [default: {shown}]" if shown not in (None, "") else ""
            option = click.option(
                f"--{name.replace('_', '-')}", name, metavar=name.upper(), help=_HELP[name] + note
            )
        function = option(function)
    return function


_DEFAULTS = Settings()


@click.command("serve", help="Serve text-to-speech sockets until SIGTERM.")
@_options
@click.option("--check", is_flag=True, help="Try every engine, say what was found, and end.")
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path), help="A TOML file of the same settings."
)
def command(config_file: Path | None, check: bool, **flags: object) -> None:
    """Every flag is also a key of the TOML file and a variable MUX_NAME; flags win over variables, variables
    over the file."""
    settings = load_settings(flags, os.environ, config_file)
    configure_logging(settings.log_format, settings.log_level)
    if check:
        sys.exit(0 if run_program(lambda: _check(settings), settings.backend) else 1)
    with open_tls(settings) as tls:
        drained = run_program(lambda: _serve(settings, tls), settings.backend)
    sys.exit(0 if drained else 1)


async def _check(settings: Settings) -> bool:
    """Say of every engine what was found; returns whether all is well."""
    well = True
    async for found in check_engines(settings):
        for line in found.lines:
            click.echo(f"{found.engine}: {line.removeprefix(f'{found.engine}: ')}")
        if found.error is not None:
            well = False
            click.echo(f"{found.engine}: failed ({found.error.code}): {found.error}")
        sys.stdout.flush()
    return well


async def _serve(settings: Settings, tls: Tls | None) -> bool:
    # The port is taken first: that it is in use should not be told after the engine's start.
    listener = open_listener(settings.host, settings.port)
    async with start_service(make_gateway(settings), settings) as service:
        _say_ready(service, settings, listener.getsockname()[1], tls)
        return await serve_until_signal(
            create_app(service),
            listener,
            service,
            drain_timeout=settings.drain_timeout,
            tls=tls.context if tls else None,
        )


def _say_ready(service: Service, settings: Settings, port: int, tls: Tls | None) -> None:
    """What a person needs to go on; printed once the first word has been spoken."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    base = f"{host}:{port}"
    http, ws = ("https", "wss") if tls else ("http", "ws")
    limits = service.limits
    low, high = INACTIVITY_RANGE
    keys = (
        "no API key is needed"
        if service.keys.open
        else f"{len(settings.api_keys) + len(settings.apps)} API keys"
    )
    engines = [f"{name} ({slots} workers)" for name, slots in service.engine.slots.items()]
    trust = [f"  trust     SSL_CERT_FILE={tls.trust}"] if tls and tls.trust else []
    for line in (
        f"mux is ready: engine {', '.join(engines)}, backend {settings.backend}",
        f"  limits    {limits.contexts} contexts a socket, {settings.max_sockets} sockets, "
        f"inactivity {low:g} to {high:g} s; {keys}",
        f'  LiveKit   base_url="{http}://{base}/v1"',
        f'  Pipecat   url="{ws}://{base}"',
        f'  Kugel     api_url="{http}://{base}"',
        f'  mux       mux.connect("{ws}://{base}")',
        *trust,
        f"  health    {http}://{base}/healthz",
    ):
        click.echo(line)
    sys.stdout.flush()
