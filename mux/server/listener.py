"""The listening socket, made by us and handed to whichever ASGI server runs, because accepted sockets
inherit its options."""

from __future__ import annotations

import errno
import os
import socket

from mux.errors import MuxError

__all__ = ["open_listener"]

BACKLOG = 2048
UNSENT_BYTES = 64 * 1024
"""How much a socket takes ahead of what the network takes. Without it Linux buffers some 4 MB for a client
that does not read: half a minute of speech that a barge-in could not call back."""
USER_TIMEOUT = 20.0
"""Seconds after which the kernel gives up on a peer that acknowledges nothing or keeps its window shut.
Neither server frees such a connection by itself."""


def open_listener(
    host: str, port: int, *, unsent_bytes: int = UNSENT_BYTES, user_timeout: float = USER_TIMEOUT
) -> socket.socket:
    """Listen for TCP on `host` (a name, IPv4 or IPv6 address) and `port` (0: any free one; `getsockname()`
    tells). The socket is non-blocking. Accepted sockets inherit, where the platform has them:
    `TCP_NODELAY`, `TCP_NOTSENT_LOWAT` of `unsent_bytes` and `TCP_USER_TIMEOUT` of `user_timeout` seconds.

    Raises:
        MuxError: `invalid_config`, saying why it is not possible to listen there and what to do.
    """
    family, address = _resolve(host, port)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # `::` means every address of the machine, IPv4 included, whatever the system's default.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, unsent_bytes)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(user_timeout * 1000))
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise MuxError.of("invalid_config", _why(error, host, port)) from error
    return listener


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[object, ...]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise MuxError.of(
            "invalid_config",
            f"The host {host!r} cannot be resolved. Set host to an IP address of this machine,"
            " such as 127.0.0.1.",
        ) from error
    # IPv4 first: clients that are told "localhost" try it, and not all of them try both.
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, address


def _why(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"Port {port} on {host} is already in use. Stop the program that uses it,"
                " or set port to another one (0 takes any free one)."
            )
        case errno.EACCES:
            return f"Port {port} needs more rights than this process has. Set port to one from 1024 up."
        case errno.EADDRNOTAVAIL:
            return f"{host} is not an address of this machine. Set host to one of its own, or to 127.0.0.1."
        case _:
            return f"Cannot listen on {host}, port {port}: {error.strerror}. Set another host or port."
