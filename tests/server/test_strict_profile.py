"""`--profile elevenlabs-strict` over real sockets: what a client meets there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mux.cli.local import local_server
from mux.config import Settings
from mux.links.transport import Disconnected, open_transport

STRICT = Settings(engine="tone", profile="elevenlabs-strict", api_keys=("right",))
PATH = "/v1/text-to-speech/v/multi-stream-input"

pytestmark = pytest.mark.anyio


async def until_closed(transport: Any) -> tuple[list[dict[str, Any]], Disconnected]:
    frames = []
    while True:
        try:
            frames.append(json.loads(await transport.receive()))
        except Disconnected as ending:
            return frames, ending


async def test_a_wrong_key_is_told_after_the_handshake() -> None:
    async with local_server(STRICT) as url, open_transport(f"{url}{PATH}?xi-api-key=wrong") as transport:
        frames, ending = await until_closed(transport)
    assert [frame["error"] for frame in frames] == ["invalid_api_key"]
    assert (ending.code, ending.reason) == (1008, "Invalid API key")


async def test_the_sixth_context_closes_the_socket() -> None:
    async with local_server(STRICT) as url, open_transport(f"{url}{PATH}?xi-api-key=right") as transport:
        for number in range(6):
            await transport.send(json.dumps({"text": " ", "context_id": f"c{number}"}))
        frames, ending = await until_closed(transport)
    assert frames[-1]["error"] == "max_active_conversations"
    assert ending.code == 1008
