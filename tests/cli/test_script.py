import pytest

from mux.cli.script import NARRATOR, parse_script
from mux.errors import MuxError


def said(source: str) -> list[tuple[str, str]]:
    return [(line.speaker.name, line.text) for line in parse_script(source, "x.txt")]


def test_words_in_capitals_are_speakers_and_the_rest_belongs_to_the_last_one() -> None:
    source = (
        "It was night.\nWOLF: I am hungry.\nVery hungry.\n# not spoken\n"
        "GIRL: Oh: really?\nNote: still the girl."
    )
    assert said(source) == [
        (NARRATOR, "It was night."),
        ("wolf", "I am hungry. Very hungry."),
        ("girl", "Oh: really? Note: still the girl."),
    ]


def test_undeclared_speakers_have_voices_of_their_own() -> None:
    lines = parse_script("NARRATOR: a\nWOLF: b\nGIRL: c", "x.txt")
    assert len({line.speaker.voice for line in lines}) == 3


def test_the_front_matter_declares_speakers() -> None:
    front = '\n+++\n[Wolf]\nvoice = "en-us-klatt4"\nspeed = 0.8\nlanguage = "de"\n+++\n'
    source = front + "wolf: Hunger.\nHint: so\n"
    (line,) = parse_script(source, "x.txt")
    assert line.text == "Hunger. Hint: so"
    assert line.speaker.voice == "en-us-klatt4"
    assert line.speaker.language == "de"
    assert line.speaker.settings == {"speed": 0.8}


def test_blank_lines_make_paragraphs_and_long_ones_are_divided() -> None:
    assert said("One.\n\nTwo.\nThree.") == [(NARRATOR, "One."), (NARRATOR, "Two. Three.")]
    long = "All work and no play. " * 2000
    parts = [text for _, text in said(long)]
    assert len(parts) > 1
    assert " ".join(parts) == long.strip()


@pytest.mark.parametrize(
    ("source", "number", "words"),
    [
        ("+++\n[wolf]\nvoice = 'x'\nhungry", 1, "no closing"),
        ("+++\n[wolf]\nvoice = \n+++\nhi", 3, "not TOML"),
        ("+++\n\n[wolf]\nspeedy = 2\n+++\nhi", 3, "unknown key speedy; allowed are voice"),
        ("+++\n[wolf]\nspeed = 9\n+++\nhi", 2, "from 0.7 to 1.2"),
        ("+++\n[wolf]\nvoice = 9\n+++\nhi", 2, "wolf.voice must be a string"),
        ("+++\nwolf = 3\n+++\nhi", 2, "must be a table"),
        ("+++\n[wolf]\nvoice='x'\n+++\nwolf: hi\nBEAR: hi", 6, "BEAR is not declared; declared are wolf"),
        ("hi\nthere\x07", 2, "U+0007"),
        ("# nothing\n\n", 2, "says nothing"),
        ("", 1, "says nothing"),
    ],
)
def test_a_bad_line_is_named(source: str, number: int, words: str) -> None:
    with pytest.raises(MuxError) as caught:
        parse_script(source, "x.txt")
    assert str(caught.value).startswith(f"x.txt, line {number}: ")
    assert words in str(caught.value)
    assert not str(caught.value).endswith("..")
