"""mux: a multi-context WebSocket multiplexer for text-to-speech.

>>> async with mux.connect("ws://127.0.0.1:8790") as session:
...     async with session.context("narrator", voice="en-us-f2") as narrator:
...         await narrator.send("Once upon a time.")
...         await narrator.close()
...         async for chunk in narrator:
...             play(chunk.audio)
"""

from mux.client import (
    CHUNKING,
    Callbacks,
    Chunk,
    ClosedEarly,
    Context,
    ContextEnd,
    Dialogue,
    DialogueTurn,
    Flushed,
    Interrupted,
    OverLimit,
    Refused,
    Session,
    SpeechError,
    StreamingCallbacks,
    StreamingSession,
    TimedOut,
    Turn,
    connect,
    dialogue,
    streaming_over,
    streaming_session,
)
from mux.errors import MuxError, Problem
from mux.links.router import Ended
from mux.protocol.messages import Alignment, Reason, Usage
from mux.protocol.voice import VoiceSettings

__all__ = [
    "CHUNKING",
    "Alignment",
    "Callbacks",
    "Chunk",
    "ClosedEarly",
    "Context",
    "ContextEnd",
    "Dialogue",
    "DialogueTurn",
    "Ended",
    "Flushed",
    "Interrupted",
    "MuxError",
    "OverLimit",
    "Problem",
    "Reason",
    "Refused",
    "Session",
    "SpeechError",
    "StreamingCallbacks",
    "StreamingSession",
    "TimedOut",
    "Turn",
    "Usage",
    "VoiceSettings",
    "connect",
    "dialogue",
    "streaming_over",
    "streaming_session",
]

__version__ = "0.1.0"
