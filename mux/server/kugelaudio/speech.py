"""`POST /v1/tts/generate`: speech as the answer to a request, as it is made."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from mux.audio.formats import FORMATS
from mux.dialects.kugelaudio import DEFAULTS, KugelAudioSpeech, parse_request
from mux.errors import MuxError
from mux.protocol.voice import inherit
from mux.server.door import check_speaker
from mux.server.http_body import HttpBody, read_body
from mux.server.kugelaudio.door import admit, error_response
from mux.server.service import Service, new_session_id

__all__ = ["Generate"]

BODY_BYTES = 256 * 1024


class Generate:
    """The endpoint, as an ASGI application. A request is a socket that carries one context: a client that
    hangs up stops its engine."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        request_id = new_session_id()
        service = self._service
        try:
            app = admit(request, service)
            body = await read_body(request, BODY_BYTES)
            text, asked = parse_request(body, service.voice_numbers.name)
            check_speaker(service, asked.voice, asked.language)
            service.admit()  # the body took its time
        except ClientDisconnect:
            return
        except MuxError as error:
            await error_response(error.problem, request_id)(scope, receive, send)
            return
        settings = inherit(DEFAULTS, asked)
        output = FORMATS[settings.output_format or "pcm_24000"]
        answer = KugelAudioSpeech(text)
        headers = {
            "x-request-id": request_id,
            "x-sample-rate": str(output.sample_rate),
            "x-audio-format": {"pcm": "pcm_s16le", "ulaw": "mulaw"}.get(output.codec, output.codec),
            "x-kugelaudio-ai-generated": "true",
        }
        transport = HttpBody(receive, send, answer, output.content_type, headers)
        await service.serve_socket(
            transport, request_id, answer, settings, output, authenticated=True, app=app
        )
        if answer.problem is not None and not transport.started:
            await error_response(answer.problem, request_id)(scope, receive, send)
