"""What can be told from the URL, the key and the options alone, before anything is sent."""

from __future__ import annotations

from collections.abc import Iterator

from mux.audio.formats import FORMATS
from mux.dialects.kugelaudio.reading import FORMATS as KUGELAUDIO_FORMATS
from mux.doctor.case import Case
from mux.doctor.findings import Finding, found
from mux.protocol.voice import INACTIVITY_RANGE

__all__ = ["check_asked"]

DIALOGUE_MODELS = ("eleven_v3", "eleven_v4")


def check_asked(case: Case) -> list[Finding]:
    """What is wrong with what was asked for; nothing where all of it may work."""
    return [
        *_scheme(case),
        *_path(case),
        *_timeout(case),
        *_key(case),
        *_voice(case),
        *_model(case),
        *_format(case),
    ]


def _scheme(case: Case) -> Iterator[Finding]:
    # A service's base URL begins with it in some frameworks, and is turned into a socket's by them.
    if case.path_given and case.scheme in ("http", "https"):
        instead = case.scheme.replace("http", "ws")
        yield found("url", "scheme", verdict="warning", scheme=case.scheme, instead=instead)


def _path(case: Case) -> Iterator[Finding]:
    if not case.known:
        yield found("url", "unknown_path", path=case.path)


def _timeout(case: Case) -> Iterator[Finding]:
    seconds, limit = case.inactivity_timeout, INACTIVITY_RANGE[1]
    if seconds is not None and seconds > limit:
        yield found("timeout", "timeout_over_max", seconds=f"{seconds:g}", limit=f"{limit:g}")


def _key(case: Case) -> Iterator[Finding]:
    key = case.key
    if key is not None and not (key.strip() == key != "" and key.isascii() and key.isprintable()):
        yield found("key", "key_unusable")
    if case.key_region == "eu" and ".eu." not in case.host and case.siblings:
        yield _region(case, "the key begins with eu-")


def _region(case: Case, *evidence: str) -> Finding:
    return found(
        "key", "region", *evidence, verdict="warning", host=case.host, siblings=", ".join(case.siblings)
    )


def _voice(case: Case) -> Iterator[Finding]:
    # Pipecat writes the word None into the path if its user names no voice.
    if case.voice in ("None", "null", "undefined", "") or (case.voice is None and case.siblings):
        yield found("voice", "voice_missing")


def _model(case: Case) -> Iterator[Finding]:
    model = case.model or ""
    if model.startswith(DIALOGUE_MODELS) and not case.endpoint.name.startswith("text-to-dialogue"):
        yield found("model", "model_not_here", model=f" {model}")


def _format(case: Case) -> Iterator[Finding]:
    formats = KUGELAUDIO_FORMATS if case.dialect == "kugelaudio" else FORMATS
    allowed = [name for name in formats if not name.startswith("wav")]
    if case.output_format is not None and case.output_format not in allowed:
        yield found("format", "format_unknown", format=case.output_format, allowed=", ".join(allowed))
