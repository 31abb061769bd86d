"""What a socket takes in: which contexts, which text."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeAlias

from mux.errors import Problem
from mux.protocol import problems
from mux.protocol.context import Context
from mux.protocol.limits import Limits
from mux.protocol.messages import Text
from mux.protocol.table import State

__all__ = ["VoiceCheck", "congested", "no_room", "unspeakable", "unwelcome"]

VoiceCheck: TypeAlias = Callable[[str | None, str | None], str | None]
"""(voice, language) -> why they cannot be spoken, or None."""


def no_room(id: str, contexts: Collection[Context], limits: Limits) -> Problem | None:
    """Why a context of this id may not stand beside `contexts`."""
    size = len(id.encode(errors="surrogatepass"))
    if size > limits.id_bytes:
        return problems.id_too_long(size, limits)
    counted = (State.OPEN, State.DRAINING) if limits.slots_until_end else (State.OPEN,)
    open_ids = tuple(context.id for context in contexts if context.state in counted)
    if len(open_ids) >= limits.contexts:
        return problems.too_many_contexts(open_ids, limits)
    draining = sum(context.state is State.DRAINING for context in contexts)
    if draining >= limits.draining:
        return problems.too_many_draining(draining, limits)
    return None


def unwelcome(
    text: Text, context: Context, unspoken: int, limits: Limits, check: VoiceCheck
) -> Problem | None:
    """Why a context may not have this text; `unspoken` bytes wait on its socket."""
    unspoken += len(text.text.encode(errors="surrogatepass"))
    if limits.voice_required and not (text.voice or context.settings.voice) and text.text.strip():
        return problems.NO_VOICE
    if unspoken > limits.unspoken_bytes:
        return problems.too_much_text(unspoken, limits)
    return unspeakable(check, text.voice, context.settings.language) if text.voice else None


def congested(contexts: Collection[Context], notices: int, limits: Limits) -> bool:
    """Whether so many ends and `notices` are unread that nothing more may be read."""
    most = limits.contexts + limits.draining + limits.backlog
    flushes = any(context.unanswered_flushes > limits.flushes for context in contexts)
    return flushes or len(contexts) > most or notices > limits.backlog


def unspeakable(check: VoiceCheck, voice: str | None, language: str | None) -> Problem | None:
    """Why text cannot be said in this voice and language."""
    reason = check(voice, language)
    code = "unknown_voice" if check(voice, None) else "unsupported_language"
    return Problem(code=code, message=reason) if reason else None
