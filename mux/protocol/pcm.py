"""Speech inside mux: mono s16le, as bytes, or still in the base64 that it came in.

What goes from one wire to another in the same format is never decoded: base64 can be cut and joined wherever
three bytes end.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import msgspec

__all__ = ["Encoded", "Pcm", "Piece", "cut", "decoded", "joined", "json_value"]

_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_PADDINGS = {b"": 0, b"=": 1, b"==": 2}
_decode = msgspec.json.Decoder(bytes).decode
_decode_or_null = msgspec.json.Decoder(bytes | None).decode


@runtime_checkable
class Pcm(Protocol):
    """Bytes of PCM, or what can become them (``bytes(pcm)``); `len` is how many they are."""

    def __len__(self) -> int: ...

    def __bytes__(self) -> bytes: ...


class Encoded:
    """Speech in base64, as it stood on a wire. `len` is how many bytes it is, ``bytes`` decodes them."""

    __slots__ = ("_base64", "_length")

    def __init__(self, base64: bytes | memoryview, length: int) -> None:
        self._base64 = base64
        self._length = length

    @staticmethod
    def read(raw: msgspec.Raw) -> Encoded | None:
        """What stands in a field of a JSON message; None for null, and where there is no such field.

        Raises:
            msgspec.ValidationError: it is something else than base64.
        """
        value = bytes(raw)
        if not value:
            return None
        base64 = value[1:-1]
        padding = base64.translate(None, _LETTERS)
        if value[0] == 0x22 and padding in _PADDINGS and base64.endswith(padding) and len(base64) % 4 == 0:
            return Encoded(base64, len(base64) // 4 * 3 - _PADDINGS[padding])
        decoded = _decode_or_null(value)  # JSON can write a letter in other ways, too
        return None if decoded is None else Encoded(b2a_base64(decoded, newline=False), len(decoded))

    @property
    def json(self) -> msgspec.Raw:
        """What it is in a JSON message."""
        return msgspec.Raw(b'"%b"' % bytes(self._base64))

    def __len__(self) -> int:
        return self._length

    def __bytes__(self) -> bytes:
        return _decode(self.json)


def decoded(raw: msgspec.Raw) -> bytes | None:
    """Likewise, for who wants the bytes."""
    value = bytes(raw)
    return _decode_or_null(value) if value else None


Piece: TypeAlias = Pcm | memoryview


def cut(pcm: Piece, at: int) -> tuple[Piece, Piece]:
    """The first `at` bytes, and the rest; no copies, unless `at` is inside of three bytes that base64 writes
    together."""
    if isinstance(pcm, Encoded) and at % 3 == 0 and at <= len(pcm):
        base64 = memoryview(pcm._base64)
        letters = at // 3 * 4
        return Encoded(base64[:letters], at), Encoded(base64[letters:], len(pcm) - at)
    view = pcm if isinstance(pcm, memoryview) else memoryview(bytes(pcm))
    return view[:at], view[at:]


def joined(pieces: Sequence[Piece]) -> Pcm:
    """All of it, in order; undecoded if that can be."""
    if len(pieces) == 1 and not isinstance(pieces[0], memoryview):
        return pieces[0]
    encoded = [piece for piece in pieces if isinstance(piece, Encoded)]
    if encoded and len(encoded) == len(pieces) and not any(len(piece) % 3 for piece in encoded[:-1]):
        return Encoded(b"".join([piece._base64 for piece in encoded]), sum(map(len, encoded)))
    return b"".join([piece if isinstance(piece, memoryview) else bytes(piece) for piece in pieces])


def json_value(pcm: Pcm) -> bytes | msgspec.Raw:
    """What to put into a field of a frame that becomes JSON: base64 goes out as it came."""
    return pcm.json if isinstance(pcm, Encoded) else bytes(pcm)
