from __future__ import annotations

import json

import pytest

from mux.testing import memory_server

TEXT = '<b>Pay</b> **now** to <sub alias="me">us</sub>'


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("query", "spoken"),
    [
        ({}, TEXT.replace("**", "")),
        ({"apply_text_normalization": "off"}, TEXT),
        ({"enable_ssml_parsing": "true"}, "Pay now to me"),
        ({"enable_ssml_parsing": "true", "apply_text_normalization": "off"}, "Pay **now** to me"),
    ],
)
async def test_a_socket_says_what_its_query_asks_for(query: dict[str, str], spoken: str) -> None:
    async with memory_server() as server:
        client = server.open(**query)
        await client.send(json.dumps({"text": TEXT, "context_id": "a"}))
        await client.send(json.dumps({"context_id": "a", "close_context": True}))
        texts = {"alignment": "", "normalizedAlignment": ""}
        while not (frame := json.loads(await client.receive())).get("isFinal"):
            for name in texts:
                texts[name] += "".join((frame[name] or {"chars": []})["chars"])
    assert {name: text.strip() for name, text in texts.items()} == {
        "alignment": TEXT,
        "normalizedAlignment": spoken,
    }
