"""An engine that is another multi-context socket: ElevenLabs, KugelAudio, or another mux.

Each segment is a context there, on few pooled sockets. A socket that drops, stalls or forgets half a segment
costs nobody a word: the segment is spoken again on another one, and goes on where it broke off.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Literal, TypeAlias

import anyio
import anyio.abc
import msgspec
from msgspec import Meta

from mux.dialects.base import AudioFrame, ClientDialect
from mux.dialects.elevenlabs import ElevenLabsClient, socket_url
from mux.dialects.kugelaudio import KugelAudioClient, multi_url
from mux.engines.base import Chunk, Job, Relay, Voice
from mux.engines.utterance import Repair, Utterance
from mux.errors import MuxError, Problem
from mux.links.link import LinkContext
from mux.links.pool import Pool, Target, connecting
from mux.log import get_logger
from mux.protocol.messages import Reason
from mux.protocol.voice import ContextSettings, VoiceSettings
from mux.tasks import owned_tasks

__all__ = ["Dialect", "Pools", "RemoteEngine", "Upstream"]

log = get_logger("mux.remote")

Dialect: TypeAlias = Literal["elevenlabs", "kugelaudio", "mux"]

CONTEXTS: dict[Dialect, int] = {"elevenlabs": 5, "kugelaudio": 20, "mux": 20}
"""What one socket may carry; "maximum of 5 concurrent contexts" at ElevenLabs."""
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
POOLS = 16
"""Voices of an ElevenLabs upstream that have sockets at the same time: its sockets are of one voice."""


_Bound: TypeAlias = tuple[str | None, str | None, bool, bool]
"""Voice, language, normalize and ssml of a socket, where it is bound to them."""


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
    def slots(self) -> int:
        """How many segments may be spoken at the same time."""
        return (self.contexts or CONTEXTS[self.dialect]) * self.sockets

    def __repr__(self) -> str:
        return f"Upstream({self.name!r}, {self.dialect!r})"  # the others may be secret

    def target(
        self, voice: str | None, language: str | None, normalize: bool = True, ssml: bool = False
    ) -> Target:
        """Where sockets go that are bound to these, as far as they are: ElevenLabs' to all of them."""
        token = f"pcm_{self.sample_rate}"
        if self.dialect == "kugelaudio":
            url, headers = multi_url(self.url), {"authorization": f"Bearer {self.key}"} if self.key else {}
            dialect: Callable[[], ClientDialect] = partial(
                KugelAudioClient, model=self.model, output_format=token, undecoded=True
            )
        else:
            query = {"output_format": token, "sync_alignment": "true", "inactivity_timeout": "60"}
            query |= {"model_id": self.model} if self.model else {}
            query |= {"language_code": language} if language else {}
            query |= {} if normalize else {"apply_text_normalization": "off"}
            query |= {"enable_ssml_parsing": "true"} if ssml else {}
            url = socket_url(self.url, voice or "default", query)
            headers = {"xi-api-key": self.key} if self.key else {}
            dialect = partial(ElevenLabsClient, undecoded=True)
        return Target(
            name=self.name,
            connect=connecting(url, headers, self.open_timeout),
            dialect=dialect,
            contexts=self.contexts or CONTEXTS[self.dialect],
            sockets=self.sockets,
            inactivity_timeout=20.0 if self.dialect == "kugelaudio" else 60.0,
        )


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
            pools = Pools(self.upstream, tasks)
            await pools.get(Job("")).warm()
            yield [self.slot(pools) for _ in range(self.upstream.slots)]

    def slot(self, pools: Pools) -> Relay:
        """Something that speaks one segment at a time on the sockets of `pools`."""
        return _Slot(self.upstream, pools)

    async def check_service(self) -> list[str]:
        """Try the handshake, and say what was found.

        Raises:
            MuxError: it failed; the sentence says at which step and why.
        """
        target = self.upstream.target(self.upstream.voice, None)
        began = anyio.current_time()
        async with target.connect():
            spent = anyio.current_time() - began
        return [
            f"{self.name}: the {self.upstream.dialect} handshake succeeded in {spent * 1000:.0f} ms",
            f"{self.name}: {target.contexts} contexts on each of at most {target.sockets} sockets",
        ]


class Pools:
    """The pools of one upstream: one for all, or one for each of what its sockets are bound to."""

    def __init__(self, upstream: Upstream, tasks: anyio.abc.TaskGroup) -> None:
        self._upstream = upstream
        self._tasks = tasks
        self._pools: dict[_Bound, Pool] = {}

    def get(self, job: Job) -> Pool:
        """The sockets for a segment."""
        voice = job.voice or self._upstream.voice
        # Without tags it is all one; and what ElevenLabs tells of the times of tags is not documented.
        ssml = job.ssml and "<" in job.text
        bound: dict[Dialect, _Bound] = {
            "elevenlabs": (voice, job.language, job.normalize, False),
            "kugelaudio": (None, job.language, True, False),  # the connection's, and cannot be taken back
            "mux": (None, None, job.normalize, ssml),
        }
        key = bound[self._upstream.dialect]
        pool = self._pools.pop(key, None)
        if pool is None:
            if len(self._pools) >= POOLS:
                idle = next((key for key, pool in self._pools.items() if not pool.used), None)
                if idle is not None:
                    self._pools.pop(idle).close()
            pool = Pool(self._upstream.target(*key), self._tasks)
        self._pools[key] = pool  # the last used stands last
        return pool

    @property
    def used(self) -> int:
        """How many slots are taken, closing contexts included."""
        return sum(pool.used for pool in self._pools.values())


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
        pool = self._pools.get(job)
        settings = ContextSettings(
            voice=job.voice or self._upstream.voice,
            language=job.language,
            voice_settings=_asked(job.settings),
            normalize=None if job.normalize else False,
        )
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
