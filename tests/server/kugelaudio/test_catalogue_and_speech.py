"""KugelAudio's HTTP endpoints, beside ElevenLabs' on the same port."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from speaking import Served, WatchedEngine, served

from mux.dialects.kugelaudio.voices import number_of
from mux.engines.base import Voice

pytestmark = pytest.mark.anyio
SDK = {"X-KugelAudio-SDK": "python", "X-KugelAudio-SDK-Version": "2.7.0"}
KEYED = {"api_keys": ("sesame",)}
GENERATE = ["/v1/tts/generate", "/predict", "/kugelaudio/v1/tts/generate", "/kugelaudio/predict"]
NAMES = [f"Voice {number}" for number in range(30)]


class Choir(WatchedEngine):
    def voices(self) -> Sequence[Voice]:
        voices = [Voice(id=name.lower(), name=name, language="en-GB", gender="female") for name in NAMES]
        return [*voices, Voice(id="alice", name="Alice", language="de", description="Deep.")]


def check_error(answer: httpx.Response, status: int, code: str, *words: str) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert answer.status_code == status
    assert (body["error_code"], body["code"]) == (code, status)
    assert body["request_id"] == answer.headers["x-request-id"]
    assert all(word in body["error"] for word in words)
    return body


# --- whose clients are asking ------------------------------------------------------------------------

KUGEL: list[dict[str, str]] = [
    {**SDK, "Authorization": "Bearer sesame", "x-api-key": "sesame"},
    {"X-KugelAudio-SDK": "js", "xi-api-key": "sesame"},
    {"Authorization": "Bearer sesame"},
    {"x-api-key": "sesame"},
]
ELEVEN: list[dict[str, str]] = [
    {"xi-api-key": "sesame"},
    {"xi-api-key": "sesame", "Authorization": "Bearer sesame"},
]


def is_kugels(answer: httpx.Response) -> bool:
    assert answer.status_code == 200
    if "models" in str(answer.url):
        return isinstance(answer.json(), dict)
    voices = answer.json().get("voices", [answer.json()])
    return isinstance(voices[0].get("id"), int)


@pytest.mark.parametrize("path", ["/v1/voices", "/v1/models"])
async def test_the_vendors_are_told_apart_by_what_their_clients_send(path: str) -> None:
    async with served(Choir(), **KEYED) as server:
        for headers in KUGEL:
            assert is_kugels(await server.http.get(path, headers=headers)), headers
        for headers in ELEVEN:
            assert not is_kugels(await server.http.get(path, headers=headers)), headers


@pytest.mark.parametrize("path", ["/v1/voices", "/v1/models"])
async def test_prefixes_leave_no_doubt(path: str) -> None:
    async with served(Choir(), **KEYED) as server:
        for headers in (*KUGEL, *ELEVEN):
            assert is_kugels(await server.http.get("/kugelaudio" + path, headers=headers))
            assert not is_kugels(await server.http.get("/11labs" + path, headers=headers))


async def test_without_any_header_it_is_elevenlabs() -> None:
    async with served(Choir()) as server:
        assert not is_kugels(await server.http.get("/v1/voices"))
        assert is_kugels(await server.http.get("/v1/voices", headers=SDK))


async def test_below_11labs_stands_all_of_elevenlabs() -> None:
    async with served() as server:
        answer = await server.http.post(
            "/11labs/v1/text-to-speech/alice", json={"text": "Hi."}, params={"output_format": "pcm_8000"}
        )
        assert len(answer.content) == 480
        for path in ("/11labs/health", "/11labs/v1/user", "/kugelaudio/health", "/kugelaudio/ready"):
            assert (await server.http.get(path)).status_code == 200
        for path in (
            "/11labs/v1/tts/generate",
            "/kugelaudio/v1/text-to-speech/alice",
            "/11labs/v1/normalize",
        ):
            assert (await server.http.post(path, json={"text": "Hi.", "voice_id": 1})).status_code in (
                404,
                405,
            )


# --- what there is -----------------------------------------------------------------------------------


async def test_voices_come_in_pages() -> None:
    async with served(Choir()) as server:

        async def page(**params: Any) -> dict[str, Any]:
            answer = await server.http.get("/v1/voices", params=params, headers=SDK)
            assert answer.status_code == 200
            assert answer.headers["x-request-id"]
            body: dict[str, Any] = answer.json()
            return body

        first = await page()
        assert (first["total"], first["limit"], first["offset"], len(first["voices"])) == (31, 20, 0, 20)
        rest = await page(limit=100, offset=20)
        names = [voice["mux_voice"] for voice in first["voices"] + rest["voices"]]
        assert names == [*map(str.lower, NAMES), "alice"]
        assert (await page(offset=1000))["voices"] == []
        assert [voice["name"] for voice in (await page(language="de"))["voices"]] == ["Alice"]
        assert (await page(language="EN"))["total"] == 30
        assert (await page(language="e"))["total"] == 0
        assert (await page(include_public="true", limit=1))["voices"][0]["id"] == number_of("voice 0")


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": 101}, {"limit": "x"}, {"offset": -1}, {"offset": "1e9"}]
)
async def test_a_wrong_page_is_refused_by_name(query: dict[str, Any]) -> None:
    async with served(Choir()) as server:
        answer = await server.http.get("/v1/voices", params=query, headers=SDK)
        check_error(answer, 400, "VALIDATION_ERROR", *query)


async def test_one_voice_by_number_or_name() -> None:
    async with served(Choir()) as server:
        for id in (number_of("alice"), "alice"):
            voice = (await server.http.get(f"/v1/voices/{id}", headers=SDK)).json()
            assert (voice["id"], voice["name"], voice["supported_languages"]) == (
                number_of("alice"),
                "Alice",
                ["de"],
            )
        for id in (1, "bob", "%2e%2e"):
            check_error(await server.http.get(f"/kugelaudio/v1/voices/{id}"), 404, "NOT_FOUND")


async def test_a_listed_number_is_spoken_in_its_voice() -> None:
    engine = Choir()
    async with served(engine) as server:
        await server.http.post("/v1/tts/generate", json={"text": "Hi.", "voice_id": number_of("alice")})
        assert engine.jobs[-1].voice == "alice"


async def test_models() -> None:
    async with served() as server:
        models = (await server.http.get("/v1/models", headers=SDK)).json()["models"]
        assert [model["id"] for model in models] == ["kugel-3.5", "kugel-3"]
        for model in models:
            assert {"id", "model_id", "name", "description", "parameters"} < set(model)
            assert (model["sample_rate"], model["max_input_length"]) == (24000, 10_000)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/kugelaudio/v1/voices"),
        ("GET", "/kugelaudio/v1/voices/1"),
        ("GET", "/kugelaudio/v1/models"),
        ("POST", "/v1/normalize"),
        ("POST", "/v1/tts/generate"),
        ("POST", "/predict"),
    ],
)
async def test_everything_asks_for_a_key(method: str, path: str) -> None:
    async with served(**KEYED) as server:
        body = {"text": "Hi.", "voice_id": 1} if method == "POST" else None
        for headers in ({}, {"x-api-key": "wr0ng"}):
            check_error(
                await server.http.request(method, path, json=body, headers=headers), 401, "UNAUTHORIZED"
            )
        good = await server.http.request(method, path, json=body, headers={"x-api-key": "sesame"})
        assert good.status_code == (404 if path.endswith("/1") else 200)


async def test_normalisation() -> None:
    async with served() as server:
        answer = await server.http.post("/v1/normalize", json={"text": "It costs $5.", "language": "en"})
        body = answer.json()
        assert set(body) == {"text", "language", "time_ms"}
        assert body["text"] == "It costs 5 dollars."
        assert body["language"] == "en"
        assert body["time_ms"] >= 0
        for wrong in ('{"text": 5}', "{", "[]", "{}", "[" * 60_000):
            answer = await server.http.post("/v1/normalize", content=wrong)
            check_error(answer, 422, "VALIDATION_ERROR")
        assert (await server.http.post("/v1/normalize", content="x" * 100_000)).status_code in (400, 413, 422)


@pytest.mark.parametrize("path", ["/health", "/ready"])
async def test_health(path: str) -> None:
    async with served() as server:
        assert (await server.http.get(path)).status_code == 200
        server.service.start_draining()
        assert (await server.http.get(path)).status_code == 503


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/voices"),
        ("PATCH", "/v1/voices/1"),
        ("DELETE", "/v1/voices/1"),
        ("GET", "/v1/dictionaries"),
        ("GET", "/v1/tts/generate"),
        ("POST", "/v1/audio/transcriptions"),
    ],
)
async def test_what_is_not_served_has_the_vendors_error_for_its_sdk(method: str, path: str) -> None:
    async with served() as server:
        answer = await server.http.request(method, path, headers=SDK)
        status, code = (405, "VALIDATION_ERROR") if "allow" in answer.headers else (404, "NOT_FOUND")
        check_error(answer, status, code)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/kugelaudio/v1/tts/generate", 405, "VALIDATION_ERROR"),
        ("DELETE", "/kugelaudio/v1/voices/1", 405, "VALIDATION_ERROR"),
        ("GET", "/kugelaudio/v1/nothing", 404, "NOT_FOUND"),
        ("POST", "/kugelaudio/v1/text-to-speech/alice", 404, "NOT_FOUND"),
        ("GET", "/v1/tts/generate", 405, "VALIDATION_ERROR"),
        ("GET", "/v1/normalize", 405, "VALIDATION_ERROR"),
        ("GET", "/predict", 405, "VALIDATION_ERROR"),
        ("GET", "/v1/dictionaries", 404, "NOT_FOUND"),
        ("GET", "/ws/tts", 404, "NOT_FOUND"),
    ],
)
async def test_what_is_not_served_has_the_vendors_error_on_its_paths(
    method: str, path: str, status: int, code: str
) -> None:
    async with served() as server:
        check_error(await server.http.request(method, path), status, code)


@pytest.mark.parametrize("path", ["/v1/nothing", "/11labs/v1/nothing", "/11labs/v1/tts/generate"])
async def test_elsewhere_it_is_elevenlabs(path: str) -> None:
    async with served() as server:
        answer = await server.http.get(path)
        assert answer.status_code == 404
        assert answer.json()["detail"]["code"] == "not_found"


# --- speech ------------------------------------------------------------------------------------------


async def generate(server: Served, path: str = GENERATE[0], **body: Any) -> httpx.Response:
    return await server.http.post(path, json={"text": "Hello there.", "voice_id": 1071, **body})


@pytest.mark.parametrize("path", GENERATE)
async def test_speech_as_the_answer_to_a_request(path: str) -> None:
    async with served() as server:
        answer = await generate(server, path)
        assert answer.status_code == 200
        assert answer.headers["x-sample-rate"] == "24000"
        assert answer.headers["x-audio-format"] == "pcm_s16le"
        assert answer.headers["x-kugelaudio-ai-generated"] == "true"
        assert answer.headers["x-request-id"]
        assert len(answer.content) == 2 * 240 * 12
        await server.nobody_speaks()


@pytest.mark.parametrize(
    ("fields", "rate", "encoding", "size"),
    [
        ({"sample_rate": 8000}, 8000, "pcm_s16le", 2),
        ({"output_format": "pcm_22050"}, 22050, "pcm_s16le", 2),
        ({"output_format": "ulaw_8000", "sample_rate": 24000}, 8000, "mulaw", 1),
        ({"output_format": "alaw_8000"}, 8000, "alaw", 1),
    ],
)
async def test_formats_over_http(fields: dict[str, Any], rate: int, encoding: str, size: int) -> None:
    async with served() as server:
        answer = await generate(server, **fields)
        assert (answer.headers["x-sample-rate"], answer.headers["x-audio-format"]) == (str(rate), encoding)
        assert len(answer.content) / size / rate == pytest.approx(0.12, abs=0.001)


async def test_everything_that_the_schema_has_is_accepted() -> None:
    async with served() as server:
        more = {
            "model_id": "kugel-3",
            "cfg_scale": 2.0,
            "temperature": 0.4,
            "max_new_tokens": 2048,
            "speed": 1.0,
        }
        more |= {
            "language": "en",
            "normalize": True,
            "project_id": None,
            "dictionary_ids": [],
            "speaker_prefix": True,
        }
        assert (await generate(server, **more)).status_code == 200


@pytest.mark.parametrize(
    ("fields", "status", "code", "word"),
    [
        ({"word_timestamps": True}, 422, "VALIDATION_ERROR", "word_timestamps"),
        ({"frobnicate": 1}, 422, "VALIDATION_ERROR", "frobnicate"),
        ({"text": ""}, 422, "VALIDATION_ERROR", "text"),
        ({"text": "  "}, 422, "VALIDATION_ERROR", "blank"),
        ({"text": "x" * 10_001}, 422, "VALIDATION_ERROR", "text"),
        ({"text": 5}, 422, "VALIDATION_ERROR", "text"),
        ({"voice_id": None}, 400, "MISSING_VOICE_ID", "voice_id"),
        ({"voice_id": "nobody"}, 404, "NOT_FOUND", "nobody"),
        ({"language": "tlh"}, 400, "VALIDATION_ERROR", "Klingon"),
        ({"temperature": 1.5}, 422, "VALIDATION_ERROR", "temperature"),
        ({"speed": 2}, 422, "VALIDATION_ERROR", "speed"),
        ({"output_format": "mp3_44100_128"}, 422, "VALIDATION_ERROR", "output_format"),
        ({"output_format": "ulaw_8000", "sample_rate": 16000}, 422, "VALIDATION_ERROR", "sample_rate"),
    ],
)
async def test_a_wrong_request_is_refused_by_name(
    fields: dict[str, Any], status: int, code: str, word: str
) -> None:
    async with served() as server:
        check_error(await generate(server, **fields), status, code, word)


async def test_a_body_that_is_none() -> None:
    async with served() as server:
        for content in (b"", b"{", b"[]", b"\xff", b"[" * 200_000):
            check_error(await server.http.post(GENERATE[0], content=content), 422, "VALIDATION_ERROR")


async def test_an_engine_that_fails_before_it_spoke() -> None:
    async with served(WatchedEngine(fails_after=0)) as server:
        check_error(await generate(server), 502, "INTERNAL_ERROR")


async def test_a_server_that_is_restarted_or_full_says_when_to_come_again() -> None:
    async with served() as server:
        server.service.start_draining()
        answer = await generate(server)
        check_error(answer, 503, "MODEL_UNAVAILABLE")
        assert answer.headers["retry-after"] == "1"
