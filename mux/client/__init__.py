"""What apps import: sessions with a multi-context service, and what is built on them."""

from mux.client.chunking import CHUNKING
from mux.client.connect import connect
from mux.client.context import Chunk, Context, Flushed
from mux.client.dialogue import Dialogue, Interrupted, dialogue
from mux.client.dialogue_turn import DialogueTurn
from mux.client.errors import ClosedEarly, OverLimit, Refused, SpeechError, TimedOut
from mux.client.session import Session
from mux.client.streaming import StreamingSession, streaming_over, streaming_session
from mux.client.telling import Callbacks, ContextEnd
from mux.client.turn import StreamingCallbacks, Turn

__all__ = [
    "CHUNKING",
    "Callbacks",
    "Chunk",
    "ClosedEarly",
    "Context",
    "ContextEnd",
    "Dialogue",
    "DialogueTurn",
    "Flushed",
    "Interrupted",
    "OverLimit",
    "Refused",
    "Session",
    "SpeechError",
    "StreamingCallbacks",
    "StreamingSession",
    "TimedOut",
    "Turn",
    "connect",
    "dialogue",
    "streaming_over",
    "streaming_session",
]
