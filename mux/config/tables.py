"""The tables of the file: engines, who speaks for which voice id, and the apps that share them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, TypeVar, get_type_hints

import msgspec
from msgspec import Meta

from mux.config.values import (
    Discreet,
    Key,
    OptionalKey,
    OptionalText,
    OptionalWhole,
    Seconds,
    Text,
    Url,
    Whole,
    allowed_values,
    convert,
    known,
    refuse,
)

__all__ = [
    "ENGINES",
    "SHORT",
    "App",
    "ElevenLabs",
    "EngineTable",
    "Espeak",
    "KugelAudio",
    "Mux",
    "OpenAi",
    "Piper",
    "Sherpa",
    "Speaker",
    "Tone",
    "VoiceRoute",
    "read_app",
    "read_engine",
    "read_voice",
]

Language = Annotated[
    Annotated[str, Meta(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$")] | None,
    Meta(description="a language tag such as en or pt-BR"),
]
Rate = Annotated[
    Literal[8000, 16000, 22050, 24000, 32000, 44100, 48000],
    Meta(description="8000, 16000, 22050, 24000, 32000, 44100 or 48000 (Hz)"),
]
Models = Annotated[
    Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1)],
    Meta(description="a list of at least one path of a model"),
]


class Espeak(Discreet, frozen=True):
    """espeak-ng in worker processes."""

    kind: ClassVar[Literal["espeak"]] = "espeak"
    workers: OptionalWhole = None
    """Segments that it speaks at the same time; None: as many as the setting `workers` says."""
    library: OptionalText = None
    """The shared library; None: what the setting `espeak_library` says."""


class Tone(Discreet, frozen=True):
    """Test tones."""

    kind: ClassVar[Literal["tone"]] = "tone"
    workers: OptionalWhole = None


class _Files(Discreet, frozen=True):
    models: Models
    """Files or directories; the first one is the default voice."""
    workers: OptionalWhole = None
    threads: Annotated[int, Meta(ge=1, le=64, description="a whole number from 1 to 64")] = 1
    """Cores that one worker may use."""


class Piper(_Files, frozen=True):
    """Voices of Piper, in worker processes."""

    kind: ClassVar[Literal["piper"]] = "piper"


class Sherpa(_Files, frozen=True):
    """Voices in the form of sherpa-onnx, in worker processes."""

    kind: ClassVar[Literal["sherpa"]] = "sherpa"


class _Service(Discreet, frozen=True):
    """Somebody else's server."""

    url: Url
    key: OptionalKey = None
    voice: OptionalText = None
    """Who speaks for a client that names no voice."""
    sample_rate: Rate = 24000
    """What its audio is asked for at."""
    sockets: Whole = 4
    """How many connections it gets at the most."""


class _Upstream(_Service, frozen=True):
    model: OptionalText = None
    contexts: OptionalWhole = None
    """How many contexts a connection may carry; None: what the service allows."""
    repair: Annotated[Literal["exact", "words", "fail"], Meta(description="exact, words or fail")] = "words"
    """How a segment goes on that a connection broke off: at the very sample (the service repeats itself
    exactly), at the nearest word, or not at all."""
    stall_seconds: Seconds = 10.0
    """After so long without a sign, a segment is spoken again elsewhere."""
    patience: Seconds = 15.0
    """How long a segment for which there is no connection waits for one before this engine has failed."""
    open_timeout: Seconds = 10.0


class ElevenLabs(_Upstream, frozen=True):
    """ElevenLabs, or what speaks its multi-context protocol."""

    kind: ClassVar[Literal["elevenlabs"]] = "elevenlabs"


class KugelAudio(_Upstream, frozen=True):
    """KugelAudio, or what speaks its multi-context protocol."""

    kind: ClassVar[Literal["kugelaudio"]] = "kugelaudio"


class Mux(_Upstream, frozen=True):
    """Another mux."""

    kind: ClassVar[Literal["mux"]] = "mux"


class OpenAi(_Service, frozen=True):
    """A server with OpenAI's `POST /audio/speech`; each of its `sockets` carries one segment."""

    kind: ClassVar[Literal["openai"]] = "openai"
    model: Text = "tts-1"
    extra: Annotated[dict[str, Any] | None, Meta(description="a table of further fields of each request")] = (
        None
    )
    first_audio_seconds: Seconds = 30.0
    stall_seconds: Seconds = 10.0
    """Between two pieces of audio."""
    open_timeout: Seconds = 5.0


