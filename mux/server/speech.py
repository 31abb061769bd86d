"""`POST /v1/text-to-speech/...`: speech as the answer to a request.

A request is a socket that carries one context: it goes through the same session, scheduler and conversion, so
limits, draining, usage and cancellation are the same. A client that hangs up stops its engine.
"""

from __future__ import annotations

from contextlib import aclosing

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from mux.dialects.elevenlabs import SpeechAnswer, check_model, parse_request
from mux.errors import MuxError
from mux.links.transport import Disconnected, Ending
from mux.server.door import admit, check_speaker
from mux.server.refusals import error_response
from mux.server.service import Service, new_session_id
from mux.server.spelling import Spelling

__all__ = ["Speech"]

BODY_SECONDS = 10.0
"""How long a request's body may take to arrive."""
WHOLE_BYTES = 40_000
"""UTF-8 bytes of text for an answer that is sent whole: some 45 minutes of speech, which wait in memory."""


class Speech:
    """One of the four endpoints, as an ASGI application.

    Args:
        timed: JSON with characters and times instead of bare audio.
        whole: one body at the end, instead of pieces as they come.
    """

    def __init__(self, service: Service, *, timed: bool, whole: bool) -> None:
        self._service = service
        self._timed = timed
        self._whole = whole

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        request_id = new_session_id()
        try:
            admission = admit(request, self._service, "http", streaming=not self._whole)
            answer = await self._answer(request, admission.parameters.settings.voice)
            self._service.admit()  # the body took its time
        except ClientDisconnect:
            return
        except MuxError as error:
            await error_response(error.problem, request_id)(scope, receive, send)
            return
        characters = len(answer.request.text)
        content_type = "application/json" if self._timed else admission.output.content_type
        transport = _HttpBody(receive, send, answer, content_type, self._headers(request_id, characters))
        await self._service.serve_socket(
            transport,
            request_id,
            answer,
            admission.parameters.settings,
            admission.output,
            authenticated=True,
            spelling=Spelling(
                normalized=answer.request.apply_text_normalization != "off", ssml=admission.parameters.ssml
            ),
        )
        if answer.problem is not None and not transport.started:
            await error_response(answer.problem, request_id)(scope, receive, send)

    async def _answer(self, request: Request, voice: str | None) -> SpeechAnswer:
        with anyio.move_on_after(BODY_SECONDS) as patience:
            body = await _read(request, 4 * self._service.limits.unspoken_bytes)
        if patience.cancelled_caught:
            raise MuxError.of("unprocessable", f"The body did not come within {BODY_SECONDS:g} s.")
        wanted = parse_request(body)
        check_model(wanted.model_id, "http")
        check_speaker(self._service, voice, wanted.language_code or None)
        most = WHOLE_BYTES if self._whole else self._service.limits.unspoken_bytes
        size = len(wanted.text.encode(errors="surrogatepass"))
        if size > most:
            hint = " The /stream endpoint takes more." if self._whole else ""
            said = f"The text has {size} bytes; at most {most} may be spoken in one request.{hint}"
            raise MuxError.of("text_too_long", said, limit=most, observed=size)
        return SpeechAnswer(wanted, timed=self._timed, whole=self._whole)

    def _headers(self, request_id: str, characters: int) -> dict[str, str]:
        """What the vendor's clients log."""
        return {
            "request-id": request_id,
            "history-item-id": request_id,
            "x-trace-id": request_id,
            "character-cost": str(characters),
            "current-concurrent-requests": str(self._service.contexts + 1),
            "maximum-concurrent-requests": str(self._service.settings.max_sockets),
        }


async def _read(request: Request, most: int) -> bytes:
    body = bytearray()
    async with aclosing(request.stream()) as pieces:
        async for piece in pieces:
            body += piece
            if len(body) > most:
                raise MuxError.of("text_too_long", f"The body has more than {most} bytes.", limit=most)
    return bytes(body)


class _HttpBody:
    """The answer's body as a `Transport`: a message sent is a piece of it, closing with 1000 is its end. With
    any other close it breaks off, so that nobody takes a part for all of it."""

    def __init__(
        self, receive: Receive, send: Send, answer: SpeechAnswer, content_type: str, headers: dict[str, str]
    ) -> None:
        self.closed: Ending | None = None
        self.started = False
        self._receive = receive
        self._send = send
        self._answer = answer
        self._headers = {"content-type": content_type, **headers}
        self._asked = False
        self._began = anyio.current_time()

    async def receive(self) -> str | bytes:
        """The request, once; then nothing until the client hangs up."""
        if not self._asked:
            self._asked = True
            return b""
        while self.closed is None:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.closed = Ending(1006)
        raise Disconnected(self.closed)

    async def send(self, message: str | bytes) -> None:
        if self.closed is not None:
            raise Disconnected(self.closed)
        data = message.encode() if isinstance(message, str) else message
        try:
            if not self.started:
                self.started = True
                await self._send(self._start())
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
        except OSError:
            self.closed = Ending(1006)
            raise Disconnected(self.closed) from None
        # An ASGI server may take everything without a pause; others want to speak too.
        await anyio.lowlevel.checkpoint()

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        if self.closed is not None:
            return
        self.closed = Ending(code, reason, local=True)
        if self.started and code == 1000:
            await self._send({"type": "http.response.body", "body": b""})

    def _start(self) -> dict[str, object]:
        waited = round((anyio.current_time() - self._began) * 1000)
        headers = {**self._headers, "tts-latency-ms": str(waited)}
        if self._answer.length is not None:
            headers["content-length"] = str(self._answer.length)
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        return {"type": "http.response.start", "status": 200, "headers": raw}
