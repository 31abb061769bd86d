"""`ElevenLabsWebSocketTTS`, as https://docs.getpatter.com describes it; but its sockets stay open."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

import anyio.abc
import anyio.lowlevel
from anyio.lowlevel import EventLoopToken, current_token

from mux.audio.formats import FORMATS
from mux.client.context import Context
from mux.client.errors import SpeechError, TimedOut
from mux.client.patter.background import in_background
from mux.client.patter.call import Calls
from mux.client.patter.checks import (
    api_key_or_environment,
    check_model,
    check_schedule,
    check_seconds,
    check_voice_settings,
)
from mux.client.patter.errors import tts_error
from mux.client.patter.line import Line
from mux.client.patter.speech import Speech
from mux.client.patter.voices import resolve_voice_id
from mux.links.endpoint import Dialect, Endpoint, dialect_of
from mux.log import get_logger
from mux.protocol.voice import ContextSettings
from mux.tasks import owned_tasks

__all__ = ["ElevenLabsWebSocketTTS"]

log = get_logger("mux.patter")

ELEVENLABS = "https://api.elevenlabs.io"
RACHEL = "21m00Tcm4TlvDq8ikWAM"
FLASH = "eleven_flash_v2_5"
TELEPHONE: dict[str, float | bool] = {"stability": 0.6, "similarity_boost": 0.75, "use_speaker_boost": False}
"""Calm, and without what u-law cannot carry."""
CARRIERS = {"twilio": "ulaw_8000", "telnyx": "ulaw_8000", "plivo": "ulaw_8000"}
"""What goes over each carrier's wire."""
SOCKETS = 20
"""Another one is opened only when the open ones are full of texts that are being spoken."""
WAIT_SECONDS = 0.5
"""Beyond `open_timeout`, so that it is the opening that fails, and says why."""


