"""Where the sockets of a service are."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

__all__ = ["MULTI", "multi_url"]

MULTI = "/ws/tts/multi"


def multi_url(url: str) -> str:
    """The multi-context socket's URL for a base URL (`https://api.kugelaudio.com`), which may be that URL
    already."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    path = parts.path.rstrip("/")
    path = path if path.endswith(MULTI) else path + MULTI
    return urlunsplit((scheme, parts.netloc, path, parts.query, ""))
