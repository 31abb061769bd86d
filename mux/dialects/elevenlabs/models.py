"""The vendor's models. Every one of them is spoken by the same local engine; all that a model decides here is
which endpoint refuses it, as the vendor does."""

from __future__ import annotations

from typing import Literal

import msgspec

from mux.errors import MuxError

__all__ = ["MODELS", "Model", "check_model"]


class Model(msgspec.Struct, frozen=True):
    """`turbo` models count in another concurrency group; `dialogue` ones are not served by `text-to-speech`
    sockets."""

    id: str
    name: str
    turbo: bool = False
    dialogue: bool = False


MODELS = {
    model.id: model
    for model in (
        Model("eleven_v3", "Eleven v3", dialogue=True),
        Model("eleven_multilingual_v2", "Eleven Multilingual v2"),
        Model("eleven_flash_v2_5", "Eleven Flash v2.5", turbo=True),
        Model("eleven_turbo_v2_5", "Eleven Turbo v2.5", turbo=True),
        Model("eleven_flash_v2", "Eleven Flash v2", turbo=True),
        Model("eleven_turbo_v2", "Eleven Turbo v2", turbo=True),
        Model("eleven_multilingual_v1", "Eleven Multilingual v1"),
        Model("eleven_monolingual_v1", "Eleven English v1"),
    )
}


def check_model(model_id: str | None, endpoint: Literal["socket", "http", "dialogue"]) -> None:
    """Refuse what the vendor would refuse at this endpoint; None is its default model.

    Raises:
        MuxError: `model_not_found` or `unsupported_model`.
    """
    if model_id is None:
        return
    model = MODELS.get(model_id)
    if model is None and not model_id.startswith(("eleven_v3", "eleven_v4")):
        raise MuxError.of(
            "model_not_found",
            f"A model with model ID {model_id[:60]} does not exist. Leave model_id out, or use one of "
            f"{', '.join(MODELS)}.",
            param="model_id",
            allowed=tuple(MODELS),
        )
    if endpoint == "socket" and (model is None or model.dialogue):
        raise MuxError.of(
            "unsupported_model",
            f"Model '{model_id[:60]}' is not supported on the text-to-speech websocket endpoint. "
            "Use the text-to-dialogue websocket endpoint instead.",
            param="model_id",
        )
