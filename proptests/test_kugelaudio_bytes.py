"""Whatever a peer sends to KugelAudio's three sockets: documented frames come out, and never an exception."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from typing import Any, get_args

import anyio
import msgspec
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from kugelaudio_frames import check_frame

from mux.dialects.base import Decoded, Sound
from mux.dialects.kugelaudio import (
    KugelAudioRequests,
    KugelAudioServer,
    KugelAudioStream,
    VoiceNumbers,
    parse_request,
)
from mux.dialects.kugelaudio.requests import REQUEST
from mux.dialects.kugelaudio.stream import TURN
from mux.dialects.kugelaudio.wire import ClientMessage
from mux.engines.tone import ToneEngine
from mux.errors import ERRORS, MuxError
from mux.links.transport import Disconnected
from mux.protocol.limits import Limits
from mux.protocol.messages import Audio, ContextClosed, SegmentEnded, Speak, Spoken
from mux.protocol.session import Session
from mux.testing import memory_server
from mux.usage import Price

WIRES = [KugelAudioServer, KugelAudioStream, KugelAudioRequests]
wires = st.sampled_from(WIRES)
FIELDS = [*ClientMessage.__struct_fields__, "project_id", "speaker_prefix", "type"]
INNER = [
    "voice_id",
    "cfg_scale",
    "max_new_tokens",
    "speed",
    "temperature",
    "language",
    "normalize",
    "stability",
]
FLAGS = ["flush", "close_context", "immediate", "close", "end_session", "cancel", "keep_alive"]

leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(
        ["", " ", "a", "Hello there. ", "true", "0.5", "nan", "inf", "1e999", "\0", "\ud800", "é", "1071"]
    ),
    st.text(max_size=20),
    st.integers(),
    st.sampled_from(
        [0.5, 1.1, -1, 1e308, 10**400, 2**63, float("nan"), float("-inf"), [50, 120], [], [1] * 60]
    ),
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(INNER), inner, max_size=4),
    max_leaves=8,
)
likely = st.fixed_dictionaries(
    {},
    optional={
        "text": st.sampled_from(
            ["Hello there. ", " ", "", "word " * 60, "x" * 500, "<break time='1s'/>", "Hi."]
        ),
        "context_id": st.sampled_from(["a", "b", "c", "x" * 300, "", None]),
        **{name: st.sampled_from([True, False, None, "true"]) for name in FLAGS},
        "voice_id": st.sampled_from([1, 1, 1, "v", "nobody", "", None, 10**30]),
        "voice_settings": st.sampled_from(
            [None, {}, {"voice_id": 2}, {"voice_id": "nobody"}, {"cfg_scale": 90}, 5]
        ),
        "update_settings": st.sampled_from(
            [
                None,
                {},
                {"speed": 1.1},
                {"max_new_tokens": 5},
                {"language": ""},
                {"voice_id": 1},
                {"speed": None},
                5,
            ]
        ),
        "output_format": st.sampled_from(["pcm_24000", "ulaw_8000", "mp3", None]),
        "sample_rate": st.sampled_from([24000, 8000, 1, "8000", None]),
        "word_timestamps": st.booleans(),
        "inactivity_timeout": st.sampled_from([1, 0.0, -1e300, 1e300, "nan", "inf", "20"]),
        "flush_timeout_ms": st.sampled_from([0, 500, 60_000, -1, None]),
        "chunk_length_schedule": st.sampled_from([[1], [5, 80], [], [0], None]),
        "auto_mode": st.booleans(),
        "max_buffer_length": st.sampled_from([1, 20, 1000, 0]),
        "speed": st.sampled_from([1.0, 1.2, 3, None]),
    },
)
objects = st.dictionaries(st.sampled_from(FIELDS), values, max_size=6)


@st.composite
def written(draw: st.DrawFn, given: st.SearchStrategy[Any]) -> str | bytes:
    """JSON, sometimes with a field that comes twice, sometimes damaged, as text or as bytes."""
    document = json.dumps(draw(given), ensure_ascii=draw(st.booleans()))
    if draw(st.integers(0, 5)) == 0:
        document = document[:-1] + ', "text": "again "' + document[-1:]
    if draw(st.integers(0, 5)) == 0:
        at = draw(st.integers(0, len(document)))
        document = document[:at] + draw(st.sampled_from(["", "\\", '"', "{", "\ud800", "\\ud800", "\0"]))
    return document.encode(errors="surrogatepass") if draw(st.booleans()) else document


anything = st.one_of(
    st.binary(max_size=50),
    st.text(max_size=50),
    st.sampled_from(['{"context_id": "a", "voice_settings": ' + "[" * 5000, "[" * 100_000, '{"a":' * 5000]),
    st.sampled_from(['{"voice_id": ' + "1" * 5000 + "}", '{"text": "x", "speed": 1e99999}']),
    written(leaves),
)
messages = st.one_of(written(likely), written(likely), written(objects), anything)


def known(thing: Any) -> None:
    problem = getattr(thing, "problem", None)
    if problem is not None:
        assert problem.code in ERRORS
        assert problem.message


@given(wires, st.lists(messages, max_size=4))
def test_any_message_becomes_documented_commands(wire: Any, history: list[str | bytes]) -> None:
    dialect = wire()
    for data in history:
        for command in dialect.decode(data):
            assert type(command) in get_args(Decoded)
            msgspec.convert(msgspec.to_builtins(command, builtin_types=(bytes,)), type(command))
            known(command)
            if wire is not KugelAudioServer:
                assert getattr(command, "context", None) in (None, TURN, REQUEST)


@given(wires, written(objects) | written(likely))
def test_text_and_bytes_mean_the_same(wire: Any, data: str | bytes) -> None:
    try:
        other = data.decode() if isinstance(data, bytes) else data.encode()
    except UnicodeError:
        return
    # As they are shown: what is no number is not even itself.
    assert repr(wire().decode(other)) == repr(wire().decode(data))


class Peer:
    """A client at the wire of a real session, with an engine that gives a sample for each character, and
    fails where the text says so."""

    def __init__(self, wire: Any) -> None:
        numbers = VoiceNumbers(["v"])
        self.wire = wire
        self.dialect = wire(name_voice=numbers.name, session_id="s", price=Price(cents_per_minute=1))
        base = Limits(contexts=3, draining=2, unspoken_bytes=2000, invalid_messages=20)
        self.session = Session(
            self.dialect.defaults,
            limits=self.dialect.limits(base),
            check_voice=lambda voice, language: "No such voice." if voice == "nobody" else None,
        )
        self.now = 0.0
        self.ended: Counter[int] = Counter()
        self.frames: list[dict[str, Any]] = []

    def say(self, data: str | bytes) -> None:
        for command in self.dialect.decode(data):
            self.session.receive(command, self.now)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        while self.session.next_deadline() <= self.now:
            self.session.tick(self.now)

    def speak(self) -> None:
        for effect in self.session.take_effects():
            if isinstance(effect, Speak):
                length = len(effect.text)
                spoken = Spoken(effect.serial, effect.segment, bytes(2 * length), 1000, tuple(range(length)))
                self.session.report(spoken, self.now)
            self.session.report(SegmentEnded(effect.serial, effect.segment), self.now)

    def hear(self) -> None:
        while (event := self.session.next_event(self.now)) is not None:
            known(event)
            if isinstance(event, Audio):
                slices = [event.alignment] if event.alignment else []
                where = (event.context, event.serial, event.segment)
                said = self.dialect.audio(Sound(*where, event.pcm, "pcm", event.sample_rate, slices))
            else:
                said = self.dialect.event(event)
            for frame in said:
                assert isinstance(frame, str)
                assert len(frame) < 64 * 1024
                self.frames.append(json.loads(frame))
                check_frame(self.frames[-1])
            if isinstance(event, ContextClosed):
                self.ended[event.serial] += 1
                assert self.ended[event.serial] == 1
            self.speak()


steps = st.tuples(messages, st.booleans(), st.booleans(), st.sampled_from([0.0, 0.1, 0.6, 6.0, 30.0]))


@given(wires, st.lists(steps, max_size=20))
def test_any_messages_give_documented_frames(wire: Any, history: list[Any]) -> None:
    peer = Peer(wire)
    for message, speaks, hears, seconds in history:
        peer.say(message)
        if speaks:
            peer.speak()
        if hears:
            peer.hear()
        peer.wait(seconds)
    peer.say('{"close_socket": true}')
    peer.speak()
    peer.hear()
    peer.speak()
    peer.hear()
    assert peer.session.closed
    assert peer.session.live_contexts == 0
    check_lives(wire, peer.frames)


def check_lives(wire: Any, frames: list[dict[str, Any]]) -> None:
    """No context says anything before its creation or after its end, but for the answers to what was asked of
    one that is not there; and whoever was created has usage in its end."""
    if wire is not KugelAudioServer:
        assert not any("context_id" in frame for frame in frames)
        return
    alive: set[str] = set()
    for frame in frames:
        id = frame.get("context_id")
        if id is None:
            continue
        if "context_created" in frame:
            assert id not in alive
            alive.add(id)
        elif id not in alive:
            answer = set(frame) in ({"final", "context_id"}, {"context_closed", "context_id"})
            assert answer or {"error", "warning"} & set(frame), frame
        elif "context_closed" in frame:
            assert "usage" in frame
            alive.remove(id)
    assert not alive or "session_closed" not in frames[-1]


@given(written(objects) | written(likely) | anything)
def test_any_body_is_understood_or_refused_with_a_reason(data: str | bytes) -> None:
    body = data if isinstance(data, bytes) else data.encode(errors="surrogatepass")
    try:
        text, _ = parse_request(body, str)
    except MuxError as error:
        known(error)
    else:
        assert text.strip()


@settings(max_examples=30)
@given(st.sampled_from(["/ws/tts/multi", "/ws/tts/stream", "/ws/tts"]), st.lists(messages, max_size=12))
def test_a_whole_server_survives_any_messages(path: Any, history: list[str | bytes]) -> None:
    async def talk() -> None:
        async with memory_server(ToneEngine(8000, 0.001)) as server:
            client = server.open_kugelaudio(path)
            frames: list[Any] = []
            endings: list[int] = []
            try:
                for message in [*history, '{"close_socket": true}']:
                    with suppress(UnicodeEncodeError):  # what is no text cannot be sent as one
                        await client.send(message)
                with anyio.fail_after(1000):
                    while True:
                        frames.append(json.loads(await client.receive()))
            except Disconnected as gone:
                endings.append(gone.ending.code)
            assert endings == [1000]
            for frame in frames:
                check_frame(frame)

    clock = trio.testing.MockClock(autojump_threshold=0)
    anyio.run(talk, backend="trio", backend_options={"clock": clock})
