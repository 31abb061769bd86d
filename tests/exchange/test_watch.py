"""The same few conversations, in both dialects, as the table and the doctor see them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from mux.exchange import Close, Exchange, Message, SocketWatch
from mux.exchange.endpoints import audio_ms, endpoint_of

MULTI = "/v1/text-to-speech/anne/multi-stream-input?output_format=pcm_24000"
STREAM = "/v1/text-to-speech/anne/stream-input?output_format=ulaw_8000"
AUDIO = base64.b64encode(bytes(4800)).decode()


def watching(path: str) -> Script:
    return Script(SocketWatch(Exchange(url="wss://h" + path, started=0.0)))


class Script:
    """Says and tells, a second after each other."""

    def __init__(self, watch: SocketWatch) -> None:
        self.watch = watch
        self.now = 0.0
        self.happened: list[str] = []

    def said(self, **fields: Any) -> Script:
        return self._pass("client", json.dumps(fields))

    def told(self, **fields: Any) -> Script:
        return self._pass("service", json.dumps(fields))

    def _pass(self, by: Any, data: str) -> Script:
        self.now += 1.0
        self.happened += [
            f"{one.context}: {one.what}" for one in self.watch.feed(Message(self.now, by, data))
        ]
        return self

    def states(self) -> list[tuple[str, str]]:
        return [(context.id, context.state) for context in self.watch.contexts]


def test_a_turn_of_livekit() -> None:
    script = watching(MULTI)
    script.said(text=" ", voice_settings={}, context_id="a").said(text="Hello. ", context_id="a", flush=True)
    script.told(audio=AUDIO, contextId="a", isFinal=None)
    assert script.states() == [("a", "open")]
    script.said(text="", context_id="a", flush=True).said(context_id="a", close_context=True)
    assert script.states() == [("a", "draining")]
    script.told(audio=AUDIO, contextId="a").told(audio=None, isFinal=True, contextId="a")
    (context,) = script.watch.contexts
    assert (context.characters, context.texts, context.flushes, context.unflushed) == (7, 1, 2, 0)
    assert (context.audio_bytes, context.audio_ms, context.first_audio_ms) == (9600, 200.0, 1000.0)
    assert (context.state, context.ended, context.ended_at, context.close_at) == (
        "ended",
        "isFinal",
        7.0,
        5.0,
    )
    assert script.happened[:4] == ["a: opened", "a: 7 characters", "a: flush", "a: first audio after 1000 ms"]


def test_a_turn_of_kugelaudio() -> None:
    script = watching("/ws/tts/multi?api_key=x")
    script.said(text="", context_id="a", voice_settings={"voice_id": 1}).told(
        context_created=True, context_id="a"
    )
    script.said(text="Hallo.", context_id="a", flush=True)
    script.told(audio=AUDIO, enc="pcm_s16le", idx=0, sr=24000, samples=2400, context_id="a")
    script.told(final=True, context_id="a")
    assert script.states() == [("a", "open")]
    script.said(close_context=True, context_id="a", immediate=True)
    script.told(context_closed=True, context_id="a", usage={})
    (context,) = script.watch.contexts
    assert (context.audio_ms, context.flushed, context.immediate) == (100.0, 1, True)
    assert context.ended == "context_closed"


def test_turns_without_ids() -> None:
    script = watching("/ws/tts/stream")
    script.said(text="One. ", flush=False, sample_rate=8000).said(text="Two.", flush=True)
    script.told(audio=AUDIO).told(final=True).told(session_closed=True)
    script.said(text="Three.").said(cancel=True).told(interrupted=True)
    assert [(c.characters, c.ended, c.immediate) for c in script.watch.contexts] == [
        (9, "session_closed", False),
        (6, "interrupted", True),
    ]
    assert script.watch.contexts[0].audio_ms == 300.0


def test_requests_on_one_socket_are_answered_in_their_order() -> None:
    script = watching("/ws/tts")
    script.said(text="One.").said(text="Two.")
    script.told(audio=AUDIO).told(final=True).told(audio=AUDIO).told(final=True)
    assert [(c.ended, c.audio_bytes) for c in script.watch.contexts] == [("final", 4800), ("final", 4800)]


def test_an_utterance_of_a_socket() -> None:
    script = watching(STREAM)
    script.said(text=" ", xi_api_key="***").said(text="Hello. ").said(text=" ").said(text="")
    script.told(audio=AUDIO).told(isFinal=True)
    script.watch.end(Close(1000, "", "service", 7.0))
    (context,) = script.watch.contexts
    assert (context.characters, context.audio_ms, context.ended) == (7, 600.0, "isFinal")
    assert script.watch.ends_at == [4.0]
    assert script.watch.keyed


def test_empty_text_is_a_keepalive_only_where_there_are_ids() -> None:
    script = watching(MULTI).said(text="", context_id="a").said(text="").said(text=" ")
    assert (script.watch.contexts, script.watch.ends_at, script.watch.keepalives) == ([], [], 3)
    script = watching(STREAM).said(text="").said(text="Too late. ")
    assert (script.watch.ends_at, script.watch.texts_after_end) == ([1.0], 1)


def test_an_id_that_is_used_again_before_its_end_is_two_contexts() -> None:
    script = watching(MULTI)
    script.said(text="One. ", context_id="a").said(context_id="a", close_context=True)
    script.said(text="Two. ", context_id="a").told(audio=AUDIO, contextId="a").told(
        isFinal=True, contextId="a"
    )
    first, second = script.watch.contexts
    assert (first.state, first.audio_bytes, second.state, second.audio_bytes) == ("ended", 4800, "open", 0)
    assert second.reopened
    assert script.watch.open_contexts == 1
    assert script.watch.peak_contexts == 2


def test_audio_after_the_end_and_audio_of_strangers_are_counted() -> None:
    script = watching(MULTI).said(text="One. ", context_id="a").told(isFinal=True, contextId="a")
    script.told(audio=AUDIO, contextId="a").told(audio=AUDIO, contextId="b")
    assert script.watch.contexts[0].audio_after_end == 1
    assert script.watch.stray_audio == 1


def test_flushes_and_closes_of_unknown_ids_open_nothing() -> None:
    script = watching(MULTI).said(context_id="a", flush=True).said(context_id="b", close_context=True)
    assert script.watch.contexts == []
    assert script.watch.phantom_flushes == 1


@pytest.mark.parametrize("path", [MULTI, "/ws/tts/multi"])
def test_errors_stay_with_their_context_or_with_the_socket(path: str) -> None:
    script = watching(path).said(text="One. ", context_id="a")
    script.told(message="No such voice", error="voice_not_found", contextId="a")
    script.told(message="Bye", error="system_busy", code=1008)
    assert (script.watch.contexts[0].error, script.watch.contexts[0].message) == (
        "voice_not_found",
        "No such voice",
    )
    assert [told.error for told in script.watch.errors] == ["system_busy"]


def test_the_end_of_a_socket_ends_its_contexts() -> None:
    script = watching(MULTI).said(text="One. ", context_id="a").said(text="Two. ", context_id="b")
    script.said(close_socket=True)
    assert script.states() == [("a", "draining"), ("b", "draining")]
    script.watch.end(Close(1006, "", "service", 9.0))
    assert {context.ended for context in script.watch.contexts} == {"socket closed 1006"}


@pytest.mark.parametrize(
    "data", ["", "[]", "null", "x", '{"text": 5, "context_id": [1], "flush": "yes"}', "[" * 5000]
)
@pytest.mark.parametrize("path", [MULTI, STREAM, "/ws/tts/multi", "/ws/tts/stream", "/ws/tts", "/chat"])
@pytest.mark.parametrize("by", ["client", "service"])
def test_whatever_passes_is_survived(data: str, path: str, by: Any) -> None:
    watch = SocketWatch(Exchange(url="wss://h" + path, started=0.0))
    watch.feed(Message(1.0, by, data))
    watch.feed(Message(2.0, by, data, binary=True))
    assert watch.open_contexts == 0


def test_ended_contexts_are_not_kept_for_ever() -> None:
    script = watching(MULTI)
    for number in range(3000):
        script.watch.feed(Message(1.0, "client", json.dumps({"text": "x", "context_id": f"{number}"})))
        script.watch.feed(Message(1.0, "service", json.dumps({"isFinal": True, "contextId": f"{number}"})))
    assert len(script.watch.contexts) <= 1001
    assert script.watch.contexts[-1].id == "2999"


def test_paths_are_known_behind_any_prefix() -> None:
    assert endpoint_of("/a/b/v1/text-to-speech/x/multi-stream-input/").multi
    assert endpoint_of("/v1/text-to-dialogue/stream-input").name == "text-to-dialogue/stream-input"
    assert endpoint_of("/ws/tts").turns
    assert endpoint_of("/chat").dialect == ""


def test_bytes_are_milliseconds_where_that_can_be_known() -> None:
    assert audio_ms(48000, "pcm_24000") == 1000
    assert audio_ms(8000, "ulaw_8000") == 1000
    assert audio_ms(16000, "mp3_44100_128") == 1000
    assert audio_ms(16000, "flac") is None
