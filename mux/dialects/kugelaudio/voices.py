"""How this wire names voices and speaks of how they sound.

Its voices have numbers where mux's have names, and it turns three other knobs than `VoiceSettings` has:
`temperature` is the opposite of stability, and `cfg_scale` (guidance) is taken for similarity; the middle of
each scale is the other's default.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

__all__ = ["VoiceNumbers", "cfg_scale_of", "number_of", "similarity_of", "stability_of", "temperature_of"]

_NUMBERS = 9_999_999
LOW, MIDDLE, HIGH = 1.2, 2.0, 2.5
"""`cfg_scale`, which is clamped to this range; 2.0 is the default."""
_DEFAULT_SIMILARITY = 0.75


def number_of(voice: str) -> int:
    """A voice's number, the same everywhere and always: it is made of its id."""
    return int.from_bytes(sha256(voice.encode("utf-8", "surrogatepass")).digest()[:8]) % _NUMBERS + 1


class VoiceNumbers:
    """The numbers of the voices that a server lists."""

    def __init__(self, voices: Iterable[str]) -> None:
        self._names = {number_of(voice): voice for voice in voices}

    def name(self, given: int | str) -> str:
        """The voice id that a client means by a number or a name. A number that is not listed stands for
        itself, so that another service's ids can be used here."""
        text = str(given)
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
        return text if number is None else self._names.get(number, text)


def stability_of(temperature: float) -> float:
    return round(1 - temperature, 6)


def temperature_of(stability: float) -> float:
    return round(1 - stability, 6)


def similarity_of(cfg_scale: float) -> float:
    cfg_scale = min(max(cfg_scale, LOW), HIGH)
    if cfg_scale <= MIDDLE:
        share = (cfg_scale - LOW) / (MIDDLE - LOW) * _DEFAULT_SIMILARITY
    else:
        share = _DEFAULT_SIMILARITY + (cfg_scale - MIDDLE) / (HIGH - MIDDLE) * (1 - _DEFAULT_SIMILARITY)
    return round(share, 6)


def cfg_scale_of(similarity: float) -> float:
    if similarity <= _DEFAULT_SIMILARITY:
        scale = LOW + similarity / _DEFAULT_SIMILARITY * (MIDDLE - LOW)
    else:
        scale = MIDDLE + (similarity - _DEFAULT_SIMILARITY) / (1 - _DEFAULT_SIMILARITY) * (HIGH - MIDDLE)
    return round(scale, 6)
