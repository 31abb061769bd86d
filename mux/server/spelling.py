"""What a socket's client wants done with its texts before they are spoken."""

from __future__ import annotations

import msgspec

from mux.engines.normalize import Normalized, identity, normalize
from mux.engines.ssml import read_ssml

__all__ = ["Spelling"]


class Spelling(msgspec.Struct, frozen=True, kw_only=True):
    """Whether numbers and the like are written out (`apply_text_normalization`), and whether tags are obeyed
    (`enable_ssml_parsing`) or are text like any other."""

    normalized: bool = True
    ssml: bool = False

    def spell(self, text: str, language: str | None) -> Normalized:
        """What to say for `text` in `language`, a BCP 47 tag."""
        if self.ssml:
            return read_ssml(text, language, normalized=self.normalized)
        return normalize(text, language) if self.normalized else identity(text)
