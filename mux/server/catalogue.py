"""What there is: voices, models, the account. In the shapes that the vendor's clients read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mux.dialects.elevenlabs import MODELS, Model, parse_parameters
from mux.engines.base import Voice
from mux.errors import MuxError
from mux.protocol.voice import VoiceSettings
from mux.server.door import check_caller, whole_number
from mux.server.refusals import error_response
from mux.server.service import Service, new_session_id

__all__ = ["catalogue_routes"]

Answer = Callable[[Request], Any]
PAGE_SIZES = range(1, 101)
UNLIMITED = 1_000_000_000


def catalogue_routes(service: Service) -> list[Route]:
    """All routes of the catalogue; each asks for a key where keys are configured."""
    catalogue = _Catalogue(service)
    return [
        _route(service, "/v1/voices", lambda request: {"voices": catalogue.voices()}),
        _route(service, "/v2/voices", catalogue.page),
        _route(service, "/v1/voices/settings/default", lambda request: _settings()),
        _route(service, "/v1/voices/{voice_id}", catalogue.voice),
        _route(service, "/v1/voices/{voice_id}/settings", lambda request: _settings()),
        _route(service, "/v1/models", lambda request: catalogue.models()),
        _route(service, "/v1/user", lambda request: catalogue.user()),
        _route(service, "/v1/user/subscription", lambda request: catalogue.subscription()),
        _route(
            service,
            "/v1/single-use-token/{kind}",
            lambda request: {"token": service.tokens.issue(request.state.app)},
            "POST",
        ),
    ]


def _route(service: Service, path: str, answer: Answer, method: str = "GET") -> Route:
    async def serve(request: Request) -> Response:
        request_id = new_session_id()
        try:
            asked = parse_parameters("", _keys(request))
            caller = check_caller(request, service, asked.key, asked.token, required=True)
            request.state.app = caller.app
            return JSONResponse(answer(request), headers={"x-trace-id": request_id, "request-id": request_id})
        except MuxError as error:
            return error_response(error.problem, request_id)

    endpoint: Callable[[Request], Awaitable[Response]] = serve
    return Route(path, endpoint, methods=[method])


def _keys(request: Request) -> dict[str, str]:
    """Of a catalogue's query only the credentials concern the door."""
    return {name: value for name, value in request.query_params.items() if "key" in name or "auth" in name}


class _Catalogue:
    def __init__(self, service: Service) -> None:
        self._service = service

    def voices(self) -> list[dict[str, Any]]:
        return [_voice(voice) for voice in self._service.engine.voices()]

    def voice(self, request: Request) -> dict[str, Any]:
        wanted = request.path_params["voice_id"]
        for voice in self._service.engine.voices():
            if voice.id == wanted:
                return _voice(voice)
        raise MuxError.of(
            "voice_not_found",
            f"A voice with voice_id '{wanted[:60]}' was not found. GET /v1/voices lists them.",
            param="voice_id",
        )

    def page(self, request: Request) -> dict[str, Any]:
        """`/v2/voices`: searched and in pages; the token is where the next one begins."""
        query = request.query_params
        search = query.get("search", "").lower()
        found = [
            voice for voice in self._service.engine.voices() if search in f"{voice.id} {voice.name}".lower()
        ]
        size = whole_number(query.get("page_size"), "page_size", 10, PAGE_SIZES)
        start = whole_number(query.get("next_page_token"), "next_page_token", 0, range(len(found) + 1))
        more = start + size < len(found)
        return {
            "voices": [_voice(voice) for voice in found[start : start + size]],
            "has_more": more,
            "total_count": len(found),
            "next_page_token": str(start + size) if more else None,
        }

    def models(self) -> list[dict[str, Any]]:
        languages = sorted({voice.language for voice in self._service.engine.voices()})
        return [_model(model, languages) for model in MODELS.values()]

    def user(self) -> dict[str, Any]:
        return {
            "user_id": "local",
            "subscription": self.subscription(),
            "is_new_user": False,
            "xi_api_key": None,
            "can_use_delayed_payment_methods": False,
            "is_onboarding_completed": True,
            "is_onboarding_checklist_completed": True,
            "created_at": 0,
            "seat_type": "workspace_admin",
        }

    def subscription(self) -> dict[str, Any]:
        """Nothing is sold here; what counts is `character_count`, since the server started."""
        return {
            "tier": "local",
            "character_count": self._service.characters,
            "character_limit": UNLIMITED,
            "max_character_limit_extension": None,
            "can_extend_character_limit": False,
            "allowed_to_extend_character_limit": False,
            "voice_slots_used": 0,
            "professional_voice_slots_used": 0,
            "voice_limit": 0,
            "voice_add_edit_counter": 0,
            "professional_voice_limit": 0,
            "can_extend_voice_limit": False,
            "can_use_instant_voice_cloning": False,
            "can_use_professional_voice_cloning": False,
            "status": "active",
            "has_open_invoices": False,
            "open_invoices": [],
        }


def _voice(voice: Voice) -> dict[str, Any]:
    labels = {"language": voice.language} | ({"gender": voice.gender} if voice.gender else {})
    return {
        "voice_id": voice.id,
        "name": voice.name,
        "category": "premade",
        "labels": labels,
        "description": voice.description or None,
        "preview_url": None,
        "available_for_tiers": [],
        "high_quality_base_model_ids": list(MODELS),
        "samples": None,
        "settings": None,
        "sharing": None,
        "verified_languages": [],
        "is_owner": True,
    }


def _settings() -> dict[str, Any]:
    default = VoiceSettings()
    return {name: getattr(default, name) for name in default.__struct_fields__}


def _model(model: Model, languages: list[str]) -> dict[str, Any]:
    return {
        "model_id": model.id,
        "name": model.name,
        "can_be_finetuned": False,
        "can_do_text_to_speech": True,
        "can_do_voice_conversion": False,
        "can_use_style": True,
        "can_use_speaker_boost": True,
        "serves_pro_voices": False,
        "token_cost_factor": 1.0,
        "description": "Spoken by the local engine.",
        "requires_alpha_access": False,
        "max_characters_request_free_user": 262_144,
        "max_characters_request_subscribed_user": 262_144,
        "maximum_text_length_per_request": 262_144,
        "languages": [{"language_id": language, "name": language} for language in languages],
        "model_rates": {"character_cost_multiplier": 1.0},
        "concurrency_group": "turbo" if model.turbo else "standard",
    }
