"""Keeps what passes a tap: redacted, watched, bounded in size, and written to a file now and then."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec

from mux.errors import MuxError
from mux.exchange.har import write_har
from mux.exchange.model import Close, Exchange, Message, Recording, Side
from mux.exchange.redaction import Redactor
from mux.exchange.watch import Happening, SocketWatch

__all__ = ["BODY", "LIMIT", "Recorder", "Track"]

LIMIT = 64 * 1024 * 1024
"""Bytes of recorded messages, over all exchanges."""
BODY = 4096
"""Bytes of a refusal's body."""
EXCHANGE_COST = 2048
MESSAGE_COST = 100
"""What an exchange and a message count beside their text."""
INTERVAL = 2.0
"""Seconds between two writings; more where writing takes long."""


class Track:
    """One exchange while it goes on. Times are `anyio.current_time()`."""

    def __init__(
        self, recorder: Recorder, number: int, exchange: Exchange, redactor: Redactor, now: float
    ) -> None:
        self.number = number
        self.exchange = exchange
        self.watch = SocketWatch(exchange)
        self.cost = EXCHANGE_COST
        self._recorder = recorder
        self._redactor = redactor
        self._began = now

    def answered(self, now: float, status: int, headers: Iterable[tuple[str, str]]) -> None:
        self.exchange.status = status
        self.exchange.response_headers = self._redactor.headers(headers)
        self._tell([Happening(self._at(now), None, f"HTTP {status}")])

    def body(self, data: bytes) -> None:
        """A piece of an HTTP answer's body. Only refusals are kept, for they say why."""
        self.exchange.body_bytes += len(data)
        if (self.exchange.status or 0) >= 400 and len(self.exchange.body) < BODY:
            text = self.exchange.body + data.decode("utf-8", "replace")
            self.exchange.body = text[:BODY]

    def message(self, now: float, by: Side, data: str | bytes) -> None:
        message = Message(self._at(now), by, self._redactor.message(data), isinstance(data, bytes))
        self.exchange.messages.append(message)
        self._recorder.grew(self, len(message.data) + MESSAGE_COST)
        self._tell(self.watch.feed(message))

    def closed(self, now: float, by: Side, code: int, reason: str) -> None:
        """The socket's end; only the first call counts."""
        if self.exchange.close is None:
            close = Close(code, self._redactor.message(reason), by, self._at(now))
            self.exchange.close = close
            self._tell(self.watch.end(close))

    def failed(self, now: float, why: str) -> None:
        self.exchange.failure = why
        self._tell([Happening(self._at(now), None, why)])

    def ended(self, now: float) -> None:
        """Nothing more follows."""
        self.exchange.ended = self._at(now)
        self.exchange.body = self._redactor.message(self.exchange.body)
        self._recorder.grew(self, len(self.exchange.body))

    def _at(self, now: float) -> float:
        return round(now - self._began, 6)

    def _tell(self, happened: list[Happening]) -> None:
        self._recorder.changed = True
        if happened:
            self._recorder.tell(self, happened)


class Recorder:
    """All exchanges of a tap. Over `limit` bytes, the oldest ended exchanges are dropped as a whole, then the
    oldest messages of those that go on; the recording says so.

    Args:
        audio: keep audio; otherwise only how much it was.
        text: keep spoken text; otherwise only how much it was.
        tell: called, at once, with what happens; must not raise.
    """

    def __init__(
        self,
        *,
        audio: bool = False,
        text: bool = True,
        limit: int = LIMIT,
        tell: Callable[[Track, list[Happening]], None] = lambda track, happened: None,
    ) -> None:
        self.tracks: list[Track] = []
        self.tell = tell
        self.changed = False
        """Since it was last written."""
        self._audio = audio
        self._text = text
        self._limit = limit
        self._size = 0
        self._dropped = 0
        self._begun = 0

    def begin(
        self, now: float, *, method: str, url: str, headers: Iterable[tuple[str, str]], websocket: bool
    ) -> Track:
        """A request has come, for `url` at the service."""
        redactor = Redactor(audio=self._audio, text=self._text)
        shown = redactor.headers(headers)
        exchange = Exchange(
            url=redactor.url(url),
            started=round(time.time(), 3),
            method=method,
            websocket=websocket,
            request_headers=shown,
        )
        self._begun += 1
        track = Track(self, self._begun, exchange, redactor, now)
        self.tracks.append(track)
        self._size += EXCHANGE_COST
        self.changed = True
        return track

    def grew(self, track: Track, cost: int) -> None:
        track.cost += cost
        self._size += cost
        while self._size > self._limit:
            ended = next((old for old in self.tracks if old.exchange.ended is not None), None)
            if ended is not None:
                self.tracks.remove(ended)
                self._size -= ended.cost
                ended.cost = 0
                self._dropped += 1
            elif not self._shorten():
                return

    def _shorten(self) -> bool:
        """Drop one message: the oldest of the exchange that began first and has more than one."""
        track = next((track for track in self.tracks if len(track.exchange.messages) > 1), None)
        if track is None:
            return False
        message = track.exchange.messages.popleft()
        track.exchange.dropped += 1
        track.cost -= len(message.data) + MESSAGE_COST
        self._size -= len(message.data) + MESSAGE_COST
        return True

    def recording(self) -> Recording:
        """A copy of what is kept at this moment."""
        exchanges = [
            msgspec.structs.replace(track.exchange, messages=track.exchange.messages.copy())
            for track in self.tracks
        ]
        notes = [f"The {self._dropped} oldest exchanges were dropped."] if self._dropped else []
        return Recording(exchanges=exchanges, notes=notes)

    async def write(self, path: Path) -> None:
        """Write the recording, in a thread. The file is whole at every moment: the new one takes the old
        one's place. Only its owner may read it, for it holds what was said. Finishes when cancelled.

        Raises `MuxError` `invalid_config` where that is not possible.
        """
        recording = self.recording()
        self.changed = False
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(_write, path, recording)

    async def keep_writing(self, path: Path) -> None:
        """Write every few seconds, if there is something new, until cancelled."""
        pause = INTERVAL
        while True:
            await anyio.sleep(pause)
            if self.changed:
                begun = anyio.current_time()
                await self.write(path)
                pause = max(INTERVAL, 10 * (anyio.current_time() - begun))


def _write(path: Path, recording: Recording) -> None:
    part = path.with_name(path.name + ".part")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(write_har(recording))
        part.replace(path)
    except OSError as error:
        raise MuxError.of(
            "invalid_config", f"{path} cannot be written: {error.strerror}. Choose another or make room."
        ) from None
