"""Any server with OpenAI's `POST /audio/speech`: OpenAI itself, Kokoro-FastAPI, speaches, vLLM-Omni, ...

One segment is one request, and its answer is spoken while it comes in. The API tells no times, so the chunks
have none.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio

from mux.engines.base import Synthesizer, Voice
from mux.engines.http_connection import HttpConnection, tls_context
from mux.engines.openai_refusals import said
from mux.engines.openai_server import Deadlines, OpenAiServer
from mux.engines.openai_speech import OpenAiSynthesizer
from mux.engines.openai_voices import OPENAI_VOICES, listed_voices
from mux.errors import MuxError

__all__ = ["OpenAiEngine"]

_START_SECONDS = 15.0
"""For what is asked of the server before the first text."""
_LIST_BYTES = 1024 * 1024
_GATEWAY_ERRORS = (502, 503, 504)
"""A proxy answers, the speech server behind it does not."""


class OpenAiEngine:
    """Speaks through the server at `base_url` (what its `/audio/speech` follows; mostly ends in `/v1`).

    `voices` are listed beside those that the server itself lists at `GET /audio/voices`, if it does; without
    either, OpenAI's own are. `default_voice` (None: the first of them) speaks for a voice id that is not
    listed, unless `strict_voices` refuses that. `sample_rate` is the rate in Hz of the server's PCM, which
    bare PCM does not tell. `extra` are further fields of each request, such as "instructions"; the value
    None takes a field out. `deadlines` are per request.

    Raises:
        MuxError: `invalid_config` if `base_url` or `api_key` cannot be used.
    """

    name = "openai"
    reads_itself = True

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str | None = None,
        model: str = "tts-1",
        voices: Sequence[Voice] = (),
        default_voice: str | None = None,
        strict_voices: bool = False,
        sample_rate: int = 24000,
        extra: Mapping[str, Any] | None = None,
        deadlines: Deadlines = Deadlines(),  # noqa: B008 - it is frozen
    ) -> None:
        self.sample_rate = sample_rate
        self._server = OpenAiServer(base_url, api_key, model, sample_rate, extra or {}, deadlines)
        self._configured = {voice.id: voice for voice in voices}
        self._default = default_voice
        self._strict = strict_voices
        self._known: dict[str, Voice] = {}
        self._learn(self._configured or {voice.id: voice for voice in OPENAI_VOICES})

    def voices(self) -> Sequence[Voice]:
        """Every voice that can be named. Those that the server lists are among them once it was started."""
        return tuple(self._known.values())

    def check(self, voice: str | None, language: str | None) -> str | None:
        """See `Engine.check`. Any language is accepted: the API has no word for it."""
        if self._strict and voice and voice not in self._known:
            some = ", ".join(list(self._known)[:6])
            return f"Voice {voice[:60]!r} is not known. Use one of {some}, ...: `mux voices` lists them all."
        return None

    def language(self, voice: str | None, language: str | None) -> str:
        return language or self._speaker(voice).language

    @asynccontextmanager
    async def start(self, workers: int) -> AsyncGenerator[Sequence[Synthesizer], None]:
        """See `Engine.start`, except that nothing is spoken, because that may cost money: each synthesizer
        opens its connection and asks for the list of models, and a server without one is accepted. However
        the block is left, no connection stays open.

        Raises:
            MuxError: `engine_failed`, `engine_stalled` or `busy` if the server cannot be reached or does not
                answer, `upstream_error` if it does not accept the key.
        """
        tls = tls_context()
        connections = [self._server.connection(tls) for _ in range(workers)]
        try:
            await self._greet(connections)
            yield [
                OpenAiSynthesizer(self._server, connection, lambda job: self._speaker(job.voice).id)
                for connection in connections
            ]
        finally:
            with anyio.CancelScope(shield=True):
                for connection in connections:
                    await connection.aclose()

    def _speaker(self, voice: str | None) -> Voice:
        known = self._known.get(voice) if voice else None
        return known or (self._known[self._default] if self._default else next(iter(self._known.values())))

    def _learn(self, voices: Mapping[str, Voice]) -> None:
        default = self._default
        unlisted = {default: Voice(id=default, name=default, language="und")} if default else {}
        # Configured ones come first, and what is said of them there wins.
        known = {**self._configured, **voices, **self._configured}
        self._known = known if default in known else {**unlisted, **known}

    async def _greet(self, connections: Sequence[HttpConnection]) -> None:
        failures: list[MuxError] = []

        async def warm_up(connection: HttpConnection) -> None:
            try:
                await self._ask_models(connection)
            except MuxError as error:
                failures.append(error)

        try:
            with anyio.fail_after(_START_SECONDS):
                async with anyio.create_task_group() as tasks:
                    for connection in connections:
                        tasks.start_soon(warm_up, connection)
                if failures:
                    raise failures[0]
                await self._ask_voices(connections[0])
        except TimeoutError:
            raise MuxError.of(
                "engine_stalled",
                f"{self._server.name} did not answer within {_START_SECONDS:g} s (GET models, audio/voices). "
                "Check that it is well and that its base URL is right.",
                limit=_START_SECONDS,
            ) from None

    async def _ask_models(self, connection: HttpConnection) -> None:
        async with connection.request("GET", "models") as answer:
            body = await answer.read_all(_LIST_BYTES)
        # A key that may speak need not be allowed to list models; OpenAI then says 401 or 403 and names the
        # scope that is missing. Other refusals mean no more than that there is no such list.
        status = answer.status
        wrong_key = status == 401 and "scope" not in said(body)
        if wrong_key or status in _GATEWAY_ERRORS or 300 <= status < 400:
            raise self._server.refused(answer, body)

    async def _ask_voices(self, connection: HttpConnection) -> None:
        try:
            async with connection.request("GET", "audio/voices") as answer:
                body = await answer.read_all(_LIST_BYTES)
        except MuxError:
            return  # nobody has to have that route
        listed = listed_voices(body) if answer.status == 200 else {}
        if listed:
            self._learn(listed)
