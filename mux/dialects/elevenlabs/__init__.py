"""ElevenLabs `multi-stream-input`: JSON text frames both ways, audio as base64 inside them.

Client keys are snake_case, server keys camelCase. Messages carry no type tag: they are told apart by their
fields, and one message may open a context, add text, flush it and close it.
"""

from mux.dialects.elevenlabs.client import ElevenLabsClient
from mux.dialects.elevenlabs.parameters import Parameters, parse_parameters
from mux.dialects.elevenlabs.server import ElevenLabsServer

__all__ = ["ElevenLabsClient", "ElevenLabsServer", "Parameters", "parse_parameters"]
