"""A recorder between clients and a service. What passes is not touched: of a request only the `Host` changes,
and after a WebSocket's handshake the bytes themselves are passed on, whatever they are, and read along.

Nothing waits in here: a side is read only when the other one has taken what was read before, so that who is
slow slows the other, as without a tap.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from urllib.parse import urlsplit

import anyio
import anyio.abc
import h11
import msgspec
from anyio.streams.tls import TLSStream

from mux.errors import MuxError
from mux.exchange.frames import Closing, FrameReader
from mux.exchange.model import LOST, Side
from mux.exchange.recorder import Recorder, Track
from mux.links.opening import Opening
from mux.tasks import owned_tasks

__all__ = ["Service", "serve_tap"]

CONNECT_TIMEOUT = 10.0
"""Seconds for name lookup, TCP and TLS with the service."""
LINGER = 5.0
"""Seconds for the second half of a connection after the first one has ended."""
CHUNK = 65536
HEAD = 65536
"""Bytes of a request's or answer's head, and of what a client may send before its answer has come."""

GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


class Service:
    """Where a tap leads, as a base URL; http and ws mean the same, and so do https and wss. `ssl_context` is
    for TLS with it, if not this machine's default.

    Raises:
        MuxError: `invalid_parameter`: the URL cannot be used.
    """

    def __init__(self, url: str, ssl_context: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
        self._url = parts._replace(scheme=scheme, query="", fragment="").geturl().rstrip("/")
        self._ssl_context = ssl_context
        opening = self.opening()
        self.host_header = opening.host_header
        self.prefix = urlsplit(self._url).path
        self.shown = opening.shown.rstrip("/")

    def opening(self) -> Opening:
        return Opening(self._url, {}, self._ssl_context)

    def url(self, target: str, *, websocket: bool) -> str:
        """The service's own URL for a request's target."""
        origin = self._url.removesuffix(self.prefix)
        return (origin if websocket else origin.replace("ws", "http", 1)) + self.prefix + target

    async def connect(self) -> anyio.abc.ByteStream:
        """Raises `MuxError` `connection_refused`, saying which step failed."""
        opening = self.opening()
        try:
            with anyio.fail_after(CONNECT_TIMEOUT):
                stream = await anyio.connect_tcp(opening.host, opening.port)
                if opening.tls is None:
                    return stream
                opening.step = "tls"
                try:
                    return await TLSStream.wrap(
                        stream, hostname=opening.host, ssl_context=opening.tls, standard_compatible=False
                    )
                except BaseException:
                    await anyio.aclose_forcefully(stream)
                    raise
        except TimeoutError:
            raise opening.timed_out(CONNECT_TIMEOUT) from None
        except (OSError, *GONE) as error:
            raise opening.failed(error) from None


async def serve_tap(listener: socket.socket, service: Service, recorder: Recorder) -> None:
    """Pass everything that comes to `listener` (see `open_listener`), which is closed at the end, on to
    `service`, until cancelled; all connections are cut then."""
    async with await anyio.abc.SocketListener.from_socket(listener) as accepting:
        await accepting.serve(lambda client: _serve(client, service, recorder))


async def _serve(client: anyio.abc.ByteStream, service: Service, recorder: Recorder) -> None:
    """One client's connection: one request after another, until it ends or becomes a WebSocket."""
    async with client:
        connection = _Client(client)
        while True:
            try:
                request = await connection.event()
            except h11.RemoteProtocolError as error:
                await connection.answer(error.error_status_hint, "invalid_message", f"Not HTTP: {error}.")
                return
            except GONE:
                return
            if not isinstance(request, h11.Request):
                return
            track = _begin(request, service, recorder)
            try:
                if not await _exchange(connection, request, track, service):
                    return
            finally:
                track.ended(anyio.current_time())


def _begin(request: h11.Request, service: Service, recorder: Recorder) -> Track:
    headers = [
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw_items()
    ]
    websocket = any(name.lower() == "upgrade" and "websocket" in value.lower() for name, value in headers)
    return recorder.begin(
        anyio.current_time(),
        method=request.method.decode(),
        url=service.url(request.target.decode("latin-1"), websocket=websocket),
        headers=headers,
        websocket=websocket,
    )


async def _exchange(client: _Client, request: h11.Request, track: Track, service: Service) -> bool:
    """Returns whether the client may send another request."""
    try:
        stream = await service.connect()
    except MuxError as error:
        track.failed(anyio.current_time(), str(error))
        await client.answer(502, error.code, f"mux tap: {error}")
        return False
    async with stream:
        far = _Far(stream)
        try:
            return await _pass_on(client, far, request, track, service)
        except GONE:
            return False
        except (h11.RemoteProtocolError, h11.LocalProtocolError) as error:
            track.failed(anyio.current_time(), f"The exchange is not proper HTTP: {error}.")
            await client.answer(502, "upstream_error", f"mux tap: the answer is not proper HTTP: {error}.")
            return False


