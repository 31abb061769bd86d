"""One warm HTTP connection to a speech server, and the answers that come over it.

Every answer is read to its end or takes its connection with it: HTTP/1.1 has no other way to stop one. A
pool of one connection each keeps what a cancelled request leaves behind from costing anybody else a place.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import httpx

from mux.errors import MuxError

__all__ = ["Answer", "HttpConnection", "tls_context"]

KEEP_WARM = 60.0
"""Seconds that an unused connection stays open, if the server lets it."""
CLOSE_SECONDS = 2.0
_STALE = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
"""How a request fails if the server closed the idle connection at the moment it was sent."""


def tls_context() -> ssl.SSLContext:
    """What connections trust: certifi's authorities, or those of SSL_CERT_FILE. Blocks for some 20 ms."""
    return httpx.create_ssl_context()


class Answer:
    """One HTTP answer whose head has come; made by `HttpConnection.request`."""

    def __init__(self, response: httpx.Response, server: str) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.ended = False
        """Whether the body was read to its end."""
        self._chunks = response.aiter_bytes()
        self._broken = False
        self._server = server

    async def read(self) -> bytes | None:
        """The next bytes of the body; None at its end. Being cancelled in it breaks the answer off.

        Raises:
            MuxError: `engine_failed` if the connection was lost before the end.
        """
        if self.ended:
            return None
        if self._broken:
            raise MuxError.of("engine_failed", f"The answer of {self._server} was broken off. Try again.")
        self._broken = True
        try:
            data = await anext(self._chunks, None)
        except httpx.HTTPError as error:
            raise MuxError.of(
                "engine_failed",
                f"{self._server} broke off in the middle of its answer ({_cause(error)}). Try again; its own "
                "log may say why.",
            ) from error
        self._broken = False
        self.ended = data is None
        return data

    async def read_all(self, most: int) -> bytes:
        """The whole body, or its first `most` bytes; see `read`."""
        body = bytearray()
        while len(body) < most and (more := await self.read()) is not None:
            body += more
        return bytes(body[:most])

    async def exhaust(self) -> None:
        """Bring the library's generators to their end after the connection was closed under them, because
        the garbage collector could not do it here."""
        with suppress(httpx.HTTPError, httpx.StreamError):
            async for _ in self._chunks:
                pass


class HttpConnection:
    """Sends one request at a time to what is under `base_url`. `server` names the server in sentences."""

    def __init__(
        self,
        base_url: str,
        server: str,
        headers: Mapping[str, str],
        tls: ssl.SSLContext,
        connect_seconds: float,
    ) -> None:
        self._base_url = base_url
        self._server = server
        # The audio is not worth compressing, and a compressor in the way would hold it back.
        self._headers = {"Accept-Encoding": "identity", **headers}
        self._tls = tls
        self._connect_seconds = connect_seconds
        self._client: httpx.AsyncClient | None = None
        self._stream: Any = None
        """The client's TCP connection, open or not (httpcore.AsyncNetworkStream)."""
        self._warm = False
        """Whether a request went well since the client was made."""

    @asynccontextmanager
    async def request(
        self, method: str, path: str, body: bytes | None = None
    ) -> AsyncGenerator[Answer, None]:
        """Send a request with a JSON `body`; entering waits for the answer's head, without a deadline of its
        own except for connecting.

        Leaving the block, or being cancelled, before the answer's end closes the connection at once; the
        next request makes another.

        Raises:
            MuxError: `engine_failed` if the server cannot be reached or does not answer in HTTP.
        """
        answer = Answer(await self._send(method, path, body), self._server)
        try:
            yield answer
        finally:
            if not answer.ended:
                with anyio.move_on_after(CLOSE_SECONDS, shield=True):
                    await self.aclose()
                    await answer.exhaust()

    async def aclose(self) -> None:
        """Close the connection. Cannot be cancelled; takes at most `CLOSE_SECONDS`."""
        client, self._client, self._warm = self._client, None, False
        stream, self._stream = self._stream, None
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            if client is not None:
                await client.aclose()
            if stream is not None:
                await stream.aclose()

    async def _send(self, method: str, path: str, body: bytes | None) -> httpx.Response:
        typed = {} if body is None else {"Content-Type": "application/json", "Content-Length": str(len(body))}
        while True:
            if self._client is None:
                self._client = self._make_client()
            was_warm = self._warm
            try:
                request = self._client.build_request(
                    method, path, headers=typed, extensions={"trace": self._trace}
                )
                request.stream = _Body(body or b"")
                response = await self._client.send(request, stream=True)
            except BaseException as error:
                # A request that was cancelled can leave its place in the library's pool taken for ever.
                await self.aclose()
                if was_warm and isinstance(error, _STALE):
                    continue  # nothing of an answer had come, so nothing can be heard twice
                if isinstance(error, httpx.HTTPError):
                    raise self._unreachable(error) from error
                raise
            self._warm = True
            return response

    async def _trace(self, event: str, facts: Mapping[str, Any]) -> None:
        """Called by the library at each of its steps. It forgets a connection that is cancelled between
        connecting and sending, as in the TLS handshake, without closing it."""
        if event == "connection.connect_tcp.complete":
            self._stream = facts["return_value"]

    def _make_client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self._base_url,
            headers=self._headers,
            verify=self._tls,
            timeout=httpx.Timeout(None, connect=self._connect_seconds),
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEP_WARM),
        )

    def _unreachable(self, error: httpx.HTTPError) -> MuxError:
        if isinstance(error, httpx.ConnectTimeout):
            what = f"could not be reached within {self._connect_seconds:g} s"
        elif isinstance(error, httpx.ConnectError):
            what = f"cannot be reached ({_cause(error)})"
        else:
            what = f"did not answer ({_cause(error)})"
        remedy = "Check that it runs and that its base URL is right."
        if "CERTIFICATE" in what:
            remedy = "Name the file with the certificate of its authority in SSL_CERT_FILE."
        return MuxError.of("engine_failed", f"{self._server} {what}. {remedy}")


class _Body(httpx.AsyncByteStream):
    """A request's body. The library's own is a generator, which a cancelled request would leave to the
    garbage collector."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        data, self._data = self._data, b""
        if not data:
            raise StopAsyncIteration
        return data


def _cause(error: httpx.HTTPError) -> str:
    """What a library's exception says, with the words of the system below it where it says too little."""
    below: BaseException = error
    while (next_one := below.__cause__ or below.__context__) is not None and not isinstance(below, OSError):
        below = next_one
    words = str(below) if isinstance(below, OSError) else str(error)
    return " ".join(words.split())[:200] or type(error).__name__
