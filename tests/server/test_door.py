"""Who is let in, and in which order things are asked."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest
from speaking import WatchedEngine
from starlette.requests import HTTPConnection

from mux.config import Settings
from mux.errors import MuxError
from mux.server.door import Endpoint, admit, check_caller, check_speaker
from mux.server.service import Service, start_service

pytestmark = pytest.mark.anyio


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    settings = Settings(engine="tone", api_keys=("sesame",), allowed_origins=("https://app.example",))
    async with start_service(WatchedEngine(), settings) as service:
        yield service


def asking(voice: str = "alice", headers: dict[str, str] | None = None, **query: str) -> HTTPConnection:
    return HTTPConnection(
        {
            "type": "http",
            "path": "/",
            "path_params": {"voice_id": voice},
            "query_string": urlencode(query).encode(),
            "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
        }
    )


def refused(
    service: Service, connection: HTTPConnection, endpoint: Endpoint = "socket", **options: Any
) -> str:
    with pytest.raises(MuxError) as caught:
        admit(connection, service, endpoint, **options)
    return caught.value.code


async def test_what_was_asked_for(service: Service) -> None:
    admission = admit(
        asking(headers={"xi-api-key": "sesame"}, output_format="ulaw_8000", language_code="en"),
        service,
        "http",
    )
    assert (admission.output.token, admission.authenticated) == ("ulaw_8000", True)
    assert (admission.parameters.settings.voice, admission.parameters.settings.language) == ("alice", "en")
    assert admit(asking(), service, "socket").output.token == "mp3_44100_128"


async def test_a_socket_may_bring_its_key_later_a_request_may_not(service: Service) -> None:
    assert not admit(asking(), service, "socket").authenticated
    assert not admit(asking(), service, "dialogue").authenticated
    assert refused(service, asking(), "http") == "authentication_required"
    with pytest.raises(MuxError, match="None of the authentication methods"):
        check_caller(asking(), service, required=True)


@pytest.mark.parametrize("endpoint", ["socket", "dialogue", "http"])
async def test_a_stranger_learns_nothing_about_voices_models_or_formats(
    service: Service, endpoint: Endpoint
) -> None:
    bad = {"model_id": "none", "output_format": "none", "language_code": "tlh"}
    stranger = asking("nobody", {"xi-api-key": "wrong"}, **bad)
    assert refused(service, stranger, endpoint) == "invalid_api_key"
    page = asking("nobody", {"origin": "https://evil.example", "xi-api-key": "sesame"}, **bad)
    assert refused(service, page, endpoint) == "origin_refused"


async def test_one_thing_at_a_time(service: Service) -> None:
    key = {"xi-api-key": "sesame"}
    assert refused(service, asking(headers=key, model_id="none")) == "model_not_found"
    assert refused(service, asking(headers=key, model_id="eleven_v3")) == "unsupported_model"
    assert refused(service, asking(headers=key, output_format="none")) == "unsupported_format"
    assert refused(service, asking("nobody", key)) == "unknown_voice"
    assert refused(service, asking(headers=key, language_code="tlh")) == "unsupported_language"
    assert refused(service, asking(headers=key, output_format="wav_8000"), "http") == "unsupported_format"
    whole = admit(asking(headers=key, output_format="wav_8000"), service, "http", streaming=False)
    assert whole.output.codec == "wav"
    assert admit(asking(headers=key, model_id="eleven_v3"), service, "http").authenticated


async def test_a_voice_and_a_language_are_told_apart(service: Service) -> None:
    check_speaker(service, None, None)
    with pytest.raises(MuxError, match="nobody") as voice:
        check_speaker(service, "nobody", "tlh")
    with pytest.raises(MuxError, match="Klingon") as language:
        check_speaker(service, "alice", "tlh")
    assert (voice.value.code, language.value.code) == ("unknown_voice", "unsupported_language")
    assert language.value.problem.param == "language_code"


@pytest.mark.parametrize("endpoint", ["socket", "dialogue", "http"])
async def test_a_token_opens_one_door_once(service: Service, endpoint: Endpoint) -> None:
    token = service.tokens.issue()
    assert admit(asking(single_use_token=token), service, endpoint).authenticated
    assert refused(service, asking(single_use_token=token), endpoint) == "invalid_api_key"


async def test_a_token_that_is_too_old_opens_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(service.tokens, "_clock", lambda: now)
    token = service.tokens.issue()
    now = 901.0
    assert refused(service, asking(single_use_token=token)) == "invalid_api_key"


async def test_unknown_parameters_are_logged_by_name_only(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    admit(asking(headers={"xi-api-key": "sesame"}, tpyo="secret"), service, "socket")
    (record,) = [record for record in caplog.records if record.getMessage() == "unknown_parameters_ignored"]
    assert record.__dict__["names"] == ("tpyo",)
    assert "secret" not in str(record.__dict__)
