from __future__ import annotations

import pytest

from mux.engines.base import Job, Synthesizer
from mux.engines.espeak import EspeakEngine
from mux.engines.normalize import Normalized, identity, normalize
from mux.engines.ssml import read_ssml


def said(text: str, language: str | None = "en-US", *, normalized: bool = True) -> str:
    return read_ssml(text, language, normalized=normalized).text


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ('<?xml version="1.0"?><!-- no --><speak version="1.1">Hi.</speak>', "Hi."),
        ("<emphasis level='strong'>Very</emphasis> good", "Very good"),
        ('<prosody rate="fast" pitch="+10%" volume = "loud">Quick</prosody>.', "Quick."),
        ('<voice name="x"><lang xml:lang="de">Ja</lang></voice><mark name="m"/>', "Ja"),
        ('<phoneme alphabet="ipa" ph="təˈmeɪtoʊ">tomato</phoneme>', "tomato"),
        ('<say-as interpret-as="date">12/25/2024</say-as>', "December 25th, 2024"),
        ("<EMPHASIS>Loud</EMPHASIS >", "Loud"),
    ],
)
def test_tags_without_an_effect_are_not_said(text: str, spoken: str) -> None:
    assert said(text) == spoken


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ('<audio src="http://evil/x.wav">fallback</audio>', "fallback"),
        ("<audio src=http://evil/x.wav/>done", "done"),
        ('<script type="x">a</script><mstts:express-as style="sad">b</mstts:express-as>', "ab"),
    ],
)
def test_unknown_tags_are_dropped_and_their_content_is_said(text: str, spoken: str) -> None:
    assert said(text) == spoken


@pytest.mark.parametrize(
    "text",
    [
        "a < b, b > a, a<b, <3, 1 <2> 3",
        "if x <b and c> d",
        '<break time="500ms"',
        '<break time="500ms',
        "<emphasis level=>x",
        "< break/>",
        "<>",
        "</>",
        "<![CDATA[said]]>",
        "AT&T & co; &nbsp; &amp",
        f'<mark name="{"x" * 301}"/>',
        '5" > 4", "a" > b',
    ],
)
@pytest.mark.parametrize("prefix", ["so: ", ""])
def test_what_is_no_tag_is_said_as_it_stands(prefix: str, text: str) -> None:
    # at the end of a segment a tag may have been cut: there these are inside one
    whole = f"{prefix}{text} end"
    assert read_ssml(whole, "de", normalized=True) == identity(whole)


def test_entities_are_said_as_their_character_and_never_read_as_tags() -> None:
    assert said("3 &lt; 4 &amp; &quot;x&quot; &apos;y&apos; &#65;&#x42; &gt;") == "3 < 4 & \"x\" 'y' AB >"
    assert said("&lt;break time='1s'/&gt; &amp;lt;") == "<break time='1s'/> &lt;"
    assert said("a&#0;b&#xD800;c&#9999999;d") == "a b c d"


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ('code <say-as interpret-as="characters">AB-12</say-as>.', "code A- B - 1 2."),
        ('<say-as interpret-as="spell-out">B&amp;<b>q</b> </say-as>', "B & q  "),
        ('<say-as interpret-as="digits">PIN 1234</say-as>!', "PIN 1 2 3 4!"),
        ('<say-as interpret-as="characters">5g</say-as>', "5 g"),  # and not 5 grams
        ('<say-as interpret-as="characters">e\u0301f</say-as>', "e\u0301 f"),
        ('<say-as interpret-as="characters">ab', "ab"),
        ('<sub alias="World Wide Web Consortium">W3C</sub>!', "World Wide Web Consortium!"),
        ("<sub alias='Tom &amp; Co'><emphasis>TC</emphasis></sub>", "Tom & Co"),
        ('<sub alias="one"></sub> <sub alias="two"/>', "one two"),
        ('<sub alias="never closed">said all the same', "said all the same"),
    ],
)
def test_some_contents_are_said_otherwise(text: str, spoken: str) -> None:
    assert said(text) == spoken


