"""What there is, in the shapes that the vendor's clients read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from speaking import WatchedEngine, served

from mux.dialects.elevenlabs import MODELS
from mux.engines.base import Voice

pytestmark = pytest.mark.anyio
NAMES = [
    "Ada",
    "Bea",
    "Cleo",
    "Dora",
    "Eve",
    "Fay",
    "Gwen",
    "Hope",
    "Ida",
    "Joan",
    "Kay",
    "Lea",
    "Mia",
    "Nora",
    "Olga",
]
PATHS = [
    "/v1/voices",
    "/v2/voices",
    "/v1/voices/settings/default",
    "/v1/voices/ada",
    "/v1/voices/ada/settings",
    "/v1/models",
    "/v1/user",
    "/v1/user/subscription",
]

REQUIRED_OF_A_VOICE = {"voice_id", "name", "category", "labels", "available_for_tiers"} | {
    "high_quality_base_model_ids"
}
REQUIRED_OF_A_MODEL: dict[str, type] = {
    "model_id": str,
    "name": str,
    "can_be_finetuned": bool,
    "can_do_text_to_speech": bool,
    "can_do_voice_conversion": bool,
    "can_use_style": bool,
    "can_use_speaker_boost": bool,
    "serves_pro_voices": bool,
    "token_cost_factor": float,
    "description": str,
    "requires_alpha_access": bool,
    "max_characters_request_free_user": int,
    "max_characters_request_subscribed_user": int,
    "maximum_text_length_per_request": int,
    "languages": list,
    "model_rates": dict,
    "concurrency_group": str,
}
REQUIRED_OF_A_SUBSCRIPTION: dict[str, type] = {
    "tier": str,
    "character_count": int,
    "character_limit": int,
    "can_extend_character_limit": bool,
    "allowed_to_extend_character_limit": bool,
    "voice_slots_used": int,
    "professional_voice_slots_used": int,
    "voice_limit": int,
    "voice_add_edit_counter": int,
    "professional_voice_limit": int,
    "can_extend_voice_limit": bool,
    "can_use_instant_voice_cloning": bool,
    "can_use_professional_voice_cloning": bool,
    "status": str,
    "has_open_invoices": bool,
}


class Choir(WatchedEngine):
    def voices(self) -> Sequence[Voice]:
        return [
            Voice(id=name.lower(), name=f"{name} of the choir", language="en", gender="female")
            for name in NAMES
        ] + [Voice(id="bass", name="Boris", language="ru", description="Deep.")]


def check_voice(voice: dict[str, Any]) -> None:
    assert set(voice) >= REQUIRED_OF_A_VOICE
    assert isinstance(voice["voice_id"], str)
    assert isinstance(voice["name"], str)
    assert voice["category"] in {"generated", "cloned", "premade", "professional", "famous", "high_quality"}
    assert all(isinstance(label, str) for label in voice["labels"].values())
    assert isinstance(voice["available_for_tiers"], list)
    assert voice["high_quality_base_model_ids"] == list(MODELS)


async def test_all_voices_at_once() -> None:
    async with served(Choir()) as server:
        answer = await server.http.get("/v1/voices", params={"show_legacy": "true"})
        assert (answer.status_code, set(answer.json())) == (200, {"voices"})
        voices = answer.json()["voices"]
        for voice in voices:
            check_voice(voice)
        assert [voice["voice_id"] for voice in voices] == [*map(str.lower, NAMES), "bass"]
        assert voices[0]["labels"] == {"language": "en", "gender": "female"}
        assert voices[-1]["labels"] == {"language": "ru"}
        assert len(answer.headers["x-trace-id"]) == 16


async def test_one_voice() -> None:
    async with served(Choir()) as server:
        voice = (await server.http.get("/v1/voices/bass")).json()
        check_voice(voice)
        assert (voice["voice_id"], voice["name"], voice["description"]) == ("bass", "Boris", "Deep.")
        for id in ("bas", "BASS", "x" * 500):
            answer = await server.http.get(f"/v1/voices/{id}")
            detail = answer.json()["detail"]
            assert (answer.status_code, detail["code"], detail["status"]) == (
                404,
                "voice_not_found",
                "voice_not_found",
            )
            assert (detail["type"], detail["param"]) == ("not_found", "voice_id")
            assert f"'{id[:60]}' was not found" in detail["message"]


@pytest.mark.parametrize("path", ["/v1/voices/settings/default", "/v1/voices/bass/settings"])
async def test_settings_are_the_documented_defaults(path: str) -> None:
    async with served(Choir()) as server:
        assert (await server.http.get(path)).json() == {
            "stability": 0.5,
            "similarity_boost": 0.75,
            "style": 0.0,
            "use_speaker_boost": True,
            "speed": 1.0,
        }


async def test_voices_in_pages() -> None:
    async with served(Choir()) as server:
        params = {"page_size": "6"}
        seen: list[str] = []
        sizes = []
        while True:
            page = (await server.http.get("/v2/voices", params=params)).json()
            assert set(page) == {"voices", "has_more", "total_count", "next_page_token"}
            assert page["total_count"] == 16
            sizes.append(len(page["voices"]))
            seen += [voice["voice_id"] for voice in page["voices"]]
            for voice in page["voices"]:
                check_voice(voice)
            assert page["has_more"] is (page["next_page_token"] is not None)
            if not page["has_more"]:
                break
            params["next_page_token"] = page["next_page_token"]
        assert sizes == [6, 6, 4]
        assert seen == [*map(str.lower, NAMES), "bass"]
        assert len((await server.http.get("/v2/voices")).json()["voices"]) == 10
        exactly = (await server.http.get("/v2/voices?page_size=16")).json()
        assert (len(exactly["voices"]), exactly["has_more"], exactly["next_page_token"]) == (16, False, None)


@pytest.mark.parametrize(
    ("search", "found"),
    [("bass", ["bass"]), ("BORIS", ["bass"]), ("of the choir", [*map(str.lower, NAMES)]), ("nobody", [])],
)
async def test_a_search_goes_by_id_and_name(search: str, found: list[str]) -> None:
    async with served(Choir()) as server:
        page = (await server.http.get("/v2/voices", params={"search": search, "page_size": 100})).json()
        assert [voice["voice_id"] for voice in page["voices"]] == found
        assert (page["total_count"], page["has_more"]) == (len(found), False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("page_size", "0"),
        ("page_size", "101"),
        ("page_size", "-1"),
        ("page_size", "ten"),
        ("page_size", "9" * 5000),
        ("page_size", "٣"),
        ("next_page_token", "17"),
        ("next_page_token", "x"),
        ("next_page_token", ""),
    ],
)
async def test_a_page_that_is_not_there_is_refused_by_name(name: str, value: str) -> None:
    async with served(Choir()) as server:
        answer = await server.http.get("/v2/voices", params={name: value})
        detail = answer.json()["detail"]
        assert (answer.status_code, detail["code"], detail["param"]) == (400, "invalid_parameter", name)
        assert name in detail["message"]


async def test_models_are_a_bare_list() -> None:
    async with served(Choir()) as server:
        models = (await server.http.get("/v1/models")).json()
        assert [model["model_id"] for model in models] == list(MODELS)
        for model in models:
            for field, kind in REQUIRED_OF_A_MODEL.items():
                assert isinstance(model[field], kind), field
            assert model["languages"] == [
                {"language_id": "en", "name": "en"},
                {"language_id": "ru", "name": "ru"},
            ]
            assert model["model_rates"] == {"character_cost_multiplier": 1.0}
            assert model["concurrency_group"] in ("standard", "turbo")


async def test_every_listed_model_and_voice_can_be_used_for_speech() -> None:
    async with served(Choir()) as server:
        for model in (await server.http.get("/v1/models")).json():
            answer = await server.post("", {"text": "Hm.", "model_id": model["model_id"]})
            assert answer.status_code == 200
        for voice in (await server.http.get("/v1/voices")).json()["voices"]:
            url = f"/v1/text-to-speech/{voice['voice_id']}/stream"
            assert (await server.http.post(url, json={"text": "Hm."})).status_code == 200


async def test_the_account() -> None:
    async with served(Choir()) as server:
        user = (await server.http.get("/v1/user")).json()
        assert isinstance(user["user_id"], str)
        subscription = (await server.http.get("/v1/user/subscription")).json()
        assert user["subscription"] == subscription
        for field, kind in REQUIRED_OF_A_SUBSCRIPTION.items():
            assert isinstance(subscription[field], kind), field
        assert "max_character_limit_extension" in subscription
        assert subscription["status"] == "active"
        assert subscription["character_count"] < subscription["character_limit"]


# --- who may ask -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
async def test_a_key_is_asked_for_where_there_are_keys(path: str) -> None:
    async with served(Choir(), api_keys=("sesame",)) as server:
        get = server.http.get
        for answer, code in (
            (await get(path), "authentication_required"),
            (await get(path, headers={"xi-api-key": "wrong"}), "invalid_api_key"),
            (await get(path, params={"authorization": "Bearer wrong"}), "invalid_api_key"),
        ):
            assert (answer.status_code, answer.json()["detail"]["code"]) == (401, code)
        for answer in (
            await get(path, headers={"xi-api-key": "sesame"}),
            await get(path, headers={"authorization": "Bearer sesame"}),
            await get(path, params={"xi-api-key": "sesame"}),
        ):
            assert answer.status_code == 200
        answer = await get(path, headers={"xi-api-key": "sesame", "origin": "https://evil.example"})
        assert (answer.status_code, answer.json()["detail"]["code"]) == (403, "origin_refused")


@pytest.mark.parametrize("path", PATHS)
async def test_nothing_here_can_be_changed(path: str) -> None:
    async with served(Choir()) as server:
        for method in ("POST", "DELETE", "PATCH"):
            answer = await server.http.request(method, path)
            assert (answer.status_code, answer.json()["detail"]["type"]) == (405, "invalid_request")


async def test_a_token_is_given_to_who_has_a_key_and_opens_no_catalogue() -> None:
    async with served(api_keys=("sesame",)) as server:
        path = "/v1/single-use-token/tts_websocket"
        assert (await server.http.post(path)).status_code == 401
        assert (await server.http.get(path)).status_code == 405
        answer = await server.http.post(path, headers={"xi-api-key": "sesame"})
        assert set(answer.json()) == {"token"}
        token = answer.json()["token"]
        assert (await server.http.get("/v1/voices", params={"single_use_token": token})).status_code == 401
        assert (await server.post("", params={"single_use_token": token})).status_code == 200
        again = await server.post("", params={"single_use_token": token})
        assert (again.status_code, again.json()["detail"]["code"]) == (401, "invalid_api_key")
