"""Where the sockets of a service are."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

__all__ = ["socket_url"]


def socket_url(url: str, voice: str, query: Mapping[str, str]) -> str:
    """The multi-context socket's URL for a base URL."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    path = parts.path.rstrip("/")
    if not path.endswith("/multi-stream-input"):
        path = f"{path.removesuffix('/v1')}/v1/text-to-speech/{quote(voice, safe='')}/multi-stream-input"
    own = f"{parts.query}&" if parts.query else ""
    named = {pair.split("=", 1)[0] for pair in parts.query.split("&")}
    rest = urlencode({name: value for name, value in query.items() if name not in named})
    return urlunsplit((scheme, parts.netloc, path, own + rest, ""))
