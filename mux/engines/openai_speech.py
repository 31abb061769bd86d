"""Speaking one job at a time through an OpenAI-compatible server."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress

import anyio
import anyio.lowlevel

from mux.engines.base import Chunk, Job
from mux.engines.http_connection import Answer, HttpConnection
from mux.engines.openai_refusals import DETAIL_BYTES
from mux.engines.openai_server import OpenAiServer
from mux.engines.pcm_reader import PcmReader
from mux.errors import MuxError

__all__ = ["OpenAiSynthesizer"]

_DETAIL_SECONDS = 2.0
"""How long a refusal may take to explain itself."""
_UNTOLD = frozenset({"", "application/octet-stream", "binary/octet-stream"})
_PCM_FORMS = frozenset({"pcm", "l16", "x-pcm", "x-l16", "raw", "wav", "wave", "x-wav", "vnd.wave"})
_RATE = re.compile(r";\s*rate=\"?(\d+)")


class OpenAiSynthesizer:
    """A `Synthesizer` with a connection of its own. `voice_of` is the server's word for a job's voice."""

    def __init__(
        self, server: OpenAiServer, connection: HttpConnection, voice_of: Callable[[Job], str]
    ) -> None:
        self._server = server
        self._connection = connection
        self._voice_of = voice_of
        self._busy = False

    @asynccontextmanager
    async def speak(self, job: Job) -> AsyncGenerator[AsyncIterator[Chunk], None]:
        """See `Synthesizer.speak`. Entering waits until the server has accepted the job. Leaving early closes
        the connection, which is how the server learns of it.

        Raises:
            MuxError: besides `empty_synthesis` and `engine_failed`: `engine_stalled` at a deadline, `busy`
                with `retry_after_ms` when the server has too much to do, `segment_too_long`, and
                `upstream_error` when it would only refuse the job again.
        """
        if self._busy:
            raise RuntimeError("a synthesizer speaks one job at a time")
        server = self._server
        voice = self._voice_of(job)
        order = server.order(job.text, voice, job.settings.speed)
        self._busy = True
        try:
            async with AsyncExitStack() as stack:
                with _patience(server, server.deadlines.first_byte):
                    request = self._connection.request("POST", "audio/speech", order)
                    answer = await stack.enter_async_context(request)
                    if (problem := await self._problem(answer, job.text, voice)) is not None:
                        raise problem
                yield _Speech(server, answer)
        finally:
            self._busy = False

    async def _problem(self, answer: Answer, text: str, voice: str) -> MuxError | None:
        """Why an answer is no speech, as its head tells; what explains it is read."""
        refused = answer.status != 200
        unfit = None if refused else _unfit(answer.headers.get("content-type", ""), self._server.sample_rate)
        if not refused and unfit is None:
            return None
        body = b""
        with anyio.move_on_after(_DETAIL_SECONDS), suppress(MuxError):
            body = await answer.read_all(DETAIL_BYTES)
        return self._server.unfit(unfit) if unfit else self._server.refused(answer, body, text, voice)


class _Speech:
    """The chunks of one job."""

    def __init__(self, server: OpenAiServer, answer: Answer) -> None:
        self._server = server
        self._answer = answer
        self._reader = PcmReader(server.sample_rate)
        self._spoke = False

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        """The next chunk. Being cancelled in it breaks the job off."""
        await anyio.lowlevel.checkpoint()  # what one read brought can be many chunks
        deadlines = self._server.deadlines
        with _patience(self._server, deadlines.idle if self._spoke else deadlines.first_byte):
            pcm = await self._pcm()
        if pcm:
            self._spoke = True
            return Chunk(pcm)
        if not self._spoke:
            raise MuxError.of("empty_synthesis", f"{self._server.name} made no audio of this text.")
        raise StopAsyncIteration

    async def _pcm(self) -> bytes:
        """The next samples; none at the end."""
        while (data := await self._answer.read()) is not None:
            try:
                pcm = self._reader.feed(data)
            except ValueError as error:
                raise self._server.unfit(str(error)) from None
            if pcm:
                return pcm
        try:
            return self._reader.finish()
        except ValueError as error:
            raise MuxError.of(
                "engine_failed",
                f"{self._server.name} sent {error}: speech is missing. Try again; its own log may say why.",
            ) from None


@contextmanager
def _patience(server: OpenAiServer, seconds: float) -> Generator[None, None, None]:
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError:
        raise MuxError.of(
            "engine_stalled",
            f"{server.name} sent no audio for {seconds:g} s. Try again; if it is only slow, allow it more "
            "time.",
            limit=seconds,
        ) from None


def _unfit(content_type: str, sample_rate: int) -> str | None:
    """What an answer says it is, if that is not what was asked for. PCM has many names, or none; what is
    called JSON, HTML, events or MP3 is that."""
    kind = content_type.split(";")[0].strip().lower()
    family, _, form = kind.partition("/")
    if kind not in _UNTOLD and not (family == "audio" and form in _PCM_FORMS):
        return repr(kind[:80])
    rate = _RATE.search(content_type.lower())
    return f"speech at {rate[1]} Hz" if rate and int(rate[1]) != sample_rate else None
