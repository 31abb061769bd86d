from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from mux.engines.espeak_voices import DEFAULT_VOICE, VARIANTS, Catalogue, Speaker, orders
from mux.protocol.voice import VoiceSettings


def entry(identifier: str, *tags: str) -> dict[str, object]:
    return {"identifier": identifier, "name": f"Name of {identifier}", "tags": list(tags)}


CATALOGUE = Catalogue(
    [
        entry("sit/cmn", "cmn", "zh-cmn", "zh"),
        entry("gmw/de", "de"),
        entry("gmw/en-029", "en-029", "en"),
        entry("gmw/en", "en-gb", "en"),
        entry("gmw/en-US", "en-us", "en"),
        entry("gmw/en-US-nyc", "en-us-nyc"),
        entry("roa/es-419", "es-419", "es-mx"),
        entry("roa/fr-BE", "fr-be", "fr"),
        entry("roa/fr", "fr-fr", "fr"),
        entry("jpx/ja", "ja"),
        entry("gmq/nb", "nb", "no"),
        entry("roa/pt", "pt", "pt-pt"),
        entry("roa/pt-BR", "pt-br", "pt"),
        entry("sit/yue", "yue", "zh-yue", "zh"),
    ]
)


def spoken(voice: str | None, code: str | None) -> str | None:
    speaker = CATALOGUE.speaker(voice, code)
    return None if speaker is None else str(orders(speaker, VoiceSettings())["voice"])


@pytest.mark.parametrize(
    ("voice", "code", "identifier"),
    [
        (None, None, "gmw/en-US+f2"),
        ("en-us-f2", None, "gmw/en-US+f2"),
        ("EN-US-Klatt4", None, "gmw/en-US+klatt4"),
        ("de", None, "gmw/de"),
        ("de-f3", None, "gmw/de+f3"),
        ("en", None, "gmw/en-US"),
        ("en-us-nyc", None, "gmw/en-US-nyc"),
        (None, "de", "gmw/de+f2"),
        (None, "de-DE", "gmw/de+f2"),
        (None, "DE_de", "gmw/de+f2"),
        (None, "pt-br", "roa/pt-BR+f2"),
        (None, "pt", "roa/pt+f2"),
        (None, "zh", "sit/cmn+f2"),
        (None, "zh-CN", "sit/cmn+f2"),
        (None, "cmn", "sit/cmn+f2"),
        (None, "zh-HK", "sit/yue+f2"),
        (None, "no", "gmq/nb+f2"),
        (None, "es-MX", "roa/es-419+f2"),
        (None, "fr", "roa/fr+f2"),
        (None, "en-GB", "gmw/en+f2"),
        (None, "en", "gmw/en-US+f2"),
        (None, "en-AU", "gmw/en-US+f2"),
        ("fr-be", "fr", "roa/fr-BE"),
        ("fr-be", "fr-FR", "roa/fr"),
        ("de", "en", "gmw/en-US"),
        ("en-gb", "en", "gmw/en"),
        (None, "tlh", None),
        (None, "-", None),
    ],
)
def test_who_speaks(voice: str | None, code: str | None, identifier: str | None) -> None:
    assert spoken(voice, code) == identifier


def test_the_default_voice_is_listed_first_and_each_listed_voice_is_named() -> None:
    voices = CATALOGUE.voices()
    assert voices[0].id == DEFAULT_VOICE
    assert len(voices) == len(VARIANTS) + 14
    for voice in voices:
        speaker = CATALOGUE.named(voice.id)
        assert speaker is not None
        assert speaker.language.tag == voice.language
    notes = {voice.id: voice.description for voice in voices}
    assert "kana" in notes["ja"]
    assert "Chinese" in notes["cmn"]


def test_a_thousand_unknown_ids_sound_different_in_many_ways() -> None:
    random = Random(1)
    ids = ["".join(random.choices("abcdefghijklmnopqrstuvwxyzABCDEFGH0123456789", k=20)) for _ in range(1000)]
    speakers = [speaker for voice in ids if (speaker := CATALOGUE.speaker(voice, None))]
    assert len(speakers) == 1000
    sounds = Counter((speaker.variant, speaker.pitch, speaker.rate) for speaker in speakers)
    assert len(sounds) > 800
    assert max(sounds.values()) <= 5
    variants = Counter(speaker.variant for speaker in speakers)
    assert len(variants) == 7
    assert min(variants.values()) > 100
    assert len({speaker.pitch for speaker in speakers}) == 61
    assert {speaker.language.tag for speaker in speakers} == {"en-US"}


def test_an_unknown_id_is_the_same_voice_in_every_process_and_keeps_it_in_other_languages() -> None:
    rachel = CATALOGUE.speaker("21m00Tcm4TlvDq8ikWAM", None)
    german = CATALOGUE.speaker("21m00Tcm4TlvDq8ikWAM", "de")
    assert rachel is not None
    assert german is not None
    assert (rachel.variant, rachel.pitch, rachel.rate) == ("klatt4", 60, 0.96)
    assert (german.variant, german.pitch, german.rate) == ("klatt4", 60, 0.96)
    assert german.language.tag == "de"


def test_a_library_without_our_home_language_still_speaks() -> None:
    small = Catalogue([entry("gmw/de", "de")])
    assert [voice.id for voice in small.voices()] == ["de"]
    speaker = small.speaker(None, None)
    assert speaker is not None
    assert speaker.language.tag == "de"
    assert Catalogue([]).speaker(None, None) is None


def of(speaker: Speaker, **settings: float) -> dict[str, object]:
    return orders(speaker, VoiceSettings(**settings))  # type: ignore[arg-type]


def test_settings_reach_the_parameters_of_the_library() -> None:
    speaker = CATALOGUE.speaker(None, None)
    assert speaker is not None
    assert of(speaker) == {"voice": "gmw/en-US+f2", "rate": 175, "pitch": 50, "range": 50, "volume": 100}
    assert (of(speaker, speed=0.7)["rate"], of(speaker, speed=1.2)["rate"]) == (122, 210)
    assert (of(speaker, stability=0.0)["range"], of(speaker, stability=1.0)["range"]) == (99, 0)
    styled = of(speaker, style=1.0)
    assert (styled["range"], styled["rate"]) == (70, 184)
    assert of(speaker, stability=0.0, style=1.0)["range"] == 99
    klatt = CATALOGUE.speaker("en-us-klatt4", None)
    assert klatt is not None
    assert of(klatt)["volume"] == 80
