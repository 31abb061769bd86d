"""The application over real sockets, on each loop with its own server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from loopback import raw, running
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import Message, Scope
from wire import Wire, all_in_one, quick, say_alone

from mux.config import Settings
from mux.engines.tone import ToneEngine
from mux.errors import MuxError
from mux.links.transport import open_transport
from mux.server.app import PATHS, create_app
from mux.server.service import Service, start_service

pytestmark = pytest.mark.anyio
PATH = "/v1/text-to-speech/alice/multi-stream-input"
KEYED = Settings(engine="tone", api_keys=("sesame", "other"))


class Picky(ToneEngine):
    def check(self, voice: str | None, language: str | None) -> str | None:
        if voice == "nobody":
            return "There is no voice 'nobody'. Choose one of: alice."
        return "Alice speaks no Klingon. Choose one of: en." if language == "tlh" else None


@asynccontextmanager
async def served(
    settings: Settings | None = None, engine: ToneEngine | None = None
) -> AsyncIterator[tuple[int, Service]]:
    async with (
        start_service(engine or quick(), settings or Settings(engine="tone")) as service,
        running(create_app(service)) as port,
    ):
        yield port, service


@asynccontextmanager
async def opened(port: int, query: str = "", path: str = PATH, **headers: str) -> AsyncIterator[Wire]:
    url = f"ws://127.0.0.1:{port}{path}?output_format=pcm_8000{query}"
    async with open_transport(url, headers=headers) as transport:
        yield Wire(transport)


async def answer(
    port: int, target: str, *, upgrade: bool = True, **headers: str
) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON body of a plain answer."""
    headers.setdefault("host", "127.0.0.1")
    lines = [f"GET {target} HTTP/1.1", "Connection: close"]
    if upgrade:
        lines[1:] = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        lines.append("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    with anyio.fail_after(10):
        head, _, body = (await raw(port, "\r\n".join([*lines, "", ""]).encode())).partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    pairs = dict(field.lower().split(": ", 1) for field in fields)
    return int(status.split()[1]), pairs, json.loads(body)


async def test_a_socket_speaks_and_names_its_session() -> None:
    engine = quick()
    async with served(engine=engine) as (port, _), opened(port) as client:
        await client.say(all_in_one("a", "Hello over the network."), {"close_socket": True})
        ending = await client.to_the_end(10)
        assert (ending.code, ending.reason) == (1000, "")
        assert client.audio("a") == await say_alone(engine, "Hello over the network.", "alice")


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", {"xi-api-key": "sesame"}),
        ("", {"x-api-key": "other"}),
        ("", {"authorization": "Bearer sesame"}),
        ("", {"Authorization": "bearer other"}),
        ("&xi-api-key=sesame", {}),
        ("&authorization=Bearer%20sesame", {}),
        ("&api_key=other", {}),
    ],
)
async def test_a_key_is_accepted_where_clients_put_it(query: str, headers: dict[str, str]) -> None:
    async with served(KEYED) as (port, _), opened(port, query, **headers) as client:
        await client.say(all_in_one("a", "In."))
        await client.final("a")
        assert client.audio("a")


async def test_a_wrong_key_is_refused_at_the_handshake_and_never_repeated() -> None:
    async with served(KEYED) as (port, service):
        for target, headers in (
            (PATH, {"xi_api_key": "wr0ng"}),
            (PATH + "?xi-api-key=wr0ng", {}),
            (PATH, {"authorization": "Bearer wr0ng"}),
        ):
            status, fields, body = await answer(port, target, **headers)
            assert status == 401
            assert fields["content-type"] == "application/json"
            assert body["detail"] == {
                "type": "authentication_error",
                "code": "invalid_api_key",
                "message": "Invalid API key",
                "status": "invalid_api_key",
                "request_id": fields["x-trace-id"],
                "retryable": False,
            }
        assert service.sockets == 0


