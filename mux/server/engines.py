"""From settings to engines: each kind of table is one engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple

from mux.config import (
    ElevenLabs,
    EngineTable,
    Espeak,
    KugelAudio,
    Mux,
    OpenAi,
    Piper,
    Settings,
    Sherpa,
    Tone,
)
from mux.engines.base import Engine, Voice
from mux.engines.espeak import EspeakEngine
from mux.engines.gateway import Choice, Gateway, Route
from mux.engines.tone import ToneEngine
from mux.errors import MuxError

__all__ = ["Found", "check_engines", "make_gateway"]


class Found(NamedTuple):
    """What was found of an engine: sentences, or the error that it does not start with."""

    engine: str
    lines: Sequence[str]
    error: MuxError | None = None


def make_gateway(settings: Settings) -> Gateway:
    """The engines that the settings use, not started yet.

    Raises:
        MuxError: `invalid_config` or `missing_dependency`: one of them cannot be made of its settings.
    """
    tables = _used(settings)
    routes = [
        Route(
            id=route.id,
            choices=tuple(Choice(speaker.engine, speaker.voice) for speaker in route.speak),
            name=route.name,
            language=route.language,
        )
        for route in settings.voices
    ]
    return Gateway(
        {name: _engine(name, table, settings) for name, table in tables.items()},
        settings.engine,
        routes,
        {name: workers for name, table in tables.items() if (workers := _workers(table)) is not None},
    )


async def check_engines(settings: Settings) -> AsyncIterator[Found]:
    """Try every engine that the settings describe, one after the other: an upstream's handshake, or the start
    of an engine of this machine. Nothing is spoken by services that may cost money."""
    for name, table in {**_used(settings), **settings.engines}.items():
        try:
            yield Found(name, await _try(name, _engine(name, table, settings)))
        except MuxError as error:
            yield Found(name, (), error)


async def _try(name: str, engine: Engine) -> Sequence[str]:
    from mux.engines.remote import RemoteEngine

    if isinstance(engine, RemoteEngine):
        return await engine.check_service()
    async with engine.start(1):
        return [f"it starts, and has {len(engine.voices())} voices"]


def _used(settings: Settings) -> Mapping[str, EngineTable]:
    """The tables of the default engine and of those that speak for some voice, the default's first."""
    tables = settings.known_engines
    names = [settings.engine, *(speaker.engine for route in settings.voices for speaker in route.speak)]
    return {name: tables[name] for name in dict.fromkeys(names)}


def _workers(table: EngineTable) -> int | None:
    return table.sockets if isinstance(table, OpenAi) else getattr(table, "workers", None)


def _engine(name: str, table: EngineTable, settings: Settings) -> Engine:
    # Engines with a library of their own are imported when they are asked for.
    match table:
        case Tone():
            return ToneEngine()
        case Espeak():
            library = table.library or settings.espeak_library
            return EspeakEngine(strict_voices=settings.strict_voices, library=library)
        case Piper():
            from mux.engines.piper import PiperEngine

            return PiperEngine(table.models, strict_voices=settings.strict_voices, threads=table.threads)
        case Sherpa():
            from mux.engines.sherpa import SherpaEngine

            return SherpaEngine(table.models, strict_voices=settings.strict_voices, threads=table.threads)
        case OpenAi():
            return _openai(name, table, settings)
        case ElevenLabs() | KugelAudio() | Mux():
            from mux.engines.remote import RemoteEngine, Upstream

            return RemoteEngine(
                Upstream(
                    name=name,
                    dialect=table.kind,
                    url=table.url,
                    key=table.key,
                    model=table.model,
                    voice=table.voice,
                    sample_rate=table.sample_rate,
                    contexts=table.contexts,
                    sockets=table.sockets,
                    repair=table.repair,
                    stall_seconds=table.stall_seconds,
                    patience=table.patience,
                    open_timeout=table.open_timeout,
                )
            )


def _openai(name: str, table: OpenAi, settings: Settings) -> Engine:
    from mux.engines.openai_http import OpenAiEngine
    from mux.engines.openai_server import Deadlines
    from mux.engines.openai_voices import OPENAI_VOICES

    named = dict.fromkeys(
        speaker.voice
        for route in settings.voices
        for speaker in route.speak
        if speaker.engine == name and speaker.voice and "*" not in speaker.voice
    )
    # A server of OpenAI's own voices needs no list; others may have none that they tell.
    foreign = not named.keys() <= {voice.id for voice in OPENAI_VOICES}
    return OpenAiEngine(
        base_url=table.url,
        api_key=table.key,
        model=table.model,
        voices=[Voice(id=voice, name=voice, language="und") for voice in named] if foreign else (),
        default_voice=table.voice,
        strict_voices=settings.strict_voices,
        sample_rate=table.sample_rate,
        extra=table.extra,
        deadlines=Deadlines(
            connect=table.open_timeout, first_byte=table.first_audio_seconds, idle=table.stall_seconds
        ),
    )
