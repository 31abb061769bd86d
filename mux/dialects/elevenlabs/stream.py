"""`stream-input` as a server speaks it: one context, whose end is the socket's."""

from __future__ import annotations

import msgspec

from mux.dialects.base import Credentials, Decoded
from mux.dialects.elevenlabs.reading import (
    DICTIONARIES_IGNORED,
    UNREADABLE,
    decode_message,
    key_of,
    settings_of,
    unreadable,
)
from mux.dialects.elevenlabs.writing import Writing
from mux.errors import Problem
from mux.protocol.messages import Close, ContextClosed, Event, Flush, FlushDone, Invalid, Notice, Open, Text

__all__ = ["ElevenLabsStream"]

ONLY = "stream"
"""The one context's id; it never stands in a frame."""

_LATE = Problem(
    code="socket_closing",
    message='The text had ended with "", so this was not spoken. Open a new socket for more text.',
)


class ElevenLabsStream(Writing):
    """`stream-input` of one socket.

    Args:
        final_after_flush: say `isFinal` too when everything has been sent and the last of it was flushed. The
            vendor does so only at the end; Patter sends text and flush, never an end, and waits for it.
    """

    single = True

    def __init__(
        self, *, sync_alignment: bool = False, session_id: str = "", final_after_flush: bool = False
    ) -> None:
        super().__init__(sync_alignment=sync_alignment, session_id=session_id)
        self._final_after_flush = final_after_flush
        self._flushes = 0
        self._last_flush = 0
        """The number of the flush that nothing came after, or 0."""
        self._ended = False

    def decode(self, data: str | bytes) -> list[Decoded]:
        try:
            message = decode_message(data)
            settings = settings_of(message)
        except UNREADABLE as error:
            if self._ended:
                return []
            problem = unreadable(data, error).problem
            return [Invalid(msgspec.structs.replace(problem, code="invalid_message"), ONLY)]
        if self._ended:
            return [Notice(_LATE)] if message.text and not message.text.isspace() else []
        commands: list[Decoded] = []
        if key := key_of(message):
            commands.append(Credentials(key))
        if isinstance(settings, Problem):
            return [*commands, Invalid(settings, ONLY)]
        if message.pronunciation_dictionary_locators and not self._told:
            self._told = True
            commands.append(Notice(DICTIONARIES_IGNORED))
        # Whatever else it says, a message keeps the one context alive, which `Open` does too.
        commands.append(Open(ONLY, settings))
        if message.text:
            commands.append(Text(ONLY, message.text, bool(message.try_trigger_generation)))
            if not message.text.isspace():
                self._last_flush = 0
        if message.flush:
            commands.append(Flush(ONLY))
            self._flushes += 1
            self._last_flush = self._flushes
        if message.close_socket or message.close_context or (message.text == "" and not message.flush):
            # "" is the end of the text: what waits is spoken, then comes the final, then the server closes.
            commands += [Flush(ONLY), Close(ONLY)]
            self._ended = True
            self._last_flush = 0
        return commands

    def name(self, context: str | None) -> str | msgspec.UnsetType:
        return msgspec.UNSET

    def event(self, event: Event) -> list[str]:
        if isinstance(event, FlushDone) and self._final_after_flush and event.number == self._last_flush:
            return [self.final(ONLY)]
        return super().event(event)

    def closed(self, event: ContextClosed) -> list[str]:
        """The final, or the error; the close comes next. The vendor's own SDK takes the last frame for the
        cause of a close that is not 1000."""
        return super().closed(event)[:1]
