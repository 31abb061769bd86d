"""How a text is read before it is spoken, and the way back to the text as it was sent."""

from __future__ import annotations

from mux.engines.base import Chunk
from mux.engines.normalize import Normalized, SourceClock, identity, normalize
from mux.engines.ssml import read_ssml
from mux.protocol.messages import Speak, SpelledOut

__all__ = ["Reading", "spell"]


def spell(effect: Speak, language: str) -> Normalized:
    """What to say for a segment in `language`, a BCP 47 tag: numbers and the like written out, and tags
    obeyed, where its context wants that."""
    if effect.ssml:
        return read_ssml(effect.text, language, normalized=effect.normalize)
    return normalize(effect.text, language) if effect.normalize else identity(effect.text)


class Reading:
    """Follows an engine through a text that it reads otherwise than it stands there."""

    def __init__(self, said: Normalized) -> None:
        self._text = said.text
        self._clock = SourceClock(said)
        self._at = 0

    def feed(self, chunk: Chunk) -> tuple[tuple[int, ...], SpelledOut]:
        """The starts of the source's characters in a chunk, and what was really said in it."""
        start, self._at = self._at, self._at + len(chunk.starts)
        spelled = SpelledOut(self._text[start : self._at], chunk.starts)
        return self._clock.feed(chunk.starts, len(chunk.pcm) // 2), spelled
