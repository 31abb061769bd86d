"""What the frames of either vendor say, as far as a fault must know, and how to say something false."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from mux.audio.formats import FORMATS

__all__ = ["Dialect", "ElevenLabs", "Frame", "KugelAudio", "Message", "Vendor", "vendor_of"]

Dialect = Literal["elevenlabs", "kugelaudio"]
Kind = Literal["audio", "final", "end", "error", "warning", "other"]
"""`end` is a context's last frame; `final` says that everything before a flush has been sent."""
STREAM = ""
"""The id of the context on a socket whose wire has no ids."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Frame(msgspec.Struct, frozen=True):
    """What the server sends: `text` is the frame itself. `context` is None where it concerns the socket; `ms`
    is the length of its audio."""

    text: str
    data: dict[str, Any] = {}
    kind: Kind = "other"
    context: str | None = None
    ends: bool = False
    """Nothing of the context follows in the server's eyes."""
    ms: float = 0.0

    def changed(self, **fields: Any) -> Frame:
        """The same with other fields on the wire; None takes one away."""
        data = {name: value for name, value in (self.data | fields).items() if value is not None}
        return msgspec.structs.replace(self, text=_encode(data).decode(), data=data)


class Message(msgspec.Struct, frozen=True):
    """What a client said, with the context that it is about (None: the socket)."""

    text: str
    data: dict[str, Any] = {}
    context: str | None = None
    speech: str = ""
    opens: bool = False
    closes: bool = False

    def blank(self) -> Message:
        """The same without anything to be spoken."""
        # With settings and all: the server must know the voice.
        data = {name: value for name, value in self.data.items() if name not in ("flush", "inputs")}
        return msgspec.structs.replace(self, text=_encode(data | {"text": " "}).decode(), speech="")


class Vendor(ABC):
    """One socket's wire."""

    single = False
    """Whether its frames carry no ids."""
    id_key = "context_id"

    def heard(self, text: str) -> Message:
        """Read what a client said; what is no JSON object is about the socket."""
        try:
            return self._heard(text, _decode(text))
        except (msgspec.DecodeError, UnicodeError, RecursionError, AttributeError):
            return Message(text)

    @abstractmethod
    def _heard(self, text: str, data: dict[str, Any]) -> Message: ...

    @abstractmethod
    def spoken(self, text: str) -> Frame:
        """Read what the server says, and take out what only mux says."""

    @abstractmethod
    def error(self, message: str) -> Frame:
        """A failure, of which nothing tells whose it is."""

    @abstractmethod
    def out_of_credits(self) -> tuple[Frame, int]:
        """The error of an account that is used up, and the code with which the socket closes after it."""

    @abstractmethod
    def denial(self, status: int, message: str, retry_after: int | None) -> bytes:
        """The body of a refused handshake."""

    @abstractmethod
    def turned_away(self) -> tuple[Frame | None, int, str]:
        """What a client hears that is let in only to be told that it is not."""

    def renamed(self, frame: Frame, context: str) -> Frame:
        """The frame under another id."""
        return frame.changed(**{self.id_key: context})


