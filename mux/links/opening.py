"""One attempt to open a socket: where it goes, and how each way to fail is told.

A WebSocket's keys travel in its URL's query and in its headers. Neither ever gets into a message from here,
nor does a library's exception that may quote them.
"""

from __future__ import annotations

import functools
import ipaddress
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Literal
from urllib.parse import parse_qsl, quote, urlsplit

import msgspec

from mux.errors import MuxError

__all__ = ["Opening"]

USER_AGENT = "ttsmux"
QUOTED_CHARACTERS = 300
"""How much of a server's explanation is passed on."""

RESERVED = ":/?#[]@!$&'()*+,;=%"
"""What RFC 3986 §2.2 reserves, and the percent sign: quoting leaves these alone."""

SECRET_PARAMETER = re.compile("key|token|secret|pass|auth|sign", re.IGNORECASE)


class Opening:
    """Where one socket shall go (`url`, `host`, `port`, `target`, `headers`, and `tls` or None), and how far
    the attempt is.

    `step` is kept up to date by whoever connects, so that a timeout can say what took too long.
    """

    step: Literal["connect", "tls", "handshake"]

    def __init__(self, url: str, headers: Mapping[str, str], ssl_context: ssl.SSLContext | None) -> None:
        """Raises `MuxError` `invalid_parameter` for a URL or header that cannot be used."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as exc:
            raise _unusable(f"The URL cannot be read ({exc}).") from None
        if parts.scheme not in ("ws", "wss"):
            raise _unusable(f"The URL's scheme is {parts.scheme!r}.")
        if not parts.hostname:
            raise _unusable("The URL names no host.")
        if parts.username is not None:
            raise _unusable("The URL carries a user name or password, which belong into a header.")
        try:
            self.host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
        except UnicodeError:
            raise _unusable(f"{parts.hostname!r} cannot be a host name.") from None
        self.tls = (ssl_context or _default_tls()) if parts.scheme == "wss" else None
        default_port = 80 if self.tls is None else 443
        self.port = port or default_port
        self.step = "connect"
        path = quote(parts.path or "/", safe=RESERVED)
        self.target = path + ("?" + quote(parts.query, safe=RESERVED) if parts.query else "")
        bracketed = f"[{self.host}]" if ":" in self.host else self.host
        self.where = f"{bracketed}:{self.port}"
        self.url = f"{parts.scheme}://{self.where}{self.target}"
        self.shown = f"{parts.scheme}://{self.where}{path}"
        self.host_header = bracketed if self.port == default_port else self.where
        self.headers = [("User-Agent", USER_AGENT)] if "user-agent" not in map(str.lower, headers) else []
        for name, value in headers.items():
            if not (name + value).isascii() or not (name + value).isprintable():
                raise MuxError.of(
                    "invalid_parameter",
                    f"The header {name!r} holds a character that HTTP cannot carry: only printable ASCII is "
                    "allowed. A key that was read from a file often ends with a line break: strip it.",
                )
            self.headers.append((name, value))
        words = [word for value in headers.values() for word in value.split()]
        words += [value for name, value in parse_qsl(parts.query) if SECRET_PARAMETER.search(name)]
        self._secrets = sorted((word for word in words if len(word) > 3), key=len, reverse=True)

    @property
    def loopback(self) -> bool:
        """Whether the peer is this machine, which no proxy can reach for us."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost" or self.host.endswith(".localhost")

    def failed(self, exc: BaseException) -> MuxError:
        """Name lookup, TCP or TLS failed with `exc`."""
        causes = list(_causes(exc))
        for cause in causes:
            if isinstance(cause, socket.gaierror):
                return self._error(
                    f"Looking up the name {self.host!r} failed ({cause.strerror}): check its spelling in "
                    "the URL, and this machine's network and DNS."
                )
            if isinstance(cause, ssl.SSLCertVerificationError):
                return self._error(
                    f"TLS with {self.where} failed, because its certificate was not accepted "
                    f"({cause.verify_message}): check the host name and this machine's clock; for a private "
                    "certificate authority pass an `ssl_context` that knows it."
                )
        told = [cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror]
        detail = told[0] if told else type(causes[-1]).__name__
        if self.step == "tls" or any(isinstance(cause, ssl.SSLError) for cause in causes):
            return self._error(
                f"TLS with {self.where} failed ({detail}): check that this port speaks TLS; a server "
                "without TLS needs a ws:// URL."
            )
        return self._error(
            f"Connecting to {self.where} failed ({detail}): check that the server is running, and the host "
            "and port in the URL."
        )

    def timed_out(self, seconds: float) -> MuxError:
        match self.step:
            case "connect":
                tls = "" if self.tls is None else ", TLS"
                what = f"connecting to {self.where} (name lookup, TCP{tls}) did not succeed"
                check = "the host and the port in the URL, and firewalls"
            case "tls":
                what, check = f"TLS with {self.where} was not agreed", "that this port speaks TLS"
            case "handshake":
                what = f"{self.where} accepted the connection but did not answer the WebSocket handshake"
                check = "that this port speaks WebSocket" + (" without TLS" if self.tls is None else "")
        return self._error(f"Within {seconds:g} s, {what}: check {check}.")

    def refused(self, status: int, body: bytes, retry_after: str | None = None) -> MuxError:
        """The WebSocket handshake was answered with an HTTP `status` other than 101; `retry_after` is the
        header of that name, of which only seconds are understood."""
        said = _explanation(body)
        for secret in self._secrets:
            said = said.replace(secret, "***")
        quoted = f': "{said}"' if said else ""
        if status == 401:
            code, check = "invalid_api_key", "check the API key"
        elif status == 403:
            code, check = "invalid_api_key", "check the API key and what it is allowed to do"
        elif status == 404:
            code, check = "not_found", "check the path and the ids in the URL"
        elif status == 429:
            code, check = "busy", "try again later, or ask for a higher limit"
        else:
            code, check = "connection_refused", "check that this is the URL of a WebSocket"
        return MuxError.of(
            code,
            f"{self.shown} refused the WebSocket handshake with HTTP {status}{quoted}; {check}.",
            observed=status,
            retry_after_ms=_milliseconds(retry_after),
        )

    def broken(self, what: str) -> MuxError:
        """The WebSocket handshake ended without a usable answer; `what` completes "the server ..."."""
        return self._error(
            f"The WebSocket handshake with {self.shown} failed, because the server {what}: check that this "
            "port speaks WebSocket, and nothing between here and there cuts connections."
        )

    def unproxied(self) -> MuxError:
        """The proxy between here and there failed, or cannot be used."""
        return self._error(
            f"Reaching {self.where} through the proxy of this environment failed: check the settings of "
            "https_proxy, http_proxy, all_proxy and no_proxy (a SOCKS proxy needs the package python-socks)."
        )

    def _error(self, message: str) -> MuxError:
        return MuxError.of("connection_refused", message)


