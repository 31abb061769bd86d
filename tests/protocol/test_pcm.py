"""PCM that stays in base64: what it says about itself is right, and cutting and joining it decodes only where
three bytes do not end."""

from __future__ import annotations

import base64
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mux.protocol.pcm import Encoded, cut, decoded, joined, json_value


def encoded(pcm: bytes) -> Encoded:
    found = Encoded.read(msgspec.Raw(msgspec.json.encode(pcm)))
    assert found is not None
    return found


@given(st.binary(max_size=40))
def test_it_is_as_long_as_what_is_in_it(pcm: bytes) -> None:
    assert len(encoded(pcm)) == len(pcm)
    assert bytes(encoded(pcm)) == pcm
    assert bool(encoded(pcm)) == bool(pcm)


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=5))
def test_cut_and_joined_it_says_the_same(pcm: bytes, places: list[int]) -> None:
    ends = [0, *sorted(min(place, len(pcm)) for place in places), len(pcm)]
    pieces, rest = [], encoded(pcm)
    for start, end in pairwise(ends):
        first, rest = cut(rest, end - start)
        pieces.append(first)
    assert [bytes(piece) for piece in pieces] == [pcm[start:end] for start, end in pairwise(ends)]
    assert bytes(joined(pieces)) == pcm
    assert bytes(joined([*pieces, b"and bytes"])) == pcm + b"and bytes"


@given(st.lists(st.binary(min_size=3, max_size=30).map(lambda pcm: pcm[: len(pcm) // 3 * 3]), max_size=4))
def test_whole_triples_are_never_decoded(pcms: list[bytes]) -> None:
    whole = joined([encoded(pcm) for pcm in pcms])
    assert isinstance(whole, Encoded) or not pcms
    first, rest = cut(whole, 3 if pcms else 0)
    assert isinstance(first, Encoded) == isinstance(rest, Encoded) == bool(pcms)
    assert bytes(joined([first, rest])) == b"".join(pcms)


def test_it_goes_out_letter_for_letter() -> None:
    """The last letters of these two differ in bits that mean nothing."""
    for written in (b'"AAAQ"', b'"AAAAQQ=="', b'"AAAAQR=="', b'"AAF="', b'""'):
        found = Encoded.read(msgspec.Raw(written))
        assert found is not None
        assert msgspec.json.encode(json_value(found)) == written
    assert msgspec.json.encode(json_value(b"\x00\x00\x10")) == b'"AAAQ"'


def test_nothing_is_not_audio() -> None:
    for raw in (msgspec.Raw(), msgspec.Raw(b"null")):
        assert Encoded.read(raw) is None
        assert decoded(raw) is None


def test_json_may_spell_a_letter_in_another_way() -> None:
    found = Encoded.read(msgspec.Raw(rb'"AA\/\u002b"'))
    assert found is not None
    assert bytes(found) == base64.b64decode("AA/+")
    assert decoded(msgspec.Raw(rb'"AA\/\u002b"')) == bytes(found)


@pytest.mark.parametrize(
    "raw", [b"1", b"[]", b'"A"', b'"AAA"', b'"A=AA"', b'"AA=A"', b'"===="', b'"AA A"', '"äää"']
)
def test_what_is_no_base64_is_refused(raw: bytes | str) -> None:
    value = msgspec.Raw(raw.encode() if isinstance(raw, str) else raw)
    for read in (Encoded.read, decoded):
        with pytest.raises(msgspec.DecodeError):
            read(value)