class ElevenLabs(Vendor):
    """`multi-stream-input`, `stream-input` and the dialogue sockets."""

    def __init__(self, path: str, query: Mapping[str, str]) -> None:
        self.single = "multi-stream-input" not in path
        self._dialogue = "text-to-dialogue" in path
        self.id_key = "context_id" if self._dialogue else "contextId"
        format = FORMATS.get(query.get("output_format", ""), FORMATS["mp3_44100_128"])
        kbps = format.bitrate_kbps or format.sample_rate * (16 if format.codec == "pcm" else 8) / 1000
        self._bytes_per_ms = kbps / 8

    def _heard(self, text: str, data: dict[str, Any]) -> Message:
        said = data.get("text") or ""
        lines = data.get("inputs") or ()
        speech = said + "".join(line.get("text") or "" for line in lines)
        closes = bool(data.get("close_context"))
        context = data.get("context_id") or data.get("contextId")
        if self.single:
            context = STREAM
            over = data.get("text") == "" and not data.get("flush") and not self._dialogue
            closes = over or bool(data.get("close_socket"))
        elif context is None and speech.strip():
            context = "default"
        opens = bool(speech or data.get("voices") or data.get("flush"))
        return Message(text, data, context, speech, opens, closes)

    def spoken(self, text: str) -> Frame:
        data = _decode(text)
        context = STREAM if self.single else data.get("contextId", data.get("context_id"))
        if "error" in data:
            # Said without an id: "error message without contextId first, then close the connection".
            data = {"message": data["message"], "error": data["error"], "code": 1008}
            return Frame(_encode(data).decode(), data, "error", context)
        if "warning" in data:
            return Frame(text, data, "warning", context)
        if data.pop("mux", None) is not None:
            text = _encode(data).decode()
        if data.get("isFinal") or data.get("is_final"):
            return Frame(text, data, "end", context, ends=True)
        if audio := data.get("audio"):
            size = len(audio) * 3 // 4 - audio[-2:].count("=")
            return Frame(text, data, "audio", context, ms=size / self._bytes_per_ms)
        return Frame(text, data, "other", context)

    def error(self, message: str) -> Frame:
        data = {"message": message, "error": "internal_error", "code": 1008}
        return Frame(_encode(data).decode(), data, "error")

    def out_of_credits(self) -> tuple[Frame, int]:
        message = "This request exceeds your quota of 10000. You have 0 credits remaining."
        data = {"message": message, "error": "quota_exceeded", "code": 1008}
        return Frame(_encode(data).decode(), data, "error"), 1008

    def denial(self, status: int, message: str, retry_after: int | None) -> bytes:
        kind, code = {
            401: ("authentication_error", "invalid_api_key"),
            403: ("authorization_error", "subscription_required"),
            404: ("not_found", "not_found"),
            429: ("rate_limit_error", "too_many_concurrent_requests"),
        }[status]
        detail = {"type": kind, "code": code, "message": message, "status": code, "request_id": "mock"}
        return _encode({"detail": detail})

    def turned_away(self) -> tuple[Frame | None, int, str]:
        data = {"message": "Invalid API key", "error": "invalid_api_key", "code": 1008}
        return Frame(_encode(data).decode(), data, "error"), 1008, "Invalid API key"


class KugelAudio(Vendor):
    """`/ws/tts/multi`, `/ws/tts/stream` (a context is a turn) and `/ws/tts` (a request)."""

    def __init__(self, path: str) -> None:
        self._stream = path.endswith("/stream")
        self.single = not path.endswith("/multi")

    def _heard(self, text: str, data: dict[str, Any]) -> Message:
        speech = data.get("text") or ""
        if not self.single:
            opens = bool(speech or data.get("voice_settings"))
            closes = bool(data.get("close_context"))
            return Message(text, data, data.get("context_id"), speech, opens, closes)
        ends = ("flush", "close", "end_session", "cancel", "close_socket")
        closes = any(data.get(name) for name in ends) if self._stream else bool(speech)
        return Message(text, data, STREAM, speech, bool(speech), closes)

    def spoken(self, text: str) -> Frame:
        data = _decode(text)
        if data.pop("mux", None) is not None:
            text = _encode(data).decode()
        context = STREAM if self.single else data.get("context_id")
        if data.get("audio"):
            return Frame(text, data, "audio", context, ms=data["samples"] * 1000 / data["sr"])
        if "error" in data:
            return Frame(text, data, "error", context, ends=self.single and not self._stream)
        if data.get("context_closed") or data.get("interrupted") or (self.single and self._ends(data)):
            return Frame(text, data, "end", context, ends=True)
        return Frame(text, data, "final" if data.get("final") else "other", context)

    def _ends(self, data: dict[str, Any]) -> bool:
        return bool(data.get("session_closed" if self._stream else "final"))

    def error(self, message: str) -> Frame:
        data = {"error": message, "error_code": "INTERNAL_ERROR", "code": 500, "request_id": "mock"}
        return Frame(_encode(data).decode(), data, "error")

    def out_of_credits(self) -> tuple[Frame, int]:
        message = "The credits of this account are used up."
        data = {"error": message, "error_code": "INSUFFICIENT_CREDITS", "code": 402, "request_id": "mock"}
        return Frame(_encode(data).decode(), data, "error"), 4003

    def denial(self, status: int, message: str, retry_after: int | None) -> bytes:
        word = {404: "NOT_FOUND", 429: "RATE_LIMITED"}.get(status, "UNAUTHORIZED")
        body = {"error": message, "error_code": word, "code": status, "request_id": "mock"}
        return _encode(body if retry_after is None else body | {"retry_after": retry_after})

    def turned_away(self) -> tuple[Frame | None, int, str]:
        return None, 1013, "try again later"


def vendor_of(dialect: Dialect, path: str, query: Mapping[str, str]) -> Vendor:
    """The wire of a socket that is opened at `path`."""
    return KugelAudio(path) if dialect == "kugelaudio" else ElevenLabs(path, query)
