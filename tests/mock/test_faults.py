"""Each fault by name, through real sockets: what a client meets, and that everybody else is left alone."""

from __future__ import annotations

import json
from typing import Any

import anyio
import httpx
import pytest
from raw import DIALECTS, SECONDS, Raw, raw

from mux.errors import MuxError
from mux.links.transport import open_transport
from mux.mock import FAULTS, Fault, Mock, serve_mock

pytestmark = pytest.mark.anyio
HELLO = 13 * 50.0
"""How long "Hello there. " sounds, in ms."""
UPGRADE = {
    "connection": "upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
}
PATHS = {"elevenlabs": "/v1/text-to-speech/v/multi-stream-input", "kugelaudio": "/ws/tts/multi"}


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> Any:
    return request.param


async def shake_hands(mock: Mock) -> httpx.Response:
    """The answer to a handshake that is refused."""
    url = mock.url.replace("ws", "http", 1) + PATHS[mock.scenario.dialect]
    async with httpx.AsyncClient(trust_env=False, timeout=SECONDS, headers=UPGRADE) as http:
        return await http.get(url)


async def opens(mock: Mock) -> bool:
    """Whether a healthy socket can be had now."""
    async with raw(mock) as client:
        await client.speak("well", "Hi. ")
        await client.ended("well")
        return client.ms("well") == 200


# --- at the handshake ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "status"), [("unauthorized", 401), ("forbidden", 403), ("too_many_requests", 429)]
)
async def test_a_status_instead_of_101(dialect: Any, name: str, status: int) -> None:
    async with serve_mock(dialect, [Fault(name, times=1)]) as mock:
        answer = await shake_hands(mock)
        assert answer.status_code == status
        assert answer.headers.get("retry-after") == ("1" if status == 429 else None)
        body = answer.json()
        if dialect == "elevenlabs":
            assert {"type", "code", "message", "status", "request_id"} == body["detail"].keys()
        else:
            assert body["code"] == status
            assert body["error_code"] == ("RATE_LIMITED" if status == 429 else "UNAUTHORIZED")
        assert mock.fired == {name: 1}
        assert await opens(mock)
        assert (mock.handshakes, mock.sockets) == (2, 1)


async def test_refused(dialect: Any) -> None:
    async with serve_mock(dialect, [Fault("refused", nth=1)]) as mock:
        with pytest.raises(httpx.RemoteProtocolError):
            await shake_hands(mock)
        assert await opens(mock)


async def test_slow_handshake(dialect: Any) -> None:
    async with serve_mock(dialect, [Fault("slow_handshake", seconds=0.2)]) as mock:
        began = anyio.current_time()
        assert await opens(mock)
        assert 0.2 <= anyio.current_time() - began < 2
        with pytest.raises(MuxError, match="Within"):
            async with open_transport(mock.url + PATHS[dialect], open_timeout=0.05):
                pass


async def test_turned_away(dialect: Any) -> None:
    async with serve_mock(dialect, [Fault("turned_away", times=1)]) as mock:
        async with raw(mock) as client:
            ending = await client.gone()
        assert ending.code == (1008 if dialect == "elevenlabs" else 1013)
        assert [error["error"] for error in client.frames] == (
            ["invalid_api_key"] if dialect == "elevenlabs" else []
        )
        assert await opens(mock)


# --- slots and ends ------------------------------------------------------------------------------------


async def test_slot_late_meets_the_limit_of_elevenlabs() -> None:
    async with serve_mock("elevenlabs", [Fault("slot_late", seconds=0.3)]) as mock, raw(mock) as client:
        for number in range(5):
            await client.speak(f"c{number}", "Hi. ")
        await client.speak("c5", "Hi. ")
        ending = await client.gone()
        assert ending.code == 1008
        assert client.errors()[0]["error"] == "max_active_conversations"


async def test_slot_late_ends_the_context_later(dialect: Any) -> None:
    async with serve_mock(dialect, [Fault("slot_late", seconds=0.3)]) as mock, raw(mock) as client:
        began = anyio.current_time()
        await client.speak("a")
        await client.say({"text": "Again. ", "context_id": "a", "voice_settings": {"voice_id": "anne"}})
        await client.close("a")
        await client.ended("a")
        assert anyio.current_time() - began >= 0.3
        assert client.ms("a") == HELLO  # what came after the close is another context, and waits
        with anyio.fail_after(SECONDS):
            while client.ends("a") < 2 and not client.errors():
                await client.read()
        assert mock.contexts == 2


