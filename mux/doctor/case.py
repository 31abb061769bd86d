"""What is examined: the socket that an app opens, read from its URL and the command's options."""

from __future__ import annotations

import math
import re
import ssl
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

import msgspec

from mux.dialects.elevenlabs import socket_url
from mux.dialects.kugelaudio import multi_url
from mux.errors import MuxError
from mux.exchange.endpoints import Endpoint, endpoint_of
from mux.links.opening import SECRET_PARAMETER

__all__ = ["SIBLINGS", "Case", "Dialect", "key_from", "read_case"]

Dialect: TypeAlias = Literal["elevenlabs", "kugelaudio"]

VENDORS: dict[str, Dialect] = {"elevenlabs.io": "elevenlabs", "kugelaudio.com": "kugelaudio"}
KEY_VARIABLES: dict[Dialect, tuple[str, ...]] = {
    "elevenlabs": ("ELEVENLABS_API_KEY", "ELEVEN_API_KEY"),
    "kugelaudio": ("KUGELAUDIO_API_KEY",),
}
"""Where the vendors' own clients look for a key."""
ELEVENLABS_HOSTS = (
    "api.elevenlabs.io",
    "api.us.elevenlabs.io",
    "api.eu.residency.elevenlabs.io",
    "api.in.residency.elevenlabs.io",
    "api.sg.residency.elevenlabs.io",
)
KUGELAUDIO_HOSTS = ("api.kugelaudio.com", "api.eu.kugelaudio.com")
SIBLINGS = {host: hosts for hosts in (ELEVENLABS_HOSTS, KUGELAUDIO_HOSTS) for host in hosts}
"""The hosts of the regions of a service, by each of them."""
REGION_PREFIX = re.compile(r"(eu|us|global)-")
"""KugelAudio's keys may begin with their region: "stripped before auth"."""

ONE_TIME = "single_use_token"
VOICE_IN_PATH = re.compile(r"(/text-to-speech/)([^/]+)(/)")


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One socket to be examined. `url` is the whole of it, with its query, which may hold a key; `scheme` is
    the one that was given. `key` goes into a header. `path_given` says that the URL named a socket and not
    only a service, and `known` that its path is one of a socket.

    `contexts` are to be tried at once, 0 for none; `keepalive` is the text that the app sends to keep alive,
    None for the right one; `quick` leaves out what takes seconds of silence.
    """

    url: str
    scheme: str
    dialect: Dialect
    endpoint: Endpoint
    path_given: bool
    known: bool
    key: str | None = None
    key_region: str | None = None
    voice: str | None = None
    language: str | None = None
    contexts: int = 0
    keepalive: str | None = None
    quick: bool = False
    ssl_context: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"Case({self.dialect!r}, {self.host!r}, {self.path!r})"  # the rest may be secret

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.url).query, keep_blank_values=True))

    @property
    def model(self) -> str | None:
        return self.query.get("model_id") or None

    @property
    def output_format(self) -> str | None:
        return self.query.get("output_format") or None

    @property
    def inactivity_timeout(self) -> float | None:
        """What is asked for, in seconds; None where that is nothing, or no number."""
        try:
            seconds = float(self.query.get("inactivity_timeout", ""))
        except ValueError:
            return None
        return seconds if math.isfinite(seconds) else None

    @property
    def key_in_query(self) -> bool:
        return any(SECRET_PARAMETER.search(name) and value for name, value in self.query.items())

    @property
    def siblings(self) -> tuple[str, ...]:
        """The service's hosts in other regions."""
        return tuple(host for host in SIBLINGS.get(self.host, ()) if host != self.host)

    @property
    def headers(self) -> dict[str, str]:
        """Those of the handshake, with the key."""
        if self.key is None:
            return {}
        if self.dialect == "kugelaudio":
            return {"authorization": f"Bearer {self.key}"}
        return {"xi-api-key": self.key}

    def with_query(self, **parameters: str) -> Case:
        """The same with other parameters in its URL."""
        return msgspec.structs.replace(self, url=_with_query(self.url, parameters))

    def shown(self, text: str) -> str:
        """What a service said, without the keys that it may quote, on one line and not too long."""
        secrets = [value for name, value in self.query.items() if SECRET_PARAMETER.search(name)]
        for secret in sorted((*secrets, self.key or ""), key=len, reverse=True):
            text = text.replace(secret, "***") if len(secret) > 3 else text
        printable = "".join(character if character.isprintable() else " " for character in text)
        return printable if len(printable) <= 300 else printable[:299] + "…"


