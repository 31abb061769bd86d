"""What the doctor has to say: one finding for each thing that it looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import msgspec

from mux.doctor.causes import CAUSES

__all__ = ["STEPS", "Finding", "Step", "Tell", "Verdict", "fine", "found", "skipped"]

Step = Literal[
    "url",
    "dns",
    "tcp",
    "tls",
    "handshake",
    "key",
    "voice",
    "model",
    "format",
    "speech",
    "keepalive",
    "contexts",
    "timeout",
    "close",
    "file",
]
Verdict = Literal["ok", "warning", "problem", "skipped"]

STEPS: tuple[Step, ...] = Step.__args__  # type: ignore[attr-defined]
"""In the order in which they are tried; `file` is for what was read in a recording or log."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at.

    `cause` is a key of `CAUSES`, and None where all is well or nothing was tried. `sentence` says what was
    seen, `remedy` what to do. `evidence` are short facts such as a close code and its reason: never a key,
    never spoken text. `context` is the id of the context that it is about. `seconds` is how long the step
    took, where that was measured.
    """

    step: Step
    verdict: Verdict
    sentence: str
    cause: str | None = None
    remedy: str | None = None
    evidence: tuple[str, ...] = ()
    context: str | None = None
    seconds: float | None = None

    def took(self, seconds: float) -> Finding:
        """The same with the time that it took."""
        return msgspec.structs.replace(self, seconds=round(seconds, 3))


Tell: TypeAlias = Callable[[Finding], None]
"""Who wants to hear of findings as they are made."""


def found(
    step: Step,
    cause: str,
    *evidence: str,
    verdict: Literal["problem", "warning"] = "problem",
    context: str | None = None,
    **facts: Any,
) -> Finding:
    """A finding that something is wrong. `facts` fill the fields in the cause's sentence and remedy; a
    missing one is a `KeyError`."""
    row = CAUSES[cause]
    return Finding(
        step=step,
        verdict=verdict,
        cause=cause,
        sentence=row.sentence.format(**facts),
        remedy=row.remedy.format(**facts),
        evidence=evidence,
        context=context,
    )


def fine(step: Step, sentence: str, *evidence: str) -> Finding:
    """A finding that a step is as it should be."""
    return Finding(step=step, verdict="ok", sentence=sentence, evidence=evidence)


def skipped(step: Step, sentence: str) -> Finding:
    """A step that was not tried; the sentence says why."""
    return Finding(step=step, verdict="skipped", sentence=sentence)