async def _pass_on(client: _Client, far: _Far, request: h11.Request, track: Track, service: Service) -> bool:
    headers = [
        (name, service.host_header.encode() if name.lower() == b"host" else value)
        for name, value in request.headers.raw_items()
    ]
    target = service.prefix.encode() + request.target
    await far.send(h11.Request(method=request.method, target=target, headers=headers))
    async with owned_tasks() as tasks:
        with anyio.CancelScope() as asked:

            async def ask() -> None:
                """Pass on the request's body; then see whether the client is still there."""
                event: object = None
                while not isinstance(event, h11.EndOfMessage):
                    try:
                        event = await client.event()
                    except (h11.RemoteProtocolError, *GONE):
                        return asked.cancel()
                    try:
                        await far.send(event)
                    except (h11.LocalProtocolError, *GONE):
                        return None  # it may have answered all the same
                if not await client.stays():
                    asked.cancel()

            tasks.start_soon(ask)
            upgraded = await _answer(client, far, track)
    if asked.cancelled_caught:
        return False
    if upgraded is not None:
        await _tunnel(client, far, track, upgraded)
        return False
    return client.next_request()


async def _answer(client: _Client, far: _Far, track: Track) -> h11.InformationalResponse | None:
    """Pass the service's answer on; returns it if it opens a WebSocket."""
    while True:
        event = await far.event()
        if isinstance(event, h11.InformationalResponse | h11.Response):
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers]
            track.answered(anyio.current_time(), event.status_code, headers)
        elif isinstance(event, h11.Data):
            track.body(bytes(event.data))
        elif isinstance(event, h11.ConnectionClosed):
            raise h11.RemoteProtocolError("the service closed the connection without an answer")
        await client.send(_own(event))
        if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
            return event
        if isinstance(event, h11.EndOfMessage):
            return None


def _own(event: h11.Event) -> h11.Event:
    """The event as this connection's: a service may speak HTTP/1.0, in which h11 answers nobody."""
    if isinstance(event, h11.Response | h11.InformationalResponse):
        headers = event.headers.raw_items()
        return type(event)(status_code=event.status_code, headers=headers, reason=event.reason)
    return event


async def _tunnel(client: _Client, far: _Far, track: Track, answer: h11.InformationalResponse) -> None:
    """Pass bytes in both directions until both have ended."""
    agreed = ",".join(
        value.decode("latin-1") for name, value in answer.headers if name == b"sec-websocket-extensions"
    )
    readers: dict[Side, FrameReader] = {
        "client": FrameReader("client", agreed),
        "service": FrameReader("service", agreed),
    }

    def read(by: Side, data: bytes) -> None:
        reader = readers[by]
        if reader.failure:
            return
        now = anyio.current_time()
        for message in reader.read(data):
            if isinstance(message, Closing):
                track.closed(now, by, message.code, message.reason)
            else:
                track.message(now, by, message)
        if reader.failure:
            track.failed(now, f"What the {by} sent could not be read any further: {reader.failure}.")

    async with anyio.create_task_group() as tasks:

        async def pump(source: _Peer, sink: _Peer, by: Side) -> None:
            data = source.rest()
            while True:
                if data:
                    read(by, data)
                    try:
                        await sink.stream.send(data)
                    except GONE:
                        break  # what it has sent before it left is still to be passed on
                try:
                    data = await source.stream.receive(CHUNK)
                except anyio.EndOfStream:
                    track.closed(anyio.current_time(), by, LOST, "")
                    try:
                        await sink.stream.send_eof()
                    except (NotImplementedError, OSError, *GONE):  # TLS cannot end one half
                        tasks.cancel_scope.cancel()
                    break
                except GONE:
                    track.closed(anyio.current_time(), by, LOST, "")
                    tasks.cancel_scope.cancel()
                    break
            tasks.cancel_scope.deadline = anyio.current_time() + LINGER

        tasks.start_soon(pump, client, far, "client")
        tasks.start_soon(pump, far, client, "service")


class _Peer:
    """One side's connection: HTTP at first, perhaps plain bytes later."""

    def __init__(self, stream: anyio.abc.ByteStream, http: h11.Connection) -> None:
        self.stream = stream
        self._http = http

    async def event(self) -> h11.Event:
        """The peer's next event. Raises one of `GONE`, or `h11.RemoteProtocolError`."""
        while not isinstance(event := self._http.next_event(), h11.Event):
            try:
                data = await self.stream.receive(CHUNK)
            except anyio.EndOfStream:
                data = b""
            self._http.receive_data(data)
        return event

    async def send(self, event: h11.Event) -> None:
        if data := self._http.send(event):
            await self.stream.send(data)

    def rest(self) -> bytes:
        """What came behind the handshake."""
        return bytes(self._http.trailing_data[0])


class _Client(_Peer):
    def __init__(self, stream: anyio.abc.ByteStream) -> None:
        super().__init__(stream, h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD))

    async def answer(self, status: int, code: str, message: str) -> None:
        """An answer of the tap's own, if the client can still get one; the connection ends with it."""
        body = msgspec.json.encode({"detail": {"code": code, "message": message}})
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("connection", "close"),
        ]
        with suppress(h11.LocalProtocolError, *GONE):
            await self.send(h11.Response(status_code=status, headers=headers))
            await self.send(h11.Data(data=body))
            await self.send(h11.EndOfMessage())

    async def stays(self) -> bool:
        """Waits for the client to leave: returns False then, or True when it has sent too much ahead to tell.
        What comes meanwhile is kept for later."""
        waiting = 0
        while waiting < HEAD:
            try:
                data = await self.stream.receive(CHUNK)
            except GONE:
                return False
            self._http.receive_data(data)
            waiting += len(data)
        return True

    def next_request(self) -> bool:
        """Whether the connection can take another one."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            return True
        return False


class _Far(_Peer):
    def __init__(self, stream: anyio.abc.ByteStream) -> None:
        super().__init__(stream, h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD))
