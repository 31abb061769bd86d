from __future__ import annotations

from typing import Literal

import pytest

from mux.dialects.elevenlabs import MODELS, check_model
from mux.errors import MuxError

SPOKEN = [name for name, model in MODELS.items() if not model.dialogue]


@pytest.mark.parametrize("endpoint", ["socket", "http", "dialogue"])
@pytest.mark.parametrize("model", [None, *SPOKEN])
def test_every_ordinary_model_is_welcome_everywhere(
    model: str | None, endpoint: Literal["socket", "http", "dialogue"]
) -> None:
    check_model(model, endpoint)


@pytest.mark.parametrize("model", ["eleven_v3", "eleven_v3_conversational", "eleven_v4_preview"])
def test_dialogue_models_are_refused_by_text_to_speech_sockets_in_the_vendors_words(model: str) -> None:
    check_model(model, "http")
    check_model(model, "dialogue")
    with pytest.raises(MuxError, match=f"Model '{model}' is not supported on the text-to-speech") as caught:
        check_model(model, "socket")
    assert (caught.value.code, caught.value.problem.param) == ("unsupported_model", "model_id")


@pytest.mark.parametrize("endpoint", ["socket", "http", "dialogue"])
@pytest.mark.parametrize("model", ["gpt-4o-mini-tts", "eleven_flash_v9", "", "x" * 5000])
def test_an_unknown_model_is_refused_and_the_known_ones_are_named(
    model: str, endpoint: Literal["socket", "http", "dialogue"]
) -> None:
    with pytest.raises(MuxError, match="does not exist") as caught:
        check_model(model, endpoint)
    assert (caught.value.code, caught.value.problem.param) == ("model_not_found", "model_id")
    assert all(name in str(caught.value) for name in MODELS)
    assert len(str(caught.value)) < 500
