"""`stream-input` from the first message to the close, as its clients use it; and what a handshake refuses."""

from __future__ import annotations

import base64
from typing import Any

import anyio
import pytest
from speaking import WatchedEngine, errors, finals, heard, served, settled
from wire import PCM, Frame, Wire, quick, say_alone

from mux.config import Settings
from mux.testing import memory_server

pytestmark = pytest.mark.anyio
TEXT = "One sentence, and then a second one. "
END = {"text": ""}
SDK_INIT = {
    "text": " ",
    "try_trigger_generation": True,
    "voice_settings": None,
    "generation_config": {"chunk_length_schedule": [50]},
}


# --- clients as they are -----------------------------------------------------------------------------


async def test_the_sdk_hears_every_word_one_final_and_then_a_clean_close() -> None:
    words = [f"word{number} " for number in range(30)]
    async with served() as server, server.socket() as client:
        await client.say(SDK_INIT, *({"text": word, "try_trigger_generation": True} for word in words), END)
        await settled(client)
        said = [job.text for job in server.engine.jobs]
        assert "".join(said) == "".join(words)
        assert all(len(text) <= 60 for text in said), "its schedule is heeded"
        alone = [await say_alone(server.engine, text, "alice") for text in said]
        assert heard(client.frames) == b"".join(alone)
        assert not any("contextId" in frame for frame in client.frames)


async def test_patter_gets_its_final_without_an_end_and_may_go_on() -> None:
    async with served() as server, server.socket("auto_mode=true&inactivity_timeout=60") as client:
        await client.say({"text": " ", "voice_settings": {"stability": 0.5}}, {"text": TEXT, "flush": True})
        await client.read_until(lambda frame: bool(frame.get("isFinal")), 10)
        expected = await say_alone(server.engine, TEXT, "alice")
        assert heard(client.frames) == expected
        await client.say({"text": TEXT, "flush": True})
        await client.read_until(lambda frame: bool(frame.get("isFinal")), 10)
        assert heard(client.frames) == 2 * expected
        assert len(finals(client.frames)) == 2
        await client.say(END)
        assert (await client.to_the_end(10)).code == 1000


async def test_in_auto_mode_each_message_is_spoken_by_itself() -> None:
    async with served() as server, server.socket("auto_mode=true") as client:
        await client.say({"text": " "}, {"text": "Hel"}, {"text": "lo."}, {"text": " "}, END)
        await settled(client)
        assert [job.text for job in server.engine.jobs] == ["Hel", "lo."]


async def test_flushes_that_follow_each_other_closely_have_one_final() -> None:
    engine = WatchedEngine(held_after=1)
    async with served(engine) as server, server.socket("auto_mode=true") as client:
        await client.say(*({"text": f"Sentence {number}. ", "flush": True} for number in range(3)))
        await client.read_until(lambda frame: bool(frame.get("audio")), 10)
        engine.go.set()
        await client.read_until(lambda frame: bool(frame.get("isFinal")), 10)
        said = "".join(f"Sentence {number}. " for number in range(3))
        assert len(heard(client.frames)) == 160 * len(said)


@pytest.mark.parametrize(
    ("setting", "query", "after_flush"),
    [
        ("never", "auto_mode=true", 0),
        ("always", "", 1),
        ("auto_mode", "", 0),
        ("auto_mode", "auto_mode=true", 1),
    ],
)
async def test_a_final_after_a_flush_is_a_setting(setting: Any, query: str, after_flush: int) -> None:
    async with served(final_after_flush=setting) as server, server.socket(query) as client:
        await client.say({"text": TEXT, "flush": True})
        while len(heard(client.frames)) < 160 * len(TEXT):
            await client.read_until(lambda frame: True, 10)
        if after_flush:
            await client.read_until(lambda frame: bool(frame.get("isFinal")), 10)
        await client.say(END)
        await client.to_the_end(10)
        assert len(finals(client.frames)) == after_flush + 1


async def test_an_end_right_after_a_flush_has_one_final_only() -> None:
    async with served() as server, server.socket("auto_mode=true") as client:
        await client.say({"text": TEXT, "flush": True}, END)
        await settled(client)
        assert len(heard(client.frames)) == 160 * len(TEXT)


# --- the messages ------------------------------------------------------------------------------------


async def test_the_first_message_may_be_real_text() -> None:
    async with served() as server, server.socket() as client:
        await client.say({"text": TEXT, "voice_settings": {"speed": 1.1}}, END)
        await settled(client)
        (job,) = server.engine.jobs
        assert (job.text, job.voice, job.settings.speed) == (TEXT, "alice", 1.1)


