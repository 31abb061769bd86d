"""`multi-stream-input` as a server speaks it."""

from __future__ import annotations

from mux.dialects.base import Credentials, Decoded
from mux.dialects.elevenlabs.reading import (
    DICTIONARIES_IGNORED,
    NOTHING,
    UNREADABLE,
    decode_message,
    key_of,
    settings_of,
    unreadable,
)
from mux.dialects.elevenlabs.writing import Writing
from mux.errors import Problem
from mux.protocol.messages import (
    DEFAULT_CONTEXT,
    Close,
    CloseSocket,
    Configure,
    Flush,
    Invalid,
    KeepAlive,
    Notice,
    Open,
    Text,
)

__all__ = ["ElevenLabsServer"]


class ElevenLabsServer(Writing):
    """`multi-stream-input` of one socket; see `Writing` for its arguments."""

    def decode(self, data: str | bytes) -> list[Decoded]:
        try:
            message = decode_message(data)
            settings = settings_of(message)
        except UNREADABLE as error:
            return [unreadable(data, error)]
        commands: list[Decoded] = []
        if key := key_of(message):
            commands.append(Credentials(key))
        if message.close_socket:
            return [*commands, CloseSocket()]
        id = message.context_id or message.context_id_camel or None
        if isinstance(settings, Problem):
            return [*commands, Invalid(settings, id)]
        if message.pronunciation_dictionary_locators and not self._told:
            self._told = True
            commands.append(Notice(DICTIONARIES_IGNORED, id))
        text = message.text
        if id is None:
            if text is not None and not text.strip():
                if not (message.flush or message.close_context):
                    # A context-less init sets up the connection; a context-less "" is a keepalive, and so is
                    # " ", unless the default context is open: then it may be what parts two words.
                    said = Text(DEFAULT_CONTEXT, text) if text else KeepAlive()
                    return [*commands, Configure(settings) if settings != NOTHING else said]
                text = None  # the default context opens only for something to say
            id = DEFAULT_CONTEXT
        if text:
            if settings != NOTHING:
                commands.append(Open(id, settings))
            commands.append(Text(id, text, bool(message.try_trigger_generation)))
        elif not (message.flush or message.close_context):
            # "ignored by the server but its presence resets the inactivity timeout" (KeepContextAlive)
            commands.append(KeepAlive(id))
        if message.flush:
            commands.append(Flush(id))
        if message.close_context:
            commands.append(Close(id, bool(message.immediate)))
        return commands
