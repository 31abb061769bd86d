"""Where a service is, which dialect it speaks, and the pools of sockets that lead there."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal, NamedTuple, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import anyio.abc
import msgspec

from mux.dialects.base import ClientDialect
from mux.dialects.elevenlabs import ElevenLabsClient, socket_url
from mux.dialects.kugelaudio import KugelAudioClient, multi_url
from mux.errors import Problem
from mux.links.pool import BUFFER_BYTES, PATIENT_FAILURES, PLACE_SECONDS, Connect, Pool, Target, connecting
from mux.protocol.voice import ContextSettings, clamp_timeout, inherit

__all__ = ["Bound", "Dialect", "Endpoint", "Pools", "dialect_of"]

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


class Bound(NamedTuple):
    """What a whole socket is bound to, where it is: its contexts have it in common."""

    voice: str | None = None
    language: str | None = None
    normalize: bool = True
    ssml: bool = False


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A service and how its sockets are opened. A mux is spoken to in ElevenLabs' dialect, with what mux adds
    to it.

    `url` is a base URL or the whole socket URL, whose query then wins; `settings` hold for contexts that say
    nothing else; `contexts` is how many a socket may carry (None: the dialect's own limit). For the others
    see `Target`. `opener` opens a socket in another way than at `url`; `undecoded` leaves audio in base64.
    """

    name: str
    dialect: Dialect
    url: str
    key: str | None = None
    output_format: str = "pcm_24000"
    settings: ContextSettings = ContextSettings()
    undecoded: bool = False
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

    @property
    def needs_voice(self) -> bool:
        """Whether a socket cannot be opened before a voice is known."""
        named = self.settings.voice is not None or urlsplit(self.url).path.endswith("/multi-stream-input")
        return self.dialect == "elevenlabs" and not named and self.opener is None

    def bound(self, wanted: ContextSettings) -> Bound:
        """What the socket of a context that asks for this has to be bound to."""
        if self.opener is not None:
            return Bound()  # it opens but one kind
        asked = inherit(self.settings, wanted)
        normalize = asked.normalize is not False
        if self.dialect == "elevenlabs":
            # What it tells of the times of tags is not documented: they are never asked for.
            return Bound(asked.voice, asked.language, normalize)
        if self.dialect == "kugelaudio":
            return Bound(language=asked.language)  # the connection's, and it cannot be taken back
        return Bound(self.settings.voice, self.settings.language, normalize, bool(asked.ssml))

    def target(self, bound: Bound) -> Target:
        """Where sockets go that are bound to this.

        Raises:
            MuxError: the dialect has no such output format.
        """
        if self.dialect == "kugelaudio":
            url, headers = multi_url(self.url), {"authorization": f"Bearer {self.key}"} if self.key else {}
            dialect: Callable[[], ClientDialect] = partial(
                KugelAudioClient,
                output_format=self.output_format,
                settings=self.settings,
                undecoded=self.undecoded,
            )
            dialect()  # a format that it does not have is better refused before a socket is opened
        else:
            url = socket_url(self.url, bound.voice or "default", self._query(bound))
            headers = {"xi-api-key": self.key} if self.key else {}
            dialect = partial(ElevenLabsClient, undecoded=self.undecoded)
        return Target(
            name=self.name,
            connect=self.opener or connecting(url, headers, self.open_timeout, self.ssl_context),
            dialect=dialect,
            contexts=self.most_contexts,
            sockets=self.sockets,
            inactivity_timeout=self.inactivity_timeout,
            buffer_bytes=self.buffer_bytes,
            place_seconds=self.place_seconds,
            patience=self.patience,
            reopen=self.reopen,
        )

    @property
    def most_contexts(self) -> int:
        """How many contexts one socket carries."""
        return self.contexts or CONTEXTS[self.dialect]

    def _query(self, bound: Bound) -> dict[str, str]:
        given = {
            "output_format": self.output_format,
            "sync_alignment": "true",
            "auto_mode": "true" if self.settings.auto_mode else None,
            "model_id": self.settings.model,
            "language_code": bound.language,
            "inactivity_timeout": f"{self.inactivity_timeout:g}",
            "apply_text_normalization": None if bound.normalize else "off",
            "enable_ssml_parsing": "true" if bound.ssml else None,
            "mux_hello": "true" if self.dialect == "mux" else None,
        }
        return {name: value for name, value in given.items() if value is not None}


class Pools:
    """The pools of one endpoint: one for all, or one for each of what its sockets are bound to. They end with
    `tasks`."""

    def __init__(self, endpoint: Endpoint, tasks: anyio.abc.TaskGroup) -> None:
        self.endpoint = endpoint
        self.on_lost: Callable[[Problem], None] | None = None
        """Called when a socket with contexts on it was lost."""
        self._tasks = tasks
        self._pools: dict[Bound, Pool] = {}

    def get(self, wanted: ContextSettings) -> Pool:
        """The sockets for a context that asks for this."""
        key = self.endpoint.bound(wanted)
        pool = self._pools.pop(key, None)
        if pool is None:
            if len(self._pools) >= POOLS:
                idle = next((key for key, pool in self._pools.items() if pool.idle), None)
                if idle is not None:
                    self._pools.pop(idle).close()
            pool = Pool(self.endpoint.target(key), self._tasks, on_lost=self._lost)
        self._pools[key] = pool  # the last used stands last
        return pool

    def _lost(self, problem: Problem) -> None:
        if self.on_lost is not None:
            self.on_lost(problem)

    def __iter__(self) -> Iterator[Pool]:
        return iter(list(self._pools.values()))

    @property
    def used(self) -> int:
        """How many slots are taken, closing contexts included."""
        return sum(pool.used for pool in self)
