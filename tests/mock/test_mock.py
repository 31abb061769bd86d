"""The mock without faults: who is served as whom, what is counted, how it ends."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from raw import DIALECTS, raw

from mux.errors import MuxError
from mux.links.transport import open_transport
from mux.mock import serve_mock

pytestmark = pytest.mark.anyio
HELLO = 13 * 50.0
"""How long "Hello there. " sounds, in ms."""


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_it_speaks_as_the_service_does(dialect: Any) -> None:
    async with serve_mock(dialect) as mock, raw(mock) as client:
        await client.speak("a")
        await client.ended("a")
        assert client.ms("a") == HELLO
        assert not [frame for frame in client.frames if "mux" in frame or "warning" in frame]
        assert (mock.sockets, mock.open_sockets, mock.contexts, mock.fired.total()) == (1, 1, 1, 0)
        assert mock.text("a") == " Hello there. "
        (context,) = mock.history
        assert (context.id, context.sent_ms, context.ends, context.closed) == ("a", HELLO, 1, True)


async def test_a_voice_and_a_text_give_the_same_audio_every_time(dialect: Any) -> None:
    heard = []
    for _ in range(2):
        async with serve_mock(dialect) as mock, raw(mock) as client:
            await client.speak("a")
            await client.ended("a")
            heard.append(client.audio("a"))
    assert heard[0] == heard[1]


async def test_a_sixth_context_ends_an_elevenlabs_socket_with_an_error_of_nobody() -> None:
    async with serve_mock("elevenlabs") as mock, raw(mock) as client:
        for number in range(6):
            await client.say({"text": " ", "context_id": f"c{number}"})
        ending = await client.gone()
    assert ending.code == 1008
    (error,) = client.frames
    assert error.keys() == {"message", "error", "code"}
    assert error["error"] == "max_active_conversations"
    assert ending.reason == error["message"][:120] + "..." or ending.reason == error["message"]


async def test_a_21st_context_is_refused_alone_by_kugelaudio() -> None:
    async with serve_mock("kugelaudio") as mock, raw(mock) as client:
        for number in range(21):
            await client.say(
                {"text": " ", "context_id": f"c{number}", "voice_settings": {"voice_id": "anne"}}
            )
        while not client.errors():
            await client.read()
        assert client.errors()[0]["error_code"] == "TOO_MANY_CONTEXTS"
        assert client.errors()[0]["context_id"] == "c20"
        await client.speak("c0")
        await client.ended("c0")


async def test_the_other_vendors_paths_are_not_there(dialect: Any) -> None:
    path = "/ws/tts/multi" if dialect == "elevenlabs" else "/v1/text-to-speech/v/multi-stream-input"
    async with serve_mock(dialect) as mock:
        with pytest.raises(MuxError, match=dialect) as refused:
            async with open_transport(mock.url + path):
                pass
        assert refused.value.code == "not_found"
        assert (mock.handshakes, mock.sockets) == (1, 0)


async def test_pace_is_the_speed_of_speech_times_the_factor() -> None:
    async with serve_mock("elevenlabs", pace=5) as mock, raw(mock) as client:
        began = anyio.current_time()
        await client.speak("a")
        await client.speak("b")
        await client.ended("a", "b")
        took = anyio.current_time() - began
    # The last frame of a context leaves when it is due, not when it has been heard.
    assert (HELLO - 100) / 5 / 1000 <= took < 1


async def test_kill_cuts_every_connection(dialect: Any) -> None:
    async with serve_mock(dialect, pace=1) as mock, raw(mock) as one, raw(mock) as two:
        await one.speak("a", "A long sentence that takes a while. ")
        while not one.audio("a"):
            await one.read()
        assert mock.kill() == 2
        assert (await one.gone()).code == 1006
        assert (await two.gone()).code == 1006
        assert 0 < one.ms("a") < 1700
        async with raw(mock) as client:
            await client.speak("a", "Hi. ")
            await client.ended("a")
        assert mock.sockets == 3


async def test_it_serves_sockets_without_ids() -> None:
    async with (
        serve_mock("elevenlabs") as mock,
        open_transport(f"{mock.url}/v1/text-to-speech/v/stream-input") as transport,
    ):
        for text in ('{"text": " "}', '{"text": "Hello. "}', '{"text": ""}'):
            await transport.send(text)
        await until_final(transport)
        assert mock.text("") == " Hello. "
        assert mock.history[0].ends == 1


async def until_final(transport: Any) -> None:
    with anyio.fail_after(5):
        while '"isFinal":true' not in await transport.receive():
            pass


async def test_a_port_that_is_taken_is_told() -> None:
    async with serve_mock() as mock:
        port = int(mock.url.rpartition(":")[2])
        with pytest.raises(MuxError, match="already in use"):
            async with serve_mock(port=port):
                pass
