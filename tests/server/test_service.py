"""What the sockets of one process share: the door, the drain, the log, and nothing else."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from wire import PCM, Wire, all_in_one, quick, say_alone

from mux.audio.formats import parse_format
from mux.config import Settings
from mux.dialects.elevenlabs import ElevenLabsServer
from mux.errors import MuxError
from mux.links.memory import memory_pair
from mux.protocol.messages import Event
from mux.protocol.voice import ContextSettings
from mux.server.service import start_service
from mux.tasks import owned_tasks
from mux.testing import MemoryServer, memory_server

pytestmark = pytest.mark.anyio
SECRET_TEXT = "The password is swordfish. "
KEY = "sk-very-secret-key"


# --- draining ----------------------------------------------------------------------------------------


@pytest.mark.virtual_time
async def test_a_drain_lets_speech_finish_refuses_new_contexts_and_closes_with_1012() -> None:
    engine = quick(delay=2)
    async with memory_server(engine) as server, anyio.create_task_group() as tasks:
        busy, idle = Wire(server.open(**PCM)), Wire(server.open(**PCM))
        await busy.say({"text": "Almost done. ", "context_id": "a"})
        await anyio.sleep(0.1)
        server.service.start_draining()
        server.service.start_draining()
        drained = anyio.Event()

        async def wait() -> None:
            await server.service.wait_drained()
            drained.set()

        tasks.start_soon(wait)
        assert (await idle.to_the_end(1)).code == 1012
        assert idle.frames[-1]["mux"]["code"] == "draining"
        await busy.say(all_in_one("b", "Me too."))
        await busy.final("b")
        assert busy.frames[0]["mux"] == {
            "code": "draining",
            "retryable": True,
            "retry_after_ms": 1000,
            "session_id": busy.frames[0]["mux"]["session_id"],
        }
        await anyio.sleep(5)
        assert not drained.is_set()
        await busy.say({"text": "Really. ", "context_id": "a"}, {"context_id": "a", "close_context": True})
        ending = await busy.to_the_end()
        assert (ending.code, busy.errors("a")) == (1012, [])
        assert busy.audio("a") == await say_alone(engine, "Almost done. Really. ")
        await anyio.sleep(0.1)
        assert drained.is_set()
        assert server.service.sockets == 0


@pytest.mark.virtual_time
async def test_a_socket_that_was_let_in_just_before_a_drain_is_told_too() -> None:
    async with memory_server(quick()) as server:
        client = Wire(server.open(**PCM))
        server.service.start_draining()
        assert (await client.to_the_end(1)).code == 1012
        with anyio.fail_after(1):
            await server.service.wait_drained()


@pytest.mark.virtual_time
async def test_what_is_left_after_the_drain_is_closed_and_told_why() -> None:
    async with memory_server(quick(delay=100)) as server, anyio.create_task_group() as tasks:
        client = Wire(server.open(**PCM))
        await client.say({"text": "Endless. ", "context_id": "a", "flush": True})
        await anyio.sleep(1)
        server.service.start_draining()
        with anyio.move_on_after(3) as patience:
            await server.service.wait_drained()
        assert patience.cancelled_caught
        tasks.start_soon(server.service.close_all)
        ending = await client.to_the_end(2)
        assert ending.code == 1012
        final = await client.final("a")
        assert final["mux"]["reason"] == "socket_closed"
        assert client.errors("a") == ["system_busy"]
        assert client.frames[-1]["mux"]["code"] == "draining"
    assert server.service.sockets == 0


async def test_while_draining_the_door_is_shut() -> None:
    async with memory_server(quick()) as server:
        server.service.admit()
        server.service.start_draining()
        with pytest.raises(MuxError) as caught:
            server.service.admit()
        assert (caught.value.code, caught.value.retryable) == ("draining", True)
        await server.service.wait_drained()
        await server.service.close_all()


async def test_the_number_of_sockets_is_bounded() -> None:
    async with memory_server(quick(), Settings(engine="tone", max_sockets=2)) as server:
        clients = [Wire(server.open(**PCM)) for _ in range(2)]
        for client in clients:
            await client.say(all_in_one("a", "Hello."))
            await client.final("a")
        with pytest.raises(MuxError, match="max_sockets") as caught:
            server.service.admit()
        assert (caught.value.code, caught.value.problem.limit) == ("too_many_sockets", 2)
        await clients[0].say({"close_socket": True})
        await clients[0].to_the_end(1)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        server.service.admit()


# --- bugs --------------------------------------------------------------------------------------------


class BrokenDialect(ElevenLabsServer):
    def event(self, event: Event) -> list[str]:
        if getattr(event, "context", None) == "trigger":
            raise LookupError("a bug in the server")
        return super().event(event)

    def decode(self, data: str | bytes) -> Any:
        if "reader" in str(data):
            raise LookupError("a bug in the reader")
        return super().decode(data)


@pytest.mark.parametrize(
    "message", [{"text": "x", "context_id": "trigger", "flush": True}, {"text": "reader"}]
)
async def test_a_bug_costs_one_socket_which_is_told(
    message: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    engine = quick()
    async with start_service(engine, Settings(engine="tone")) as service, owned_tasks() as tasks:
        neighbour = Wire(MemoryServer(service, tasks).open(**PCM))
        await neighbour.say({"text": "I am fine. ", "context_id": "n"})
        ours, theirs = memory_pair()

        async def serve() -> None:
            await service.serve_socket(
                theirs,
                "0123abcd",
                BrokenDialect(session_id="0123abcd"),
                ContextSettings(),
                parse_format("pcm_8000"),
                authenticated=True,
            )

        tasks.start_soon(serve)
        client = Wire(ours)
        await client.say({"text": "Innocent. ", "context_id": "i"}, message)
        ending = await client.to_the_end(5)
        assert ending.code == 1011
        assert "0123abcd" in ending.reason
        assert client.frames[-1]["error"] == "internal_error"
        assert client.frames[-1]["mux"]["session_id"] == "0123abcd"
        assert service.sockets == 1
        await neighbour.say({"context_id": "n", "flush": True}, {"context_id": "n", "close_context": True})
        await neighbour.final("n")
        assert neighbour.audio("n") == await say_alone(engine, "I am fine. ")
    (failure,) = [record for record in caplog.records if record.getMessage() == "socket_failed"]
    assert failure.exc_info


# --- the log -----------------------------------------------------------------------------------------


async def test_the_log_tells_every_end_with_its_usage_and_never_text_or_keys(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with memory_server(quick(), Settings(engine="tone", api_keys=(KEY,))) as server:
        client = Wire(server.open(**PCM))
        await client.say(
            {"text": " ", "xi_api_key": KEY},
            all_in_one("said", SECRET_TEXT),
            {"text": SECRET_TEXT, "context_id": "bad", "voice_settings": {"speed": SECRET_TEXT}},
            {"text": SECRET_TEXT, "context_id": "dropped"},
        )
        await client.final("said", "bad")
        await client.transport.aclose()
        thief = Wire(server.open(**PCM))
        await thief.say({"text": SECRET_TEXT, "xi_api_key": KEY + "-not"})
        await thief.to_the_end(5)
    ends = {
        record.__dict__["context"]: record.__dict__
        for record in caplog.records
        if record.getMessage() == "context_closed"
    }
    assert {id: end["reason"] for id, end in ends.items()} == {
        "said": "completed",
        "bad": "failed",
        "dropped": "socket_closed",
    }
    assert ends["said"]["characters"] == len(SECRET_TEXT)
    assert ends["said"]["audio_sent_ms"] == 10 * len(SECRET_TEXT)
    assert ends["bad"]["code"] == "invalid_setting"
    logged = " ".join(str(record.__dict__) for record in caplog.records)
    assert "socket_opened" in logged
    assert "refused" in logged
    assert "swordfish" not in logged
    assert KEY not in logged


# --- the frame around it -----------------------------------------------------------------------------


async def test_what_the_block_raises_comes_out_as_it_is() -> None:
    async def fail() -> None:
        async with start_service(quick(), Settings(engine="tone")):
            raise MuxError.of("timed_out", "Mine.")

    with pytest.raises(MuxError, match="Mine"):
        await fail()


async def test_leaving_the_block_stops_everything_in_mid_speech() -> None:
    async with memory_server(quick(delay=1000)) as server:
        client = Wire(server.open(**PCM))
        for number in range(5):
            await client.say({"text": "Hm. ", "context_id": f"a{number}", "flush": True})
        service = server.service
        while service.contexts < 5:
            await anyio.lowlevel.checkpoint()
    assert (service.sockets, service.contexts) == (0, 0)
