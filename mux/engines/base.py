"""What an engine is: something that turns one segment of text into PCM.

An engine never sees contexts or sockets. Engines that burn CPU do it in worker processes, never on the loop.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias, runtime_checkable

import msgspec

from mux.protocol.pcm import Pcm
from mux.protocol.voice import VoiceSettings

__all__ = ["Chunk", "Engine", "Job", "Relay", "Speaker", "Synthesizer", "Voice"]


class Voice(msgspec.Struct, frozen=True, kw_only=True):
    """A voice as listed to users. `id` is what they pass as voice id; `language` is a BCP 47 tag."""

    id: str
    name: str
    language: str
    gender: str | None = None
    description: str = ""


class Job(msgspec.Struct, frozen=True):
    """One segment to speak. `voice` is a client's voice id (None: the default voice), `language` a client's
    language code, which overrides the voice's own language. `normalize` (numbers are to be read as words) and
    `ssml` (tags are to be obeyed) are for engines that read the text themselves."""

    text: str
    voice: str | None = None
    language: str | None = None
    settings: VoiceSettings = VoiceSettings()
    normalize: bool = True
    ssml: bool = False


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """Speech in order: mono s16le at the engine's `sample_rate`, and where the segment's next `len(starts)`
    characters begin in it (sample offsets into this chunk, never decreasing; negative for a character that
    began in an earlier chunk, whose time is known only now). The last of them ends at `until`, or where the
    chunk does. Over a whole segment every code point of `Job.text` is mapped exactly once, unless the
    engine knows no times at all and leaves every `starts` empty."""

    pcm: Pcm
    starts: tuple[int, ...] = ()
    until: int | None = None


class Synthesizer(Protocol):
    """One thing that can speak one job at a time (a worker process, an HTTP slot)."""

    def speak(self, job: Job) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        """Speak `job`: ``async with synthesizer.speak(job) as chunks: async for chunk in chunks: ...``.

        Leaving the block early, or being cancelled in it, stops the engine within one chunk and leaves the
        synthesizer ready for its next job.

        Raises:
            MuxError: `empty_synthesis` when the text gave no audio; `engine_failed` when the engine broke
                (the synthesizer repairs itself before its next job); `engine_stalled`, `busy`,
                `segment_too_long` or `upstream_error` when somebody else's service speaks.
        """
        ...


@runtime_checkable
class Relay(Protocol):
    """The same for speech that arrives by itself, from a socket: it is handed on where it arrives, and no
    task has to wake for it."""

    async def relay(self, job: Job, take: Callable[[Chunk], None]) -> None:
        """Have `job` spoken; every chunk is given to `take`, which does not block, at once. Cancelling stops
        the engine; what it still says is given to nobody. Raises what `Synthesizer.speak` raises."""
        ...


Speaker: TypeAlias = Synthesizer | Relay


class Engine(Protocol):
    """A kind of voice: its catalogue, and the synthesizers that can speak at the same time."""

    name: str
    sample_rate: int
    reads_itself: bool
    """Whether it wants the text as it was sent, and reads numbers and tags in its own way. Otherwise they are
    written out before it sees them."""

    def voices(self) -> Sequence[Voice]:
        """Every voice that can be named."""
        ...

    def check(self, voice: str | None, language: str | None) -> str | None:
        """Say in a sentence why this voice and language cannot be spoken, or None if they can."""
        ...

    def language(self, voice: str | None, language: str | None) -> str:
        """The BCP 47 tag of what is spoken for this voice and language ("und": none in particular). It
        decides how numbers and dates are read."""
        ...

    def start(self, workers: int) -> AbstractAsyncContextManager[Sequence[Speaker]]:
        """Start `workers` synthesizers, each of which has spoken once when the block is entered; stop them
        on leaving it.

        Raises:
            MuxError: `engine_failed` or `missing_dependency`, with the cause and the remedy.
        """
        ...