async def test_without_a_key_in_the_handshake_the_first_message_decides() -> None:
    async with served(KEYED) as (port, _):
        async with opened(port) as client:
            await client.say({"text": " ", "xi_api_key": "sesame"}, all_in_one("a", "In."))
            await client.final("a")
            assert client.audio("a")
        async with opened(port) as client:
            await client.say({"text": " ", "xi_api_key": "wr0ng"})
            assert (await client.to_the_end(10)).code == 1008
            assert client.frames[0]["error"] == "invalid_api_key"


async def test_without_any_keys_every_key_is_accepted() -> None:
    async with served() as (port, _), opened(port, **{"xi-api-key": "whatever"}) as client:
        await client.say(all_in_one("a", "In."))
        await client.final("a")


@pytest.mark.parametrize(
    ("target", "status", "code", "words"),
    [
        (
            PATH + "?output_format=pcm_12345",
            400,
            "unsupported_format",
            ["pcm_12345", "pcm_24000", "mp3_44100_128"],
        ),
        (PATH + "?output_format=wav_44100", 400, "unsupported_format", ["wav_44100"]),
        (PATH + "?auto_mode=maybe", 400, "invalid_parameter", ["auto_mode", "true or false", "maybe"]),
        (PATH + "?inactivity_timeout=soon", 400, "invalid_parameter", ["inactivity_timeout", "soon"]),
        (PATH.replace("alice", "nobody"), 404, "unknown_voice", ["nobody", "alice"]),
        (PATH + "?language_code=tlh", 400, "unsupported_language", ["Klingon"]),
        (
            "/v1/text-to-speech/alice/single-stream-input",
            404,
            "not_found",
            [SOCKET := "multi-stream-input", "/healthz"],
        ),
        ("/v1" + PATH, 404, "not_found", ["one /v1 too many", SOCKET]),
        ("/text-to-speech/alice/multi-stream-input", 404, "not_found", ["lacks its /v1", SOCKET]),
        ("/", 404, "not_found", [SOCKET]),
    ],
)
async def test_what_cannot_be_served_is_refused_at_the_handshake_with_the_reason(
    target: str, status: int, code: str, words: list[str]
) -> None:
    async with served(engine=Picky(8000, 0.01)) as (port, service):
        got, fields, body = await answer(port, target)
        detail = body["detail"]
        assert (got, detail["code"], detail["request_id"]) == (status, code, fields["x-trace-id"])
        assert all(word in detail["message"] for word in words)
        assert service.sockets == 0


async def test_an_unknown_page_gets_the_same_answer() -> None:
    async with served() as (port, _):
        status, _, body = await answer(port, "/v1/nothing", upgrade=False)
        assert (status, body["detail"]["code"]) == (404, "not_found")
        assert all(path in body["detail"]["message"] for path in PATHS)


async def test_other_methods_get_json_too() -> None:
    async with served() as (port, _):
        request = b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        head, _, body = (await raw(port, request)).partition(b"\r\n\r\n")
        assert head.split()[1] == b"405"
        assert json.loads(body)["detail"]["type"] == "invalid_request"


async def test_origins() -> None:
    settings = Settings(engine="tone", allowed_origins=("https://app.example.com",))
    async with served(settings) as (port, _):
        for origin in ("https://evil.example", "http://app.example.com", "null"):
            status, _, body = await answer(port, PATH, origin=origin)
            assert (status, body["detail"]["code"]) == (403, "origin_refused")
        for origin in ("https://app.example.com", f"http://127.0.0.1:{port}"):
            async with opened(port, Origin=origin) as client:
                await client.say(all_in_one("a", "In."))
                await client.final("a")
        # The page's own name points to this machine now, so that both headers say the same.
        rebound = f"evil.example:{port}"
        status, _, body = await answer(port, PATH, host=rebound, origin=f"http://{rebound}")
        assert (status, body["detail"]["code"]) == (403, "origin_refused")


async def test_too_many_sockets() -> None:
    async with served(Settings(engine="tone", max_sockets=1)) as (port, _), opened(port) as client:
        await client.say({"text": ""}, all_in_one("a", "In."))
        await client.final("a")
        status, fields, body = await answer(port, PATH)
        assert (status, body["detail"]["code"], body["detail"]["retryable"]) == (
            503,
            "too_many_sockets",
            True,
        )
        assert fields["retry-after"] == "1"


