"""The frames of the KugelAudio wire as they stand in JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from mux.protocol.messages import Usage

__all__ = ["ClientMessage", "Extras", "Frame", "WireUsage", "Word"]


class ClientMessage(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Everything that a client may say on any of the three sockets, in one flat object. `immediate`, `close`
    and its other name `end_session`, and `keep_alive` (of the Java client) are read where they mean
    something; `project_id`, `dictionary_ids` and `speaker_prefix` are accepted without effect."""

    text: str | None = None
    context_id: str | None = None
    flush: bool | None = None
    close_context: bool | None = None
    immediate: bool | None = None
    close: bool | None = None
    end_session: bool | None = None
    close_socket: bool | None = None
    cancel: bool | None = None
    keep_alive: bool | None = None
    update_settings: dict[str, Any] | None = None
    voice_settings: dict[str, Any] | None = None
    voice_id: int | str | None = None
    model_id: str | None = None
    cfg_scale: float | None = None
    temperature: float | None = None
    max_new_tokens: int | None = None
    speed: float | None = None
    language: str | None = None
    normalize: bool | None = None
    sample_rate: int | None = None
    output_format: str | None = None
    word_timestamps: bool | None = None
    flush_timeout_ms: float | None = None
    max_buffer_length: int | None = None
    chunk_length_schedule: list[int] | None = None
    auto_mode: bool | None = None
    inactivity_timeout: float | None = None
    dictionary_ids: list[Any] | None = None


class Word(msgspec.Struct, frozen=True):
    """When a word is heard, in ms since its chunk's start, and where it stands in its chunk's text."""

    word: str
    start_ms: int
    end_ms: int
    char_start: int
    char_end: int
    score: float = 1.0


class WireUsage(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What one turn, request or context used. A cost that is not known is null and said to be missing,
    "never a misleading 0"."""

    audio_seconds: float
    characters: int | msgspec.UnsetType = msgspec.UNSET
    cost_cents: float | msgspec.UnsetType | None = msgspec.UNSET
    currency: str | None = None
    cost_unavailable: bool | None = None
    model_id: str | None = None


class Extras(msgspec.Struct, frozen=True, omit_defaults=True):
    """What mux adds to an end, under a key of its own that the vendor's clients ignore."""

    reason: str
    usage: Usage


class Frame(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Everything that a server may say; a frame is told by the fields it has."""

    session_started: bool | None = None
    session_id: str | None = None
    context_created: bool | None = None
    generation_started: bool | None = None
    text: str | None = None
    audio: bytes | msgspec.Raw | None = None
    enc: str | None = None
    idx: int | None = None
    sr: int | None = None
    samples: int | None = None
    word_timestamps: list[Word] | None = None
    chunk_complete: bool | None = None
    audio_seconds: float | None = None
    gen_ms: int | None = None
    chunk_id: int | None = None
    final: bool | None = None
    interrupted: bool | None = None
    context_timeout: bool | None = None
    context_closed: bool | None = None
    session_closed: bool | None = None
    chunks: int | None = None
    total_samples: int | None = None
    dur_ms: int | None = None
    rtf: float | None = None
    total_audio_seconds: float | None = None
    total_text_chunks: int | None = None
    total_audio_chunks: int | None = None
    settings_updated: bool | None = None
    settings: dict[str, Any] | None = None
    warning: str | None = None
    error: str | None = None
    error_code: str | None = None
    code: int | None = None
    retry_after: int | None = None
    request_id: str | None = None
    context_id: str | None = None
    usage: WireUsage | None = None
    mux: Any = None