class ElevenLabsWebSocketTTS:
    """ElevenLabs' streaming voice as an adapter for Patter: `phone.agent(tts=ElevenLabsWebSocketTTS(...))`.

    One instance serves any number of calls at once. Each text is a context of its own on a socket that all
    share and that stays open between texts: only the first one pays for the connection. A socket that died
    meanwhile is replaced, and what nobody has heard any of is said again on the new one.

    Args:
        api_key: the key; None reads the environment's `ELEVENLABS_API_KEY`. A mux without keys takes any.
        voice_id: an id, or the name of one of ElevenLabs' stock voices.
        model_id: any model of its WebSockets; `eleven_v3*` is none.
        output_format: `pcm_16000`, `ulaw_8000`, ...; None: the carrier's (`set_telephony_carrier`), or else
            `pcm_16000`.
        voice_settings: stability, similarity_boost, style, use_speaker_boost, speed.
        language_code: ISO 639-1.
        auto_mode: the service decides when it begins to speak; False follows `chunk_length_schedule`.
        inactivity_timeout: seconds after which the service may end what is idle, 1 to 180; None: 60.
        chunk_length_schedule: characters, each from 5 to 500; only without `auto_mode`.
        open_timeout: seconds for opening a socket, from the name's lookup to the handshake.
        frame_timeout: seconds that the service may be silent before all was said.
        chunk_size: taken, and not used: audio is given as it comes.
        base_url: another service at this address, such as a mux: `ws://127.0.0.1:8790`.
        dialect: what is spoken there; None: as the URL tells (`mux.connect`).

    On asyncio it needs no preparation: its socket's task starts with the first text, and ends with `close` or
    the loop. `async with` gives it an owner, which trio needs, and closes all at the block's end.

    Raises:
        ValueError: an argument is out of its range, or there is no key.
    """

    provider_key: ClassVar[str] = "elevenlabs_ws"
    """What Patter's price list calls it."""

    def __init__(
        self,
        api_key: str | None = None,
        voice_id: str = RACHEL,
        model_id: str = FLASH,
        output_format: str | None = None,
        voice_settings: Mapping[str, Any] | None = None,
        language_code: str | None = None,
        *,
        auto_mode: bool = True,
        inactivity_timeout: int | None = 60,
        chunk_length_schedule: Sequence[int] | None = None,
        open_timeout: float = 5.0,
        frame_timeout: float = 30.0,
        chunk_size: int | None = None,
        base_url: str | None = None,
        dialect: Dialect | None = None,
    ) -> None:
        self._api_key = api_key_or_environment(api_key)
        self.voice_id = resolve_voice_id(voice_id)
        self.model_id = model_id
        self.output_format = "pcm_16000" if output_format is None else output_format
        self.voice_settings = voice_settings
        self.language_code = language_code
        self.auto_mode = auto_mode
        self.inactivity_timeout = 60 if inactivity_timeout is None else inactivity_timeout
        self.chunk_length_schedule = chunk_length_schedule
        self.open_timeout = open_timeout
        self.frame_timeout = frame_timeout
        self.base_url = base_url or ELEVENLABS
        self.dialect: Dialect = dialect or dialect_of(self.base_url)
        self._follows_carrier = output_format is None
        check_model(str(model_id))
        check_seconds(self.inactivity_timeout, open_timeout, frame_timeout)
        check_schedule(chunk_length_schedule)
        check_voice_settings(voice_settings)
        self._calls = Calls()
        self._lines: list[Line] = []
        self._owner: tuple[EventLoopToken, anyio.abc.TaskGroup] | None = None
        self._block: AbstractAsyncContextManager[Self] | None = None
        _introduce(type(self))

    @classmethod
    def for_twilio(
        cls,
        api_key: str | None = None,
        *,
        voice_settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Self:
        """A voice for Twilio's wire: `ulaw_8000`, and settings for the telephone unless others are given.
        `options` are the class's own."""
        settings = TELEPHONE if voice_settings is None else voice_settings
        return cls(api_key, **{"output_format": "ulaw_8000", "voice_settings": settings, **options})

    @classmethod
    def for_telnyx(cls, api_key: str | None = None, **options: Any) -> Self:
        """A voice for Telnyx as Patter's page has it: `pcm_16000`. `options` are the class's own."""
        return cls(api_key, **{"output_format": "pcm_16000", **options})

    def __repr__(self) -> str:
        shown = ("model_id", "voice_id", "output_format")
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    @property
    def api_key(self) -> str:
        return self._api_key

    @property
    def model(self) -> str:
        """For Patter's price list."""
        return str(self.model_id)

    @property
    def sample_rate(self) -> int | None:
        """Of the output format, in Hz."""
        known = FORMATS.get(str(self.output_format))
        return known.sample_rate if known is not None else None

    def set_telephony_carrier(self, carrier: str) -> None:
        """Patter says this at the begin of a call, in the call's task: from now on this task, and those that
        it starts, are one call. Unless an output format was given, it becomes the carrier's own."""
        self._calls.announce()
        if self._follows_carrier:
            self.output_format = CARRIERS.get(carrier, self.output_format)

    # --- speaking ------------------------------------------------------------------------------------

    async def synthesize(self, text: str) -> AsyncGenerator[bytes, None]:
        """Say a text: its audio in `output_format`, as it comes. The iteration ends when all was said, or at
        once when the text is blank; leaving it, or cancelling, stops this text alone, at the service too.

        Raises:
            ElevenLabsTTSError: the service cannot be reached, refuses, fails, falls silent for
                `frame_timeout` s, or sends a frame of over 512 KB.
        """
        await anyio.lowlevel.checkpoint()
        if not text.strip():
            return
        lines: list[Line] = []

        async def say(text: str) -> Context:
            lines.append(self._line())
            return await self._say(text, lines[-1])

        call, speech = self._calls.speaking(), Speech(text, say, self.frame_timeout)
        call.speeches.add(speech)
        try:
            while (audio := await speech.next()) is not None:
                yield audio
        except SpeechError as error:
            if isinstance(error, TimedOut):
                lines[-1].doubted = True
            raise tts_error(error) from error
        finally:
            speech.stop()
            call.speeches.discard(speech)

    def cancel_active_stream(self) -> None:
        """Stop what this call is saying (barge-in): its iterations end. From any thread, any number of times.

        The call is that of the task that asks, see `set_telephony_carrier`. Somebody outside of all calls
        means the only one there is; with several, nobody is stopped.
        """
        call = self._calls.meant()
        if call is not None:
            call.stop()
        elif self._calls.open:
            log.warning("cancel_of_no_call", calls=len(self._calls.open))

    async def warmup(self) -> None:
        """Open the socket now, so that the first text need not wait. What fails here fails again with the
        first text, and is told then."""
        with suppress(SpeechError):
            await self._line().warm()

    async def close(self) -> None:
        """The call that asks is over: what it still says is stopped, and the sockets are closed unless other
        calls need them, or an `async with` holds them. It may be used again. Takes about 2 s at most;
        cancelling does not stop the closing."""
        call = self._calls.meant()
        if call is not None:
            self._calls.end(call)
        if not self._calls.open and self._owner is None:
            await self._hang_up()

    async def aclose(self) -> None:
        """All calls are over: stop what they say, and close the sockets. As `close`, otherwise."""
        self._stop_all()
        await self._hang_up()

    async def __aenter__(self) -> Self:
        self._block = self._owned()
        return await self._block.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        assert self._block is not None
        return await self._block.__aexit__(kind, error, trace)

    # --- its sockets ---------------------------------------------------------------------------------

    @asynccontextmanager
    async def _owned(self) -> AsyncIterator[Self]:
        if self._owner is not None:
            raise RuntimeError("This voice is in an `async with` already; leave that first.")
        async with owned_tasks() as tasks:
            self._owner = current_token(), tasks
            try:
                yield self
                await self.aclose()
            finally:
                self._stop_all()
                self._owner = None

    def _stop_all(self) -> None:
        for call in self._calls.open:
            self._calls.end(call)

    async def _hang_up(self) -> None:
        lines = [line for line in self._lines if line.loop == current_token()]
        for line in lines:
            line.retire()
        for line in lines:
            await line.close()

    def _line(self) -> Line:
        """The sockets of this loop that are what is wanted now."""
        endpoint, here = self._endpoint(), current_token()
        self._lines = [line for line in self._lines if not line.closed]
        mine = [line for line in self._lines if line.loop == here and not line.closing]
        for line in mine:
            if line.endpoint == endpoint and not line.doubted:
                return line
        for line in mine:
            if not line.speaking:
                line.retire()
        line = Line(endpoint)
        if self._owner is not None and self._owner[0] == here:
            self._owner[1].start_soon(line.run)
        else:
            in_background(line.run)
        self._lines.append(line)
        return line

    def _endpoint(self) -> Endpoint:
        return Endpoint(
            name=urlsplit(self.base_url).hostname or "the service",
            dialect=self.dialect,
            url=self.base_url,
            key=self._api_key,
            output_format=str(self.output_format),
            settings=ContextSettings(
                voice=self.voice_id,
                model=str(self.model_id),
                language=self.language_code or None,
                auto_mode=self.auto_mode or None,
                inactivity_timeout=self.inactivity_timeout,
            ),
            sockets=SOCKETS,
            open_timeout=self.open_timeout,
            place_seconds=self.open_timeout + WAIT_SECONDS,
            patience=1,  # whoever is on the telephone had better hear at once that nothing is to be had
        )

    async def _say(self, text: str, line: Line) -> Context:
        """Open a context that says a text."""
        session = await line.session()
        schedule = None if self.auto_mode else self.chunk_length_schedule
        context = await session.create_context(
            "speech",
            settings=self.voice_settings,
            chunk_length_schedule=tuple(schedule) if schedule else None,
            keepalive=False,
            silence_timeout=2 * self.frame_timeout,  # the listener's own patience ends first
        )
        try:
            await context.send(f"{text} ")  # with the end of its last word
            await context.close()
        except BaseException:
            context.stop()
            raise
        return context


def _introduce(kind: type) -> None:
    """Patter takes instances of its own base class only; it is an abstract one, and can be told of others.
    Where it was not imported, nobody asks."""
    base = sys.modules.get("getpatter.providers.base")
    if base is not None:
        base.TTSProvider.register(kind)
