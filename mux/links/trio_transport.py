"""The transport on trio: trio-websocket, with its sharp edges covered (0.12.2, each seen to cut):

- its reader task lets exceptions out (a ping that arrives during the closing handshake is one), and when it
  ends, whoever waits for a handshake waits for ever, so it runs in a task of ours that contains the first
  and tells of the second;
- it reads a refusal's body without bound and needs a Content-Length, so the stream keeps the answer;
- after an over-long message and after the peer's close it leaves the TCP connection open, and it forgets
  which side closed, so closing always ends with `aclose_forcefully`, and the stream remembers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

import anyio.abc
import trio
import wsproto.utilities
from trio_websocket import (
    CloseReason,
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    wrap_client_stream,
)

from mux.errors import MuxError
from mux.links.opening import Opening
from mux.links.transport import LOST, BaseTransport, Disconnected, Ending

__all__ = ["TrioTransport", "connect", "connect_over"]

RECEIVE_BYTES = 65536
"""One read. The library's default of 4 KiB doubles the CPU time per 6.5 kB audio frame."""

ANSWER_BYTES = 65536
"""The longest answer to a handshake."""


async def connect(opening: Opening, tasks: anyio.abc.TaskGroup, *, max_message: int) -> TrioTransport:
    """Look up, connect, and do both handshakes. The caller bounds the time; cancelling cuts the connection.

    The reader runs in `tasks` until the connection ends. Raises `MuxError`.
    """
    try:
        stream: trio.abc.Stream = await trio.open_tcp_stream(opening.host, opening.port)
    except OSError as exc:
        raise opening.failed(exc) from None
    try:
        if opening.tls is not None:
            opening.step = "tls"
            stream = secured = trio.SSLStream(
                stream, opening.tls, server_hostname=opening.host, https_compatible=True
            )
            try:
                await secured.do_handshake()
            except (OSError, trio.BrokenResourceError) as exc:
                raise opening.failed(exc) from None
        opening.step = "handshake"
        return await connect_over(stream, opening, tasks, max_message=max_message)
    except BaseException:
        await _cut(stream)
        raise


async def connect_over(
    stream: trio.abc.Stream, opening: Opening, tasks: anyio.abc.TaskGroup, *, max_message: int
) -> TrioTransport:
    """Do the WebSocket handshake over a connected `stream`, which the caller closes if that fails."""
    watched = _WatchedStream(stream)
    reader = _Reader(tasks)
    connection: WebSocketConnection | None = None
    async with reader.needed():
        connection = await wrap_client_stream(
            cast(trio.Nursery, reader),
            cast(trio.SocketStream, watched),
            opening.host_header,
            opening.target,
            extra_headers=[(name.encode(), value.encode()) for name, value in opening.headers],
            message_queue_size=0,  # a message that waits in the queue would be lost by a 1009
            max_message_size=max_message,
            receive_buffer_size=RECEIVE_BYTES,
        )
    if connection is None:
        raise _refusal(opening, reader.failure, bytes(watched.answer or b""))
    watched.connection, watched.answer = connection, None
    return TrioTransport(connection, watched, reader, max_message)


