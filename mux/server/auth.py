"""Who may come in: API keys and browser origins."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

from mux.errors import MuxError, Problem

__all__ = ["KeyRing", "check_origin", "key_in_headers"]

_MISSING = (
    "None of the authentication methods (xi-api-key, authorization header, single-use token) were found. "
    "Send the key in one of them, in the query, or in the first message."
)


class KeyRing:
    """The keys that are accepted; without any, everybody is (the server then listens on loopback only).
    `apps` has further keys, and whose they are.

    Only hashes are kept, so that a dump of the process shows no key, and a comparison takes the same time
    for every wrong key.
    """

    def __init__(self, keys: Iterable[str], apps: Mapping[str, str] | None = None) -> None:
        self._hashes: list[tuple[bytes, str | None]] = [(_hash(key), None) for key in keys]
        self._hashes += [(_hash(key), app) for key, app in (apps or {}).items()]

    @property
    def open(self) -> bool:
        """Whether no key is needed."""
        return not self._hashes

    def check(self, key: str) -> Problem | None:
        """Why `key` does not open the door."""
        if self._found(key) or self.open:
            return None
        return Problem(code="invalid_api_key", message="Invalid API key")

    def app(self, key: str) -> str | None:
        """Whose key it is; None if it is not one app's own."""
        return next(iter(self._found(key)), None)

    def _found(self, key: str) -> list[str | None]:
        scheme, _, token = key.strip().partition(" ")
        given = _hash(token.strip() if scheme.lower() == "bearer" else key.strip())
        matches = [(hmac.compare_digest(given, known), app) for known, app in self._hashes]
        return [app for fits, app in matches if fits]

    @staticmethod
    def missing() -> Problem:
        return Problem(code="authentication_required", message=_MISSING)


def key_in_headers(headers: Mapping[str, str]) -> str | None:
    """The key of `xi-api-key`, `x-api-key` or `authorization`."""
    return headers.get("xi-api-key") or headers.get("x-api-key") or headers.get("authorization") or None


def check_origin(origin: str | None, host: str | None, allowed: tuple[str, ...]) -> None:
    """A browser says on whose behalf it opens a socket; any page could reach a server on loopback.

    Programs send no Origin and are not asked. A page that this very server delivered is welcome if it was
    reached by an IP address or as localhost: anybody can point any other name here (DNS rebinding).

    Raises:
        MuxError: `origin_refused`.
    """
    if origin is None or origin in allowed or "*" in allowed:
        return
    if host is not None and origin.split("://", 1)[-1] == host and _is_address(origin):
        return
    raise MuxError.of(
        "origin_refused",
        f"Pages from {origin[:100]!r} may not open sockets here. Add the origin to allowed_origins "
        "(MUX_ALLOWED_ORIGINS) if they should.",
    )


def _is_address(origin: str) -> bool:
    with suppress(ValueError):
        name = urlsplit(origin).hostname
        return name == "localhost" or bool(ip_address(name or ""))
    return False


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()
