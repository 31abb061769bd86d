"""One OpenAI-compatible server: how it is reached, what it is asked, and what is said of its answers."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from mux.engines.http_connection import Answer, HttpConnection
from mux.engines.openai_refusals import refusal
from mux.errors import MuxError

__all__ = ["Deadlines", "OpenAiServer"]


class Deadlines(msgspec.Struct, frozen=True, kw_only=True):
    """In seconds: to connect, until a request's first audio, and between two pieces of it."""

    connect: float = 5.0
    first_byte: float = 30.0
    idle: float = 10.0


class OpenAiServer:
    """`OpenAiEngine` says what the arguments are.

    Raises:
        MuxError: `invalid_config` if `base_url` or `api_key` cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        model: str,
        sample_rate: int,
        extra: Mapping[str, Any],
        deadlines: Deadlines,
    ) -> None:
        self.name = f"The speech server {_host(base_url)}"
        """Begins sentences."""
        self.sample_rate = sample_rate
        self.deadlines = deadlines
        self._base_url = base_url
        self._api_key = api_key
        self._headers = _authorization(api_key)
        self._model = model
        self._extra = dict(extra)

    def connection(self, tls: ssl.SSLContext) -> HttpConnection:
        """A connection that is opened by its first request."""
        return HttpConnection(self._base_url, self.name, self._headers, tls, self.deadlines.connect)

    def order(self, text: str, voice: str, speed: float) -> bytes:
        """The JSON body that asks for speech.

        Raises:
            MuxError: `empty_synthesis` when there is nothing to say.
        """
        # Lone surrogates have no UTF-8: they become question marks.
        text = text.encode("utf-8", "replace").decode()
        if not text.strip():
            raise MuxError.of("empty_synthesis", "There is nothing to say in blank text.")
        fields: dict[str, Any] = {
            "model": self._model,
            "input": text,
            "voice": voice,
            "response_format": "pcm",
            # vLLM-Omni does not stream without it; elsewhere it is the default.
            "stream_format": "audio",
        }
        if speed != 1.0:  # some models refuse to be asked
            fields["speed"] = speed
        fields.update(self._extra)
        return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})

    def refused(self, answer: Answer, body: bytes, text: str = "", voice: str | None = None) -> MuxError:
        """The error for an answer that is not a success, to a request for `text` in `voice`."""
        return refusal(
            answer.status,
            answer.headers,
            body,
            server=self.name,
            asked=f"model {self._model!r}" + (f" and voice {voice[:60]!r}" if voice else ""),
            private=tuple(secret for secret in (self._api_key, text) if secret),
        )

    def unfit(self, what: str) -> MuxError:
        """The error for an answer that is something else than the speech that was asked for."""
        return MuxError.of(
            "upstream_error",
            f"{self.name} sent {what}, but mono 16-bit PCM at {self.sample_rate} Hz was asked for. Set the "
            "engine's sample rate to what the server speaks, or use one that obeys response_format pcm.",
        )


def _host(base_url: str) -> str:
    """The part of a base URL that may be shown."""
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _invalid("base URL", "is not a URL") from None
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise _invalid("base URL", "must look like http://127.0.0.1:8880/v1")
    if parts.username is not None:
        raise _invalid("base URL", "must not contain credentials: give them as API key")
    if parts.path.rstrip("/").endswith("/audio/speech"):
        raise _invalid("base URL", "ends before /audio/speech: leave that off")
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"


def _authorization(api_key: str | None) -> dict[str, str]:
    if not api_key:
        return {}  # many a server of one's own asks for none
    if not all("!" <= letter <= "~" for letter in api_key):
        raise _invalid("API key", "must be ASCII letters, digits and signs without spaces or line ends")
    return {"Authorization": f"Bearer {api_key}"}


def _invalid(what: str, sentence: str) -> MuxError:
    return MuxError.of("invalid_config", f"The {what} of an openai engine {sentence}.")
