"""The KugelAudio SDK for JavaScript. It is not on npm, so this runs only where `KUGELAUDIO_JS` names a
directory with `node_modules/kugelaudio`, built from its sources; `tests/wires/recorded` has what it says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

INSTALLED = Path(os.environ.get("KUGELAUDIO_JS", "/nonexistent"))
PROGRAM = Path(__file__).parent / "drive.mjs"

pytestmark = [
    pytest.mark.clients,
    pytest.mark.espeak,
    pytest.mark.skipif(
        not (shutil.which("node") and (INSTALLED / "node_modules/kugelaudio").exists()),
        reason="KUGELAUDIO_JS names no installed KugelAudio SDK for JavaScript",
    ),
]

VOICE, OTHER = "1071", "1072"
TEXT = "Hello there, this is the first sentence. And here comes another one, a bit longer than the first."
SORRY = "Sorry, go ahead please."
PROMPTLY = 1.0
"""Seconds; this SDK waits 5 s for the answer to a cancel, and 15 s for that to a close."""


def play(base: str, scene: str, key: str = "any") -> Any:
    command = ["node", str(PROGRAM), base, scene, key]
    done = subprocess.run(command, cwd=INSTALLED, capture_output=True, text=True, timeout=40, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def told(turn: Any) -> list[str]:
    """The names of what was told, without the chunks' own."""
    chunks = {"onChunk", "onGenerationStarted", "onChunkComplete"}
    return [name for name, *_ in turn["heard"] if name not in chunks]


def approx(seconds: float) -> Any:
    return pytest.approx(seconds, rel=0.1)


Seconds = Callable[[str, str], float]


def test_turns_of_a_session(server: Any, seconds_of: Seconds) -> None:
    got = play(server.http, "stream_turns")
    for turn, voice in ((got["tokens"], VOICE), (got["flushed"], OTHER)):
        assert turn["seconds"] == approx(seconds_of(TEXT, voice))
        assert turn["words"] == TEXT.split()
        assert told(turn) == ["onFinal", "onSessionClosed"]
        assert turn["usage"]["audioSeconds"] == pytest.approx(turn["seconds"], abs=0.01)
    assert max(got["ended"], got["endedAgain"], got["closed"]) < PROMPTLY
    assert told(got["afterwards"]) == ["onSessionClosed"] * 2, "every close has its answer"
    for usage in (got["usage"], got["last"]):
        assert usage is None or usage == got["flushed"]["usage"], (
            "the last turn's use, not that of an empty one"
        )


def test_the_end_of_a_turn_that_was_flushed_is_asked_for_while_it_speaks(
    server: Any, seconds_of: Seconds
) -> None:
    got = play(server.http, "stream_end_of_flushed")
    for turn, text in ((got["first"], SORRY), (got["second"], TEXT)):
        assert told(turn) == ["onFinal", "onSessionClosed"]
        assert turn["seconds"] == approx(seconds_of(text, VOICE))
        assert turn["usage"]["audioSeconds"] == pytest.approx(turn["seconds"], abs=0.01)
    assert got["afterwards"]["seconds"] == 0


def test_turns_that_are_sent_ahead_are_spoken_in_order(server: Any, seconds_of: Seconds) -> None:
    turns = play(server.http, "stream_pipelined")["turns"]
    assert turns["words"] == f"{SORRY} {TEXT} {SORRY}".split()
    assert told(turns) == ["onFinal", "onSessionClosed"] * 3
    assert turns["seconds"] == approx(2 * seconds_of(SORRY, VOICE) + seconds_of(TEXT, VOICE))


def test_an_interruption(server: Any, seconds_of: Seconds) -> None:
    seconds = seconds_of(SORRY, VOICE)
    got = play(server.http, "stream_interruption")
    assert told(got["cut"]) == told(got["nothing"]) == ["onInterrupted"]
    assert max(got["cancelled"], got["idle"], got["closed"]) < PROMPTLY
    assert told(got["sorry"]) == ["onFinal", "onSessionClosed"]
    assert got["sorry"]["seconds"] == approx(seconds)
    assert got["sorry"]["usage"]["audioSeconds"] == pytest.approx(got["sorry"]["seconds"], abs=0.01)
    assert "cancelled" in [end["reason"] for end in server.logged("context_closed", 2)]


