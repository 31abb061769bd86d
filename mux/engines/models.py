"""Engines that speak with voice models in files: what `piper` and `sherpa` have in common.

The files' own descriptions say which voices there are; the models are loaded by worker processes alone, each
of which holds all of them.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, NoReturn

import anyio
import msgspec

from mux.engines.base import Job, Synthesizer, Voice
from mux.engines.heard import heard
from mux.engines.workers import WorkerSynthesizer
from mux.errors import MuxError

__all__ = ["ModelEngine", "ModelFile", "language_tag", "refuse_model"]

_PROGRAM = Path(__file__).with_name("model_worker.py")
_PATIENCE = 60.0
"""Seconds to load all models."""
_STALL = 60.0
"""Seconds for one sentence. The largest voices need 0.8 s of one core for a second of speech."""
_PUBLISHED = re.compile(r"[a-z]{2,3}_[A-Z]{2,3}-(?P<name>.+)-(?:x_low|low|medium|high)")
"""How Piper's voices are named: en_US-amy-medium."""


class ModelFile(msgspec.Struct, frozen=True, kw_only=True):
    """One model: what it is called, who speaks in it, and what the worker must know to load it."""

    file: Path
    stem: str
    """Its full name, which tells it from other models of the same voice."""
    languages: tuple[str, ...]
    """The BCP 47 tag of each speaker, "und" if it is not known."""
    sample_rate: int
    speakers: tuple[str, ...]
    """Their names, by number."""
    default: int = 0
    """The speaker for whoever names only the model."""
    facts: dict[str, object]

    @property
    def name(self) -> str:
        published = _PUBLISHED.fullmatch(self.stem)
        return published["name"] if published else self.stem


class _Speaker(NamedTuple):
    voice: Voice
    model: int
    number: int


class ModelEngine:
    """Voices in model files; the first model's is the default. With `strict_voices`, voice ids that are not
    listed are refused; otherwise each is always the same one of the listed voices. `threads` is how many
    cores one worker may use for a sentence.
    """

    reads_itself = False

    def __init__(
        self, name: str, models: Sequence[ModelFile], *, strict_voices: bool = False, threads: int = 1
    ) -> None:
        self.name = name
        self.sample_rate = max(model.sample_rate for model in models)
        """Models with a lower one are resampled by the worker."""
        self._strict = strict_voices
        self._speakers = list(_speakers(models))
        self._by_name = _by_name(models, self._speakers)
        self._default = self._by_name[models[0].name.lower()]
        # -P: the directory of the program must not become a place to import from
        self._command = [sys.executable, "-P", str(_PROGRAM), name]
        self._command += ["--rate", str(self.sample_rate), "--threads", str(threads)]
        self._command += [json.dumps({"sample_rate": model.sample_rate, **model.facts}) for model in models]

    def voices(self) -> Sequence[Voice]:
        return [speaker.voice for speaker in self._speakers]

    def check(self, voice: str | None, language: str | None) -> str | None:
        if self._strict and voice and voice.lower() not in self._by_name:
            some = ", ".join(speaker.voice.id for speaker in self._speakers[:6])
            return f"Voice {voice[:60]!r} is not known. Use one of {some}: `mux voices` lists them all."
        if language and not self._of_language(language):
            spoken = ", ".join(sorted({speaker.voice.language for speaker in self._speakers})[:20])
            return (
                f"Language {language[:40]!r} is not one that the {self.name} engine has a model for. Use one "
                f"of {spoken}, or add a model of that language."
            )
        return None

    def language(self, voice: str | None, language: str | None) -> str:
        speaker = self._speaker(voice, language)
        return speaker.voice.language if speaker else "und"

    @asynccontextmanager
    async def start(self, workers: int) -> AsyncGenerator[Sequence[Synthesizer], None]:
        """See `Engine.start`. However the block is left, no worker process stays behind."""
        synthesizers = [
            WorkerSynthesizer(self.name, self._command, self._order, patience=_PATIENCE, stall=_STALL)
            for _ in range(workers)
        ]
        failures: list[MuxError] = []

        async def load(synthesizer: WorkerSynthesizer) -> None:
            try:
                await synthesizer.start()  # each of its models has spoken once when it says hello
            except MuxError as error:
                failures.append(error)

        try:
            async with anyio.create_task_group() as starting:
                for synthesizer in synthesizers:
                    starting.start_soon(load, synthesizer)
            if failures:
                raise self._with_remedy(failures[0])
            yield synthesizers
        finally:
            with anyio.CancelScope(shield=True):
                for synthesizer in synthesizers:
                    await synthesizer.aclose()

    def _order(self, job: Job) -> dict[str, object]:
        speaker = self._speaker(job.voice, job.language)
        if speaker is None:
            raise MuxError.of("unsupported_language", self.check(None, job.language) or "No voice fits.")
        text = heard(job.text)
        if not text.strip():
            raise MuxError.of(
                "empty_synthesis", f"The text has no character that the {self.name} engine can speak."
            )
        return {
            "text": text,
            "model": speaker.model,
            "speaker": speaker.number,
            "speed": job.settings.speed,
            "stability": job.settings.stability,
        }

    def _speaker(self, voice: str | None, language: str | None) -> _Speaker | None:
        """Who speaks: the voice that is named, unless it is of another language than the one asked for."""
        named = self._by_name.get(voice.lower()) if voice else self._default
        fitting = self._of_language(language) if language else self._speakers
        if named in fitting or not fitting:
            return named if fitting else None
        number = int.from_bytes(sha256((voice or "").encode("utf-8", "surrogatepass")).digest()[:8])
        return fitting[number % len(fitting)]

    def _of_language(self, language: str) -> list[_Speaker]:
        """Those of the very tag; if there are none, those of the same language elsewhere. A model that does
        not say its language may speak any."""
        tag = language_tag(language)
        if tag == "und":
            return []
        for wanted in ({tag}, {tag.split("-")[0]}):
            fitting = [
                speaker
                for speaker in self._speakers
                if not {speaker.voice.language, speaker.voice.language.split("-")[0]}.isdisjoint(wanted)
            ]
            if fitting:
                return fitting
        return [speaker for speaker in self._speakers if speaker.voice.language == "und"]

    def _with_remedy(self, error: MuxError) -> MuxError:
        if error.code != "missing_dependency":
            return error
        return MuxError.of(error.code, f"{error} Install it with `pip install 'ttsmux[{self.name}]'`.")