@pytest.mark.parametrize(
    "first", [[END], [{"text": " "}, END], [{"text": " ", "flush": True}, END], [{}, END]]
)
async def test_an_end_without_any_text_is_a_final_and_a_close(first: list[Frame]) -> None:
    async with served() as server, server.socket() as client:
        await client.say(*first)
        await settled(client)
        assert len(client.frames) == 1
        assert server.engine.jobs == []


async def test_what_a_client_says_after_the_end_changes_nothing() -> None:
    engine = WatchedEngine(held_after=1)
    async with served(engine) as server, server.socket() as client:
        await client.say(
            {"text": TEXT}, END, END, {"text": " "}, "garbage", {"text": "Too late."}, {"flush": True}
        )
        await client.read_until(lambda frame: "warning" in frame, 10)
        engine.go.set()
        await settled(client)
        assert len(heard(client.frames)) == 160 * len(TEXT)


async def test_last_words_in_a_closing_message_are_spoken() -> None:
    async with served() as server, server.socket() as client:
        await client.say({"text": TEXT, "close_context": True})
        await settled(client)
        assert len(heard(client.frames)) == 160 * len(TEXT)


@pytest.mark.parametrize("settings", [{"unflushed_close": "discard"}, {"profile": "elevenlabs-strict"}])
async def test_the_end_speaks_what_waits_whatever_a_close_does(settings: Any) -> None:
    async with served(**settings) as server, server.socket() as client:
        await client.say({"text": "Not flushed. "}, END)
        await settled(client)
        assert len(heard(client.frames)) == 160 * len("Not flushed. ")


async def test_text_waits_for_the_schedule_and_a_trigger_for_fifty_characters() -> None:
    async with served() as server, server.socket() as client:
        # The error of a later message shows that the ones before had no effect.
        await client.say(
            {"text": "x" * 49, "try_trigger_generation": True}, {"text": " y" * 30}, {"flush": "?"}
        )
        await client.to_the_end(10)
        assert server.engine.jobs == []
    async with served() as server, server.socket() as client:
        await client.say({"text": "word " * 11, "try_trigger_generation": True})
        await client.read_until(lambda frame: bool(frame.get("audio")), 10)
        await client.say({"text": "more " * 35})
        while len(server.engine.jobs) < 2:
            await client.read_until(lambda frame: bool(frame.get("audio")), 10)


async def test_settings_may_be_repeated_but_not_changed_while_speaking() -> None:
    async with served() as server, server.socket("auto_mode=true") as client:
        same = {"voice_settings": {"speed": 1.1}}
        await client.say({"text": "One. ", **same}, {"text": "Two. ", **same}, {"text": "Three. "})
        while len(server.engine.jobs) < 3:
            await client.read_until(lambda frame: bool(frame.get("audio")), 10)
        assert {job.settings.speed for job in server.engine.jobs} == {1.1}
        await client.say({"text": "Four. ", "voice_settings": {"speed": 0.9}})
        ending = await client.to_the_end(10)
        assert (ending.code, errors(client.frames)) == (1008, ["voice_settings_changed"])
        assert "voice_settings cannot change" in ending.reason
        assert finals(client.frames) == []


# --- alignment ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sync", ["true", "false"])
async def test_every_audio_frame_has_its_characters(sync: str) -> None:
    async with served() as server, server.socket(f"sync_alignment={sync}&auto_mode=true") as client:
        await client.say({"text": "First sentence."}, {"text": "And the second one. "}, END)
        await settled(client)
    chars: list[str] = []
    at = 0
    for frame in client.frames[:-1]:
        assert set(frame) == {"audio", "isFinal", "alignment", "normalizedAlignment"}
        assert frame["isFinal"] is None
        alignment = frame["alignment"]
        starts, durations = alignment["charStartTimesMs"], alignment["charDurationsMs"]
        assert len(alignment["chars"]) == len(starts) == len(durations)
        assert frame["normalizedAlignment"]["chars"] == alignment["chars"]
        origin = at if sync == "true" else 0
        assert starts[0] == origin
        assert starts == sorted(starts)
        assert all(type(number) is int for number in [*starts, *durations])
        chars += alignment["chars"]
        at += len(base64.b64decode(frame["audio"])) // 16
        assert starts[-1] + durations[-1] == origin + len(base64.b64decode(frame["audio"])) // 16
    # A word ends only at a space: where a message brought none, the wire has one of no length.
    assert "".join(chars) == "First sentence. And the second one. "
    assert at == 10 * len("First sentence.And the second one. ")


