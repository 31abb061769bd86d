"""`POST /v1/text-to-speech/...`: speech as the answer to a request.

A request is a socket that carries one context: it goes through the same session, scheduler and conversion, so
limits, draining, usage and cancellation are the same. A client that hangs up stops its engine.
"""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from mux.dialects.elevenlabs import SpeechAnswer, check_model, parse_request
from mux.errors import MuxError
from mux.server.door import admit, check_speaker
from mux.server.http_body import HttpBody, read_body
from mux.server.refusals import error_response
from mux.server.service import Service, new_session_id

__all__ = ["Speech"]

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
        transport = HttpBody(receive, send, answer, content_type, self._headers(request_id, characters))
        await self._service.serve_socket(
            transport,
            request_id,
            answer,
            admission.parameters.settings,
            admission.output,
            authenticated=True,
            app=admission.app,
        )
        if answer.problem is not None and not transport.started:
            await error_response(answer.problem, request_id)(scope, receive, send)

    async def _answer(self, request: Request, voice: str | None) -> SpeechAnswer:
        wanted = parse_request(await read_body(request, 4 * self._service.limits.unspoken_bytes))
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
