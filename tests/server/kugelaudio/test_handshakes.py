"""Who may open KugelAudio's sockets, over the real application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest
from speaking import _UPGRADE, Served, WatchedEngine, served
from talking import MULTI, REQUESTS, STREAM, VOICE, Talk, opened

from mux.links.transport import open_transport

pytestmark = pytest.mark.anyio
PATHS = [MULTI, STREAM, REQUESTS]
KEYED = {"api_keys": ("sesame", "other")}


@asynccontextmanager
async def connected(
    server: Served, path: str = MULTI, query: str = "", **headers: str
) -> AsyncIterator[Talk]:
    url = f"ws://127.0.0.1:{server.port}{path}?{query}"
    async with open_transport(url, headers=headers) as transport:
        yield Talk(transport)


async def refused(server: Served, path: str, query: str = "", **headers: str) -> httpx.Response:
    """The answer to a handshake that is refused."""
    headers = {**_UPGRADE, **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.get(f"http://127.0.0.1:{server.port}{path}?{query}", headers=headers)


def check_refusal(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status
    body = answer.json()
    assert set(body) >= {"error", "error_code", "code", "request_id"}
    assert (body["error_code"], body["code"]) == (code, status)
    assert body["request_id"] == answer.headers["x-request-id"]
    assert "sesam" not in answer.text


async def speaks(talk: Talk, path: str) -> None:
    await talk.say({"text": "In.", "context_id": "a", "flush": True, **VOICE})
    await talk.until("final")
    assert talk.audio()


@pytest.mark.parametrize("prefix", ["", "/kugelaudio"])
@pytest.mark.parametrize("path", PATHS)
async def test_a_socket_speaks(prefix: str, path: str) -> None:
    async with served() as server, connected(server, prefix + path) as talk:
        await speaks(talk, path)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("api_key=sesame&sdk=python&sdk_version=2.7.0", {}),
        ("master_key=other", {}),
        ("token=sesame", {}),
        ("", {"authorization": "Bearer sesame"}),
        ("", {"x-api-key": "sesame"}),
        ("api_key=wr0ng", {"authorization": "Bearer sesame"}),
    ],
)
async def test_a_key_is_accepted_where_the_sdks_put_it(
    path: str, query: str, headers: dict[str, str]
) -> None:
    async with served(**KEYED) as server, connected(server, path, query, **headers) as talk:
        await speaks(talk, path)


@pytest.mark.parametrize("path", [*PATHS, "/kugelaudio" + MULTI])
async def test_without_a_good_key_nobody_comes_in(path: str) -> None:
    async with served(**KEYED) as server:
        for query, headers in (
            ("", {}),
            ("api_key=sesam", {}),
            ("api_key=", {}),
            ("token=sesam", {}),
            ("master_key=sesam", {}),
            ("api_key=sesame", {"authorization": "Bearer sesam"}),
        ):
            check_refusal(await refused(server, path, query, **headers), 401, "UNAUTHORIZED")
        assert server.service.sockets == 0


async def test_a_single_use_token_opens_one_socket() -> None:
    async with served(**KEYED) as server:
        token = server.service.tokens.issue()
        async with connected(server, MULTI, f"token={token}") as talk:
            await speaks(talk, MULTI)
        check_refusal(await refused(server, MULTI, f"token={token}"), 401, "UNAUTHORIZED")


async def test_pages_of_strangers_are_refused() -> None:
    async with served() as server:
        answer = await refused(server, MULTI, origin="https://evil.example")
        check_refusal(answer, 403, "UNAUTHORIZED")


@pytest.mark.parametrize("path", PATHS)
async def test_when_all_sockets_are_taken_the_client_is_told_when_to_come_again(path: str) -> None:
    async with served(max_sockets=1) as server, connected(server) as talk:
        await talk.say(opened("a"))
        await talk.until("context_created")
        answer = await refused(server, path)
        check_refusal(answer, 503, "MODEL_UNAVAILABLE")
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["retry_after"] == 1


@pytest.mark.parametrize(
    "path", ["/ws", "/ws/tts/", "/ws/tts/other", "/ws/tts/multi/more", "/kugelaudio/ws/tts/x"]
)
async def test_where_nothing_is_there_is_404_and_a_list_of_what_is(path: str) -> None:
    async with served() as server:
        answer = await refused(server, path)
        assert answer.status_code == 404
        assert "/ws/tts/multi" in answer.text


@pytest.mark.parametrize("path", ["/ws/tts/nothing", "/kugelaudio/ws/tts/nothing", "/kugelaudio/v1/nothing"])
async def test_404_has_the_vendors_body_where_only_its_clients_come(path: str) -> None:
    async with served() as server:
        check_refusal(await refused(server, path), 404, "NOT_FOUND")


@pytest.mark.parametrize("path", ["/11labs/ws/tts/multi", "/11labs/nothing", "/11labs/v1/text-to-speech/x/y"])
async def test_404_below_elevenlabs_prefix_is_its_own(path: str) -> None:
    async with served() as server:
        answer = await refused(server, path)
        assert answer.status_code == 404
        assert answer.json()["detail"]["code"] == "not_found"


@pytest.mark.parametrize("path", PATHS)
async def test_a_server_that_is_being_restarted_closes_new_sockets_with_1013(path: str) -> None:
    """The SDKs then connect again, and replay their turn."""
    async with served() as server, connected(server) as talk:
        await talk.say({**opened("a"), "text": "Unfinished"})
        await talk.until("context_created")
        server.service.start_draining()
        async with connected(server, path) as late:
            assert (await late.to_the_end()).code == 1013
            assert late.frames == []
        await talk.say({"flush": True, "context_id": "a"})
        assert (await talk.to_the_end()).code == 1012
        assert talk.audio("a")


@pytest.mark.parametrize("path", PATHS)
async def test_an_idle_socket_is_closed_with_1012(path: str) -> None:
    async with served() as server, connected(server, path) as talk:
        await speaks(talk, path)
        if path == STREAM:
            await talk.until("session_closed")
        server.service.start_draining()
        assert (await talk.to_the_end()).code == 1012


async def test_errors_name_the_session() -> None:
    async with served(WatchedEngine()) as server, connected(server) as talk:
        await talk.say(opened("a"), "{", {"close_socket": True})
        await talk.until("session_closed")
        (started,), (error,) = talk.told("session_started"), talk.told("error")
        assert started["session_id"] == error["request_id"]


@pytest.mark.parametrize("path", PATHS)
async def test_a_client_that_leaves_at_any_moment_leaves_nothing_behind(path: str) -> None:
    engine = WatchedEngine(held_after=3)
    async with served(engine) as server:
        for number in range(2):
            async with connected(server, path) as talk:
                await talk.say({"text": "x" * 60, "context_id": "a", "flush": True, **VOICE})
                for _ in range(number):
                    await talk.read_until(lambda frame: True)
        with anyio.fail_after(3):
            await server.nobody_speaks()
