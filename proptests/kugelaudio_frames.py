"""What may stand in the frames of KugelAudio's sockets, as docs/protocol-kugelaudio.md says."""

from __future__ import annotations

import base64
from typing import Any

from mux.errors import ERRORS

__all__ = ["KINDS", "check_frame", "kind_of"]

Frame = dict[str, Any]
_NUMBER = (int, float)

KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "error": (
        {"error": str, "error_code": str, "code": int, "request_id": str, "mux": dict},
        {"retry_after": int, "context_id": str},
    ),
    "warning": ({"warning": str}, {"code": int, "context_id": str, "usage": dict, "mux": dict}),
    "session_started": ({"session_id": str}, {}),
    "context_created": ({"context_id": str}, {}),
    "generation_started": ({"chunk_id": int, "text": str}, {"context_id": str}),
    "audio": (
        {"audio": str, "enc": str, "idx": int, "sr": int, "samples": int},
        {"chunk_id": int, "context_id": str},
    ),
    "word_timestamps": ({"word_timestamps": list}, {"chunk_id": int, "context_id": str}),
    "chunk_complete": (
        {"chunk_id": int, "audio_seconds": _NUMBER, "gen_ms": int},
        {"context_id": str},
    ),
    "final": (
        {},
        {
            **{"context_id": str, "total_audio_seconds": _NUMBER, "total_text_chunks": int},
            **{"total_audio_chunks": int, "chunks": int, "total_samples": int, "dur_ms": int, "gen_ms": int},
            **{"rtf": _NUMBER, "usage": dict, "mux": dict},
        },
    ),
    "interrupted": ({"usage": dict}, {}),
    "context_timeout": ({"context_id": str}, {}),
    "context_closed": ({"context_id": str}, {"usage": dict, "mux": dict}),
    "session_closed": (
        {},
        {
            **{"total_audio_seconds": _NUMBER, "total_text_chunks": int, "total_audio_chunks": int},
            **{"usage": dict, "mux": dict},
        },
    ),
    "settings_updated": ({"settings": dict}, {}),
}
"""A frame is told by one of these fields; then what it must have, and what it may."""
_WORD = {"word": str, "start_ms": int, "end_ms": int, "char_start": int, "char_end": int, "score": _NUMBER}
_USAGE = {"audio_seconds", "characters", "cost_cents", "currency", "cost_unavailable", "model_id"}
_CODES = {row.kugelaudio for row in ERRORS.values()}
_BYTES = {"pcm_s16le": 2, "mulaw": 1, "alaw": 1}


def kind_of(frame: Frame) -> str:
    kinds = [kind for kind in KINDS if kind in frame]
    assert len(kinds) == 1, f"{kinds} in one frame"
    return kinds[0]


def check_frame(frame: Frame) -> str:
    """See that a frame is documented; returns its kind."""
    kind = kind_of(frame)
    must, may = KINDS[kind]
    assert set(must) <= set(frame) <= {kind, *must, *may}, frame
    if kind not in must:
        assert frame[kind] is True
    for name, value in frame.items():
        allowed = {**must, **may, kind: must.get(kind, bool)}[name]
        assert isinstance(value, allowed), (name, value)
        assert isinstance(value, bool) == (allowed is bool), (name, value)
    if usage := frame.get("usage"):
        _check_usage(usage)
    if kind == "context_closed":
        assert ("usage" in frame) == ("mux" in frame), "neither is there where no context was"
    if kind == "session_closed" and "mux" in frame:
        totals = {"total_audio_seconds", "total_text_chunks", "total_audio_chunks"}
        assert totals & set(frame) == (totals if "usage" in frame else set())
    if kind == "interrupted":
        assert "model_id" not in frame["usage"]
    if kind == "audio":
        assert len(base64.b64decode(frame["audio"], validate=True)) == frame["samples"] * _BYTES[frame["enc"]]
        assert frame["samples"] > 0
    if kind == "word_timestamps":
        for word in frame["word_timestamps"]:
            assert {name: isinstance(word[name], type) for name, type in _WORD.items()} == dict.fromkeys(
                word, True
            )
            assert 0 <= word["start_ms"] <= word["end_ms"]
            assert word["char_end"] - word["char_start"] == len(word["word"]) > 0
    if kind == "error":
        assert frame["error_code"] in _CODES
        assert frame["mux"]["code"] in ERRORS
        assert frame["error"]
    return kind


def _check_usage(usage: Frame) -> None:
    assert {"audio_seconds", "characters", "cost_cents"} <= set(usage) <= _USAGE
    assert usage["audio_seconds"] >= 0
    if usage["cost_cents"] is None:
        assert usage["cost_unavailable"] is True
        assert "currency" not in usage
    else:
        assert usage["cost_cents"] >= 0
        assert "cost_unavailable" not in usage
        assert usage["currency"]
