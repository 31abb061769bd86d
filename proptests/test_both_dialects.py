"""The same commands through either vendor's protocol give the same audio, the same ends, the same usage."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import msgspec
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from mux.engines.tone import ToneEngine
from mux.links.memory import MemoryTransport
from mux.links.transport import Disconnected
from mux.testing import MemoryServer, memory_server

VOICE = "1071"
Message = dict[str, Any]

TEXTS = ["Hello there. ", "One. Two. Three. ", "no full stop", "word " * 30, "x", "Ä é 😀. ", "終わり。"]
ids = st.sampled_from(["a", "b", "c"])
commands = st.one_of(
    st.tuples(st.just("open"), ids),
    st.tuples(st.just("text"), ids, st.sampled_from(TEXTS)),
    st.tuples(st.just("text"), ids, st.sampled_from(TEXTS)),
    st.tuples(st.just("flush"), ids),
    st.tuples(st.just("close"), ids),
    st.tuples(st.just("cancel"), ids),
)
waits = st.sampled_from([0.0, 0.0, 0.0137, 0.1173, 1.0379])
"""Odd, so that no two things happen at the same moment."""


class Heard(msgspec.Struct):
    """What a client learned of the contexts of one id: how each ended, with which usage, and what it said."""

    audio: list[bytes] = msgspec.field(default_factory=lambda: [b""])
    ends: list[Message] = msgspec.field(default_factory=list)

    def end(self, mux: Message) -> None:
        self.ends.append(mux)
        self.audio.append(b"")


class ElevenLabs:
    """How a command is said to ElevenLabs' socket, and what its frames mean."""

    def open(self, server: MemoryServer) -> MemoryTransport:
        return server.open(voice=VOICE)

    def messages(self, command: tuple[str, ...]) -> list[Message]:
        kind, id, *text = command
        settings = {"generation_config": {"chunk_length_schedule": [500]}}
        return {
            "open": [{"text": " ", "context_id": id, **settings}],
            "text": [{"text": "".join(text), "context_id": id, "flush": True, **settings}],
            "flush": [{"context_id": id, "flush": True}],
            "close": [{"context_id": id, "close_context": True}],
            "cancel": [{"context_id": id, "close_context": True, "immediate": True}],
        }[kind]

    def file(self, frame: Message, heard: dict[str, Heard]) -> None:
        assert "error" not in frame
        assert "warning" not in frame
        if frame.get("audio"):
            heard[frame["contextId"]].audio[-1] += base64.b64decode(frame["audio"])
        if frame.get("isFinal"):
            heard[frame["contextId"]].end(frame["mux"])


class KugelAudio:
    def open(self, server: MemoryServer) -> MemoryTransport:
        return server.open_kugelaudio("/ws/tts/multi")

    def messages(self, command: tuple[str, ...]) -> list[Message]:
        kind, id, *text = command
        voice = {"voice_settings": {"voice_id": int(VOICE)}}
        settings = {"chunk_length_schedule": [1000], "flush_timeout_ms": 60_000, "voice_id": int(VOICE)}
        return {
            "open": [{"text": " ", "context_id": id, **voice, **settings}],
            "text": [{"text": "".join(text), "context_id": id, "flush": True, **settings}],
            "flush": [{"context_id": id, "flush": True}],
            "close": [{"context_id": id, "close_context": True}],
            "cancel": [{"context_id": id, "close_context": True, "immediate": True}],
        }[kind]

    def file(self, frame: Message, heard: dict[str, Heard]) -> None:
        assert "error" not in frame
        assert "warning" not in frame
        if "audio" in frame:
            heard[frame["context_id"]].audio[-1] += base64.b64decode(frame["audio"])
        if "context_closed" in frame:
            heard[frame["context_id"]].end(frame["mux"])


async def perform(wire: Any, history: list[tuple[tuple[str, ...], float]], heard: dict[str, Heard]) -> None:
    async with memory_server(ToneEngine(24000, 0.002, delay=0.0011, chunk_delay=0.0301)) as server:
        client = wire.open(server)

        async def listen() -> None:
            with suppress(Disconnected):
                while True:
                    wire.file(json.loads(await client.receive()), heard)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            for command, seconds in history:
                for message in wire.messages(command):
                    await client.send(json.dumps(message))
                await anyio.sleep(seconds)
            await client.send('{"close_socket": true}')


def sensible(history: list[tuple[tuple[str, ...], float]]) -> list[tuple[tuple[str, ...], float]]:
    """Without what the two protocols mean differently by design: a second close of the same context, and what
    is said to contexts that are not open."""
    opened: set[str] = set()
    kept = []
    for command, seconds in history:
        kind, id, *_ = command
        if kind in ("open", "text"):
            if kind == "open" and id in opened:
                continue
            opened.add(id)
        elif id not in opened:
            continue
        elif kind in ("close", "cancel"):
            opened.remove(id)
        kept.append((command, seconds))
    return kept


@settings(max_examples=max(40, settings().max_examples // 2))
@given(st.lists(st.tuples(commands, waits), max_size=25))
def test_either_protocol_gives_the_same(history: list[tuple[tuple[str, ...], float]]) -> None:
    history = sensible(history)
    found = []
    for wire in (ElevenLabs(), KugelAudio()):
        heard: dict[str, Heard] = defaultdict(Heard)
        clock = trio.testing.MockClock(autojump_threshold=0)
        anyio.run(partial(perform, wire, history, heard), backend="trio", backend_options={"clock": clock})
        found.append(dict(heard))
    elevenlabs, kugelaudio = found
    assert elevenlabs == kugelaudio
    said = sum(len(command[2]) for command, _ in history if command[0] == "text")
    ends = [end for heard in kugelaudio.values() for end in heard.ends]
    assert sum(end["usage"]["characters_accepted"] for end in ends) == said
    assert all(heard.audio[-1] == b"" for heard in kugelaudio.values()), "audio after an end"
