"""Where a service is, which dialect it speaks, and the pools of sockets that lead there."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Literal, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import anyio.abc
import msgspec

from mux.dialects.base import ClientDialect
from mux.dialects.elevenlabs import ElevenLabsClient, socket_url
from mux.dialects.kugelaudio import KugelAudioClient, multi_url
from mux.links.pool import BUFFER_BYTES, PATIENT_FAILURES, PLACE_SECONDS, Connect, Pool, Target, connecting
from mux.protocol.voice import ContextSettings, clamp_timeout

__all__ = ["CONTEXTS", "Dialect", "Endpoint", "Pools", "dialect_of"]

Dialect: TypeAlias = Literal["elevenlabs", "kugelaudio", "mux"]

CONTEXTS: dict[Dialect, int] = {"elevenlabs": 5, "kugelaudio": 20, "mux": 20}
"""What one socket may carry; "maximum of 5 concurrent contexts" at ElevenLabs."""
POOLS = 16
"""Voices of an ElevenLabs endpoint that have sockets at the same time: its sockets are of one voice."""
DEFAULT_TIMEOUT = 20.0
"""Seconds of quiet after which a service ends a context, where nobody asked for another time."""


def dialect_of(url: str) -> Dialect:
    """The dialect that a URL tells: the services by their hosts, KugelAudio's also by its path. Whatever is
    none of them is taken for a mux."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host.endswith("elevenlabs.io"):
        return "elevenlabs"
    if "kugelaudio" in host or "/ws/tts" in parts.path:
        return "kugelaudio"
    return "mux"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A service and how its sockets are opened. A mux is spoken to in ElevenLabs' dialect, with what mux adds
    to it.

    `url` is a base URL or the whole socket URL, whose query then wins; `settings` hold for contexts that say
    nothing else; `contexts` is how many a socket may carry (None: the dialect's own limit). For the others
    see `Target`. `opener` opens a socket in another way than at `url`.
    """

    name: str
    dialect: Dialect
    url: str
    key: str | None = None
    output_format: str = "pcm_24000"
    settings: ContextSettings = ContextSettings()
    word_times: bool = True
    query: Mapping[str, str] = {}
    """Further parameters of an ElevenLabs URL."""
    contexts: int | None = None
    sockets: int = 1
    open_timeout: float = 10.0
    buffer_bytes: int = BUFFER_BYTES
    place_seconds: float = PLACE_SECONDS
    patience: int = PATIENT_FAILURES
    reopen: bool = True
    ssl_context: ssl.SSLContext | None = None
    opener: Connect | None = None

    def __repr__(self) -> str:
        return f"Endpoint({self.name!r}, {self.dialect!r})"  # the others may be secret

    @property
    def inactivity_timeout(self) -> float:
        """The seconds of quiet after which the service ends a context: the URL's, clamped as services do."""
        asked = dict(parse_qsl(urlsplit(self.url).query)).get("inactivity_timeout")
        try:
            seconds = float(asked) if asked else self.settings.inactivity_timeout
        except ValueError:
            seconds = None
        return clamp_timeout(seconds) or DEFAULT_TIMEOUT

    def target(self, voice: str | None, language: str | None) -> Target:
        """Where sockets for this voice and language go. Only ElevenLabs' are bound to them.

        Raises:
            MuxError: the dialect has no such output format.
        """
        if self.dialect == "kugelaudio":
            url, headers = multi_url(self.url), {"authorization": f"Bearer {self.key}"} if self.key else {}
            dialect: Callable[[], ClientDialect] = partial(
                KugelAudioClient,
                output_format=self.output_format,
                word_timestamps=self.word_times,
                settings=self.settings,
            )
            dialect()  # a format that it does not have is better refused before a socket is opened
        else:
            url = socket_url(self.url, voice or "default", self._query(language))
            headers = {"xi-api-key": self.key} if self.key else {}
            dialect = ElevenLabsClient
        return Target(
            name=self.name,
            connect=self.opener or connecting(url, headers, self.open_timeout, self.ssl_context),
            dialect=dialect,
            contexts=self.contexts or CONTEXTS[self.dialect],
            sockets=self.sockets,
            inactivity_timeout=self.inactivity_timeout,
            buffer_bytes=self.buffer_bytes,
            place_seconds=self.place_seconds,
            patience=self.patience,
            reopen=self.reopen,
        )

    def _query(self, language: str | None) -> dict[str, str]:
        settings = self.settings
        given = {
            "output_format": self.output_format,
            "sync_alignment": "true" if self.word_times else None,
            "auto_mode": "true" if settings.auto_mode else None,
            "model_id": settings.model,
            "language_code": language,
            "inactivity_timeout": f"{self.inactivity_timeout:g}",
            "mux_hello": "true" if self.dialect == "mux" else None,
            **self.query,
        }
        return {name: value for name, value in given.items() if value is not None}

    def bound(self, voice: str | None, language: str | None) -> tuple[str | None, str | None]:
        """What of a context's voice and language its whole socket shares."""
        voice, language = voice or self.settings.voice, language or self.settings.language
        return {
            "elevenlabs": (voice, language),
            "kugelaudio": (None, language),  # the connection's, and it cannot be taken back
            "mux": (self.settings.voice, self.settings.language),  # what contexts inherit
        }[self.dialect]


class Pools:
    """The pools of one endpoint: one for all, or one for each voice or language where sockets are bound to
    them. They end with `tasks`."""

    def __init__(self, endpoint: Endpoint, tasks: anyio.abc.TaskGroup) -> None:
        self.endpoint = endpoint
        self._tasks = tasks
        self._pools: dict[tuple[str | None, str | None], Pool] = {}

    def get(self, voice: str | None, language: str | None) -> Pool:
        key = self.endpoint.bound(voice, language)
        pool = self._pools.pop(key, None)
        if pool is None:
            if len(self._pools) >= POOLS:
                idle = next((key for key, pool in self._pools.items() if not pool.used), None)
                if idle is not None:
                    self._pools.pop(idle).close()
            pool = Pool(self.endpoint.target(*key), self._tasks)
        self._pools[key] = pool  # the last used stands last
        return pool

    def __iter__(self) -> Iterator[Pool]:
        return iter(list(self._pools.values()))

    @property
    def used(self) -> int:
        """How many slots are taken, closing contexts included."""
        return sum(pool.used for pool in self)
