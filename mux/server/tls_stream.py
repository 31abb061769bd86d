"""TLS on a trio socket, as the server.

`trio.SSLStream` cannot end its own direction while the other one is being read, and closing without that
could cost the peer the last bytes.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

import trio

from mux.server.tls import reason

__all__ = ["TlsStream"]

READ_BYTES = 64 * 1024

T = TypeVar("T")


class TlsStream:
    """One task receives and one sends at a time, as with `trio.SocketStream`, whose methods these are. Every
    failure of TLS is a `trio.BrokenResourceError` that says why."""

    def __init__(self, stream: trio.SocketStream, context: ssl.SSLContext) -> None:
        self.socket = stream.socket
        self._stream = stream
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._flushing = trio.Lock()
        self._ended = False

    async def do_handshake(self) -> None:
        """Shake hands, for as long as the peer takes. A cancelled handshake cannot be resumed."""
        try:
            await self._with_peer(self._tls.do_handshake)
        except ssl.SSLError as error:
            raise trio.BrokenResourceError(reason(error)) from error

    async def receive_some(self, max_bytes: int) -> bytes:
        """The next bytes, or none at the peer's end. Cancelling loses nothing. After `send_eof` the bytes are
        of no use, and only tell that the peer still sends."""
        data = b""
        try:
            data = await self._with_peer(partial(self._tls.read, max_bytes))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            pass
        except ssl.SSLError as error:
            if not self._ended:
                raise trio.BrokenResourceError(reason(error)) from error
        if data or not self._ended:
            return data
        # OpenSSL reads nothing more, if something had come while it said the end.
        return bytes(await self._stream.receive_some(max_bytes))

    async def send_all(self, data: bytes) -> None:
        """Cancelling closes the socket: half a record may have gone out."""
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise trio.BrokenResourceError(reason(error)) from error
        await self._flush()

    async def send_eof(self) -> None:
        """Say that nothing more comes. Cancelling closes the socket."""
        self._ended = True
        with suppress(ssl.SSLError):  # the peer has not said the same yet, and may never
            self._tls.unwrap()
        await self._flush()
        async with self._flushing:  # whoever reads may just have to say something, too
            await self._stream.send_eof()

    async def _with_peer(self, step: Callable[[], T]) -> T:
        """What `step` returns, once the peer has sent what it needs."""
        await trio.lowlevel.checkpoint()  # there may be much to read without any waiting
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                pass
            finally:
                await self._flush()
            data = await self._stream.receive_some(READ_BYTES)
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()

    async def _flush(self) -> None:
        """Send what TLS has to say; both directions have something at times."""
        if not self._outgoing.pending:
            return
        async with self._flushing:
            if data := self._outgoing.read():
                sent = False
                try:
                    await self._stream.send_all(data)
                    sent = True
                finally:
                    if not sent:
                        self.socket.close()
