"""What apps import: sessions with a multi-context service, and what is built on them."""

from mux.client.connect import connect
from mux.client.context import Chunk, Context, Flushed
from mux.client.errors import ClosedEarly, OverLimit, Refused, SpeechError, TimedOut
from mux.client.session import Session
from mux.client.telling import Callbacks, ContextEnd

__all__ = [
    "Callbacks",
    "Chunk",
    "ClosedEarly",
    "Context",
    "ContextEnd",
    "Flushed",
    "OverLimit",
    "Refused",
    "Session",
    "SpeechError",
    "TimedOut",
    "connect",
]
