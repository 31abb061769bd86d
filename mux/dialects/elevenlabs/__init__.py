"""ElevenLabs: JSON text frames both ways, audio as base64 inside them; and speech over HTTP.

Client keys are snake_case, server keys camelCase. Messages carry no type tag: they are told apart by their
fields, and one message may open a context, add text, flush it and close it.
"""

from mux.dialects.elevenlabs.client import ElevenLabsClient
from mux.dialects.elevenlabs.dialogue import DIALOGUE_SCHEDULE, ElevenLabsDialogue
from mux.dialects.elevenlabs.models import MODELS, Model, check_model
from mux.dialects.elevenlabs.parameters import Parameters, parse_parameters
from mux.dialects.elevenlabs.server import ElevenLabsServer
from mux.dialects.elevenlabs.speech import SpeechAnswer, parse_request
from mux.dialects.elevenlabs.stream import ElevenLabsStream
from mux.dialects.elevenlabs.urls import socket_url

__all__ = [
    "DIALOGUE_SCHEDULE",
    "MODELS",
    "ElevenLabsClient",
    "ElevenLabsDialogue",
    "ElevenLabsServer",
    "ElevenLabsStream",
    "Model",
    "Parameters",
    "SpeechAnswer",
    "check_model",
    "parse_parameters",
    "parse_request",
    "socket_url",
]