@pytest.mark.parametrize("scene", ["stream_settings", "multi_settings"])
def test_settings(server: Any, seconds_of: Seconds, scene: str) -> None:
    got = play(server.http, scene)
    assert got["settings"]["speed"] == 0.8
    assert got["settings"]["temperature"] is None
    slow = got["turn"]["seconds"] if "turn" in got else got["slow"]
    assert slow == approx(seconds_of(TEXT, VOICE) / 0.8)


def test_contexts(server: Any, seconds_of: Seconds) -> None:
    got = play(server.http, "multi_turns")
    narrated = "Hello there, this is the first sentence. And here comes another one."
    assert got["heard"]["narrator"] == approx(seconds_of(narrated, VOICE))
    assert got["heard"]["character"] == approx(seconds_of(SORRY, OTHER))
    narrator = [name for name, context, *_ in got["told"] if context == "narrator" and name != "onChunk"]
    assert narrator == ["onContextCreated", "onFinal", "onFinal", "onContextClosed"]
    assert got["usage"]["narrator"]["audioSeconds"] == pytest.approx(got["heard"]["narrator"], abs=0.01)
    assert got["usage"]["character"] is None
    assert got["active"] == ["character", "late"]
    assert got["id"]


def test_an_immediate_close(server: Any, seconds_of: Seconds) -> None:
    seconds = seconds_of(SORRY, VOICE)
    got = play(server.http, "multi_interruption")
    assert got["cancelled"] < PROMPTLY
    assert [name for name, context, *_ in got["told"] if context == "cut" and name != "onChunk"] == [
        "onContextCreated",
        "onContextClosed",
    ]
    assert got["sorry"] == approx(seconds)
    for context in ("cut", "sorry"):
        assert got["usage"][context]["audioSeconds"] == pytest.approx(got[context], abs=0.05)


def test_the_21st_context(server: Any, seconds_of: Seconds) -> None:
    seconds = seconds_of(SORRY, VOICE)
    got = play(server.http, "multi_limit")
    errors = [error for name, *error in got["told"] if name == "onError"]
    assert errors == [["RateLimitError", "TOO_MANY_CONTEXTS", "c20"]]
    assert got["c19"] == approx(seconds)
    assert got["c20"] == approx(seconds)
    assert got["active"] == 20


def test_a_context_times_out_unless_it_is_kept_alive(server: Any, seconds_of: Seconds) -> None:
    seconds = seconds_of(SORRY, VOICE)
    got = play(server.http, "multi_timeout")
    ends = [name for name, *_ in got["told"] if name in {"onContextTimeout", "onContextClosed", "onError"}]
    assert ends == ["onContextTimeout", "onContextClosed"]
    assert got["active"] == ["busy"]
    assert got["again"] == approx(seconds)


def test_requests_are_answered_in_their_order(server: Any, seconds_of: Seconds) -> None:
    seconds = {text: seconds_of(text, VOICE) for text in (TEXT, SORRY)}
    got = play(server.http, "one_shot")
    first, second, refused, last = got["requests"]
    for request, text in ((first, TEXT), (second, SORRY), (last, TEXT)):
        assert request["words"] == text.split()
        assert request["seconds"] == approx(seconds[text])
        assert told(request) == ["onFinal"]
    assert refused["refused"]["name"] == "ValidationError"
    assert refused["refused"]["id"]
    assert got["whole"]["rate"] == 8000
    assert got["whole"]["bytes"] / 8000 == approx(seconds[TEXT])
    assert got["connected"]
    server.logged("socket_closed", 1)
    assert len(server.logged("socket_opened", 1)) == 1
    alone = play(server.http, "one_shot_alone")
    assert alone["seconds"] == approx(seconds[SORRY])
    assert told(alone) == ["onFinal"]


def test_lists(server: Any) -> None:
    got = play(server.http, "lists")
    page = got["page"]
    assert len(page["voices"]) == page["limit"] == 3
    assert page["offset"] == 2
    assert page["total"] > 100
    assert got["voice"]["name"] == page["voices"][0]["name"]
    assert got["missing"]["name"] == "NotFoundError"
    assert "kugel-3" in [model["id"] for model in got["models"]]


def test_a_wrong_key(locked: Any) -> None:
    for refused in play(locked.http, "refused", "wrong").values():
        assert refused["name"] == "AuthenticationError"
        assert refused["id"]
    assert play(locked.http, "refused", "sesame") == {}
