"""The WebSocket messages in one direction of a byte stream, read along while the bytes pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import msgspec
from wsproto.extensions import Extension, PerMessageDeflate
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, ParseFailed, RsvBits

from mux.exchange.model import UNSTATED, Side

__all__ = ["LONGEST", "Closing", "FrameReader"]

LONGEST = 16 * 1024 * 1024
"""Bytes or characters of a message that are kept while it arrives; of a longer one the rest is left out."""


class Closing(msgspec.Struct, frozen=True):
    """A close frame."""

    code: int
    reason: str


class FrameReader:
    """Reads what `by` sends, after the handshake.

    Args:
        extensions: the handshake's answer in `Sec-WebSocket-Extensions`; compressed messages are read too.
    """

    def __init__(self, by: Side, extensions: str = "") -> None:
        agreed: list[Extension] = []
        for offer in filter(None, map(str.strip, extensions.split(","))):
            if offer.split(";")[0].strip() == PerMessageDeflate.name:
                deflate = _Deflate()
                with suppress(ValueError):  # a window that zlib does not know: the first message will say so
                    deflate.finalize(offer)
                agreed.append(deflate)
        # A service reads what clients send, and the other way round.
        self._protocol = FrameProtocol(client=by == "service", extensions=agreed)
        self._parts: list[str | bytes] = []
        self._size = 0
        self.failure = ""
        """Why nothing more can be read, if so: a frame that is not allowed, or an unknown extension."""

    def read(self, data: bytes) -> Iterator[str | bytes | Closing]:
        """The messages and the close frame that end in `data`. Never raises."""
        if self.failure:
            return
        self._protocol.receive_bytes(data)
        try:
            for frame in self._protocol.received_frames():
                payload = frame.payload
                if isinstance(payload, tuple):
                    code, reason = payload
                    yield Closing(int(code) or UNSTATED, reason or "")
                elif not frame.opcode.iscontrol():
                    self._keep(payload)
                    if frame.message_finished:
                        yield self._whole()
        except ParseFailed as error:
            self.failure = str(error) or "a frame that RFC 6455 does not allow"

    def _keep(self, part: str | bytes) -> None:
        if self._size < LONGEST:
            self._parts.append(part[: LONGEST - self._size])
        self._size += len(part)

    def _whole(self) -> str | bytes:
        parts, self._parts, self._size = self._parts, [], 0
        if any(isinstance(part, str) for part in parts):
            return "".join(part for part in parts if isinstance(part, str))
        return b"".join(part for part in parts if isinstance(part, bytes))


class _Deflate(PerMessageDeflate):
    """Leaves control frames alone: at a ping in the middle of a message, wsproto forgets that the message is
    compressed (1.3.2)."""

    _control = False

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        self._control = opcode.iscontrol()
        if self._control:
            return RsvBits(False, False, False)
        return super().frame_inbound_header(proto, opcode, rsv, payload_length)

    def frame_inbound_payload_data(
        self, proto: FrameDecoder | FrameProtocol, data: bytes
    ) -> bytes | CloseReason:
        return data if self._control else super().frame_inbound_payload_data(proto, data)

    def frame_inbound_complete(
        self, proto: FrameDecoder | FrameProtocol, fin: bool
    ) -> bytes | CloseReason | None:
        return None if self._control else super().frame_inbound_complete(proto, fin)
