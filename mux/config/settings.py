"""All settings of `mux serve`, and what they must be together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Annotated, Any, Literal

from msgspec import Meta

from mux.config.tables import SHORT, App, EngineTable, Espeak, Tone, VoiceRoute
from mux.config.values import (
    Discreet,
    OptionalKey,
    OptionalText,
    OptionalUrl,
    OptionalWhole,
    Seconds,
    Text,
    refuse,
)
from mux.usage import Price

__all__ = ["PREFIX", "Settings", "is_loopback", "unknown_engine"]

PREFIX = "MUX_"
"""Of the variables that are settings."""

ApiKey = Annotated[str, Meta(pattern=r"^\S+$")]
Cents = Annotated[Annotated[float, Meta(ge=0)] | None, Meta(description="a price in cents, at least 0")]
PemFile = Annotated[Annotated[str, Meta(min_length=1)] | None, Meta(description="the path of a PEM file")]
Origin = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9+.-]*://[^/\s]+$")]


class Settings(Discreet, frozen=True):
    """What `mux serve` can be told. A field's description says what it may be, in which unit; it is also what
    a refused value is answered with.

    Raises:
        MuxError: `invalid_config` when other machines could reach a server that asks for no key, and when
            settings contradict each other.
    """

    host: Annotated[str, Meta(min_length=1, description="a name or IP address of this machine")] = "127.0.0.1"
    """Where to listen. Anything but this machine itself needs `api_keys`."""

    port: Annotated[
        int, Meta(ge=0, le=65535, description="a TCP port from 1 to 65535, or 0 for any free one")
    ] = 8790

    engine: Text = "espeak"
    """Who speaks for a voice that is not in `voices`: espeak (real speech in worker processes), tone (test
    tones), an engine of `engines`, or one of `SHORT`, which `upstream_url` and the like describe."""

    upstream_url: OptionalUrl = None
    """The base URL of the service that speaks. Nothing goes there but from an `engine` of `SHORT`."""

    upstream_key: OptionalKey = None

    upstream_model: OptionalText = None

    upstream_voice: OptionalText = None
    """Who speaks for a client that names no voice."""

    upstream_contexts: OptionalWhole = None
    """How many contexts a connection may carry; None: what the service allows."""

    upstream_sockets: OptionalWhole = None
    """How many connections there may be; None: 4."""

    workers: Annotated[int, Meta(ge=1, le=64, description="a whole number from 1 to 64")] = 2
    """How many segments are synthesised at the same time, by each engine of this machine."""

    busy_wait: Seconds = 30.0
    """How long a segment waits for its turn before its context fails as `busy`."""

    backend: Annotated[Literal["asyncio", "trio"], Meta(description="asyncio or trio")] = "asyncio"
    """The event loop, and with it the web server: asyncio (uvloop) with uvicorn, or trio with hypercorn."""

    log_format: Annotated[Literal["text", "json"], Meta(description="text or json")] = "text"

    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="debug, info, warning or error")
    ] = "info"

    api_keys: Annotated[
        tuple[ApiKey, ...],
        Meta(description="a list of keys without white space (comma-separated in a variable)"),
    ] = ()
    """Any one of them opens a socket; with none, any key is accepted, and only on this machine itself."""

    allowed_origins: Annotated[
        tuple[Origin, ...],
        Meta(
            description="a list of origins such as https://app.example.com, without a path"
            " (comma-separated in a variable)"
        ),
    ] = ()
    """Web pages that may connect; a browser names its page in `Origin`, other clients send none."""

    price_cents_per_minute: Cents = None
    """What a minute of sent audio is charged with in the usage that KugelAudio's clients are told."""

    price_cents_per_1000_characters: Cents = None
    """The same for a thousand spoken characters; both may be set."""

    currency: Annotated[
        str, Meta(pattern=r"^[a-z]{3}$", description="three small letters, such as eur or usd")
    ] = "eur"
    """Of the prices."""

    strict_voices: Annotated[bool, Meta(description="true or false")] = False
    """Refuse unknown voice ids, where otherwise the default voice speaks."""

    drain_timeout: Annotated[float, Meta(ge=0, le=3600, description="seconds, from 0 to 3600")] = 30.0
    """How long speech in progress may go on after SIGTERM."""

    unflushed_close: Annotated[Literal["speak", "discard"], Meta(description="speak or discard")] = "speak"
    """What becomes of text that was never flushed when its context is closed."""

    final_after_flush: Annotated[
        Literal["auto_mode", "always", "never"], Meta(description="auto_mode, always or never")
    ] = "auto_mode"
    """When `stream-input` says `isFinal` after a flush that was spoken, and not only at the end."""

    profile: Annotated[Literal["mux", "elevenlabs-strict"], Meta(description="mux or elevenlabs-strict")] = (
        "mux"
    )
    """`elevenlabs-strict` is as harsh as the vendor, for people who test their clients."""

    max_sockets: Annotated[int, Meta(ge=1, le=1_000_000, description="a whole number from 1 to 1000000")] = (
        1000
    )
    """How many WebSockets may be open; one more is refused with HTTP 503."""

    espeak_library: Annotated[str | None, Meta(description="the path of an espeak-ng shared library")] = None
    """None: the one that came with mux."""

    authentication_timeout: Seconds = 10.0
    """How long a socket without credentials may wait before it sends some."""

    tls_cert: PemFile = None
    """The server's certificate, then its intermediates. With it and `tls_key`, only https and wss are
    spoken."""

    tls_key: PemFile = None
    """The private key of `tls_cert`, without a password."""

    tls_self_signed: Annotated[bool, Meta(description="true or false")] = False
    """Make a certificate for this run instead, for this machine and `host`; needs `ttsmux[tls]`."""

    engines: Mapping[str, EngineTable] = {}
    """The tables [engines.NAME] of the file."""

    voices: tuple[VoiceRoute, ...] = ()
    """The tables [[voices]] of the file."""

    apps: tuple[App, ...] = ()
    """The tables [[apps]] of the file."""

    @property
    def known_engines(self) -> Mapping[str, EngineTable]:
        """Every engine that may be named: the built-in ones, that of `upstream_url`, and those of the
        file."""
        found: dict[str, EngineTable] = {"espeak": Espeak(), "tone": Tone()}
        if self.engine in SHORT and self.upstream_url is not None:
            found[self.engine] = SHORT[self.engine](**self._upstream())
        return found | dict(self.engines)

    @property
    def price(self) -> Price:
        """What usage is charged with."""
        return Price(
            cents_per_minute=self.price_cents_per_minute,
            cents_per_1000_characters=self.price_cents_per_1000_characters,
            currency=self.currency,
        )

    def __post_init__(self) -> None:
        if self.tls_self_signed and (self.tls_cert is not None or self.tls_key is not None):
            refuse(
                "tls_self_signed makes a certificate, but tls_cert or tls_key gives one as well."
                " Set either tls_self_signed, or tls_cert and tls_key."
            )
        if (self.tls_cert is None) != (self.tls_key is None):
            there, lacking = ("tls_key", "tls_cert") if self.tls_cert is None else ("tls_cert", "tls_key")
            refuse(f"{there} is set, but {lacking} is not. Set both for TLS, or neither.")
        self._check_engines()
        if not (self.api_keys or self.apps) and not is_loopback(self.host):
            refuse(
                f"Listening on {self.host} lets other machines in, but no API key is set. Set api_keys"
                f" (or the variable {PREFIX}API_KEYS, comma-separated), or listen on 127.0.0.1 only."
            )

    def _check_engines(self) -> None:
        upstream = self._upstream()
        given = "upstream_url" if "url" in upstream else f"upstream_{next(iter(upstream), 'url')}"
        if upstream and (self.engine not in SHORT or self.engine in self.engines):
            refuse(
                f"{given} is set, but it is for an engine of {', '.join(SHORT)} without a table; engine is"
                f" {self.engine}. Leave {given} out, or put it into a table [engines.{self.engine}]."
            )
        if self.engine in SHORT and self.engine not in self.engines:
            if self.upstream_url is None:
                refuse(
                    f"engine {self.engine} needs upstream_url (or the variable {PREFIX}UPSTREAM_URL): the"
                    " base URL of the service. Set it, or make a table [engines.NAME] in a file."
                )
            unfit = upstream.keys() - set(SHORT[self.engine].__struct_fields__)
            if unfit:
                name = min(unfit)
                refuse(f"engine {self.engine} has no {name}: leave upstream_{name} out.")
        engines = self.known_engines
        if self.engine not in engines:
            refuse(unknown_engine(f"engine is {self.engine!r:.60}", engines))
        for route in self.voices:
            for speaker in route.speak:
                if speaker.engine not in engines:
                    source = f"speak of the voice {route.id!r:.60} names the engine {speaker.engine!r:.60}"
                    refuse(unknown_engine(source, engines))
        for what, values in (
            ("voices have the id", [route.id for route in self.voices]),
            ("apps have the name", [app.name or "" for app in self.apps]),
        ):
            twice = next((value for value in values if values.count(value) > 1), None)
            if twice is not None:
                refuse(f"Two {what} {twice!r:.60}. Leave one of them out.")
        keys = [app.key for app in self.apps]
        if len({*keys, *self.api_keys}) < len(keys) + len(set(self.api_keys)):
            refuse("A key is given twice: two apps, or an app and api_keys, share it. Give each app its own.")

    def _upstream(self) -> dict[str, Any]:
        """The fields of an engine's table that `upstream_*` give."""
        return {
            name.removeprefix("upstream_"): value
            for name in self.__struct_fields__
            if name.startswith("upstream_") and (value := getattr(self, name)) is not None
        }


def unknown_engine(source: str, engines: Iterable[str]) -> str:
    """The sentence about an engine that is none."""
    short = [kind for kind in SHORT if kind not in engines]
    return (
        f"engine must be {', '.join(engines)}, the name of a table [engines.NAME] in the file, or, with"
        f" upstream_url, {', '.join(short)}; {source}."
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine itself can reach `host` (a name or an IP address)."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