class TrioTransport(BaseTransport):
    def __init__(
        self, connection: WebSocketConnection, stream: _WatchedStream, reader: _Reader, max_message: int
    ) -> None:
        super().__init__()
        self._connection = connection
        self._stream = stream
        self._reader = reader
        self._too_big = f"Exceeded maximum message size: {max_message} bytes"

    async def _send(self, message: str | bytes) -> None:
        try:
            await self._connection.send_message(message)
        except (ConnectionClosed, wsproto.utilities.LocalProtocolError):
            raise Disconnected(self._ending()) from None

    async def _receive(self) -> str | bytes:
        try:
            return await self._connection.get_message()
        except ConnectionClosed:
            raise Disconnected(self._ending()) from None

    async def _ping(self) -> None:
        try:
            await self._connection.ping()
        except (ConnectionClosed, wsproto.utilities.LocalProtocolError):
            raise Disconnected(self._ending()) from None

    async def _close(self, code: int, reason: str) -> Ending:
        if self._connection.closed is not None:
            return self._ending()
        async with self._reader.needed():
            await self._connection.aclose(code, reason or None)
        # While our close frame goes out, `closed` is a placeholder of the library; the peer's answer, and
        # nothing else, puts another object there.
        answered = self._connection.closed is not self._stream.closed_at_send
        return Ending(code, reason, received=answered, local=True)

    async def _abort(self) -> None:
        await _cut(self._stream)

    def _ending(self) -> Ending:
        """What the library knows, if our own `aclose` was not the cause."""
        closed = self._connection.closed
        if closed is None:
            return Ending(1002, "the peer broke the WebSocket protocol", local=True)
        code, reason = int(closed.code), closed.reason or ""
        if code == LOST:
            return Ending(LOST, "the connection was lost")
        # The library reports its own verdicts (a message too big, frames that RFC 6455 forbids) as if the
        # peer had closed. But it answers a close of the peer's, so then something was sent with `closed` set.
        ours = reason == self._too_big or (code in (1002, 1007) and self._stream.closed_at_send is None)
        return Ending(code, reason, received=not ours, local=ours)


class _Reader:
    """Stands in for the nursery in which trio-websocket starts its reader (it only calls `start_soon`), and
    contains that task: `ended` is set when it ends, `failure` says what it raised."""

    def __init__(self, tasks: anyio.abc.TaskGroup) -> None:
        self._tasks = tasks
        self.ended = trio.Event()
        self.failure: Exception | None = None

    def start_soon(self, read: Callable[[], Awaitable[None]]) -> None:
        self._tasks.start_soon(self._contain, read)

    @asynccontextmanager
    async def needed(self) -> AsyncIterator[None]:
        """A block that is cancelled when the reader ends."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel_at_end, nursery.cancel_scope)
            yield
            nursery.cancel_scope.cancel()

    async def _cancel_at_end(self, scope: trio.CancelScope) -> None:
        await self.ended.wait()
        scope.cancel()

    async def _contain(self, read: Callable[[], Awaitable[None]]) -> None:
        try:
            await read()
        except Exception as exc:
            self.failure = exc
        finally:
            self.ended.set()


class _WatchedStream(trio.abc.Stream):
    """The byte stream under a connection: keeps the answer to the handshake, as long as `answer` is not
    None, and what the connection thought of its ending when it last sent something."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.answer: bytearray | None = bytearray()
        self.connection: WebSocketConnection | None = None
        self.closed_at_send: CloseReason | None = None

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self._stream.receive_some(max_bytes)
        if self.answer is not None:
            self.answer += data
            if len(self.answer) > ANSWER_BYTES:
                raise trio.BrokenResourceError("the answer to the handshake is too long")
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.connection is not None:
            self.closed_at_send = self.connection.closed
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _cut(stream: trio.abc.Stream) -> None:
    with trio.CancelScope(shield=True):
        await trio.aclose_forcefully(stream)


AFTER = b"retry-after"


def _refusal(opening: Opening, failure: Exception | None, answer: bytes) -> MuxError:
    """Why the handshake ended without a connection."""
    if isinstance(failure, ConnectionRejected):
        after = next((value.decode() for name, value in failure.headers if name.lower() == AFTER), None)
        return opening.refused(failure.status_code, failure.body or b"", after)
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head[9:12]
    if not head.startswith(b"HTTP/1."):
        return opening.broken("did not answer in proper HTTP" if head else "closed the connection")
    if not status.isdigit() or status == b"101":
        return opening.broken("gave a wrong answer")
    lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    found = (value.strip().decode("latin-1") for name, _, value in lines if name.lower() == AFTER)
    return opening.refused(int(status), body, next(found, None))
