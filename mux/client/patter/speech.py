"""One text on its way to one listener."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeAlias

import anyio
import anyio.from_thread
import anyio.lowlevel

from mux.client.context import Context
from mux.client.errors import ClosedEarly, SpeechError, speech_error
from mux.errors import Problem

__all__ = ["Say", "Speech"]

MAX_AUDIO_BYTES = 512 * 1024 // 4 * 3
"""Patter's "safety cap (512 KB)" of a frame is one of its base64."""

TRIES = 3
"""At the most two sockets: after one that lived for less than a second, the next try is told to wait."""
SHORT_PAUSE = 0.3
"""Seconds that such a wait may take."""

Say: TypeAlias = Callable[[str], Awaitable[Context]]


class Speech:
    """A text that is being spoken, in a context of its own.

    Args:
        say: opens a context that says a text, on whatever socket there is.
        silence: how long the service may send nothing, in seconds.
    """

    def __init__(self, text: str, say: Say, silence: float) -> None:
        self._text = text
        self._say = say
        self._silence = silence
        self._context: Context | None = None
        self._heard = False
        self._tries = 1
        self._stopped = False
        self._waiting = anyio.CancelScope()
        self._thread = threading.get_ident()
        self._loop = anyio.lowlevel.current_token()

    async def next(self) -> bytes | None:
        """The next audio, or None when all was said, or it was stopped.

        Raises:
            SpeechError: it cannot be said to its end.
        """
        with anyio.CancelScope() as self._waiting:
            while not self._stopped:
                try:
                    audio = await self._next()
                except ClosedEarly as error:
                    await self._try_again(error)
                    continue
                if audio != b"":
                    return audio
        return None

    def stop(self) -> None:
        """No more audio from now on; its reader comes to the end. From any thread, any number of times."""
        if threading.get_ident() == self._thread:
            self._stop()
        else:
            with suppress(RuntimeError):  # its loop has ended, and so has it
                anyio.from_thread.run_sync(self._stop, token=self._loop)

    def _stop(self) -> None:
        self._stopped = True
        if self._context is not None:
            self._context.stop()
        self._waiting.cancel()

    async def _try_again(self, error: SpeechError) -> None:
        """A socket may have died while nobody used it: what nobody has heard any of is said on another."""
        pause = (error.problem.retry_after_ms or 0) / 1000
        if self._heard or error.code == "connection_refused" or self._tries == TRIES or pause > SHORT_PAUSE:
            raise error
        self._tries += 1
        self._context = None
        await anyio.sleep(pause)

    async def _next(self) -> bytes | None:
        if self._context is None:
            self._context = await self._say(self._text)
        with anyio.move_on_after(self._silence) as patience:
            chunk = await anext(self._context, None)
        if patience.cancelled_caught:
            message = f"The service sent nothing for {self._silence:g} s. Try again, or allow it more."
            raise self._failure("timed_out", message, limit=self._silence)
        if chunk is None:
            if not self._heard and not self._stopped and any(map(str.isalnum, self._text)):
                raise self._failure("empty_synthesis", "The service ended without any audio for this text.")
            return None
        if len(chunk.audio) > MAX_AUDIO_BYTES:
            message = (
                f"A frame brought {len(chunk.audio)} bytes of audio, which is more than {MAX_AUDIO_BYTES} "
                "(512 KB in base64). Frames of services are far smaller: see what is in between."
            )
            raise self._failure("message_too_big", message, limit=MAX_AUDIO_BYTES, observed=len(chunk.audio))
        self._heard = self._heard or bool(chunk.audio)
        return chunk.audio

    def _failure(self, code: str, message: str, **facts: Any) -> SpeechError:
        context = self._context
        assert context is not None
        heard = context.audio_ms
        unspoken = context.split(heard)[1] if heard is not None else None
        problem = Problem(code=code, message=message, **facts)
        return speech_error(problem, context=context.name, audio_ms=heard, unspoken=unspoken)
