"""What an app says on each kind of socket to have a word spoken, to keep alive, and to leave."""

from __future__ import annotations

from typing import Any, TypeAlias

from mux.dialects.kugelaudio.reading import FORMATS as KUGELAUDIO_FORMATS
from mux.doctor.case import Case

__all__ = ["Message", "Wire", "wire_of"]

Message: TypeAlias = dict[str, Any]


class Wire:
    """ElevenLabs' multi-context socket; the others differ from it.

    `keepalive` is the text that keeps alive here, None where nothing does. `contexts`: whether it carries
    several.
    """

    keepalive: str | None = ""
    contexts = True

    def __init__(self, case: Case) -> None:
        self.case = case

    def id(self, name: str) -> Message:
        return {"context_id": name}

    def open(self, name: str) -> list[Message]:
        """Open a context and say nothing in it."""
        return [{"text": " ", **self.id(name)}]

    def speak(self, name: str, text: str) -> list[Message]:
        """Have a text spoken now."""
        return [{"text": text, "flush": True, **self.id(name)}]

    def end(self, name: str) -> list[Message]:
        """That was all."""
        return [{"close_context": True, **self.id(name)}]

    def keep_alive(self, name: str, text: str) -> list[Message]:
        return [{"text": text, **self.id(name)}]

    def spelt(self, text: str) -> str:
        """What a keepalive is called."""
        return {"": 'an empty text ""', " ": 'a single space " "'}.get(text, "the given text")

    def leave(self) -> list[Message]:
        """Ask the service to close the socket."""
        return [{"close_socket": True}]


class _Stream(Wire):
    """`stream-input`: the socket is the context, and an empty text its end."""

    keepalive = " "
    contexts = False

    def id(self, name: str) -> Message:
        return {}

    def end(self, name: str) -> list[Message]:
        return [{"text": ""}]

    def leave(self) -> list[Message]:
        return self.end("")


class _Dialogue(Wire):
    """`text-to-dialogue`: several voices in a context."""

    @property
    def _voice(self) -> str:
        return self.case.voice or "default"

    def open(self, name: str) -> list[Message]:
        return [{"voices": [self._voice], **self.id(name)}]

    def speak(self, name: str, text: str) -> list[Message]:
        line = {"text": text, "voice_id": self._voice}
        return [{"inputs": [line], "flush": True, **self.id(name)}]

    def keep_alive(self, name: str, text: str) -> list[Message]:
        return [{"keep_alive": True, **self.id(name)}]

    def spelt(self, text: str) -> str:
        return "the message keep_alive"


class _DialogueStream(_Dialogue):
    contexts = False

    def id(self, name: str) -> Message:
        return {}

    def end(self, name: str) -> list[Message]:
        return [{"close_socket": True}]


class _Kugel(Wire):
    """`/ws/tts/multi`: settings are in messages, and none in the URL."""

    def open(self, name: str) -> list[Message]:
        voice = {"voice_settings": {"voice_id": self.voice}} if self.voice is not None else {}
        return [{"text": " ", **self.id(name), **self.settings, **voice}]

    @property
    def voice(self) -> str | int | None:
        """The vendor's voices have numbers."""
        voice = self.case.voice
        return int(voice) if voice and voice.isascii() and voice.isdigit() and len(voice) < 19 else voice

    @property
    def settings(self) -> Message:
        token = self.case.output_format
        given = {
            "model_id": self.case.model,
            "language": self.case.language,
            "output_format": token,
            "sample_rate": KUGELAUDIO_FORMATS.get(token or ""),
            "inactivity_timeout": self.case.inactivity_timeout,
        }
        return {name: value for name, value in given.items() if value is not None}


class _KugelStream(_Kugel):
    """`/ws/tts/stream`: turns, one after another. Nothing keeps one alive."""

    keepalive = None
    contexts = False

    def id(self, name: str) -> Message:
        return {}

    def open(self, name: str) -> list[Message]:
        return []

    def speak(self, name: str, text: str) -> list[Message]:
        """The flush is the end of the turn, too."""
        voice = {} if self.voice is None else {"voice_id": self.voice}
        return [{"text": text, "flush": True, **self.settings, **voice}]

    def end(self, name: str) -> list[Message]:
        return []


class _KugelRequest(_KugelStream):
    """`/ws/tts`: each text is a request."""

    def speak(self, name: str, text: str) -> list[Message]:
        return [{key: value for key, value in super().speak(name, text)[0].items() if key != "flush"}]


WIRES: dict[str, type[Wire]] = {
    "multi-stream-input": Wire,
    "stream-input": _Stream,
    "text-to-dialogue/multi-stream-input": _Dialogue,
    "text-to-dialogue/stream-input": _DialogueStream,
    "ws/tts/multi": _Kugel,
    "ws/tts/stream": _KugelStream,
    "ws/tts": _KugelRequest,
}


def wire_of(case: Case) -> Wire:
    """What is spoken at a case's endpoint; at an unknown one its dialect's multi-context socket."""
    default = _Kugel if case.dialect == "kugelaudio" else Wire
    return WIRES.get(case.endpoint.name, default)(case)
