"""Dialogue sockets, end to end."""

from __future__ import annotations

import base64
import json

import pytest

from mux.cli.local import local_server
from mux.config import Settings
from mux.links.transport import Disconnected, open_transport

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("single", [False, True])
async def test_two_voices_talk_in_one_context(single: bool) -> None:
    id = {} if single else {"context_id": "d"}
    path = "stream-input" if single else "multi-stream-input"
    lines = [{"text": "Hello Bob. ", "voice_id": "anne"}, {"text": "Hi. ", "voice_id": "bob"}]
    audio, said, ends = b"", "", []
    async with (
        local_server(Settings(engine="tone")) as url,
        open_transport(
            f"{url}/v1/text-to-dialogue/{path}?model_id=eleven_v3&output_format=pcm_24000"
        ) as transport,
    ):
        await transport.send(json.dumps({**id, "voices": ["anne", "bob"]}))
        await transport.send(json.dumps({**id, "inputs": lines, "flush": True}))
        await transport.send(json.dumps({"close_socket": True}))
        ending = None
        while ending is None:
            try:
                frame = json.loads(await transport.receive())
            except Disconnected as closed:
                ending = closed
            else:
                assert frame.get("context_id") == id.get("context_id")
                if frame.get("audio"):
                    assert not ends
                    audio += base64.b64decode(frame["audio"])
                    said += "".join((frame.get("alignment") or {"chars": []})["chars"])
                else:
                    ends += [key for key in ("is_final_audio_for_turn", "is_final") if frame.get(key)]
    assert ending.code == 1000
    assert ends == ["is_final_audio_for_turn", "is_final"]
    assert said == "Hello Bob. Hi. "
    assert len(audio) == len(said) * 24_000 // 20 * 2  # the tone engine: 50 ms a character


async def test_a_turn_is_whole_before_its_end_is_said() -> None:
    """The resampler holds back up to 90 ms; they belong to their turn even if the next one is at work."""
    said = ["Hello Bob. ", "Hi. "]
    lines = [{"text": text, "new_turn": number > 0} for number, text in enumerate(said)]
    turns = [b""]
    async with (
        local_server(Settings(engine="tone")) as url,
        open_transport(
            f"{url}/v1/text-to-dialogue/multi-stream-input?model_id=eleven_v3&output_format=pcm_16000"
        ) as transport,
    ):
        await transport.send(
            json.dumps({"context_id": "d", "inputs": lines, "flush": True, "close_context": True})
        )
        while not (frame := json.loads(await transport.receive())).get("is_final"):
            if frame.get("is_final_audio_for_turn"):
                turns.append(b"")
            turns[-1] += base64.b64decode(frame.get("audio") or "")
    # The tone engine: 50 ms a character.
    assert [len(turn) for turn in turns] == [len(text) * 800 * 2 for text in said] + [0]
