"""Turns of `/ws/tts/stream` in any order and race: every flush, close and cancel is answered once, in order,
and the audio of turns never mixes.

The engine's samples are the characters' own numbers, so what a client heard can be read.
"""

from __future__ import annotations

import base64
import json
from array import array
from itertools import count
from typing import Any

import msgspec
from hypothesis import example, given, note, settings
from hypothesis import strategies as st
from kugelaudio_frames import check_frame

from mux.dialects.base import Sound
from mux.dialects.kugelaudio import KugelAudioStream
from mux.protocol.limits import Limits
from mux.protocol.messages import Audio, SegmentEnded, Speak, Spoken, Stop
from mux.protocol.session import Session

RATE = 1000
CHUNK = 4
"""Characters that the engine says at a time."""

texts = st.sampled_from(["One", "One two three. ", "Four five. Six", " ", "seven ", "word " * 8, "\n", "8. "])
ENDS = [{"flush": True}, {"close": True}, {"end_session": True}]
operations = st.one_of(
    st.builds(lambda text: ("say", {"text": text, "flush": False}), texts),
    st.builds(lambda text, end: ("say", {"text": text, **end}), texts, st.sampled_from(ENDS)),
    st.sampled_from([("say", end) for end in ENDS]),
    st.just(("say", {"cancel": True})),
    st.builds(
        lambda text, end: ("say", {"text": text, "speed": 9, **end}), texts, st.sampled_from([{}, *ENDS])
    ),
    st.just(("say", {"update_settings": {"speed": 1.1}})),
    st.builds(lambda seconds: ("wait", seconds), st.sampled_from([0.05, 0.2, 0.6, 3.0, 6.0])),
    st.builds(lambda steps: ("speak", steps), st.integers(1, 6)),
    st.builds(lambda events: ("hear", events), st.sampled_from([1, 2, 5, 1000])),
    st.just(("fall silent", 6.0)),
)


class Server:
    """A session whose engine speaks one chunk at a step, and whose client reads one event at a step."""

    def __init__(self) -> None:
        self.dialect = KugelAudioStream(session_id="s")
        self.session = Session(
            self.dialect.defaults, limits=self.dialect.limits(Limits(draining=1000, contexts=1000))
        )
        self.jobs: list[Speak] = []
        self.now = 0.0
        self.say({"voice_id": 1})

    def say(self, message: dict[str, Any]) -> None:
        for command in self.dialect.decode(json.dumps(message)):
            self.session.receive(command, self.now)
        self._take()

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.session.next_deadline()) <= end:
            self.now = max(self.now, due)
            self.session.tick(self.now)
            self._take()
        self.now = end

    def speak(self) -> None:
        if not self.jobs:
            return
        job = self.jobs[0]
        said, rest = job.text[:CHUNK], job.text[CHUNK:]
        pcm = array("h", map(ord, said)).tobytes()
        self.session.report(Spoken(job.serial, job.segment, pcm, RATE, tuple(range(len(said)))), self.now)
        if rest:
            fields = {name: getattr(job, name) for name in job.__struct_fields__} | {"text": rest}
            self.jobs[0] = Speak(**fields)
        else:
            self._end(job)
        self._take()

    def hear(self) -> list[dict[str, Any]] | None:
        """The frames of the next event; None if there is none."""
        event = self.session.next_event(self.now)
        self._take()
        if event is None:
            return None
        if isinstance(event, Audio):
            where = (event.context, event.serial, event.segment)
            said = self.dialect.audio(Sound(*where, event.pcm, "pcm", RATE, []))
        else:
            said = self.dialect.event(event)
        return [json.loads(frame) for frame in said]

    def _take(self) -> None:
        for effect in self.session.take_effects():
            if isinstance(effect, Stop):
                self._end(next(job for job in self.jobs if job.serial == effect.serial))
            else:
                self.jobs.append(effect)

    def _end(self, job: Speak) -> None:
        self.jobs = [other for other in self.jobs if other.serial != job.serial]
        self.session.report(SegmentEnded(job.serial, job.segment), self.now)


class Due(msgspec.Struct):
    """An answer that is owed: of a `turn` with its text, of one that `expired` (timed out) or `failed` before
    its client ended it, of one that `failed and ended`, of an end with `nothing` to end, of a `cancel`."""

    kind: str
    text: str = ""
    joined: bool = False
    """It is the answer to a second close, too."""


UNASKED = {"expired": "turn", "failed": "failed and ended"}
"""What becomes of a turn that ends by itself, when its client ends it after all."""