@functools.cache
def _default_tls() -> ssl.SSLContext:
    """Made once: reading the machine's certificates takes tens of milliseconds, on the loop."""
    return ssl.create_default_context()


def _unusable(what: str) -> MuxError:
    return MuxError.of("invalid_parameter", f"{what} Use ws://host[:port]/path or wss://host[:port]/path.")


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """`exc`, then what it was raised from and what it groups: libraries wrap the error that tells most."""
    yield exc
    if isinstance(exc, BaseExceptionGroup):
        for inner in exc.exceptions:
            yield from _causes(inner)
    if exc.__cause__ is not None:
        yield from _causes(exc.__cause__)


def _milliseconds(retry_after: str | None) -> int | None:
    if retry_after is None or not (retry_after.isascii() and retry_after.isdigit()):
        return None
    return min(int(retry_after[:6]), 3600) * 1000


def _explanation(body: bytes) -> str:
    """The sentence in a JSON error body: ours is `{"detail": {"message": ...}}`, others leave out a level or
    call it `error`. Anything else (a proxy's HTML page) explains nothing."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return ""
    for key in ("detail", "error", "message"):
        if isinstance(found, dict):
            found = found.get(key, found)
    if not isinstance(found, str):
        return ""
    printable = "".join(character if character.isprintable() else " " for character in found)
    return printable[:QUOTED_CHARACTERS]
