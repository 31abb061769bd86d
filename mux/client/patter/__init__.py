"""A voice for Patter (getpatter): the ElevenLabs class of its page, on sockets that stay open."""

from mux.client.patter.errors import ElevenLabsPlanError, ElevenLabsTTSError
from mux.client.patter.tts import ElevenLabsWebSocketTTS
from mux.client.patter.voices import resolve_voice_id

__all__ = ["ElevenLabsPlanError", "ElevenLabsTTSError", "ElevenLabsWebSocketTTS", "resolve_voice_id"]