class Client:
    """What a client may expect: answers in the order of what it asked."""

    def __init__(self) -> None:
        self.server = Server()
        self.text = ""
        """Of the turn that is open."""
        self.due: list[Due] = []
        self.heard = ""
        self.unsettled = ""
        """What was heard of turns that failed, whose usage no end has told."""
        self.failed = False
        """Text is ignored until the turn is ended."""
        self.updates = 0
        self.refusals = 0
        """Errors that are owed and end no turn."""

    def say(self, message: dict[str, Any]) -> None:
        self.server.say(message)
        text = message.get("text", "")
        if "update_settings" in message:
            self.updates += 1
        elif "speed" in message:
            self.wrong(text)
        elif not self.failed and (self.text or text.strip()):
            self.text += text
        if "cancel" in message:
            self.cancel()
        elif {"close", "end_session"} & set(message):
            self.end(joins=True)
        elif message.get("flush"):
            self.end(joins=False)

    def wrong(self, text: str) -> None:
        """A setting is refused: with text, its turn fails."""
        if not text.strip():
            self.refusals += 1
            self.text += text if self.text else ""
        elif not self.failed:
            self.due.append(Due("failed", self.text))
            self.failed, self.text = True, ""

    def cancel(self) -> None:
        """It is the answer to all that has not ended; but errors are told."""
        self.due = [due for due in self.due if due.kind in ("cancel", "failed", "failed and ended")]
        for due in self.due:
            due.kind = "failed" if due.kind == "failed and ended" else due.kind
        self.due.append(Due("cancel"))
        self.failed, self.text = False, ""

    def end(self, joins: bool) -> None:
        last = self.due[-1] if self.due else None
        if self.text:
            self.due.append(Due("turn", self.text))
        elif last and last.kind in UNASKED:
            # It crosses the end of a turn that timed out or failed: that is its answer.
            last.kind = UNASKED[last.kind]
        elif last and joins and last.kind == "turn" and not last.joined:
            last.joined = True
        else:
            self.due.append(Due("nothing"))
        self.failed, self.text = False, ""

    def fall_silent(self, seconds: float) -> None:
        """Hear everything, and then nothing."""
        self.hear_all()
        self.wait(seconds)

    def hear_all(self) -> None:
        while self.hear() or self.server.jobs:
            self.server.speak()

    def wait(self, seconds: float) -> None:
        self.server.wait(seconds)
        if self.text and not self.server.session.open_contexts:
            self.due.append(Due("expired", self.text))
            self.text = ""

    def hear(self) -> bool:
        frames = self.server.hear()
        for frame in frames or []:
            self.file(frame, check_frame(frame))
        return frames is not None

    def file(self, frame: dict[str, Any], kind: str) -> None:
        first = self.due[0] if self.due else Due("open", self.text)
        if kind == "audio":
            samples = array("h", base64.b64decode(frame["audio"]))
            self.heard += "".join(map(chr, samples))
            # It belongs to what is owed first, or to the turn that is open.
            assert first.text.lstrip().startswith(self.heard)
        elif kind == "session_closed":
            assert first.kind in ("turn", "expired", "nothing", "failed and told"), f"{frame} for {first}"
            whole = first.kind in ("turn", "expired")
            assert not whole or self.heard.strip() == first.text.strip()
            self.settle(frame, always=whole)
            self.due.pop(0)
        elif kind == "interrupted":
            assert first.kind == "cancel", f"{frame} for {first}"
            self.settle(frame, always=True)
            self.due.pop(0)
        elif kind == "error" and self.refusals:
            self.refusals -= 1
        elif kind == "error":
            if first.kind == "failed":
                self.due.pop(0)
                self.unsettled += self.heard
                self.heard = ""
            else:
                assert first.kind == "failed and ended", f"{frame} for {first}"
                first.kind = "failed and told"
        elif kind == "settings_updated":
            self.updates -= 1
        elif kind == "warning":
            assert first.kind in ("turn", "expired")
        else:
            assert kind in ("generation_started", "chunk_complete", "final"), frame
            if kind == "final":
                assert first.kind in ("turn", "expired")

    def settle(self, frame: dict[str, Any], always: bool) -> None:
        """An end tells the usage of all since the last one; where nothing was heard, it may tell none."""
        heard, self.heard, self.unsettled = self.unsettled + self.heard, "", ""
        if always or heard:
            assert frame["usage"]["characters"] == len(heard)
        assert frame.get("usage", {"characters": 0})["characters"] == len(heard)


ONE, FLUSH, CLOSE, CANCEL, WRONG, SILENT = (
    ("say", {"text": "One"}),
    ("say", {"flush": True}),
    ("say", {"close": True}),
    ("say", {"cancel": True}),
    ("say", {"text": "No", "speed": 9}),
    ("fall silent", 6.0),
)


@settings(max_examples=5 * settings().max_examples)
@given(st.lists(operations, max_size=40))
@example([FLUSH, CANCEL])
@example([("say", {"text": "One", "flush": True}), FLUSH, CANCEL, CANCEL, FLUSH])
@example([ONE, SILENT, SILENT, FLUSH, ("hear", 1000), FLUSH])
@example([ONE, SILENT, SILENT, ONE, ("hear", 1), FLUSH])
@example([ONE, SILENT, SILENT, ONE, CANCEL, ONE, FLUSH])
@example([ONE, FLUSH, CLOSE, CLOSE, ONE, CLOSE])
@example([CANCEL, CLOSE])
@example([ONE, CANCEL, FLUSH, CLOSE, CLOSE, CANCEL])
@example([("say", {"text": "No", "speed": 9, "flush": True}), ONE, FLUSH])
@example([ONE, ("speak", 1), ("hear", 2), WRONG, ("hear", 1000), ONE, FLUSH])
@example([ONE, WRONG, CANCEL, ONE, FLUSH])
@example([ONE, WRONG, FLUSH, CANCEL, ONE, FLUSH])
@example([ONE, ("wait", 6.0), CANCEL])
def test_every_end_is_answered_once_and_in_order(history: list[tuple[str, Any]]) -> None:
    client = Client()
    for number, (what, how) in zip(count(), history, strict=False):
        note(f"{number}: {what} {how} -> owed {client.due}, open {client.text!r}")
        if what == "say":
            client.say(how)
        elif what == "wait":
            client.wait(how)
        elif what == "fall silent":
            client.fall_silent(how)
        elif what == "speak":
            for _ in range(how):
                client.server.speak()
        else:
            while how and client.hear():
                how -= 1
    client.say({"flush": True})
    for _ in range(3):
        client.fall_silent(10)
    assert client.due == []
    assert client.text == client.heard == ""
    assert client.updates == client.refusals == 0
    assert client.server.session.live_contexts == 0
