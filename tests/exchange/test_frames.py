from __future__ import annotations

import pytest
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import FrameProtocol

from mux.exchange import frames
from mux.exchange.frames import Closing, FrameReader


@pytest.mark.parametrize(
    "offer", ["", "permessage-deflate; server_no_context_takeover", "permessage-deflate"]
)
def test_messages_are_read_however_the_bytes_are_cut(offer: str) -> None:
    deflate = PerMessageDeflate()
    if offer:
        deflate.finalize(offer)
    service = FrameProtocol(client=False, extensions=[deflate])
    data = b"".join(
        bytes(part)
        for part in (
            service.send_data("in two ", fin=False),
            service.ping(b"!"),
            service.send_data("parts", fin=True),
            service.send_data(b"\0\1" * 50_000),
            service.close(1008, "a reason"),
        )
    )
    for size in (1, 7, 4096, len(data)):
        reader = FrameReader("service", offer)
        read = [one for at in range(0, len(data), size) for one in reader.read(data[at : at + size])]
        assert read == ["in two parts", b"\0\1" * 50_000, Closing(1008, "a reason")]
        assert not reader.failure


def test_a_close_without_a_code_is_1005() -> None:
    assert list(FrameReader("service").read(b"\x88\x00")) == [Closing(1005, "")]


@pytest.mark.parametrize("data", [b"\xff\xff", b"\x81\x83\0\0\0\0abc", b"\x83\x01a", b"\x81\x01\xff"])
def test_what_is_not_allowed_is_told_and_ends_the_reading(data: bytes) -> None:
    reader = FrameReader("service")
    assert list(reader.read(b"\x81\x02ok" + data)) == ["ok"]
    assert reader.failure
    assert list(reader.read(b"\x81\x02ok")) == []


def test_of_an_endless_message_only_the_beginning_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "LONGEST", 10)
    reader = FrameReader("service")
    assert list(reader.read(b"\x01\x06abcdef" + b"\x00\x06ghijkl" * 5 + b"\x80\x00")) == ["abcdefghij"]
    assert list(reader.read(b"\x81\x02ok")) == ["ok"]
