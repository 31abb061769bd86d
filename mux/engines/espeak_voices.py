"""The voices of the espeak engine: which there are, and what a client's voice id and language code mean.

A voice is a language of espeak-ng (`gmw/en-US`) spoken by one of its variants (`f2`). Named voices are ids
such as "en-us-f2", and "de" for a language's plain voice. Any other id (another vendor's, say) is a stable
voice of its own: its hash chooses variant, pitch and a slight change of rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

import msgspec

from mux.engines.base import Voice
from mux.protocol.voice import VoiceSettings

__all__ = ["DEFAULT_VOICE", "Catalogue", "Speaker", "orders"]

DEFAULT_VOICE = "en-us-f2"
"""The most intelligible of all to a speech recogniser (24 of 24 sentences, also fast; plain en-us: 19)."""
_HOME = "en-us"
WORDS_PER_MINUTE = 175


class Variant(msgspec.Struct, frozen=True):
    name: str
    gender: str | None
    description: str
    volume: int = 100


VARIANTS: dict[str, Variant] = {
    "f2": Variant("Female 2", "female", "clear; the default"),
    "f3": Variant("Female 3", "female", "softer"),
    "m3": Variant("Male 3", "male", "deep, less clear"),
    "klatt2": Variant("Klatt 2", "male", "formant synthesis, bright"),
    # These two clip at full volume.
    "klatt4": Variant("Klatt 4", "male", "formant synthesis, very clear", volume=80),
    "edward": Variant("Edward", "male", "very clear", volume=80),
    "whisper": Variant("Whisper", None, "whispered"),
}
_STRANGERS = ("f2", "f3", "m3", "klatt2", "klatt4", "edward", "")
"""Who may speak for an unknown id; "" is the language's plain voice."""
_STRANGER_PITCHES = range(20, 81)
_STRANGER_RATES = (0.92, 0.94, 0.96, 0.98, 1.0, 1.02, 1.04, 1.06, 1.08)

_TAGS = {"gmw/en": "en-GB"}
"""espeak names its British voice plain "en"."""
_ALIASES = {"en": _HOME, "zh-hk": "yue", "iw": "he", "in": "id"}
_NOTES = {
    "ja": "Reads kana only; kanji are said as “Chinese letter”.",
    "cmn": "Reads Chinese characters; Latin letters as English.",
}


class Language(msgspec.Struct, frozen=True):
    """A language as espeak-ng lists it: `tag` is its BCP 47 tag."""

    identifier: str
    tag: str
    name: str


class Speaker(msgspec.Struct, frozen=True):
    """A language, a variant ("": none), a pitch (0 to 99) and a factor on the rate."""

    language: Language
    variant: str
    pitch: int = 50
    rate: float = 1.0


class Catalogue:
    """All voices of one espeak-ng library; `listed` is what its worker says in its hello."""

    def __init__(self, listed: Iterable[Mapping[str, Any]]) -> None:
        self._languages: dict[str, Language] = {}
        self._tags: dict[str, Language] = {}
        """Every spelling that names a language, in small letters."""
        rest: list[tuple[str, Language]] = []
        for entry in listed:
            identifier = entry["identifier"]
            tag = _TAGS.get(identifier, identifier.rpartition("/")[2])
            language = Language(identifier, tag, entry["name"].strip())
            self._languages[tag.lower()] = language
            rest += [(other.lower(), language) for other in entry["tags"]]
        self._tags.update(self._languages)
        for alias, tag in _ALIASES.items():
            if tag in self._languages:
                self._tags[alias] = self._languages[tag]
        for other, language in rest:
            self._tags.setdefault(other, language)

    def voices(self) -> list[Voice]:
        """The default voice, the other named ones, then every language's plain voice."""
        named = [
            Voice(
                id=f"{_HOME}-{variant}",
                name=f"{about.name} (en-US)",
                language="en-US",
                gender=about.gender,
                description=about.description,
            )
            for variant, about in VARIANTS.items()
            if _HOME in self._languages
        ]
        plain = [
            Voice(
                id=tag,
                name=language.name,
                language=language.tag,
                gender="male",
                description=_NOTES.get(tag, ""),
            )
            for tag, language in sorted(self._languages.items())
        ]
        return named + plain

    def named(self, voice: str) -> Speaker | None:
        """The voice of that id, if the id is one of ours. Any language takes any variant: "de-f3"."""
        wanted = voice.lower()
        if wanted in self._tags:
            return Speaker(self._tags[wanted], "")
        tag, _, variant = wanted.rpartition("-")
        if tag in self._tags and variant in VARIANTS:
            return Speaker(self._tags[tag], variant)
        return None

    def language(self, code: str, own: Language | None = None) -> Language | None:
        """The language that a client's code names, a more general one where that exact one is missing. A
        voice's `own` language wins over another accent that the code does not ask for ("en", "en-AU")."""
        tag = code.lower().replace("_", "-")
        while tag:
            if own is not None and f"{own.tag.lower()}-".startswith(f"{tag}-"):
                return own
            if tag in self._tags:
                return self._tags[tag]
            tag = tag.rpartition("-")[0]
        return None

    def speaker(self, voice: str | None, code: str | None) -> Speaker | None:
        """Who speaks for a client's voice id and language code; None if the language is not supported. The
        code chooses the language, the voice keeps variant and pitch."""
        speaker = self.named(voice or DEFAULT_VOICE) or self._stranger(voice or DEFAULT_VOICE)
        if not code or speaker is None:
            return speaker
        language = self.language(code, speaker.language)
        return None if language is None else msgspec.structs.replace(speaker, language=language)

    def _stranger(self, voice: str) -> Speaker | None:
        home = self._languages.get(_HOME) or next(iter(self._languages.values()), None)
        if home is None:
            return None
        number = int.from_bytes(sha256(voice.encode("utf-8", "surrogatepass")).digest()[:8])
        number, variant = divmod(number, len(_STRANGERS))
        number, pitch = divmod(number, len(_STRANGER_PITCHES))
        rate = number % len(_STRANGER_RATES)
        return Speaker(home, _STRANGERS[variant], _STRANGER_PITCHES[pitch], _STRANGER_RATES[rate])


def orders(speaker: Speaker, settings: VoiceSettings) -> dict[str, object]:
    """The voice fields of a worker's job. `stability` narrows the range of pitch, `style` widens it and
    quickens a little; similarity and boost mean nothing here."""
    identifier = speaker.language.identifier
    rate = WORDS_PER_MINUTE * settings.speed * speaker.rate * (1 + 0.05 * settings.style)
    return {
        "voice": f"{identifier}+{speaker.variant}" if speaker.variant else identifier,
        "rate": round(rate),
        "pitch": speaker.pitch,
        "range": min(99, round(99 * (1 - settings.stability) + 20 * settings.style)),
        "volume": VARIANTS[speaker.variant].volume if speaker.variant else 100,
    }
