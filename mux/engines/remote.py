"""An engine that is another multi-context socket: ElevenLabs, KugelAudio, or another mux.

Each segment is a context there, on few pooled sockets. A socket that drops, stalls or forgets half a segment
costs nobody a word: the segment is spoken again on another one, and goes on where it broke off.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Annotated

import anyio
import msgspec
from msgspec import Meta

from mux.dialects.base import AudioFrame
from mux.engines.base import Chunk, Job, Relay, Voice
from mux.engines.utterance import Repair, Utterance
from mux.errors import MuxError, Problem
from mux.links.endpoint import Dialect, Endpoint, Pools
from mux.links.link import LinkContext
from mux.log import get_logger
from mux.protocol.messages import Reason
from mux.protocol.voice import ContextSettings, VoiceSettings
from mux.tasks import owned_tasks

__all__ = ["RemoteEngine", "Upstream"]

log = get_logger("mux.remote")

FRUITLESS = 4
"""Attempts in a row that may bring no new audio, before a segment fails; but while only sockets fail, as they
do when a service restarts, patience counts instead."""
SILENT = 3
"""The same for attempts that hear nothing at all until they stall: somebody else may be able to speak."""
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 1.0
"""Seconds before the second fruitless attempt, doubled for each further one."""
SOCKETS_FAIL = frozenset({"connection_lost", "connection_refused", "draining", "too_many_sockets"})
QUIET = 1.5
"""Seconds after its last audio at which an ElevenLabs context is closed, if its times do not tell the end."""


class Upstream(msgspec.Struct, frozen=True, kw_only=True):
    """A service that speaks. `sample_rate` is what its audio is asked for at, in Hz; `contexts` is how many a
    socket may carry (the dialect's own limit), `sockets` how many there may be, so that their product is what
    may be spoken at the same time; `voice` is the default one. A segment that has heard nothing for
    `stall_seconds` is spoken again elsewhere; one for which no socket can be had for `patience` seconds
    fails."""

    name: str
    dialect: Dialect
    url: str
    key: str | None = None
    model: str | None = None
    voice: str | None = None
    sample_rate: int = 24000
    contexts: Annotated[int, Meta(ge=1)] | None = None
    sockets: Annotated[int, Meta(ge=1)] = 4
    repair: Repair = "words"
    stall_seconds: float = 10.0
    patience: float = 15.0
    open_timeout: float = 10.0

    @property
    def endpoint(self) -> Endpoint:
        """Where its sockets go."""
        return Endpoint(
            name=self.name,
            dialect=self.dialect,
            url=self.url,
            key=self.key,
            output_format=f"pcm_{self.sample_rate}",
            settings=ContextSettings(
                voice=self.voice,
                model=self.model,
                inactivity_timeout=None if self.dialect == "kugelaudio" else 60.0,
            ),
            undecoded=True,
            contexts=self.contexts,
            sockets=self.sockets,
            open_timeout=self.open_timeout,
        )

    @property
    def slots(self) -> int:
        """How many segments may be spoken at the same time."""
        return self.endpoint.most_contexts * self.sockets

    def __repr__(self) -> str:
        return f"Upstream({self.name!r}, {self.dialect!r})"  # the others may be secret


class RemoteEngine:
    """Speaks on pooled upstream sockets; any voice id is passed on."""

    reads_itself = True

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.name = upstream.name
        self.sample_rate = upstream.sample_rate

    def voices(self) -> Sequence[Voice]:
        """The default voice; what else there is, only the service knows."""
        voice = self.upstream.voice
        return [Voice(id=voice, name=voice, language="und")] if voice else []

    def check(self, voice: str | None, language: str | None) -> str | None:
        if voice or self.upstream.voice or self.upstream.dialect == "mux":
            return None
        return f"The engine {self.name} has no default voice. Name a voice, or configure one."

    def language(self, voice: str | None, language: str | None) -> str:
        return language or "und"

    @asynccontextmanager
    async def start(self, workers: int) -> AsyncIterator[Sequence[Relay]]:
        """One synthesizer for each slot of the upstream, whatever `workers` is; a first socket is opened.

        Raises:
            MuxError: the service refuses us for good (a wrong key, an unknown path).
        """
        async with owned_tasks() as tasks:
            pools = Pools(self.upstream.endpoint, tasks)
            await pools.get(ContextSettings()).warm()
            yield [self.slot(pools) for _ in range(self.upstream.slots)]

    def slot(self, pools: Pools) -> Relay:
        """Something that speaks one segment at a time on the sockets of `pools`."""
        return _Slot(self.upstream, pools)

    async def check_service(self) -> list[str]:
        """Try the handshake, and say what was found.

        Raises:
            MuxError: it failed; the sentence says at which step and why.
        """
        endpoint = self.upstream.endpoint
        target = endpoint.target(endpoint.bound(ContextSettings()))
        began = anyio.current_time()
        async with target.connect():
            spent = anyio.current_time() - began
        return [
            f"{self.name}: the {self.upstream.dialect} handshake succeeded in {spent * 1000:.0f} ms",
            f"{self.name}: {target.contexts} contexts on each of at most {target.sockets} sockets",
        ]


class _Slot:
    """One thing that can speak: a context's place on some socket."""

    def __init__(self, upstream: Upstream, pools: Pools) -> None:
        self._upstream = upstream
        self._pools = pools

    async def relay(self, job: Job, take: Callable[[Chunk], None]) -> None:
        """Attempt after attempt, until all was said or nothing gets better."""
        upstream = self._upstream
        utterance = Utterance(job.text, upstream.sample_rate, upstream.repair)
        fruitless = 0
        progress = anyio.current_time()
        while True:
            before = utterance.delivered
            try:
                await self._attempt(job, utterance, take)
                if utterance.delivered and utterance.complete:
                    return
                problem = _INCOMPLETE if utterance.delivered else _SILENT
            except MuxError as error:
                problem = error.problem
            if utterance.delivered and upstream.repair == "fail":
                raise MuxError(_broken_off(problem, utterance))
            fruitless = fruitless + 1
            if utterance.delivered > before:
                fruitless, progress = 0, anyio.current_time()
            if problem.code in SOCKETS_FAIL:
                hopeless = anyio.current_time() - progress > upstream.patience
            else:
                most = SILENT if problem.code == "engine_stalled" and not utterance.delivered else FRUITLESS
                hopeless = fruitless >= most
            if hopeless or not (problem.retryable or problem.code == "empty_synthesis"):
                raise MuxError(_broken_off(problem, utterance) if utterance.delivered else problem)
            log.warning(
                "segment_again",
                upstream=upstream.name,
                code=problem.code,
                heard_ms=utterance.heard_ms,
            )
            if fruitless:
                pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (fruitless - 1))
                await anyio.sleep(max(pause, (problem.retry_after_ms or 0) / 1000))
            utterance.begin()

    async def _attempt(self, job: Job, utterance: Utterance, take: Callable[[Chunk], None]) -> None:
        """Speak the whole segment on one socket, and give on what was not given on before.

        Raises:
            MuxError: it broke off.
        """
        settings = ContextSettings(
            voice=job.voice or self._upstream.voice,
            language=job.language,
            voice_settings=_asked(job.settings),
            normalize=None if job.normalize else False,
            ssml=(job.ssml and "<" in job.text) or None,  # without tags it is all one
        )
        pool = self._pools.get(settings)
        async with pool.context("mux", settings) as context:
            hearing = _Hearing(context, utterance, take)
            await context.send(job.text)
            context.flush()
            if self._upstream.dialect != "elevenlabs":
                context.close()
            if not await hearing.wait_ended(self._upstream.stall_seconds):
                pool.retire(context)
                raise MuxError(_stalled(self._upstream))
            ended = context.inbox.ended
            assert ended is not None
            if ended.reason is not Reason.COMPLETED:
                raise MuxError(ended.problem or _INCOMPLETE)
            if chunk := utterance.finish():
                take(chunk)


