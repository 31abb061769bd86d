"""What only the asyncio transport does: proxies of the environment."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from mux.errors import MuxError
from mux.links.transport import open_transport


@pytest.mark.parametrize(
    ("name", "told"), [("https_proxy", "('127.0.0.1', 1)"), ("socks_proxy", "through the proxy")]
)
def test_a_proxy_of_the_environment_stands_before_other_machines_only(
    server: Any, answer: Any, name: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for known in ("no_proxy", "http_proxy", "https_proxy", "all_proxy", "socks_proxy"):
        monkeypatch.delenv(known, raising=False)
        monkeypatch.delenv(known.upper(), raising=False)
    monkeypatch.setenv(name, "http://user:secret@127.0.0.1:1")

    async def main() -> None:
        async with server(answer) as where, open_transport(f"ws://{where}/") as transport:
            await transport.send("direct")
        with pytest.raises(MuxError) as caught:
            async with open_transport("ws://mux.example/v1"):
                pass
        assert caught.value.code == "connection_refused"
        assert told in str(caught.value)
        assert "secret" not in str(caught.value)

    anyio.run(main, backend="asyncio")
