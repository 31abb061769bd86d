"""Cutting a TCP connection that a web server owns: to the peer it is a lost one (1006)."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from stat import S_ISSOCK

__all__ = ["cut"]

DESCRIPTORS = "/dev/fd"
"""Where Linux and macOS list the open files of a process."""


def cut(client: tuple[str, int], server: tuple[str, int]) -> None:
    """Cut the connection of this process that was accepted at `server` from `client`, if it is still there.

    ASGI knows only closes with a close frame, so the connection is found by its addresses. Whoever owns it
    reads an end of file, as if the peer had gone.
    """
    for name in os.listdir(DESCRIPTORS):
        with suppress(OSError):
            if not S_ISSOCK(os.fstat(int(name)).st_mode):
                continue  # of which `fromfd` would leave a copy open
            with socket.fromfd(int(name), socket.AF_INET, socket.SOCK_STREAM) as connection:
                if connection.getpeername()[:2] == client and connection.getsockname()[:2] == server:
                    connection.shutdown(socket.SHUT_RDWR)
                    return
