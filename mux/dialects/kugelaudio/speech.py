"""`POST /v1/tts/generate`: one request, whose answer is bare audio as it is made."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from mux.dialects.base import Decoded, Sound
from mux.dialects.kugelaudio.reading import NameVoice, settings_of
from mux.dialects.kugelaudio.wire import ClientMessage
from mux.errors import MuxError, Problem
from mux.protocol.messages import Close, ContextClosed, Event, Open, SessionClosed, Text
from mux.protocol.voice import ContextSettings

__all__ = ["KugelAudioSpeech", "parse_request"]

ONLY = "request"


class _Request(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The request's body (`SynthesizeRequest`, "additionalProperties: false"). Times by the word are to be
    had on sockets only."""

    text: Annotated[str, Meta(min_length=1, max_length=10_000)]
    voice_id: int | str | None = None
    model_id: str | None = None
    cfg_scale: float | None = None
    temperature: float | None = None
    max_new_tokens: int | None = None
    speed: float | None = None
    language: str | None = None
    normalize: bool | None = None
    sample_rate: int | None = None
    output_format: str | None = None
    project_id: Any = None
    dictionary_ids: list[Any] | None = None
    speaker_prefix: bool | None = None


_decode = msgspec.json.Decoder(_Request).decode


def parse_request(body: bytes, name_voice: NameVoice) -> tuple[str, ContextSettings]:
    """Read a request's body: its text and its settings.

    Raises:
        MuxError: `unprocessable`, `invalid_setting` or `missing_voice`, naming the field.
    """
    try:
        request = _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        cause = str(error)[:200] if isinstance(error, msgspec.DecodeError) else type(error).__name__
        raise MuxError.of("unprocessable", f"The body cannot be read: {cause}.", observed=cause) from None
    if not request.text.strip():
        raise MuxError.of("unprocessable", "The text is blank. Send something to speak.", param="text")
    if request.voice_id in (None, ""):
        said = "voice_id is missing. GET /v1/voices lists what it may be."
        raise MuxError.of("missing_voice", said, param="voice_id")
    fields = {name: value for name, value in msgspec.structs.asdict(request).items() if value is not None}
    known = {name: value for name, value in fields.items() if name in ClientMessage.__struct_fields__}
    settings = settings_of(ClientMessage(**known), name_voice)
    if isinstance(settings, Problem):
        # "rejected (422)", where a socket says 400.
        raise MuxError(msgspec.structs.replace(settings, code="unprocessable"))
    return request.text, settings


class KugelAudioSpeech:
    """The answer to one request, as a dialect of a socket that carries one context."""

    single = True
    whole_segments = False

    def __init__(self, text: str) -> None:
        self.problem: Problem | None = None
        """Why there is no answer, or only a part of one."""
        self.length: int | None = None
        self._text = text

    def decode(self, data: str | bytes) -> list[Decoded]:
        """The one request, whatever `data` is."""
        return [Open(ONLY), Text(ONLY, self._text), Close(ONLY)]

    def audio(self, sound: Sound) -> list[bytes]:
        return [bytes(sound.payload)] if sound.payload else []

    def event(self, event: Event) -> list[bytes]:
        if isinstance(event, (ContextClosed, SessionClosed)):
            self.problem = self.problem or event.problem
        return []