def test_a_letter_that_is_a_word_is_still_a_letter_in_english_only() -> None:
    assert said('<say-as interpret-as="characters">Ab</say-as>', "de") == "A b"


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("<s>One</s><s>Two.</s>", " One.  Two. "),
        ("<p>Really?</p><p>Yes</p>", " Really?  Yes. "),
        ('<s>He said "no."</s>', ' He said "no." '),
    ],
)
def test_sentences_and_paragraphs_end_in_a_pause(text: str, spoken: str) -> None:
    assert said(text) == spoken


@pytest.mark.parametrize(
    ("attributes", "dashes"),
    [
        (' time="500ms"', 5),
        (" time='1.5s'", 14),
        (" time=1s", 9),
        (' time="3s"', 27),
        (' time="10s"', 27),
        (' time="999999999s"', 27),
        (' time="soon"', 5),
        ("", 5),
        (' strength="strong"', 7),
        (' strength="none"', 0),
        (' time="0"  strength="none"', 0),
    ],
)
def test_a_break_is_as_many_dashes_as_it_takes(attributes: str, dashes: int) -> None:
    spoken = said(f"One.<break{attributes}/>Two.")
    assert spoken == f"One.{' —' * dashes} Two."


def test_a_short_break_after_a_word_is_a_comma_and_japanese_has_one_pause_only() -> None:
    assert said('One<break time="200ms"/>two') == "One, two"
    assert said('日本<break time="2s"/>語', "ja") == "日本… 語"


@pytest.mark.parametrize(
    ("first", "second", "spoken"),
    [
        ("One. <break ", 'time="500ms"/> Two.', ("One. ", " — — — — —  Two.")),
        ('One <prosody rate="fast" ', 'pitch="high">Two', ("One ", "Two")),
        ('One <sub alias="World Wide ', 'Web">W3C</sub>.', ("One ", "W3C.")),
        ("It is <say-as ", 'interpret-as="digits">12</say-as>.', ("It is ", "1 2.")),
        ('One <mark name="x" ', "/>two", ("One ", "two")),
    ],
)
def test_no_half_of_a_tag_is_said(first: str, second: str, spoken: tuple[str, str]) -> None:
    assert (said(first), said(second)) == spoken


@pytest.mark.parametrize("text", ["<speak>", "</speak>", "<p></p>", "<break strength='none'/>", "<b> </b>"])
def test_tags_alone_sound_as_a_pause(text: str) -> None:
    assert said(text) == said(text, normalized=False) == "—"


def test_text_is_normalised_around_tags_but_not_inside_them() -> None:
    text = 'It is <emphasis>$5</emphasis>, <mark name="on 12/25/2024"/>or <sub alias="$6">x</sub>'
    assert said(text) == "It is 5 dollars, or $6"
    assert said(text, normalized=False) == "It is $5, or $6"
    assert read_ssml("Pay $5.", "en", normalized=True) == normalize("Pay $5.", "en")


def test_spans_keep_to_the_characters_of_the_client() -> None:
    text = '<b>Hi</b> <say-as interpret-as="digits">12</say-as>'
    result: Normalized = read_ssml(text, "en", normalized=True)
    pairs = [(text[a:b], result.text[c:d]) for a, b, c, d in result.spans]
    assert pairs == [
        ("<b>", ""),
        ("Hi", "Hi"),
        ("</b>", ""),
        (" ", " "),
        ('<say-as interpret-as="digits">', ""),
        ("1", "1"),
        ("2", " 2"),
        ("</say-as>", ""),
    ]


async def seconds(synthesizer: Synthesizer, text: str) -> float:
    async with synthesizer.speak(Job(text)) as chunks:
        return sum([len(chunk.pcm) async for chunk in chunks]) / 2 / EspeakEngine.sample_rate


@pytest.mark.espeak
@pytest.mark.anyio
async def test_the_real_engine_pauses_about_as_long_as_asked() -> None:
    async with EspeakEngine().start(1) as (synthesizer,):
        for before, after in (("Hello.", "World."), ("Hello", "world.")):
            plain = await seconds(synthesizer, f"{before} {after}")
            for asked in (0.2, 0.4, 1.0, 1.5, 3.0):
                spoken = said(f'{before} <break time="{asked}s"/> {after}')
                assert await seconds(synthesizer, spoken) - plain == pytest.approx(asked, abs=0.2)
