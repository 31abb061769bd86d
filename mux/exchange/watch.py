"""What a socket's messages mean, context by context: the table of `mux tap`, and what the doctor looks at.

Pure: it is fed with messages, in the order in which they passed, and knows no clock and no socket.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Literal

import msgspec

from mux.exchange.endpoints import audio_ms, endpoint_of
from mux.exchange.model import Close, Exchange, Message
from mux.exchange.reading import Said, Told, read_said, read_told

__all__ = ["ContextWatch", "Happening", "SocketWatch", "watch"]

HISTORY = 1000
"""Of how many ended contexts a socket's watch keeps the details."""


class Happening(msgspec.Struct, frozen=True):
    """Something worth a line: `context` is None where it concerns the whole socket."""

    at: float
    context: str | None
    what: str


class ContextWatch(msgspec.Struct, kw_only=True):
    """One context (or turn, or, where a socket is for one utterance, all of it). Times are in seconds since
    the exchange began."""

    id: str
    opened_at: float
    reopened: bool = False
    """Its id was told to close before, and had not ended yet."""
    characters: int = 0
    texts: int = 0
    """Messages with something to say in them."""
    flushes: int = 0
    unflushed: int = 0
    """Characters since the last flush."""
    first_text_at: float | None = None
    last_text_at: float | None = None
    last_said_at: float | None = None
    """Anything for this context, keepalives included."""
    close_at: float | None = None
    closes: int = 0
    immediate: bool = False
    audio_bytes: int = 0
    audio_ms: float = 0.0
    largest_audio: int = 0
    first_audio_at: float | None = None
    last_audio_at: float | None = None
    audio_after_end: int = 0
    """Messages with audio that came after its end."""
    flushed: int = 0
    """Ends of flushes that the service told of."""
    ended_at: float | None = None
    ended: str = ""
    """How: the service's word (`isFinal`, `context_closed`, ...), or what happened to the socket."""
    error: str = ""
    message: str = ""

    @property
    def state(self) -> Literal["open", "draining", "ended"]:
        if self.ended_at is not None:
            return "ended"
        return "open" if self.close_at is None else "draining"

    @property
    def first_audio_ms(self) -> float | None:
        """From the first text to the first audio."""
        if self.first_text_at is None or self.first_audio_at is None:
            return None
        return (self.first_audio_at - self.first_text_at) * 1000