async def test_close_overtakes_text_that_was_just_sent(dialect: Any) -> None:
    async with serve_mock(dialect, [Fault("close_overtakes")]) as mock, raw(mock) as client:
        await client.speak("a")
        await client.ended("a")
        assert client.ms("a") == 0
        assert client.errors() == []
        assert mock.text("a") == " Hello there. "
        await client.speak("b", close=False)
        while client.ms("b") < HELLO:
            await client.read()
        await client.close("b")
        await client.ended("b")
        assert mock.fired == {"close_overtakes": 1}


async def test_close_overtakes_text_in_its_own_message(dialect: Any) -> None:
    async with serve_mock(dialect, [Fault("close_overtakes")]) as mock, raw(mock) as client:
        said = {"text": "Hi. ", "context_id": "a", "voice_settings": {"voice_id": "anne"}}
        await client.say({**said, "flush": True, "close_context": True})
        await client.say(said | {"context_id": "b"}, {"context_id": "b", "close_context": True})
        await client.ended("a", "b")
        assert (client.ms("a"), client.ms("b")) == (0, 0)
        assert mock.fired == {"close_overtakes": 2}


async def test_zero_audio(dialect: Any) -> None:
    async with serve_mock(dialect, [Fault("zero_audio", nth=1)]) as mock, raw(mock) as client:
        await client.speak("a")
        await client.speak("b")
        await client.ended("a", "b")
        assert (client.ms("a"), client.ms("b")) == (0, HELLO)
        assert (client.ends("a"), client.errors()) == (1, [])


async def test_out_of_credits(dialect: Any) -> None:
    async with serve_mock(dialect, [Fault("out_of_credits", nth=2)]) as mock, raw(mock) as client:
        await client.speak("a")
        await client.ended("a")
        await client.speak("b")
        assert (await client.gone()).code == (1008 if dialect == "elevenlabs" else 4003)
        (error,) = client.errors()
        word = error["error"] if dialect == "elevenlabs" else error["error_code"]
        assert word == ("quota_exceeded" if dialect == "elevenlabs" else "INSUFFICIENT_CREDITS")
        assert not client.audio("b")


async def test_final_never(dialect: Any) -> None:
    async with serve_mock(dialect, [Fault("final_never", context="a")]) as mock, raw(mock) as client:
        await client.speak("a")
        await client.speak("b")
        await client.ended("b")
        await client.for_a_while(0.1)
        assert client.ms("a") == HELLO
        assert client.ends("a") == 0
        assert not [frame for frame in client.of("a") if frame.get("final")]


async def test_final_twice(dialect: Any) -> None:
    async with serve_mock(dialect, [Fault("final_twice")]) as mock, raw(mock) as client:
        await client.speak("a")
        await client.ended("a")
        await client.read()
        assert client.ends("a") == 2
        assert client.ms("a") == HELLO
        assert mock.history[0].ends == 2


async def test_late_frames(dialect: Any) -> None:
    async with serve_mock(dialect, [Fault("late_frames")]) as mock, raw(mock) as client:
        await client.speak("a")
        await client.ended("a")
        assert client.ms("a") == HELLO
        late = await client.read()
        assert late is not None
        assert client.id_of(late) == "a"
        assert late["audio"]


# --- in mid-word -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 1006, 1008, 1011, 1012, 1013])
async def test_the_socket_ends_in_mid_word(dialect: Any, code: int) -> None:
    fault = Fault(f"close_{code}", socket=1, nth=3, after_ms=300)
    async with serve_mock(dialect, [fault]) as mock:
        async with raw(mock) as client:
            for context in ("a", "b", "c"):
                await client.speak(context, close=False)
            ending = await client.gone()
            assert ending.code == code
            assert 300 <= client.ms("c") < 400
            assert client.errors() == []
            assert client.ends("c") == 0
        assert mock.fired == {fault.name: 1}
        async with raw(mock) as client:
            for context in ("a", "b", "c"):
                await client.speak(context)
            await client.ended("a", "b", "c")
            assert client.ms("c") == HELLO
        await until_closed(mock)


async def until_closed(mock: Mock) -> None:
    with anyio.fail_after(SECONDS):
        while mock.open_sockets:  # noqa: ASYNC110 - the server tells nobody
            await anyio.sleep(0.01)