async def test_hello_only_for_those_who_ask() -> None:
    async with served() as (port, _):
        async with opened(port, "&mux_hello=true&inactivity_timeout=333") as client:
            hello = await client.read_until(lambda frame: True, 5)
            assert hello["mux_hello"]["contexts"] == 20
            assert hello["mux_hello"]["inactivity_timeout"] == 180
            assert len(hello["mux_hello"]["session_id"]) == 16
        async with opened(port) as client:
            await client.say(all_in_one("a", "In."))
            assert "audio" in await client.read_until(lambda frame: True, 5)


async def test_health_and_draining() -> None:
    async with served() as (port, service), opened(port) as client:
        await client.say({"text": "Hm. ", "context_id": "a"}, {"text": "x", "context_id": "b", "flush": True})
        await client.read_until(lambda frame: True)
        assert await answer(port, "/healthz", upgrade=False) == (
            200,
            (await answer(port, "/healthz", upgrade=False))[1],
            {"status": "ok", "sockets": 1, "contexts": 2},
        )
        service.start_draining()
        status, _, body = await answer(port, "/healthz", upgrade=False)
        assert (status, body["status"]) == (503, "draining")
        status, fields, body = await answer(port, PATH)
        assert (status, body["detail"]["code"], fields["retry-after"]) == (503, "draining", "1")
        await client.say(
            {"context_id": "a", "close_context": True}, {"context_id": "b", "close_context": True}
        )
        ending = await client.to_the_end(10)
        assert ending.code == 1012
        assert client.audio("a")


async def test_a_client_that_leaves_at_any_moment_leaves_nothing_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served(engine=quick(chunk_delay=0.005)) as (port, service):
        for number in range(8):
            async with opened(port, "&mux_hello=true") as client:
                await client.say(
                    {"text": "Some words that take a moment. ", "context_id": "a", "flush": True}
                )
                for _ in range(number):
                    await client.read_until(lambda frame: True)
        with anyio.fail_after(5):
            while service.sockets:  # noqa: ASYNC110 - sockets tell nobody
                await anyio.sleep(0.01)
        assert service.contexts == 0
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


async def test_the_application_can_be_mounted_in_another_one() -> None:
    async with start_service(quick(), Settings(engine="tone")) as service:
        outer = Starlette(routes=[Mount("/speech", create_app(service))])
        async with running(outer) as port, opened(port, path="/speech" + PATH) as client:
            await client.say(all_in_one("a", "In."))
            await client.final("a")
            assert client.audio("a")


# --- without our servers -----------------------------------------------------------------------------


def scope(**more: Any) -> Scope:
    return {"type": "websocket", "path": PATH, "query_string": b"auto_mode=maybe", "headers": [], **more}


@pytest.fixture
def said() -> list[Message]:
    return []


async def test_a_server_that_cannot_deny_with_a_body_is_told_to_close(said: list[Message]) -> None:
    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        said.append(message)

    async with start_service(quick(), Settings(engine="tone")) as service:
        await create_app(service)(scope(extensions={}), receive, send)
    (close,) = said
    assert (close["type"], close["code"]) == ("websocket.close", 1008)
    assert "auto_mode" in close["reason"]


async def test_a_client_that_has_gone_before_hello_is_no_failure(said: list[Message]) -> None:
    messages = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1006}]

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        said.append(message)
        if message["type"] != "websocket.accept":
            raise OSError("gone")

    async with start_service(quick(), Settings(engine="tone")) as service:
        await create_app(service)(scope(query_string=b"mux_hello=true"), receive, send)
        assert service.sockets == 0
    assert [message["type"] for message in said] == ["websocket.accept", "websocket.send"]


async def test_a_client_library_learns_the_reason_of_a_refusal() -> None:
    async with served(KEYED) as (port, _):
        with pytest.raises(MuxError) as caught:
            async with opened(port, **{"xi-api-key": "wr0ng"}):
                pass
        assert caught.value.code == "invalid_api_key"