class SocketWatch:
    """One WebSocket. `contexts` are in the order in which they were opened."""

    def __init__(self, exchange: Exchange) -> None:
        self.endpoint = endpoint_of(exchange.path)
        self.format = exchange.query.get("output_format") or self.endpoint.default_format
        self.contexts: list[ContextWatch] = []
        self.peak_contexts = 0
        self.errors: list[Told] = []
        """Those that name no context."""
        self.warnings: list[str] = []
        self.ends_at: list[float] = []
        """When an empty text was sent that ends the stream."""
        self.texts_after_end = 0
        self.phantom_flushes = 0
        """Flushes of ids that were not open: the vendor opens a context for each."""
        self.stray_audio = 0
        """Messages with audio for ids that nobody has opened."""
        self.unreadable_said = self.unreadable_told = 0
        self.keepalives = 0
        self.keyed = False
        self.close_socket_at: float | None = None
        self.last_said_at: float | None = None
        self.last_told_at: float | None = None
        self.close: Close | None = None
        self._live: dict[str, list[ContextWatch]] = {}
        self._past: dict[str, ContextWatch] = {}

    @property
    def open_contexts(self) -> int:
        return sum(map(len, self._live.values()))

    def feed(self, message: Message) -> list[Happening]:
        """Take in the next message, and say what it meant."""
        if message.by == "client":
            self.last_said_at = message.at
            return list(self._said(read_said(message), message.at))
        self.last_told_at = message.at
        return list(self._told(read_told(message), message.at))

    def end(self, close: Close) -> list[Happening]:
        """The socket has ended, and with it what was open on it."""
        self.close = close
        happened = [Happening(close.at, None, _closed(close))]
        for context in self._alive():
            happened += self._end(context, f"socket closed {close.code}", close.at)
        return happened

    # --- the client ---------------------------------------------------------------------------------

    def _said(self, said: Said, at: float) -> Iterator[Happening]:
        if not said.readable:
            self.unreadable_said += 1
            yield Happening(at, None, "the client sent what is not a JSON object")
            return
        self.keyed = self.keyed or said.keyed
        self._learn_format(said)
        key = self._key(said.context)
        context = self._last(key)
        if context is not None:
            context.last_said_at = at
        if said.text is not None:
            if not self.endpoint.multi and not self.endpoint.turns and said.text == "" and not said.flush:
                yield from self._end_of_stream(context, at)
                return
            context = yield from self._text(said, key, context, at)
        if said.flush and context is None:
            self.phantom_flushes += self.endpoint.multi
        elif said.flush and context is not None:
            context.flushes += 1
            context.unflushed = 0
            yield Happening(at, context.id, "flush")
            if self.endpoint.turns:
                context.close_at = at
        if context is not None and (said.close_context or said.end_turn or said.cancel):
            context.closes += 1
            context.close_at = at if context.close_at is None else context.close_at
            context.immediate = context.immediate or said.immediate or said.cancel
            yield Happening(at, context.id, "cancelled" if context.immediate else "told to close")
        if said.close_socket:
            self.close_socket_at = at
            yield Happening(at, None, "told to close the socket")
            for one in self._alive():
                one.close_at = at if one.close_at is None else one.close_at

    def _text(
        self, said: Said, key: str, context: ContextWatch | None, at: float
    ) -> Generator[Happening, None, ContextWatch | None]:
        """Returns the context that the text was for, if there is one."""
        text = said.text or ""
        blank = not text.strip()
        if self.ends_at:
            self.texts_after_end += not blank
        if text == "" or (blank and said.context is None and self.endpoint.multi):
            self.keepalives += not said.flush
            return context
        if context is None or (context.close_at is not None and self._reopens):
            if blank and self.endpoint.turns:
                return context
            context = self._open(key, at, reopened=context is not None)
            yield Happening(at, context.id, "opened")
        if blank:
            return context
        context.characters += said.characters
        context.unflushed += said.characters
        context.texts += 1
        context.last_text_at = context.last_said_at = at
        if context.first_text_at is None:
            context.first_text_at = at
        yield Happening(at, context.id, f"{said.characters} characters")
        if self.endpoint.name == "ws/tts":  # a request is a whole turn
            context.close_at = at
        return context

    def _end_of_stream(self, context: ContextWatch | None, at: float) -> Iterator[Happening]:
        self.ends_at.append(at)
        yield Happening(at, None, 'the empty text "": end of the stream')
        if context is not None and context.close_at is None:
            context.close_at = at

    @property
    def _reopens(self) -> bool:
        return self.endpoint.multi or self.endpoint.turns

    # --- the service --------------------------------------------------------------------------------

    def _told(self, told: Told, at: float) -> Iterator[Happening]:
        if not told.readable:
            self.unreadable_told += 1
            yield Happening(at, None, "the service sent what is not a JSON object")
            return
        key = self._key(told.context)
        context = self._first(key)
        if told.created and context is None:
            context = self._open(key, at, reopened=False)
        if told.warning:
            self.warnings.append(told.warning)
            yield Happening(at, told.context, f"warning: {told.warning}")
        if told.audio:
            yield from self._audio(told, key, context, at)
        if told.error:
            yield from self._error(told, context, at)
        if told.flushed and context is not None:
            context.flushed += 1
        word = told.ended
        if not word and not self.endpoint.multi:
            word = "interrupted" if told.interrupted else "session_closed" if told.session_ended else ""
            if told.flushed and self.endpoint.name == "ws/tts":
                word = "final"
        if word and context is not None:
            yield from self._end(context, word, at)

    def _audio(self, told: Told, key: str, context: ContextWatch | None, at: float) -> Iterator[Happening]:
        if context is None:
            if past := self._past.get(key):
                past.audio_after_end += 1
            else:
                self.stray_audio += 1
            yield Happening(at, key, "audio after the end" if past else "audio of a context nobody opened")
            return
        context.audio_bytes += told.audio
        context.largest_audio = max(context.largest_audio, told.audio)
        context.last_audio_at = at
        if told.samples and told.sample_rate:
            context.audio_ms += told.samples * 1000 / told.sample_rate
        else:
            context.audio_ms += audio_ms(told.audio, self.format) or 0.0
        if context.first_audio_at is None:
            context.first_audio_at = at
            first = context.first_audio_ms
            after = "" if first is None else f" after {first:.0f} ms"
            yield Happening(at, context.id, f"first audio{after}")

    def _error(self, told: Told, context: ContextWatch | None, at: float) -> Iterator[Happening]:
        yield Happening(at, told.context, f"error {told.error}: {told.message}")
        if told.context is None or context is None:
            self.errors.append(told)
        if context is not None:
            context.error, context.message = told.error, told.message
            if self.endpoint.dialect == "kugelaudio":
                yield from self._end(context, "error", at)

    # --- contexts -----------------------------------------------------------------------------------

    def _key(self, context: str | None) -> str:
        """What a context without an id is called."""
        return context if context is not None else "default" if self.endpoint.multi else "-"

    def _open(self, key: str, at: float, *, reopened: bool) -> ContextWatch:
        context = ContextWatch(id=key, opened_at=at, reopened=reopened, last_said_at=at)
        self._live.setdefault(key, []).append(context)
        self.contexts.append(context)
        self.peak_contexts = max(self.peak_contexts, self.open_contexts)
        if len(self.contexts) > HISTORY + self.open_contexts:
            self.contexts.remove(next(old for old in self.contexts if old.ended_at is not None))
        return context

    def _end(self, context: ContextWatch, how: str, at: float) -> Iterator[Happening]:
        context.ended, context.ended_at = how, at
        live = self._live[context.id]
        live.remove(context)
        if not live:
            del self._live[context.id]
        self._past.pop(context.id, None)
        self._past[context.id] = context
        if len(self._past) > HISTORY:
            del self._past[next(iter(self._past))]
        yield Happening(at, context.id, f"ended ({how}), {context.audio_ms:.0f} ms of audio")

    def _alive(self) -> list[ContextWatch]:
        return [context for live in self._live.values() for context in live]

    def _first(self, key: str) -> ContextWatch | None:
        """Whose audio comes now, where an id is used again before its end."""
        live = self._live.get(key)
        return live[0] if live else None

    def _last(self, key: str) -> ContextWatch | None:
        """Whose text comes now."""
        live = self._live.get(key)
        return live[-1] if live else None

    def _learn_format(self, said: Said) -> None:
        if said.output_format:
            self.format = said.output_format
        elif said.sample_rate and self.endpoint.dialect == "kugelaudio":
            self.format = f"pcm_{said.sample_rate}"


def watch(exchange: Exchange) -> SocketWatch:
    """The watch of a recorded exchange, fed with all of it."""
    watching = SocketWatch(exchange)
    for message in exchange.messages:
        watching.feed(message)
    if exchange.close is not None:
        watching.end(exchange.close)
    return watching


def _closed(close: Close) -> str:
    if close.code == 1006:
        return f"the {close.by} cut the connection, without a close frame"
    reason = f": {close.reason}" if close.reason else ""
    return f"closed {close.code} by the {close.by}{reason}"
