"""Everything that a socket waits for has an end: quiet contexts, clients that do not read, missing keys."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from wire import PCM, Wire, all_in_one, quick, say_alone

from mux.config import Settings
from mux.links.memory import MemoryTransport
from mux.server.socket import CUT_OFF_SECONDS, SEND_SECONDS
from mux.testing import memory_server

pytestmark = pytest.mark.anyio
KEYED = Settings(engine="tone", api_keys=("sesame",), authentication_timeout=10)


# --- timers ------------------------------------------------------------------------------------------


@pytest.mark.virtual_time
async def test_an_idle_context_ends_alone_and_keepalives_prevent_it() -> None:
    engine = quick()
    async with memory_server(engine) as server:
        client = Wire(server.open(**PCM, inactivity_timeout="7"))
        begun = anyio.current_time()
        await client.say(
            {"text": "Never flushed. ", "context_id": "idle"}, {"text": "Kept. ", "context_id": "kept"}
        )
        for _ in range(3):
            await client.for_a_while(4)
            await client.say({"text": "", "context_id": "kept"})
        final = await client.final("idle")
        assert final["mux"]["reason"] == "timed_out"
        assert client.errors("idle") == ["input_timeout_exceeded"]
        assert client.audio("idle") == await say_alone(engine, "Never flushed. ")
        assert client.times[client.frames.index(final)] - begun == pytest.approx(7, abs=0.1)
        assert client.of("kept") == []
        final = await client.final("kept")
        assert client.times[-1] - begun == pytest.approx(12 + 7, abs=0.1)


@pytest.mark.virtual_time
async def test_nothing_expires_while_an_engine_is_at_work() -> None:
    engine = quick(delay=60)
    async with memory_server(engine) as server:
        client = Wire(server.open(**PCM, inactivity_timeout="2"))
        await client.say({"text": "Slow. ", "context_id": "a", "flush": True})
        await client.read_until(lambda frame: bool(frame.get("audio")))
        final = await client.final("a")
        assert client.audio("a") == await say_alone(engine, "Slow. ")
        assert final["mux"]["reason"] == "timed_out"


@pytest.mark.virtual_time
async def test_a_timeout_out_of_range_is_clamped_and_said_so() -> None:
    async with memory_server(quick()) as server:
        client = Wire(server.open(**PCM, inactivity_timeout="500"))
        begun = anyio.current_time()
        await client.say({"text": "Hm. ", "context_id": "a"})
        warning = await client.read_until(lambda frame: "warning" in frame)
        assert warning["warning"]["code"] == "setting_clamped"
        await client.final("a")
        assert anyio.current_time() - begun == pytest.approx(180, abs=0.1)


# --- clients that do not read ------------------------------------------------------------------------


@pytest.mark.virtual_time
async def test_a_client_that_never_reads_is_cut_off_and_nobody_else_notices() -> None:
    engine = quick(character_seconds=0.05)
    async with memory_server(engine) as server:
        deaf, other = Wire(server.open(**PCM)), Wire(server.open(**PCM))
        begun = anyio.current_time()
        for number in range(5):
            await deaf.say(
                {"text": "Nobody listens to this. " * 30, "context_id": f"d{number}", "flush": True}
            )
        for number in range(100):
            await other.say(all_in_one(f"o{number}", "But this is heard."))
            await other.final(f"o{number}")
            assert other.audio(f"o{number}") == await say_alone(engine, "But this is heard.")
            await anyio.sleep(SEND_SECONDS / 50)
            if server.service.sockets == 1:
                break
        assert SEND_SECONDS <= anyio.current_time() - begun <= SEND_SECONDS + CUT_OFF_SECONDS + 1
        assert server.service.contexts == 0
        ending = await deaf.to_the_end(1)
        assert ending.code == 1006, "a frame was cut short, so no close frame can follow"
        assert 65536 <= len(deaf.audio("d0")) * 4 // 3 + 200_000 < 1_000_000


@pytest.mark.virtual_time
async def test_a_client_that_reads_slowly_is_served() -> None:
    engine = quick(character_seconds=0.05)
    text = "Slowly but surely. " * 20
    async with memory_server(engine) as server:
        client = Wire(server.open(**PCM))
        await client.say(all_in_one("a", text))
        while not (client.frames and client.frames[-1].get("isFinal")):
            await client.read_until(lambda frame: True)
            await anyio.sleep(SEND_SECONDS / 4)
        assert len(client.audio("a")) == len(text) * 800


@pytest.mark.virtual_time
async def test_closing_the_socket_of_a_client_that_does_not_read_has_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never(transport: MemoryTransport, code: int = 1000, reason: str = "") -> None:
        await anyio.sleep_forever()  # what an ASGI server's close does while its buffer is full

    async with memory_server(quick()) as server:
        client = Wire(server.open(**PCM))
        await client.say(all_in_one("a", "Bye."))
        await client.final("a")
        with monkeypatch.context() as patch:
            patch.setattr(MemoryTransport, "aclose", never)
            await client.say({"close_socket": True})
            await anyio.sleep(SEND_SECONDS + 1)
            assert server.service.sockets == 0


# --- keys in messages --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["xi_api_key", "xi-api-key", "authorization"])
async def test_a_key_in_the_first_message_opens_the_socket(name: str) -> None:
    engine = quick()
    async with memory_server(engine, KEYED) as server:
        client = Wire(server.open(**PCM))
        await client.say({"text": " ", name: "sesame"}, all_in_one("a", "Open."))
        await client.final("a")
        assert client.audio("a") == await say_alone(engine, "Open.")


@pytest.mark.parametrize(
    "message",
    [
        {"text": " ", "xi_api_key": "wrong"},
        {"text": " ", "xi_api_key": "wrong", "voice_settings": {"stability": 0.5}},
        {"text": "Hello. ", "context_id": "a", "flush": True, "xi_api_key": "wrong"},
        {"close_socket": True, "xi_api_key": "wrong"},
    ],
)
@pytest.mark.parametrize("more", [[], [all_in_one("b", "Me too.")], ["nonsense", {"text": ""}]])
async def test_a_wrong_key_closes_the_socket_and_is_the_only_reason_given(
    message: dict[str, Any], more: list[Any]
) -> None:
    async with memory_server(quick(), KEYED) as server:
        client = Wire(server.open(**PCM))
        await client.say(message, *more)
        ending = await client.to_the_end(5)
        (error,) = client.frames
        assert (error["error"], error["code"]) == ("invalid_api_key", 1008)
        assert (ending.code, ending.reason) == (1008, "Invalid API key")


@pytest.mark.parametrize(
    "message", [{"text": " "}, all_in_one("a", "Hello."), "nonsense", {"close_socket": True}]
)
async def test_a_first_message_without_a_key_closes_the_socket(message: Any) -> None:
    async with memory_server(quick(), KEYED) as server:
        client = Wire(server.open(**PCM))
        await client.say(message, {"text": " ", "xi_api_key": "sesame"})
        ending = await client.to_the_end(5)
        (error,) = client.frames
        assert error["error"] == "authentication_required"
        assert ending.code == 1008
        assert len(ending.reason.encode()) <= 123


@pytest.mark.virtual_time
async def test_a_socket_without_a_key_waits_only_so_long() -> None:
    async with memory_server(quick(), KEYED) as server:
        client = Wire(server.open(**PCM))
        begun = anyio.current_time()
        ending = await client.to_the_end(60)
        assert anyio.current_time() - begun == 10
        assert client.frames[0]["mux"]["code"] == "authentication_timeout"
        assert client.frames[0]["mux"]["limit"] == 10
        assert ending.code == 1008


@pytest.mark.virtual_time
async def test_a_socket_with_a_key_outlives_that_deadline() -> None:
    async with memory_server(quick(), KEYED) as server:
        client = Wire(server.open(**PCM))
        await client.say({"text": "", "xi_api_key": "sesame"})
        assert await client.for_a_while(60) == []
        assert server.service.sockets == 1