EngineTable: TypeAlias = Espeak | Tone | ElevenLabs | KugelAudio | Mux | OpenAi | Piper | Sherpa
ENGINES: Mapping[str, type[EngineTable]] = {
    kind.kind: kind for kind in (Espeak, Tone, ElevenLabs, KugelAudio, Mux, OpenAi, Piper, Sherpa)
}
SHORT: Mapping[str, type[ElevenLabs | KugelAudio | Mux | OpenAi]] = {
    kind.kind: kind for kind in (ElevenLabs, KugelAudio, Mux, OpenAi)
}
"""Kinds that need no table: `upstream_url` and the like say everything."""


class Speaker(Discreet, frozen=True):
    """One who may speak for a voice id: an engine by its name, and a voice of it (None: its default)."""

    engine: Text
    voice: OptionalText = None


class VoiceRoute(Discreet, frozen=True):
    """Who speaks for `id`: the first of `speak`, and if that fails before it was heard, the next."""

    id: Annotated[
        str, Meta(pattern=r"^[^*]*\*?[^*]*$", min_length=1, description="a voice id with at most one *")
    ]
    speak: tuple[Speaker, ...]
    name: OptionalText = None
    language: Language = None


class App(Discreet, frozen=True):
    """A client with a key of its own. Busy apps get the engines in the ratio of their weights; whoever comes
    with another key, or none, counts as one further app of weight 1."""

    key: Key
    name: OptionalText = None
    weight: Annotated[float, Meta(ge=0.01, le=1000, description="a number from 0.01 to 1000")] = 1.0


_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
_Table = TypeVar("_Table", bound=Discreet)


def read_engine(table: object, where: str, environ: Mapping[str, str]) -> EngineTable:
    """A table of [engines], which `where` names. A key may be in a variable of `environ`.

    Raises:
        MuxError: `invalid_config`, as of the others here.
    """
    fields = dict(_fields_of(table, where))
    kind = fields.pop("kind", None)
    if not isinstance(kind, str) or kind not in ENGINES:
        given = "it has none" if kind is None else f"it gives {kind!r:.60}"
        refuse(f"kind must be one of {', '.join(ENGINES)} in {where}; {given}.", allowed=tuple(ENGINES))
    return _read(ENGINES[kind], fields, where, environ)


def read_voice(table: object, where: str) -> VoiceRoute:
    """One of the tables [[voices]]."""
    fields = dict(_fields_of(table, where))
    speak = fields.pop("speak", None)
    if not isinstance(speak, list) or not speak:
        refuse(f'{where} needs speak, such as speak = [{{engine = "espeak", voice = "en-us-f2"}}].')
    speakers = tuple(_read(Speaker, _fields_of(one, where), f"speak of {where}") for one in speak)
    return _read(VoiceRoute, fields, where, speak=speakers)


def read_app(table: object, where: str, name: str, environ: Mapping[str, str]) -> App:
    """One of the tables [[apps]]; `name` is for an app that has none."""
    return _read(App, {"name": name, **_fields_of(table, where)}, where, environ)


def _fields_of(table: object, where: str) -> Mapping[str, Any]:
    if not isinstance(table, dict):
        refuse(f"{where} must be a table of settings.")
    return table


def _read(
    kind: type[_Table],
    table: Mapping[str, Any],
    where: str,
    environ: Mapping[str, str] | None = None,
    **values: Any,
) -> _Table:
    """A table as a `kind`; `values` are of fields that have been read already."""
    hints = _hints(kind)
    open_hints = {name: hint for name, hint in hints.items() if name not in values}
    also = {"key_env"} if "key" in hints else set()
    for name, value in table.items():
        source = f"the key {name} of {where}"
        known(name, open_hints.keys() | also, f"T{source[1:]}")
        if name == "key_env":
            values["key"] = _from_variable(value, table, hints["key"], where, environ or {})
        else:
            values[name] = convert(name, value, hints[name], source, strict=True)
    for field in msgspec.structs.fields(kind):
        if field.required and field.name not in values:
            either = " or key_env" if field.name == "key" else ""
            refuse(f"{where} needs {field.name}{either}: {allowed_values(hints[field.name])}.")
    return kind(**values)


def _from_variable(
    variable: object, table: Mapping[str, Any], hint: Any, where: str, environ: Mapping[str, str]
) -> Any:
    if "key" in table:
        refuse(f"{where} has both key and key_env. Keep one of them.")
    if not isinstance(variable, str) or not _VARIABLE.fullmatch(variable):
        # It is not shown: it may be the key itself.
        refuse(f"key_env of {where} must be the name of a variable that holds the key, in capital letters.")
    text = environ.get(variable, "").strip()
    if not text:
        refuse(f"The variable {variable}, which key_env of {where} names, is not set. Set it to the key.")
    return convert("key", text, hint, f"the variable {variable}", strict=True)


@cache
def _hints(kind: type[Discreet]) -> Mapping[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {name: hints[name] for name in kind.__struct_fields__}
