"""KugelAudio: JSON text frames both ways, audio as base64 inside them, times by the word; and speech over
HTTP.

Three sockets: many contexts (`KugelAudioServer`), one turn after the other (`KugelAudioStream`), one request
after the other (`KugelAudioRequests`). Messages carry no type tag; settings may stand in any of them.
"""

from mux.dialects.kugelaudio.client import KugelAudioClient
from mux.dialects.kugelaudio.requests import KugelAudioRequests
from mux.dialects.kugelaudio.server import KugelAudioServer
from mux.dialects.kugelaudio.speech import KugelAudioSpeech, parse_request
from mux.dialects.kugelaudio.stream import KugelAudioStream
from mux.dialects.kugelaudio.urls import multi_url
from mux.dialects.kugelaudio.voices import VoiceNumbers
from mux.dialects.kugelaudio.writing import DEFAULTS

__all__ = [
    "DEFAULTS",
    "KugelAudioClient",
    "KugelAudioRequests",
    "KugelAudioServer",
    "KugelAudioSpeech",
    "KugelAudioStream",
    "VoiceNumbers",
    "multi_url",
    "parse_request",
]
