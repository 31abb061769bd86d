"""The settings of `mux serve`, and where they come from: flags win over `MUX_*` variables, those over a TOML
file, those over the defaults. A name or value that is not understood is refused, never ignored."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, get_type_hints

import msgspec
from msgspec import Meta

from mux.errors import MuxError

__all__ = ["FIELDS", "LISTS", "Settings", "is_loopback", "load_settings"]

PREFIX = "MUX_"
CONFIG_VARIABLE = "MUX_CONFIG"
OTHER_VARIABLES = frozenset({CONFIG_VARIABLE, "MUX_API_KEY"})
"""`MUX_*` variables that are not settings of the server: the file's name, the client commands' own key."""

Seconds = Annotated[float, Meta(ge=0.1, le=3600, description="seconds, from 0.1 to 3600")]
ApiKey = Annotated[str, Meta(pattern=r"^\S+$")]
PemFile = Annotated[Annotated[str, Meta(min_length=1)] | None, Meta(description="the path of a PEM file")]
Origin = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9+.-]*://[^/\s]+$")]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `mux serve` can be told. A field's description says what it may be, in which unit; it is also what
    a refused value is answered with.

    Raises:
        MuxError: `invalid_config` when other machines could reach a server that asks for no key, and when
            the settings for TLS contradict each other.
    """

    host: Annotated[str, Meta(min_length=1, description="a name or IP address of this machine")] = "127.0.0.1"
    """Where to listen. Anything but this machine itself needs `api_keys`."""

    port: Annotated[
        int, Meta(ge=0, le=65535, description="a TCP port from 1 to 65535, or 0 for any free one")
    ] = 8790

    engine: Annotated[Literal["espeak", "tone"], Meta(description="espeak or tone")] = "espeak"
    """Who speaks: real speech in worker processes, or test tones."""

    workers: Annotated[int, Meta(ge=1, le=64, description="a whole number from 1 to 64")] = 2
    """How many segments are synthesised at the same time."""

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

    def __post_init__(self) -> None:
        if self.tls_self_signed and (self.tls_cert is not None or self.tls_key is not None):
            _refuse(
                "tls_self_signed makes a certificate, but tls_cert or tls_key gives one as well."
                " Set either tls_self_signed, or tls_cert and tls_key."
            )
        if (self.tls_cert is None) != (self.tls_key is None):
            there, lacking = ("tls_key", "tls_cert") if self.tls_cert is None else ("tls_cert", "tls_key")
            _refuse(f"{there} is set, but {lacking} is not. Set both for TLS, or neither.")
        if not self.api_keys and not is_loopback(self.host):
            _refuse(
                f"Listening on {self.host} lets other machines in, but no API key is set. Set api_keys"
                f" (or the variable {PREFIX}API_KEYS, comma-separated), or listen on 127.0.0.1 only."
            )

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # Keys must not reach a log or a traceback.
        shown = {name: getattr(self, name) for name in self.__struct_fields__}
        return list((shown | {"api_keys": f"<{len(self.api_keys)} not shown>"}).items())

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


FIELDS: Mapping[str, Any] = get_type_hints(Settings, include_extras=True)
"""Field name to type; `Annotated` with what it may be."""
LISTS = frozenset({"api_keys", "allowed_origins"})
"""Fields that a variable gives comma-separated."""


def is_loopback(host: str) -> bool:
    """Whether only this machine itself can reach `host` (a name or an IP address)."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def load_settings(
    flags: Mapping[str, object], environ: Mapping[str, str], config_file: Path | None = None
) -> Settings:
    """Put the settings together.

    Args:
        flags: field name to value as given on the command line; None means not given.
        environ: the process's environment; an empty variable counts as not given.
        config_file: a TOML file of field names; without one, the variable `MUX_CONFIG` may name it.

    Raises:
        MuxError: `invalid_config`, naming the setting, its source, and what is allowed.
    """
    if config_file is None and environ.get(CONFIG_VARIABLE):
        config_file = Path(environ[CONFIG_VARIABLE])
    values = {} if config_file is None else _from_file(config_file)
    values |= _from_variables(environ)
    for name, value in flags.items():
        if value is not None:
            flag = f"--{name.replace('_', '-')}"
            values[_known(name, FIELDS, f"The flag {flag}")] = _convert(name, value, f"the flag {flag}")
    return Settings(**values)


def _from_file(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        _refuse(
            f"The config file {path} cannot be read: {error.strerror}. Correct the path, or leave it out."
        )
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        # tomllib says where, and at most one character of what it found.
        _refuse(f"The config file {path} is not valid TOML: {error}.")
    return {
        _known(name, FIELDS, f"The key {name} in {path}"): _convert(
            name, value, f"the key {name} in {path}", strict=True
        )
        for name, value in table.items()
    }


def _from_variables(environ: Mapping[str, str]) -> dict[str, Any]:
    fields = {f"{PREFIX}{name.upper()}": name for name in FIELDS}
    values: dict[str, Any] = {}
    for variable, text in environ.items():
        if variable.startswith(PREFIX) and variable not in OTHER_VARIABLES:
            name = fields[_known(variable, fields, f"The variable {variable}")]
            if text.strip():
                values[name] = _convert(name, text.strip(), f"the variable {variable}")
    return values


def _known(name: str, allowed: Mapping[str, object], source: str) -> str:
    if name not in allowed:
        near = difflib.get_close_matches(name, allowed)
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        _refuse(
            f"{source} is not a setting. {hint}Allowed: {', '.join(sorted(allowed))}.",
            observed=name,
            allowed=tuple(sorted(allowed)),
        )
    return name


def _convert(name: str, value: object, source: str, *, strict: bool = False) -> Any:
    hint = FIELDS[name]
    if isinstance(value, str) and not strict and name in LISTS:
        value = [item.strip() for item in value.split(",") if item.strip()]
    try:
        return msgspec.convert(value, hint, strict=strict)
    except msgspec.ValidationError:
        pass  # its text may show the value
    allowed = next(meta.description for meta in hint.__metadata__ if meta.description)
    shown = "a value that is not shown here" if name == "api_keys" else repr(value)[:80]
    _refuse(f"{name} must be {allowed}; {source} gives {shown}.", limit=allowed)


def _refuse(message: str, **facts: Any) -> NoReturn:
    raise MuxError.of("invalid_config", message, **facts) from None
