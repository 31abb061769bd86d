"""Speech over HTTP, without HTTP: what a body asks for, and what the answer is made of."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from elevenlabs_sound import sound

from mux.dialects.elevenlabs import SpeechAnswer, parse_request
from mux.dialects.elevenlabs.speech import PIECE
from mux.errors import MuxError, Problem
from mux.protocol.messages import (
    Alignment,
    Close,
    ContextClosed,
    Flush,
    Open,
    Reason,
    SegmentDone,
    SessionClosed,
    Text,
    Usage,
    Warning,
)
from mux.protocol.voice import ContextSettings

ID = "request"
PROBLEM = Problem(code="engine_failed", message="What happened.")


def body(**fields: Any) -> bytes:
    return json.dumps({"text": "Hello.", **fields}).encode()


def answer(*, timed: bool = False, whole: bool = False, **fields: Any) -> SpeechAnswer:
    return SpeechAnswer(parse_request(body(**fields)), timed=timed, whole=whole)


def slice_of(text: str, first: int, spelled: Alignment | None = None) -> Alignment:
    starts = tuple(range(first, first + 10 * len(text), 10))
    return Alignment(text, starts, tuple(start + 10 for start in starts), first, spelled=spelled)


def ended(problem: Problem | None = None) -> ContextClosed:
    return ContextClosed(ID, 1, Reason.FAILED if problem else Reason.COMPLETED, Usage(), problem)


# --- the request -------------------------------------------------------------------------------------


def test_all_that_a_client_may_send_is_understood() -> None:
    # What the SDK, LiveKit and Pipecat send between them, and something that nobody knows.
    request = parse_request(
        body(
            model_id="eleven_multilingual_v2",
            language_code="de",
            voice_settings={"stability": "0.5", "speed": None, "clone_strength": 1},
            pronunciation_dictionary_locators=[{"pronunciation_dictionary_id": "p"}],
            seed=7,
            previous_text="Before.",
            next_text=None,
            previous_request_ids=["r"],
            use_pvc_as_ivc=False,
            apply_text_normalization="auto",
            apply_language_text_normalization=True,
            nobody_knows_this={"a": [1]},
        )
    )
    assert (request.text, request.model_id, request.language_code) == (
        "Hello.",
        "eleven_multilingual_v2",
        "de",
    )
    assert request.voice_settings == {"stability": 0.5}
    assert SpeechAnswer(request, timed=False, whole=True).decode("") == [
        Open(ID, ContextSettings(language="de", voice_settings={"stability": 0.5}, normalize=True)),
        Text(ID, "Hello."),
        Flush(ID),
        Close(ID),
    ]


@pytest.mark.parametrize("settings", [None, {}])
def test_no_settings_are_no_settings(settings: Any) -> None:
    opened, *_ = answer(voice_settings=settings, language_code="").decode("")
    assert opened == Open(ID, ContextSettings())


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "malformed|truncated"),
        (b"hello", "malformed"),
        (b"[]", "object"),
        (b"{}", "text"),
        (b'{"text": null}', "text"),
        (b'{"text": 5}', "text"),
        (b'{"text": "\xff"}', "UTF-8|utf-8|Unicode"),
        (b'{"text": "\\ud800"}', "The body"),
        (body(text=""), "text"),
        (body(text=" \n\t"), "text"),
        (body(seed=-1), "seed"),
        (body(seed=2**32), "seed"),
        (body(seed="soon"), "seed"),
        (body(apply_text_normalization="perhaps"), "apply_text_normalization"),
        (body(language_code=5), "language_code"),
        (body(model_id=[]), "model_id"),
        (b'{"text": "a", "voice_settings": ' + b"[" * 100_000, "The body"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(data: bytes, named: str) -> None:
    with pytest.raises(MuxError, match=named) as caught:
        parse_request(data)
    assert caught.value.code == "unprocessable"


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"stability": 2.0}, "voice_settings.stability"),
        ({"speed": "fast"}, "voice_settings.speed"),
        ([1], "object"),
    ],
)
def test_a_bad_setting_is_refused_by_name(settings: Any, named: str) -> None:
    with pytest.raises(MuxError, match=named) as caught:
        parse_request(body(voice_settings=settings))
    assert caught.value.code == "invalid_setting"


def test_no_depth_of_nesting_gets_through_the_reader() -> None:
    for depth in [*range(1, 40), *range(880, 1010)]:
        nested = "[" * depth + "]" * depth
        with pytest.raises(MuxError):
            parse_request(b'{"text": "a", "voice_settings": {"stability": ' + nested.encode() + b"}}")


def test_no_sentence_repeats_spoken_text() -> None:
    with pytest.raises(MuxError) as caught:
        parse_request(b'{"text": "my secret words", "seed": "soon"}')
    assert "secret" not in str(caught.value)


# --- the answer --------------------------------------------------------------------------------------


def test_a_stream_of_audio_is_the_pieces_as_they_come() -> None:
    stream = answer()
    assert stream.audio(sound(ID, b"abc", slice_of("H", 0))) == [b"abc"]
    assert stream.event(SegmentDone(ID, 1, 1, True)) == []
    assert stream.event(ended()) == []
    assert (stream.length, stream.problem) == (None, None)


def test_a_whole_answer_comes_at_the_end_in_pieces_and_knows_its_length() -> None:
    whole = answer(whole=True)
    assert whole.audio(sound(ID, b"a" * PIECE)) == []
    assert whole.audio(sound(ID, b"b" * PIECE)) == []
    assert whole.audio(sound(ID, b"c")) == []
    assert whole.event(ended()) == [b"a" * PIECE, b"b" * PIECE, b"c"]
    assert whole.length == 2 * PIECE + 1


def test_lines_have_the_times_of_http_which_run_on() -> None:
    stream = answer(timed=True)
    lines = [
        *stream.audio(sound(ID, b"ab", slice_of("He", 0))),
        *stream.audio(sound(ID, b"cd")),
        *stream.audio(sound(ID, b"ef", slice_of("l", 20), slice_of("lo", 30))),
    ]
    assert all(isinstance(line, bytes) and line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
    first, silent, last = map(json.loads, lines)
    assert set(first) == {"audio_base64", "alignment", "normalized_alignment"}
    assert base64.b64decode(first["audio_base64"]) == b"ab"
    assert first["alignment"] == {
        "characters": ["H", "e"],
        "character_start_times_seconds": [0.0, 0.01],
        "character_end_times_seconds": [0.01, 0.02],
    }
    assert silent["alignment"] is silent["normalized_alignment"] is None
    assert last["alignment"]["characters"] == ["l", "l", "o"]
    assert last["alignment"]["character_start_times_seconds"] == [0.02, 0.03, 0.04]
    assert last["normalized_alignment"] == last["alignment"]


def test_a_whole_timed_answer_is_one_object() -> None:
    whole = answer(timed=True, whole=True)
    whole.audio(sound(ID, b"ab", slice_of("He", 0)))
    whole.audio(sound(ID, b"cd", slice_of("llo", 20)))
    data = b"".join(whole.event(ended()))  # type: ignore[arg-type]
    assert whole.length == len(data)
    timed = json.loads(data)
    assert base64.b64decode(timed["audio_base64"]) == b"abcd"
    assert "".join(timed["alignment"]["characters"]) == "Hello"
    assert timed["alignment"]["character_end_times_seconds"][-1] == 0.05


def test_what_was_really_said_is_the_normalized_alignment() -> None:
    stream = answer(timed=True)
    spelled = slice_of("five", 0)
    (line,) = map(json.loads, stream.audio(sound(ID, b"ab", slice_of("5", 0, spelled))))
    assert line["alignment"]["characters"] == ["5"]
    assert line["normalized_alignment"]["characters"] == list("five")


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("end", [ended(PROBLEM), SessionClosed(1011, "", PROBLEM)])
def test_a_failure_says_nothing_in_the_body_and_is_remembered(whole: bool, end: Any) -> None:
    failed = answer(whole=whole)
    failed.audio(sound(ID, b"abc"))
    assert failed.event(Warning(Problem(code="setting_clamped", message="Mild."))) == []
    assert failed.event(end) == []
    assert failed.event(SessionClosed(1000, "")) == []
    assert failed.problem == PROBLEM