def read_case(
    url: str,
    *,
    dialect: Dialect | None = None,
    api_key: str | None = None,
    voice: str | None = None,
    model: str | None = None,
    output_format: str | None = None,
    language: str | None = None,
    inactivity_timeout: float | None = None,
    contexts: int | None = None,
    keepalive: str | None = None,
    quick: bool = False,
    ssl_context: ssl.SSLContext | None = None,
) -> Case:
    """Understand what was given. `url` is a socket's or a service's base URL; the options win over its query.
    Without `contexts` as many are tried as the service allows on one socket.

    Raises:
        MuxError: `invalid_parameter`: this is no URL, or one whose key the examination would use up.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in ("ws", "wss", "http", "https"):
        raise MuxError.of(
            "invalid_parameter",
            f"{url.partition('?')[0][:60]!r} is no URL of a socket. Give ws://host[:port]/path or "
            "wss://host[:port]/path, as the app uses it.",
        )
    parts = _split(url)
    url = urlunsplit(parts._replace(scheme={"http": "ws", "https": "wss"}.get(scheme, scheme), fragment=""))
    if ONE_TIME in dict(parse_qsl(parts.query)):
        raise MuxError.of(
            "invalid_parameter",
            f"A {ONE_TIME} is spent by the first socket, and the doctor opens several. Take it out of the "
            "URL and give the key itself with --api-key.",
        )
    dialect = dialect or endpoint_of(parts.path).dialect or _vendor(parts.hostname or "") or "elevenlabs"
    named, voice = voice, voice or _voice_in(parts.path)
    url, path_given = _completed(url, dialect, voice)
    known = bool(endpoint_of(_split(url).path).dialect)
    if named is not None:
        url = VOICE_IN_PATH.sub(lambda found: found[1] + quote(named, safe="") + found[3], url, count=1)
    wanted: dict[str, Any] = {
        "model_id": model,
        "output_format": output_format,
        "language_code": language,
        "inactivity_timeout": None if inactivity_timeout is None else f"{inactivity_timeout:g}",
    }
    url = _with_query(url, {name: value for name, value in wanted.items() if value is not None})
    endpoint = endpoint_of(_split(url).path)
    region = REGION_PREFIX.match(api_key or "") if dialect == "kugelaudio" else None
    return Case(
        url=url,
        scheme=scheme,
        dialect=dialect,
        endpoint=endpoint,
        path_given=path_given,
        known=known,
        key=api_key[region.end() :] if api_key is not None and region else api_key,
        key_region=region[1] if region else None,
        voice=voice,
        language=language or dict(parse_qsl(parts.query)).get("language_code"),
        contexts=(endpoint.limit or 0) if contexts is None else contexts,
        keepalive=keepalive,
        quick=quick,
        ssl_context=ssl_context,
    )


def key_from(environment: Mapping[str, str], url: str) -> str | None:
    """The key for a URL. A vendor's is sent to the vendor alone, MUX_API_KEY to everybody else."""
    vendor = _vendor(_split(url).hostname or "")
    names = ("MUX_API_KEY",) if vendor is None else KEY_VARIABLES[vendor]
    return next((environment[name] for name in names if environment.get(name)), None)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port, parts.hostname
    except ValueError as error:
        raise MuxError.of("invalid_parameter", f"The URL cannot be read ({error}). Correct it.") from None
    return parts


def _vendor(host: str) -> Dialect | None:
    for name, dialect in VENDORS.items():
        if host == name or host.endswith("." + name):
            return dialect
    return None


def _voice_in(path: str) -> str | None:
    found = VOICE_IN_PATH.search(path)
    return unquote(found[2]) if found else None


def _completed(url: str, dialect: Dialect, voice: str | None) -> tuple[str, bool]:
    """The URL of the multi-context socket for a base URL; and whether it was a whole one already, be its path
    right or wrong."""
    path = _split(url).path.rstrip("/")
    if endpoint_of(path).dialect or "/text-to-" in path or path.endswith(("/tts", "/stream", "/generate")):
        return url, True
    if dialect == "kugelaudio":
        return multi_url(url), False
    return socket_url(url, voice or "default", {}), False


def _with_query(url: str, parameters: Mapping[str, str]) -> str:
    if not parameters:
        return url
    parts = _split(url)
    kept = [pair for pair in parts.query.split("&") if pair and pair.split("=", 1)[0] not in parameters]
    return urlunsplit(parts._replace(query="&".join([*kept, urlencode(parameters)])))