# --- errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("not json", "invalid_input_message"),
        ("[]", "invalid_input_message"),
        ({"text": 5}, "invalid_input_message"),
        ({"text": " ", "voice_settings": {"stability": 2}}, "invalid_voice_settings"),
        ({"text": "x" * 300_000}, "system_busy"),
        ({"text": "Hello.", "voice_id": "nobody"}, "voice_id_does_not_exist"),
    ],
)
@pytest.mark.parametrize("before", [[], [{"text": "Begun. ", "flush": True}]])
async def test_an_error_is_told_in_a_frame_and_then_by_the_close(
    message: Frame | str, error: str, before: list[Frame]
) -> None:
    if before and "voice_id" in message:
        error = "voice_settings_changed"
    async with served() as server, server.socket() as client:
        await client.say(*before, message)
        ending = await client.to_the_end(10)
        assert errors(client.frames) == [error]
        assert client.frames[-1]["code"] == ending.code == (1013 if error == "system_busy" else 1008)
        assert client.frames[-1]["message"].startswith(ending.reason.removesuffix("..."))
        assert len(ending.reason.encode()) <= 123
        assert finals(client.frames) == []


@pytest.mark.parametrize("messages", [[{"text": TEXT, "flush": True}], [{"text": TEXT}, END]])
async def test_an_engine_that_fails_is_no_clean_close_before_or_after_the_end(messages: list[Frame]) -> None:
    engine = WatchedEngine(held_after=1, fails_after=1)
    async with served(engine) as server, server.socket() as client:
        await client.say(*messages)
        await client.read_until(lambda frame: bool(frame.get("audio")), 10)
        engine.go.set()
        ending = await client.to_the_end(10)
        assert (ending.code, errors(client.frames)) == (1011, ["engine_failed"])
        assert finals(client.frames) == []


# --- time --------------------------------------------------------------------------------------------


@pytest.mark.virtual_time
async def test_an_idle_stream_says_what_waits_and_then_names_the_timeout() -> None:
    async with memory_server(quick()) as server:
        client = Wire(server.open("stream", inactivity_timeout="30", **PCM))
        await client.say({"text": "Half a thought"})
        begun = anyio.current_time()
        ending = await client.to_the_end()
        assert anyio.current_time() - begun == pytest.approx(30, abs=0.5)
        assert (ending.code, errors(client.frames)) == (1008, ["input_timeout_exceeded"])
        assert "within the timeout of 30.0 seconds" in client.frames[-1]["message"]
        assert len(heard(client.frames)) == 160 * len("Half a thought")
        assert finals(client.frames) == []


@pytest.mark.virtual_time
@pytest.mark.parametrize("keepalive", [{"text": " "}, {"text": "", "flush": True}, {}, {"text": None}])
async def test_a_keepalive_keeps_alive_and_says_nothing(keepalive: Frame) -> None:
    async with memory_server(quick(), Settings(engine="tone", final_after_flush="never")) as server:
        client = Wire(server.open("stream", **PCM))
        await client.say({"text": " "})
        for _ in range(6):
            await anyio.sleep(15)
            await client.say(keepalive)
        await client.say({"text": "Still here."}, END)
        await settled(client)
        assert heard(client.frames) == await say_alone(quick(), "Still here.")


@pytest.mark.virtual_time
async def test_no_timeout_runs_while_speech_is_owed() -> None:
    async with memory_server(quick(delay=100)) as server:
        client = Wire(server.open("stream", auto_mode="true", **PCM))
        await client.say({"text": TEXT, "flush": True})
        await client.read_until(lambda frame: bool(frame.get("isFinal")), 200)
        assert len(heard(client.frames)) == 160 * len(TEXT)


# --- winding down ------------------------------------------------------------------------------------


@pytest.mark.virtual_time
async def test_a_stream_that_speaks_to_its_end_during_a_drain_has_not_failed() -> None:
    async with memory_server(quick(delay=2)) as server:
        speaking, waiting = Wire(server.open("stream", **PCM)), Wire(server.open("stream", **PCM))
        await speaking.say({"text": TEXT})
        await anyio.sleep(1)
        server.service.start_draining()
        # The one that has not begun has nothing to lose.
        assert (await waiting.to_the_end(1)).code == 1012
        assert waiting.frames[-1]["mux"]["code"] == "draining"
        await speaking.say(END)
        await settled(speaking)
        assert len(heard(speaking.frames)) == 160 * len(TEXT)
        with anyio.fail_after(1):
            await server.service.wait_drained()
