"""The frames of the ElevenLabs wire as they stand in JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from mux.protocol.messages import Usage

__all__ = ["ClientMessage", "ErrorFrame", "Extras", "Facts", "ServerFrame", "WarningFrame", "WireAlignment"]


class ClientMessage(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Everything that a client may say, in one flat object (`WebsocketTTSClientMessageMulti`).

    Both spellings of an id, a key and a generation config occur in the vendor's own documents. `voice_id`,
    `language_code`, `inactivity_timeout` (of one context) and `immediate` are mux's additions.
    """

    text: str | None = None
    context_id: str | None = None
    context_id_camel: str | None = msgspec.field(name="contextId", default=None)
    flush: bool | None = None
    close_context: bool | None = None
    immediate: bool | None = None
    close_socket: bool | None = None
    keep_alive: bool | None = None
    try_trigger_generation: bool | None = None
    voice_settings: Any = None
    generation_config: Any = None
    generator_config: Any = None
    chunk_length_schedule: Any = None
    pronunciation_dictionary_locators: Any = None
    voice_id: str | None = None
    language_code: str | None = None
    inactivity_timeout: float | None = None
    xi_api_key: str | None = None
    xi_api_key_dashed: str | None = msgspec.field(name="xi-api-key", default=None)
    authorization: str | None = None


class WireAlignment(msgspec.Struct, frozen=True):
    """Which character begins when, in ms; three lists of one length."""

    chars: list[str]
    charStartTimesMs: list[int]
    charDurationsMs: list[int]


class Extras(msgspec.Struct, frozen=True, omit_defaults=True):
    """What mux adds to a context's last frame, under a key of its own that the vendor's clients ignore."""

    reason: str
    usage: Usage


class ServerFrame(msgspec.Struct, kw_only=True):
    """Audio, or (with `isFinal`) a context's last frame. Encoded with its nulls, as the vendor does; decoded
    from anything that has some of the fields."""

    audio: bytes | msgspec.Raw | None = None
    isFinal: bool | None = None
    normalizedAlignment: msgspec.Raw | None = None
    alignment: msgspec.Raw | None = None
    contextId: str | msgspec.UnsetType = msgspec.UNSET
    mux: Extras | msgspec.UnsetType = msgspec.UNSET


class Facts(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The machine-readable part of an error or a warning."""

    code: str
    message: str | None = None
    limit: float | str | None = None
    observed: float | str | None = None
    retryable: bool = False
    retry_after_ms: int | None = None
    allowed: tuple[str, ...] | None = None
    session_id: str | None = None


class ErrorFrame(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A failure: of the context whose id it carries, which then gets its last frame, else of the socket,
    which is then closed."""

    message: str
    error: str
    code: int
    contextId: str | msgspec.UnsetType = msgspec.UNSET
    mux: Facts | None = None


class WarningFrame(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Something that ended nobody. Never an `error` key: that would end a LiveKit stream."""

    warning: Facts
    contextId: str | msgspec.UnsetType = msgspec.UNSET
