from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mux.engines.heard import heard


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("plain **words**, and 3 * 4 = 12.", "plain **words**, and 3 * 4 = 12."),
        ("cut\x00here", "cut here"),
        ("\x0180S fast", " 80S fast"),
        ("a\x1b\x85b\tc\nd\re", "a  b\tc\nd\re"),
        ("\u28fe\ud800\ue000\u0378é", "    é"),
        ("\x00", " "),
    ],
)
def test_what_is_heard(text: str, spoken: str) -> None:
    assert heard(text) == spoken


@given(st.text(st.characters(codec=None), max_size=60) | st.text("* \nDr\x01\x003", max_size=40))
def test_heard_text_is_as_long_as_the_text_and_holds_nothing_dangerous(text: str) -> None:
    spoken = heard(text)
    assert len(spoken) == len(text)
    for character in spoken:
        assert character in "\t\n\r" or unicodedata.category(character) not in ("Cc", "Cn", "Co", "Cs")
        assert not "\u2800" <= character <= "\u28ff"
    spoken.encode()
