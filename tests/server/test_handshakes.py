"""What the handshake of a socket refuses, and whom it lets in."""

from __future__ import annotations

import pytest
from speaking import errors, heard, served, settled

from mux.cli.local import local_server
from mux.config import Settings
from mux.errors import MuxError
from mux.links.transport import open_transport

pytestmark = pytest.mark.anyio
TEXT = "One sentence, and then a second one. "
END = {"text": ""}
BAD_PARAMETERS = {
    "auto_mode": "maybe",
    "sync_alignment": "2",
    "mux_hello": "please",
    "enable_ssml_parsing": "no?",
    "enable_logging": "never",
    "apply_language_text_normalization": "x",
    "apply_text_normalization": "perhaps",
    "seed": "-1",
    "optimize_streaming_latency": "5",
    "inactivity_timeout": "soon",
}


@pytest.mark.parametrize("endpoint", ["stream-input", "multi-stream-input", "http"])
async def test_every_parameter_is_refused_by_name(endpoint: str) -> None:
    bad = [*BAD_PARAMETERS.items(), ("seed", "9" * 5000), ("optimize_streaming_latency", "1.5")]
    async with served() as server:
        for name, value in bad:
            if endpoint == "http":
                answer = await server.post(params={name: value})
            else:
                answer = await server.shake_hands(endpoint, **{name: value})
            detail = answer.json()["detail"]
            assert (answer.status_code, detail["code"], detail["param"]) == (400, "invalid_parameter", name)
            assert name in detail["message"]
            assert len(detail["message"]) < 300


@pytest.mark.parametrize(
    ("name", "value", "status", "code"),
    [
        ("model_id", "eleven_v3", 400, "unsupported_model"),
        ("model_id", "gpt-4o", 400, "model_not_found"),
        ("output_format", "pcm_1", 400, "unsupported_format"),
        ("output_format", "wav_8000", 400, "unsupported_format"),
        ("language_code", "tlh", 400, "unsupported_language"),
        ("xi-api-key", "wrong", 401, "invalid_api_key"),
        ("single_use_token", "wrong", 401, "invalid_api_key"),
    ],
)
async def test_a_stream_that_cannot_be_served_is_refused_before_it_opens(
    name: str, value: str, status: int, code: str
) -> None:
    async with served(api_keys=("sesame",)) as server:
        answer = await server.shake_hands("stream-input", **{name: value})
        assert (answer.status_code, answer.json()["detail"]["code"]) == (status, code)
        assert answer.json()["detail"]["request_id"] == answer.headers["x-trace-id"]
        assert server.service.sockets == 0


async def test_the_key_may_come_with_the_first_message() -> None:
    async with served(api_keys=("sesame",)) as server:
        async with server.socket() as client:
            await client.say({"text": TEXT, "xi_api_key": "sesame"}, END)
            await settled(client)
            assert heard(client.frames)
        for first in ({"text": " ", "xi-api-key": "wrong"}, {"text": TEXT}, END, "garbage"):
            async with server.socket() as client:
                await client.say(first)
                assert (await client.to_the_end(10)).code == 1008
                assert errors(client.frames)[0] in ("invalid_api_key", "authentication_required")
                assert heard(client.frames) == b""


async def test_a_single_use_token_opens_one_stream() -> None:
    async with served(api_keys=("sesame",)) as server:
        path = "/v1/single-use-token/tts_websocket"
        token = (await server.http.post(path, headers={"xi-api-key": "sesame"})).json()["token"]
        async with server.socket(f"single_use_token={token}") as client:
            await client.say({"text": TEXT}, END)
            await settled(client)
        with pytest.raises(MuxError) as caught:
            async with server.socket(f"single_use_token={token}"):
                pass
        assert caught.value.code == "invalid_api_key"


@pytest.mark.anyio
async def test_a_refused_handshake_is_no_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    async with local_server(Settings(engine="tone")) as url:
        for _ in range(2):
            with pytest.raises(MuxError) as caught:
                async with open_transport(f"{url}/v1/text-to-speech/v/multi-stream-input?model_id=nope"):
                    pass
            assert caught.value.problem.observed == 400
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "WARNING")]
