"""The default engine: espeak-ng in worker processes, over a hundred languages without a download."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from mux.engines.base import Job, Synthesizer, Voice
from mux.engines.espeak_voices import Catalogue, orders
from mux.engines.heard import heard
from mux.engines.workers import FrameParser, WorkerSynthesizer, hello_of
from mux.errors import MuxError

__all__ = ["EspeakEngine"]

_PROGRAM = Path(__file__).with_name("espeak_worker.py")
_LIST_SECONDS = 20.0
_REMEDY = (
    "Install it with `pip install espeakng-loader`, or as a system package (`apt install libespeak-ng1`, "
    "`brew install espeak-ng`), or name the library file with `--espeak-library`."
)


class EspeakEngine:
    """espeak-ng. With `strict_voices`, voice ids that are not listed are refused; otherwise each is a stable
    voice of its own. `library` is the libespeak-ng file to load instead of the one that is found."""

    name = "espeak"
    reads_itself = False
    sample_rate = 22050

    def __init__(self, strict_voices: bool = False, library: str | None = None) -> None:
        self._strict = strict_voices
        # -P: the directory of the program must not become a place to import from
        self._command = [sys.executable, "-P", str(_PROGRAM)]
        if library is not None:
            self._command += ["--library", library]
        self._known: Catalogue | None = None

    def voices(self) -> Sequence[Voice]:
        """Every voice that can be named. Before `start`, the first call of this or of `check` asks the worker
        program, and blocks for about 60 ms.

        Raises:
            MuxError: `missing_dependency` or `engine_failed`.
        """
        return self._catalogue().voices()

    def check(self, voice: str | None, language: str | None) -> str | None:
        catalogue = self._catalogue()
        if self._strict and voice and catalogue.named(voice) is None:
            some = ", ".join(known.id for known in catalogue.voices()[:6])
            return f"Voice {voice[:60]!r} is not known. Use one of {some}, ...: `mux voices` lists them all."
        if language and catalogue.language(language) is None:
            return (
                f"Language {language[:40]!r} is not one that the espeak engine speaks. Give a code such as "
                "en, de or pt-BR: `mux voices` lists them all."
            )
        return None

    def language(self, voice: str | None, language: str | None) -> str:
        speaker = self._catalogue().speaker(voice, language)
        return speaker.language.tag if speaker else "und"

    @asynccontextmanager
    async def start(self, workers: int) -> AsyncGenerator[Sequence[Synthesizer], None]:
        """See `Engine.start`. However the block is left, no worker process stays behind."""
        synthesizers = [WorkerSynthesizer(self.name, self._command, self._order) for _ in range(workers)]
        failures: list[MuxError] = []

        async def warm_up(synthesizer: WorkerSynthesizer) -> None:
            try:
                await synthesizer.start()
                self._known = self._known or Catalogue(synthesizer.hello["languages"])
                async with synthesizer.speak(Job("ready")) as chunks:
                    async for _ in chunks:
                        pass
            except MuxError as error:
                failures.append(error)

        try:
            async with anyio.create_task_group() as starting:
                for synthesizer in synthesizers:
                    starting.start_soon(warm_up, synthesizer)
            if failures:
                raise _with_remedy(failures[0])
            yield synthesizers
        finally:
            with anyio.CancelScope(shield=True):
                for synthesizer in synthesizers:
                    await synthesizer.aclose()

    def _order(self, job: Job) -> dict[str, object]:
        speaker = self._catalogue().speaker(job.voice, job.language)
        if speaker is None:
            raise MuxError.of(
                "unsupported_language", self.check(None, job.language) or "The espeak engine has no voices."
            )
        text = heard(job.text)
        if not text.strip():
            raise MuxError.of(
                "empty_synthesis", "The text has no character that the espeak engine can speak."
            )
        return {"text": text, **orders(speaker, job.settings)}

    def _catalogue(self) -> Catalogue:
        if self._known is None:
            self._known = Catalogue(self._ask()["languages"])
        return self._known

    def _ask(self) -> dict[str, list[dict[str, str]]]:
        """Run the worker program for its hello alone: it ends with its stdin."""
        try:
            run = subprocess.run(
                self._command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LIST_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise MuxError.of("engine_failed", f"The espeak worker cannot be run: {error}.") from error
        parser = FrameParser()
        parser.feed(run.stdout)
        frame = parser.next_frame()
        if frame is None:
            words = run.stderr.decode(errors="replace")[-500:].strip()
            raise MuxError.of("engine_failed", f"The espeak worker ended while starting: {words}")
        try:
            return hello_of(frame, self.name)
        except MuxError as error:
            raise _with_remedy(error) from None


def _with_remedy(error: MuxError) -> MuxError:
    if error.code != "missing_dependency":
        return error
    return MuxError.of(error.code, f"{error} {_REMEDY}")