class _Hearing:
    """What comes back for one attempt. The socket's reader gives it on; the slot's own task sleeps until the
    end."""

    def __init__(self, context: LinkContext, utterance: Utterance, take: Callable[[Chunk], None]) -> None:
        self._context = context
        self._utterance = utterance
        self._take = take
        self._heard_at = anyio.current_time()
        self._scope = anyio.CancelScope()
        self._bug: Exception | None = None
        context.inbox.listen(self._hear)

    async def wait_ended(self, stall_seconds: float) -> bool:
        """Wait until the context has ended; False if nothing comes any more.

        At ElevenLabs a close races the synthesis and can cost the last words: there a context is closed only
        when its audio has come, or when nothing has followed it for `QUIET` seconds.
        """
        context = self._context
        with self._scope:
            while context.inbox.ended is None:
                quiet = context.inbox.received_bytes > 0 and not context.closing
                now, deadline = anyio.current_time(), self._heard_at + (QUIET if quiet else stall_seconds)
                if now >= deadline and quiet:
                    context.close()  # its times did not tell that all was said; now it has to say so
                    self._heard_at = now
                elif now >= deadline:
                    return False
                else:
                    # Frames move the deadline and wake nobody: so look again in time for the nearest.
                    with anyio.move_on_at(min(deadline, now + QUIET)):
                        await context.inbox.wait_ended()
        if self._bug is not None:
            raise self._bug
        return True

    def _hear(self, frame: AudioFrame) -> None:
        self._heard_at = anyio.current_time()
        try:
            chunk = self._utterance.hear(frame.audio, frame.alignment)
            if chunk is not None:
                self._take(chunk)
            if not self._context.closing and self._utterance.said_all:
                self._context.close()
        except Exception as bug:
            # It ends this segment, not the socket's reader.
            self._bug = self._bug or bug
            self._scope.cancel()


def _asked(settings: VoiceSettings) -> dict[str, float | bool] | None:
    """What differs from the defaults: the service has defaults of its own for the voice."""
    default = VoiceSettings()
    given = {
        name: getattr(settings, name)
        for name in settings.__struct_fields__
        if getattr(settings, name) != getattr(default, name)
    }
    return given or None


_SILENT = Problem(
    code="empty_synthesis",
    message="The service gave no audio for this text. Send text that can be spoken in this voice.",
)
_INCOMPLETE = Problem(
    code="engine_failed", message="The service ended the segment before it had spoken all of its text."
)


def _stalled(upstream: Upstream) -> Problem:
    return Problem(
        code="engine_stalled",
        message=f"{upstream.name} sent nothing for {upstream.stall_seconds:g} s.",
        limit=upstream.stall_seconds,
    )


def _broken_off(problem: Problem, utterance: Utterance) -> Problem:
    said = f"{problem.message} {utterance.heard_ms} ms of the segment were heard."
    return msgspec.structs.replace(problem, message=said, observed=utterance.heard_ms)
