"""What one TCP connection may take of the server, before and after it becomes a WebSocket."""

from __future__ import annotations

import msgspec

__all__ = ["Limits"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds, sizes in bytes. The defaults are what `mux serve` uses; tests make them small."""

    head_timeout: float = 10.0
    """From the connection, or a kept connection's next first byte, to the end of the request head. (On trio
    an idle connection is closed after 5 s anyhow, half a head or none.)"""
    head_bytes: int = 16 * 1024
    head_line_bytes: int = 8_000
    """One header line, or the request target. Less than the 8,192 of the websockets library, which on asyncio
    reads the head a second time and would leave the connection hanging."""
    headers: int = 64
    keep_alive: float = 5.0
    """How long a connection may wait for its next request."""
    message_bytes: int = 1024 * 1024
    """One incoming WebSocket message (on trio, text counts in characters)."""
    fragments: int = 1024
    """Frames of one incoming WebSocket message, even empty ones (on trio these take no memory and pass)."""
    ping_interval: float = 20.0
    ping_timeout: float = 60.0
    """How long a peer that was pinged may be silent."""
    write_timeout: float = 20.0
    """How long a peer may take no bytes while some wait for it; then the connection is aborted."""
    linger: float = 5.0
    """How long a peer may take to read the last bytes, once the application is done with the connection."""
    stop_timeout: float = 5.0
    """How long applications may go on once the server was told to stop."""
