"""Several engines as one: which of them speaks for which voice, and who is asked when it fails."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import msgspec

from mux.engines.base import Engine, Voice
from mux.engines.dispatch import Dispatcher, Lane
from mux.engines.scheduler import LONGEST_WAIT, Scheduler
from mux.errors import MuxError
from mux.log import get_logger
from mux.tasks import owned_tasks

__all__ = ["Choice", "Gateway", "Route"]

log = get_logger("mux.gateway")


class Choice(NamedTuple):
    """An engine of the gateway, and the id of one of its voices (None: its default voice). In a route for a
    pattern, "*" in the voice stands for what the pattern's "*" matched."""

    engine: str
    voice: str | None = None


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Who speaks for a client's voice id: the first of `choices`, and if that fails the next.

    `id` may contain one "*", which stands for any characters; "*" alone is also who gave no voice. `name` and
    `language` are shown to clients that list voices.
    """

    id: str
    choices: tuple[Choice, ...]
    name: str | None = None
    language: str | None = None

    def match(self, voice: str | None) -> str | None:
        """What "*" stands for in `voice` ("" where there is none); None if the id is not this route's."""
        head, star, tail = self.id.partition("*")
        if not star:
            return "" if voice == self.id else None
        voice = voice or ""
        fits = len(voice) >= len(head) + len(tail) and voice.startswith(head) and voice.endswith(tail)
        return voice[len(head) : len(voice) - len(tail)] if fits else None


class Gateway:
    """Voices of several engines under ids of one's own.

    A voice id goes to its route; of several patterns the first one counts, and an exact id before all of
    them. A voice without a route goes to the engine `default`, as it is.

    Args:
        engines: by name, not started.
        workers: how many synthesizers an engine gets, where it is not what `start` says.
    """

    def __init__(
        self,
        engines: Mapping[str, Engine],
        default: str,
        routes: Sequence[Route] = (),
        workers: Mapping[str, int] | None = None,
    ) -> None:
        self.name = default
        self.engines = dict(engines)
        """Those that can speak; on starting, those that could not be started are taken out."""
        self.sample_rate = engines[default].sample_rate
        self.slots: dict[str, int] = {}
        """How many segments each started engine can speak at the same time."""
        self._default = default
        self._exact = {route.id: route for route in reversed(routes) if "*" not in route.id}
        self._patterns = [route for route in routes if "*" in route.id]
        self._workers = workers or {}

    def voices(self) -> Sequence[Voice]:
        """Every id that has a route, then every voice of the default engine that can be named by its own."""
        routed = [self._listed(route) for route in self._exact.values()]
        own = [voice for voice in self.engines[self._default].voices() if self._route(voice.id) is None]
        return [*routed, *own]

    def check(self, voice: str | None, language: str | None) -> str | None:
        """See `Engine.check`: whether anybody can speak for this voice."""
        reasons = [
            self.engines[choice.engine].check(choice.voice, language) for choice in self._choices(voice)
        ]
        return None if None in reasons else reasons[0]

    def language(self, voice: str | None, language: str | None) -> str:
        """See `Engine.language`: of whoever is asked first."""
        choice = self.plan(voice, language)[0]
        return self.engines[choice.engine].language(choice.voice, language)

    def plan(self, voice: str | None, language: str | None) -> Sequence[Choice]:
        """Who is to speak, in this order: at least one. Those who cannot, by their own word, are left out."""
        choices = self._choices(voice)
        able = [choice for choice in choices if not self.engines[choice.engine].check(choice.voice, language)]
        return able or choices[:1]

    @asynccontextmanager
    async def start(
        self,
        workers: int,
        longest_wait: float = LONGEST_WAIT,
        weights: Mapping[str, float] | None = None,
    ) -> AsyncIterator[Dispatcher]:
        """Start every engine with `workers` synthesizers, and give what speaks segments with them; stop them
        on leaving the block. An engine that does not start is done without where every route that it is in
        has another one.

        Args:
            longest_wait: how long a segment waits for a synthesizer, in seconds, before it fails as `busy`.
            weights: the shares of those apps whose weight is not 1.

        Raises:
            MuxError: of the engine that does not start and cannot be done without.
        """
        async with AsyncExitStack() as stack:
            lanes: dict[str, Lane] = {}
            failures: dict[str, MuxError] = {}
            for name, engine in self.engines.items():
                try:
                    synthesizers = await stack.enter_async_context(
                        engine.start(self._workers.get(name, workers))
                    )
                except MuxError as error:
                    failures[name] = error
                else:
                    self.slots[name] = len(synthesizers)
                    scheduler = Scheduler(synthesizers, longest_wait, weights, name)
                    lanes[name] = Lane(name, engine, scheduler)
            self._do_without(failures)
            tasks = await stack.enter_async_context(owned_tasks())
            for lane in lanes.values():
                tasks.start_soon(lane.scheduler.run)
            yield Dispatcher(lanes, self.plan, self.sample_rate)

    def _do_without(self, failures: Mapping[str, MuxError]) -> None:
        for route in (None, *self._exact.values(), *self._patterns):
            needed = {self._default} if route is None else {choice.engine for choice in route.choices}
            if needed <= failures.keys():
                raise next(failures[name] for name in self.engines if name in needed)
        for name, error in failures.items():
            del self.engines[name]
            log.warning("engine_unavailable", engine=name, code=error.code, problem=str(error))

    def _route(self, voice: str | None) -> tuple[Route, str] | None:
        if voice is not None and (exact := self._exact.get(voice)):
            return exact, ""
        for route in self._patterns:
            if (matched := route.match(voice)) is not None:
                return route, matched
        return None

    def _choices(self, voice: str | None) -> Sequence[Choice]:
        found = self._route(voice)
        if found is None:
            return (Choice(self._default, voice),)
        route, matched = found
        return [
            Choice(name, None if there is None else there.replace("*", matched) or None)
            for name, there in route.choices
            if name in self.engines
        ]

    def _listed(self, route: Route) -> Voice:
        choice = next(choice for choice in route.choices if choice.engine in self.engines)
        engine = self.engines[choice.engine]
        known = next((voice for voice in engine.voices() if voice.id == choice.voice), None)
        return Voice(
            id=route.id,
            name=route.name or (known.name if known else route.id),
            language=route.language or (known.language if known else engine.language(choice.voice, None)),
            gender=known.gender if known else None,
            description=known.description if known else f"Spoken by {choice.engine}.",
        )
