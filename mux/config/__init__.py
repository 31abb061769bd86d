"""What `mux serve` can be told, and how it is told."""

from mux.config.loading import FIELDS, LISTS, load_settings
from mux.config.settings import Settings, is_loopback
from mux.config.tables import (
    App,
    ElevenLabs,
    EngineTable,
    Espeak,
    KugelAudio,
    Mux,
    OpenAi,
    Piper,
    Sherpa,
    Speaker,
    Tone,
    VoiceRoute,
)

__all__ = [
    "FIELDS",
    "LISTS",
    "App",
    "ElevenLabs",
    "EngineTable",
    "Espeak",
    "KugelAudio",
    "Mux",
    "OpenAi",
    "Piper",
    "Settings",
    "Sherpa",
    "Speaker",
    "Tone",
    "VoiceRoute",
    "is_loopback",
    "load_settings",
]
