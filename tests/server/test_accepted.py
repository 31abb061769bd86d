"""What the ASGI server's events mean for a transport."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from starlette.types import Message
from starlette.websockets import WebSocket

from mux.links.transport import Disconnected, Ending
from mux.server.accepted import AcceptedSocket

pytestmark = pytest.mark.anyio


class Server:
    """Gives the events of a script, and breaks when it is told to."""

    def __init__(self, *events: Message) -> None:
        self.events: list[Message] = [{"type": "websocket.connect"}, *events]
        self.said: list[Message] = []
        self.broken = False

    async def receive(self) -> Message:
        return self.events.pop(0)

    async def send(self, message: Message) -> None:
        if self.broken:
            raise OSError("gone")
        self.said.append(message)


async def accepted(*events: Message) -> tuple[AcceptedSocket, Server]:
    server = Server(*events)
    websocket = WebSocket({"type": "websocket", "headers": []}, server.receive, server.send)
    await websocket.accept()
    server.said.clear()
    return AcceptedSocket(websocket), server


def received(*values: str | bytes) -> Iterable[Message]:
    # Servers may name the other kind too, with None.
    for value in values:
        kinds = {"text": None, "bytes": value} if isinstance(value, bytes) else {"text": value, "bytes": None}
        yield {"type": "websocket.receive", **kinds}


async def test_text_and_bytes_come_and_go_as_they_are() -> None:
    socket, server = await accepted(*received("hello", b"\0\1", ""))
    assert [await socket.receive() for _ in range(3)] == ["hello", b"\0\1", ""]
    await socket.send("answer")
    await socket.send(b"\2")
    assert [(said.get("text"), said.get("bytes")) for said in server.said] == [
        ("answer", None),
        (None, b"\2"),
    ]
    assert socket.closed is None


@pytest.mark.parametrize(
    ("event", "ending"),
    [
        ({"code": 1000, "reason": "bye"}, Ending(1000, "bye", received=True)),
        ({"code": 1001}, Ending(1001, received=True)),
        ({"code": 4000, "reason": None}, Ending(4000, received=True)),
        ({"code": 1006}, Ending(1006)),
        ({}, Ending(1006)),
    ],
)
async def test_how_the_client_left(event: Message, ending: Ending) -> None:
    socket, server = await accepted({"type": "websocket.disconnect", **event})
    for attempt in (socket.receive(), socket.receive(), socket.send("x")):
        with pytest.raises(Disconnected) as gone:
            await attempt
        assert gone.value.ending == ending
    await socket.aclose(1011, "too late")
    assert socket.closed == ending
    assert server.said == []


async def test_a_send_that_fails_is_an_end() -> None:
    socket, server = await accepted()
    server.broken = True
    with pytest.raises(Disconnected):
        await socket.send("x")
    assert socket.closed == Ending(1006)


async def test_closing_says_so_once_with_a_reason_that_fits() -> None:
    socket, server = await accepted()
    await socket.aclose(1008, "ü" * 100)
    await socket.aclose(1000)
    (close,) = server.said
    assert (close["type"], close["code"]) == ("websocket.close", 1008)
    assert len(close["reason"].encode()) <= 123
    assert socket.closed is not None
    assert (socket.closed.code, socket.closed.local) == (1008, True)
    for attempt in (socket.receive(), socket.send("x")):
        with pytest.raises(Disconnected):
            await attempt


async def test_closing_what_has_gone_is_no_failure() -> None:
    socket, server = await accepted()
    server.broken = True
    await socket.aclose(1000)
    assert socket.closed == Ending(1000, local=True)
