from __future__ import annotations

from mux.dialects.base import Sound
from mux.protocol.messages import Alignment


def sound(context: str, payload: bytes, *slices: Alignment) -> Sound:
    """Speech as the server hands it to a dialect; ElevenLabs' frames say nothing of its format."""
    return Sound(context, 1, 1, payload, "pcm", 16000, slices)