def _speakers(models: Sequence[ModelFile]) -> Iterable[_Speaker]:
    """Every speaker of every model: "amy" (or "en_US-amy-low", if there are several), "libritts-12"."""
    stems = Counter(model.stem for model in models)
    for model in models:
        if stems[model.stem] > 1:
            refuse_model(
                f"Several models are called {model.stem} (one is {model.file}). Name each of them once."
            )
    times = Counter(model.name for model in models)
    for number, model in enumerate(models):
        name = model.name if times[model.name] == 1 else model.stem
        for index, (speaker, language) in enumerate(zip(model.speakers, model.languages, strict=True)):
            identifier = f"{name}-{speaker}" if len(model.speakers) > 1 else name
            voice = Voice(
                id=identifier, name=identifier, language=language, description=f"Model {model.stem}."
            )
            yield _Speaker(voice, number, index)


def _by_name(models: Sequence[ModelFile], speakers: Sequence[_Speaker]) -> dict[str, _Speaker]:
    """By every name that a user may give, in lower case: a voice's id, a model's name (its default speaker),
    a speaker's own."""
    found: dict[str, _Speaker] = {}
    for number, model in enumerate(models):
        own = [speaker for speaker in speakers if speaker.model == number]
        for name in (model.name, model.stem):
            found.setdefault(name.lower(), own[model.default])
        for name, speaker in zip(model.speakers, own, strict=True):
            if not name.isdecimal():
                found.setdefault(name.lower(), speaker)
    return found | {speaker.voice.id.lower(): speaker for speaker in speakers}


def language_tag(code: str) -> str:
    """The BCP 47 tag of a language code as models write it (en_US, en-us, cmn), "und" if it is none."""
    if not re.fullmatch(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{1,8})*", code):
        return "und"
    language, *rest = re.split(r"[-_]", code.lower())
    language = {"cmn": "zh", "eng": "en"}.get(language, language)
    return "-".join([language, *(part.upper() if len(part) == 2 else part for part in rest)])


def refuse_model(message: str) -> NoReturn:
    """Say what is wrong with the models that were named, as `invalid_config`."""
    raise MuxError.of("invalid_config", message)