async def test_error_without_id(dialect: Any) -> None:
    async with serve_mock(dialect, [Fault("error_without_id", context="a")]) as mock, raw(mock) as client:
        await client.speak("a")
        if dialect == "elevenlabs":
            assert (await client.gone()).code == 1008
        else:
            await client.speak("b")
            await client.ended("b")
            assert client.ends("a") == 0
        (error,) = client.errors()
        assert client.id_of(error) is None
        assert 100 <= client.ms("a") < 200


async def test_stall(dialect: Any) -> None:
    fault = Fault("stall", context="a", after_ms=200, seconds=1.5)
    async with serve_mock(dialect, [fault]) as mock, raw(mock) as client:
        began = anyio.current_time()
        await client.speak("a")
        await client.speak("b")
        await client.ended("b")
        assert 200 <= client.ms("a") < 300
        assert anyio.current_time() - began < 1.5
        await client.ended("a")
        assert anyio.current_time() - began >= 1.5
        assert client.ms("a") == HELLO


async def test_stall_ends_with_its_socket(dialect: Any) -> None:
    async with serve_mock(dialect, [Fault("stall", seconds=3600)]) as mock:
        async with raw(mock) as client:
            await client.speak("a")
            await client.read()
        await until_closed(mock)


async def test_stall_socket(dialect: Any) -> None:
    fault = Fault("stall_socket", context="a", seconds=0.3)
    async with serve_mock(dialect, [fault]) as mock, raw(mock) as client:
        await client.speak("a")
        while not client.ms("a"):
            await client.read()
        began = anyio.current_time()
        await client.speak("b")
        await client.ended("a", "b")
        assert anyio.current_time() - began >= 0.25
        assert client.ms("a") == client.ms("b") == HELLO


# --- frames --------------------------------------------------------------------------------------------


async def test_wrong_id(dialect: Any) -> None:
    async with serve_mock(dialect, [Fault("wrong_id", nth=2)]) as mock, raw(mock) as client:
        await client.speak("a")
        await client.ended("a")
        assert client.ms("a") == HELLO
        (wrong,) = client.of("a-wrong")
        assert wrong["audio"] == [frame for frame in client.of("a") if frame.get("audio")][1]["audio"]


async def test_wrong_id_instead_of_the_right_one(dialect: Any) -> None:
    async with serve_mock(dialect, [Fault("wrong_id", nth=1, instead=True)]) as mock, raw(mock) as client:
        await client.speak("a")
        await client.ended("a")
        assert client.ms("a-wrong") > 0
        assert client.ms("a") + client.ms("a-wrong") == HELLO


async def test_oversized_frame(dialect: Any) -> None:
    async with serve_mock(dialect, [Fault("oversized_frame", nth=2)]) as mock:
        async with raw(mock) as client:
            await client.speak("a")
            await client.ended("a")
            assert client.ms("a") == HELLO
        async with open_transport(mock.url + PATHS[dialect], max_message=1_000_000) as small:
            client = Raw(small, dialect == "kugelaudio")
            await client.speak("a")
            assert (await client.gone()).code == 1009


async def test_malformed_json(dialect: Any) -> None:
    async with serve_mock(dialect, [Fault("malformed_json", nth=1)]) as mock, raw(mock) as client:
        await client.speak("a")
        await client.ended("a")
        assert client.ms("a") == HELLO
        (text,) = client.unreadable
        with pytest.raises(json.JSONDecodeError):
            json.loads(text)


async def test_what_strikes_is_logged(dialect: Any, caplog: pytest.LogCaptureFixture) -> None:
    """As it is by `mux mock`; in a test nobody listens by default."""
    caplog.set_level("INFO", "mux.mock")
    async with serve_mock(dialect, [Fault("final_twice", nth=1)]) as mock, raw(mock) as client:
        await client.speak("a")
        await client.ended("a")
    (record,) = [record for record in caplog.records if record.name == "mux.mock"]
    assert (record.msg, record.__dict__["fault"], record.__dict__["socket"]) == ("fault", "final_twice", 1)


def test_every_fault_is_tested_by_its_name() -> None:
    tests = " ".join(name for name in globals() if name.startswith("test_"))
    closes = {name for name in FAULTS if name.startswith("close_1")}
    denied = {"unauthorized", "forbidden", "too_many_requests"}
    assert not [name for name in FAULTS.keys() - closes - denied if f"test_{name}" not in tests]


def test_every_fault_is_described() -> None:
    for name, kind in FAULTS.items():
        assert kind.what, name
        assert kind.shows, name
