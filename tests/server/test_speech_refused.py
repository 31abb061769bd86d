"""`POST /v1/text-to-speech/...`: what is refused, and how."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from loopback import until
from speaking import ENDPOINTS, SPEECH, WatchedEngine, served

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_a_body_without_text_is_refused_as_fastapi_does(path: str) -> None:
    async with served() as server:
        answer = await server.post(path, {"model_id": "eleven_flash_v2_5"})
        assert answer.status_code == 422
        assert answer.json() == {
            "detail": [{"type": "missing", "loc": ["body", "text"], "msg": "Field required", "input": None}]
        }
        assert len(answer.headers["x-trace-id"]) == 16


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        (b"", ["body"]),
        (b"{nonsense", ["body"]),
        (b"[]", ["body"]),
        (b'{"text": 5}', ["body", "text"]),
        (b'{"text": "\xff"}', ["body"]),
        (b'{"text": ""}', ["body", "text"]),
        (b'{"text": " \\n"}', ["body", "text"]),
        (b'{"text": "a", "seed": -1}', ["body", "seed"]),
        (b'{"text": "a", "apply_text_normalization": "x"}', ["body", "apply_text_normalization"]),
    ],
)
async def test_a_body_that_cannot_be_read_or_said(body: bytes, loc: list[str]) -> None:
    async with served() as server:
        for path in ENDPOINTS:
            answer = await server.post(path, content=body)
            (detail,) = answer.json()["detail"]
            assert (answer.status_code, detail["loc"]) == (422, loc)
            assert set(detail) == {"type", "loc", "msg", "input"}
        assert server.engine.jobs == []


@pytest.mark.parametrize(
    ("voice", "params", "fields", "status", "code", "words"),
    [
        (
            "alice",
            {},
            {"voice_settings": {"stability": 2}},
            400,
            "invalid_setting",
            ["stability", "0.0 to 1.0"],
        ),
        ("alice", {}, {"voice_settings": [1]}, 400, "invalid_setting", ["voice_settings", "object"]),
        ("alice", {}, {"model_id": "gpt-4o"}, 400, "model_not_found", ["gpt-4o", "eleven_flash_v2_5"]),
        ("alice", {"output_format": "pcm_1"}, {}, 400, "unsupported_format", ["pcm_1", "pcm_8000"]),
        ("alice", {"language_code": "tlh"}, {}, 400, "unsupported_language", ["Klingon"]),
        ("alice", {}, {"language_code": "tlh"}, 400, "unsupported_language", ["Klingon"]),
        ("nobody", {}, {}, 404, "unknown_voice", ["nobody"]),
        ("alice", {}, {"text": "é" * 131_073}, 400, "text_too_long", ["262146"]),
        ("alice", {}, {"text": "a", "next_text": "b" * 1_100_000}, 400, "text_too_long", ["1048576"]),
    ],
)
async def test_what_cannot_be_spoken_is_refused_with_the_reason(
    voice: str, params: Any, fields: Any, status: int, code: str, words: list[str]
) -> None:
    async with served() as server:
        for path in ENDPOINTS:
            url = f"/v1/text-to-speech/{voice}{path}"
            answer = await server.http.post(url, params=params, json={"text": "Hello.", **fields})
            detail = answer.json()["detail"]
            assert (answer.status_code, detail["code"]) == (status, code)
            assert all(word in detail["message"] for word in words)
            assert detail["request_id"] == answer.headers["x-trace-id"]
        assert server.engine.jobs == []


async def test_an_answer_that_waits_in_memory_takes_less_text() -> None:
    async with served() as server:
        for path in ("", "/with-timestamps"):
            answer = await server.http.post(f"/v1/text-to-speech/alice{path}", json={"text": "é" * 20_001})
            detail = answer.json()["detail"]
            assert (answer.status_code, detail["code"]) == (400, "text_too_long")
            assert all(word in detail["message"] for word in ("40002", "40000", "/stream"))


async def test_a_text_of_the_greatest_length_is_spoken() -> None:
    engine = WatchedEngine(held_after=1)
    async with served(engine) as server:
        text = "é" * 131_072
        async with server.stream("/stream", text) as answer:
            assert answer.status_code == 200
        await server.nobody_speaks()


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_a_key_is_asked_for(path: str) -> None:
    async with served(api_keys=("sesame",)) as server:
        for headers, code in (
            ({}, "authentication_required"),
            ({"xi-api-key": "wrong"}, "invalid_api_key"),
            ({"authorization": "Bearer wrong"}, "invalid_api_key"),
        ):
            answer = await server.post(path, {}, headers=headers)  # what else is wrong does not matter yet
            detail = answer.json()["detail"]
            assert (answer.status_code, detail["type"], detail["code"]) == (401, "authentication_error", code)
        for headers in ({"xi-api-key": "sesame"}, {"authorization": "Bearer sesame"}):
            assert (await server.post(path, headers=headers)).status_code == 200
        assert (await server.post(path, params={"xi-api-key": "sesame"})).status_code == 200


async def test_a_page_of_another_origin_may_not_speak() -> None:
    async with served() as server:
        answer = await server.post("", headers={"origin": "https://evil.example"})
        assert (answer.status_code, answer.json()["detail"]["code"]) == (403, "origin_refused")


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_only_post_speaks(path: str, method: str) -> None:
    async with served() as server:
        answer = await server.http.request(method, SPEECH + path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert answer.json()["detail"]["type"] == "invalid_request"


@pytest.mark.parametrize("path", ["/strem", "/stream/with-timestamp", "/stream/x", "/multi-stream-input"])
async def test_a_path_that_is_not_there_names_those_that_are(path: str) -> None:
    async with served() as server:
        answer = await server.post(path)
        detail = answer.json()["detail"]
        assert (answer.status_code, detail["code"]) == (404, "not_found")
        assert "[/stream][/with-timestamps]" in detail["message"]


async def test_a_full_server_says_so() -> None:
    engine = WatchedEngine(held_after=0)
    async with served(engine, max_sockets=1) as server, anyio.create_task_group() as tasks:
        tasks.start_soon(server.post)
        await until(lambda: engine.speaks == 1)
        answer = await server.post()
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["detail"]["code"] == "too_many_sockets"
        engine.go.set()
