"""Whatever a peer sends, bytes or text, valid or not: documented commands and events come out, never an
exception, and all of it can be written to the wire."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mux.audio.formats import parse_format
from mux.dialects.base import AudioFrame, Credentials, Decoded, Received, ServerDialect, Sound
from mux.dialects.elevenlabs import (
    ElevenLabsClient,
    ElevenLabsDialogue,
    ElevenLabsServer,
    ElevenLabsStream,
    Parameters,
    parse_parameters,
    parse_request,
)
from mux.dialects.elevenlabs.wire import ClientMessage, ServerFrame
from mux.errors import ERRORS, MuxError, Problem
from mux.links.router import Inbox, Router
from mux.protocol.limits import Limits
from mux.protocol.messages import (
    Audio,
    CloseSocket,
    Configured,
    ContextClosed,
    ContextOpened,
    Effect,
    Event,
    Invalid,
    SegmentEnded,
    SessionClosed,
    Speak,
    Spoken,
    Warning,
)
from mux.protocol.session import Session
from mux.protocol.voice import INACTIVITY_RANGE, ContextSettings

SECRET = "sk-0123456789"
DIALECTS: list[ServerDialect] = [
    ElevenLabsServer(session_id="s"),
    ElevenLabsStream(session_id="s", final_after_flush=True),
    ElevenLabsDialogue(session_id="s"),
    ElevenLabsDialogue(session_id="s", single=True),
]
dialects = st.sampled_from(DIALECTS)
CLIENT_FIELDS = [field.encode_name for field in msgspec.structs.fields(ClientMessage)]
CLIENT_FIELDS += ["inputs", "voices", "model_id", "seed"]
KEY_FIELDS = ["xi_api_key", "xi-api-key", "authorization"]
SERVER_FIELDS = [field.encode_name for field in msgspec.structs.fields(ServerFrame)]
SERVER_FIELDS += ["context_id", "error", "message", "warning", "code"]
INNER_FIELDS = [
    *("chars", "charStartTimesMs", "charDurationsMs", "reason", "usage", "code", "limit", "allowed"),
    *(
        "text",
        "voice_id",
        "new_turn",
        "stability",
        "speed",
        "use_speaker_boost",
        "chunk_length_schedule",
        "audio_sent_ms",
    ),
]

# --- what peers send ---------------------------------------------------------------------------------

likely = st.sampled_from(
    [
        "",
        " ",
        "a",
        "b",
        "default",
        "Hello there. ",
        "true",
        "0.5",
        "nan",
        "1e999",
        "\0",
        "\ud800",
        "AAAA",
        "é",
    ]
)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    likely,
    st.text(max_size=20),
    st.integers(),
    st.sampled_from([0.5, 1.1, -1, 1e308, 10**400, float("nan"), float("-inf"), [50, 120], [1], []]),
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(INNER_FIELDS), inner, max_size=4)
    ),
    max_leaves=8,
)


def objects(fields: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(fields), values, max_size=6)


likely_messages = st.fixed_dictionaries(
    {},
    optional={
        "text": st.sampled_from(["Hello there. ", " ", "", "word " * 60, "x" * 500]),
        "context_id": st.sampled_from(["a", "b", "c", "x" * 300, ""]),
        "flush": st.booleans(),
        "close_context": st.booleans(),
        "immediate": st.booleans(),
        "voice_settings": st.sampled_from([None, {}, {"speed": "1.1"}, {"speed": 9}, {"stability": None}, 5]),
        "inactivity_timeout": st.sampled_from([1, 0.0, -1e300, 1e300, "nan", "inf", "20"]),
        "generation_config": st.sampled_from([{}, {"chunk_length_schedule": [50]}, [], "x"]),
        "try_trigger_generation": st.booleans(),
        "voice_id": st.sampled_from(["v", "nobody", "../x", ""]),
        "voices": st.sampled_from([[], ["v"], ["nobody"], ["v"] * 11]),
        "inputs": st.lists(
            st.fixed_dictionaries(
                {"text": st.sampled_from(["Hello there. ", "", " "])},
                optional={"voice_id": st.sampled_from(["v", "w", "nobody"]), "new_turn": st.booleans()},
            ),
            max_size=3,
        ),
        **dict.fromkeys(KEY_FIELDS, st.just(SECRET)),
    },
)


@st.composite
def written(draw: st.DrawFn, given: st.SearchStrategy[Any]) -> str | bytes:
    """JSON, sometimes with a field that comes twice, sometimes damaged, as text or as bytes."""
    document = json.dumps(draw(given), ensure_ascii=draw(st.booleans()))
    if draw(st.integers(0, 3)) == 0:
        document = document[:-1] + ', "text": "again "' + document[-1:]
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(document)))
        document = document[:at] + draw(
            st.sampled_from(["", "\\", '"', "{", "\ud800", "\\ud800", "\0", "[["])
        )
    return document.encode(errors="surrogatepass") if draw(st.booleans()) else document


anything = st.one_of(
    st.binary(max_size=50),
    st.text(max_size=50),
    st.text(st.characters(codec="utf-16", categories=["Cs", "Lu"]), max_size=5),
    st.sampled_from(['{"context_id": "a", "voice_settings": ' + "[" * 5000, "[" * 100_000, '{"a":' * 5000]),
    written(leaves),
)
client_messages = st.one_of(written(likely_messages), written(objects(CLIENT_FIELDS)), anything)
server_messages = st.one_of(written(objects(SERVER_FIELDS)), written(objects(SERVER_FIELDS)), anything)


def documented(thing: Any, kinds: tuple[Any, ...]) -> None:
    """It is one of `kinds`, and so is everything inside it, as its type says."""
    assert type(thing) in kinds
    msgspec.convert(msgspec.to_builtins(thing, builtin_types=(bytes,)), type(thing))


def known(problem: Problem | None) -> None:
    if problem is not None:
        assert problem.code in ERRORS
        assert problem.message


# --- the server's side -------------------------------------------------------------------------------

COMMANDS = get_args(Decoded)
EVENTS = get_args(Event)


@given(dialects, client_messages)
def test_any_message_becomes_documented_commands(dialect: ServerDialect, data: str | bytes) -> None:
    for command in dialect.decode(data):
        documented(command, COMMANDS)
        known(getattr(command, "problem", None))


@given(dialects, written(objects(CLIENT_FIELDS)))
def test_text_and_bytes_mean_the_same(dialect: ServerDialect, data: str | bytes) -> None:
    try:
        other = data.decode() if isinstance(data, bytes) else data.encode()
    except UnicodeError:
        return
    assert dialect.decode(other) == dialect.decode(data)


class Peer:
    """A client at the wire of a real session with an engine that gives a sample for each character."""

    def __init__(self, dialect: ServerDialect) -> None:
        self.dialect = dialect
        self.session = Session(
            ContextSettings(inactivity_timeout=20.0),
            limits=Limits(contexts=3, draining=2, unspoken_bytes=1000, invalid_messages=20),
            check_voice=lambda voice, language: "No such voice." if voice == "nobody" else None,
        )
        self.now = 0.0
        self.live: Counter[int] = Counter()
        self.frames: list[str | bytes] = []

    def say(self, data: str | bytes) -> None:
        self.now += 0.1
        for command in self.dialect.decode(data):
            if not isinstance(command, Credentials):
                self.session.receive(command, self.now)
                assert self.session.open_contexts <= 3

    def speak(self) -> None:
        for effect in self.session.take_effects():
            documented(effect, get_args(Effect))
            if isinstance(effect, Speak):
                length = len(effect.text)
                spoken = Spoken(effect.serial, effect.segment, bytes(2 * length), 1000, tuple(range(length)))
                self.session.report(spoken, self.now)
            self.session.report(SegmentEnded(effect.serial, effect.segment), self.now)

    def hear(self) -> None:
        while (event := self.session.next_event(self.now)) is not None:
            documented(event, EVENTS)
            known(getattr(event, "problem", None))
            if isinstance(event, Audio):
                slices = [event.alignment] if event.alignment else []
                where = (event.context, event.serial, event.segment)
                self.frames += self.dialect.audio(Sound(*where, event.pcm, "pcm", event.sample_rate, slices))
            else:
                self.frames += self.dialect.event(event)
            self.check_order(event)
            self.speak()

    def check_order(self, event: Event) -> None:
        if isinstance(event, ContextOpened):
            timeout = event.settings.inactivity_timeout
            assert timeout is not None
            assert INACTIVITY_RANGE[0] <= timeout <= INACTIVITY_RANGE[1]
        if isinstance(event, ContextClosed):
            self.live[event.serial] += 1
        if not isinstance(event, (Configured, SessionClosed, Warning)):
            assert self.live[event.serial] == isinstance(event, ContextClosed), "something after the end"


@given(dialects, st.lists(st.tuples(client_messages, st.booleans(), st.booleans()), max_size=25))
def test_any_messages_give_documented_events_that_can_be_written(
    dialect: ServerDialect, messages: list[tuple[str | bytes, bool, bool]]
) -> None:
    peer = Peer(dialect)
    for message, speaks, hears in messages:
        peer.say(message)
        if speaks:
            peer.speak()
        if hears:
            peer.hear()
    peer.session.receive(CloseSocket(), peer.now)
    peer.speak()
    peer.hear()
    assert peer.session.closed
    assert peer.session.live_contexts == 0
    for frame in peer.frames:
        assert isinstance(json.loads(frame), dict)
        assert len(frame) < 64 * 1024
        assert SECRET not in str(frame)
        if isinstance(dialect, ElevenLabsServer):
            for received in ElevenLabsClient().decode(frame):
                documented(received, get_args(Received))
                assert getattr(getattr(received, "problem", None), "code", "") != "upstream_error"


@given(written(objects(CLIENT_FIELDS)) | written(likely_messages) | anything)
def test_any_body_is_understood_or_refused_with_a_reason(data: str | bytes) -> None:
    try:
        request = parse_request(data if isinstance(data, bytes) else data.encode(errors="surrogatepass"))
    except MuxError as error:
        known(error.problem)
    else:
        documented(request, (type(request),))
        assert request.text.strip()


@given(
    st.text(max_size=20),
    st.dictionaries(
        st.sampled_from([*Parameters.__struct_fields__, "output_format", "sync_alignment", "auto_mode"])
        | st.sampled_from(["inactivity_timeout", "language_code", "mux_hello", "xi-api-key"])
        | st.text(max_size=8),
        likely | st.text(max_size=20),
    ),
)
def test_any_url_is_understood_or_refused_by_name(voice: str, query: dict[str, str]) -> None:
    try:
        parameters = parse_parameters(voice, query)
        output = parse_format(parameters.output_format)
    except MuxError as error:
        known(error.problem)
        return
    documented(parameters, (Parameters,))
    assert output.sample_rate > 0
    settled = Session(parameters.settings)._settings.inactivity_timeout
    assert settled is not None
    assert INACTIVITY_RANGE[0] <= settled <= INACTIVITY_RANGE[1]


# --- the client's side -------------------------------------------------------------------------------


@given(st.lists(server_messages, max_size=10))
def test_any_frames_of_a_server_are_filed_or_told_as_an_error(frames: list[str | bytes]) -> None:
    dialect, router, inbox = ElevenLabsClient(), Router(), Inbox(1000)
    router.add("a", inbox)
    for frame in frames:
        for received in dialect.decode(frame):
            documented(received, get_args(Received))
            known(getattr(received, "problem", None))
            if isinstance(received, AudioFrame) and received.alignment is not None:
                slices = received.alignment
                assert len(slices.text) == len(slices.starts) == len(slices.ends)
            router.route(received)
    assert (inbox.ended is None) == (len(router) == 1)


@pytest.mark.parametrize("depth", [500, 100_000])
def test_deep_nesting_is_unreadable(depth: int) -> None:
    nested = "[" * depth
    for dialect in DIALECTS:
        (command,) = dialect.decode(f'{{"context_id": "a", "voice_settings": {nested}')
        assert isinstance(command, Invalid)
        documented(command, COMMANDS)
    (received,) = ElevenLabsClient().decode(f'{{"mux": {nested}')
    documented(received, get_args(Received))
