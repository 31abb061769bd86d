"""What there is: voices and models in the shapes that the vendor's clients read, normalisation, health."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from mux.dialects.kugelaudio.voices import number_of
from mux.engines.base import Voice
from mux.engines.normalize import normalize
from mux.errors import MuxError
from mux.server.door import check_caller, whole_number
from mux.server.http_body import read_body
from mux.server.kugelaudio.door import error_response
from mux.server.service import Service, new_session_id

__all__ = ["MODELS", "Catalogue"]

Endpoint = Callable[[Request], Awaitable[Response]]
PAGE_SIZES = range(1, 101)
TEXT_BYTES = 64 * 1024
MODELS = {"kugel-3.5": "Kugel 3.5", "kugel-3": "Kugel 3"}
"""What the SDKs ask for by default. Every model is spoken by the same engine."""


class _Normalize(msgspec.Struct):
    text: str
    language: str | None = None


class Catalogue:
    """The endpoints; each asks for a key where keys are configured."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def models(self, request: Request) -> Response:
        return await self._answer(request, lambda _: {"models": [_model(id) for id in MODELS]})

    async def voices(self, request: Request) -> Response:
        return await self._answer(request, self._page)

    async def voice(self, request: Request) -> Response:
        return await self._answer(request, self._one)

    async def normalize(self, request: Request) -> Response:
        """What would be said for a text."""
        try:
            body = await read_body(request, TEXT_BYTES)
        except ClientDisconnect:
            return Response()
        except MuxError as error:
            return error_response(error.problem, new_session_id())
        return await self._answer(request, lambda _: self._normalized(body))

    async def _answer(self, request: Request, make: Callable[[Request], dict[str, Any]]) -> Response:
        request_id = new_session_id()
        try:
            check_caller(request, self._service, request.query_params.get("api_key"), required=True)
            return JSONResponse(make(request), headers={"x-request-id": request_id})
        except MuxError as error:
            return error_response(error.problem, request_id)

    def _page(self, request: Request) -> dict[str, Any]:
        query = request.query_params
        limit = whole_number(query.get("limit"), "limit", 20, PAGE_SIZES)
        language = query.get("language", "").lower()
        found = [
            voice
            for voice in self._service.engine.voices()
            if f"{voice.language.lower()}-".startswith(f"{language}-" if language else "")
        ]
        offset = whole_number(query.get("offset"), "offset", 0, range(10**9))
        page = [_voice(voice) for voice in found[offset : offset + limit]]
        return {"voices": page, "total": len(found), "limit": limit, "offset": offset}

    def _one(self, request: Request) -> dict[str, Any]:
        wanted = self._service.voice_numbers.name(request.path_params["voice_id"])
        for voice in self._service.engine.voices():
            if voice.id == wanted:
                return _voice(voice)
        said = f"There is no voice {wanted[:60]!r}. GET /v1/voices lists them."
        raise MuxError.of("voice_not_found", said, param="voice_id")

    def _normalized(self, body: bytes) -> dict[str, Any]:
        began = perf_counter()
        try:
            asked = msgspec.json.decode(body, type=_Normalize)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            cause = str(error)[:200] if isinstance(error, msgspec.DecodeError) else type(error).__name__
            raise MuxError.of("unprocessable", f"The body cannot be read: {cause}.") from None
        language = self._service.engine.language(None, asked.language)
        said = normalize(asked.text, language).text
        spent = round((perf_counter() - began) * 1000, 3)
        return {"text": said, "language": asked.language or language, "time_ms": spent}


def _model(id: str) -> dict[str, Any]:
    return {
        "id": id,
        "model_id": id,
        "name": MODELS[id],
        "description": "Spoken by the local engine.",
        "parameters": "",
        "max_input_length": 10_000,
        "sample_rate": 24000,
    }


def _voice(voice: Voice) -> dict[str, Any]:
    return {
        "id": number_of(voice.id),
        "voice_id": number_of(voice.id),
        "name": voice.name,
        "description": voice.description,
        "generative_voice_description": "",
        "category": None,
        "sex": voice.gender,
        "age": None,
        "quality": "mid",
        "supported_languages": [voice.language.partition("-")[0]],
        "sample_text": "",
        "sample_url": None,
        "avatar_url": None,
        "is_public": True,
        "verified": False,
        "pending_verification": False,
        "mux_voice": voice.id,
    }
