from __future__ import annotations

import pytest

from mux.engines.base import Job, Synthesizer
from mux.engines.espeak import EspeakEngine
from mux.engines.normalize import Normalized, SourceClock, Span, identity, normalize

ENGLISH = [
    # money
    ("$5", "5 dollars"),
    ("It is $1,234.56.", "It is 1,234 dollars and 56 cents."),
    ("€5 or £3.50", "5 euros or 3 pounds and 50 pence"),
    ("$1, $1.00, $1.01, $0.99, £0.01", "1 dollar, 1 dollar, 1 dollar and 1 cent, 99 cents, 1 penny"),
    ("$5M, $5 million, $2.5bn", "5 million dollars, 5 million dollars, 2.5 billion dollars"),
    ("US$5, -$5, ¥500", "5 US dollars, minus 5 dollars, 500 yen"),
    ("$5-10, $5–$10, $5M-$6M", "5 to 10 dollars, 5 to 10 dollars, 5 million dollars to 6 million dollars"),
    ("a $5 bill, a $5.50 lunch", "a 5 dollar bill, a 5 dollar 50 lunch"),
    ("50¢, 5 €", "50 cents, 5 euros"),
    ("$9.99/mo", "9 dollars and 99 cents per month"),
    # dates and times
    ("on 12/25/2024.", "on December 25th, 2024."),
    ("25/12/2024", "December 25th, 2024"),
    ("1/2/24", "January 2nd, 2024"),
    ("2024-12-03", "December 3rd, 2024"),
    ("3:30 pm, 10:30AM, 3:05, 3:00 pm", "3 30 pm, 10 30 AM, 3 oh 5, 3 pm"),
    ("3:00, 15:00, 09:45", "3 o'clock, 15 hundred, 9 45"),
    ("9am-5pm, 9:30 - 10:30", "9am to 5pm, 9 30 to 10 30"),
    # numbers
    ("1/2 cup, 2 3/4 cups, 3½ cups", "one half cup, 2 and three quarters cups, 3 and a half cups"),
    ("24/7", "24 7"),
    ("10-20, 10–20%, 1990-2000", "10 to 20, 10 to 20%, 1990 to 2000"),
    ("Call 555-1234.", "Call 5 5 5, 1 2 3 4."),
    ("(555) 123-4567, 555.123.4567", "5 5 5, 1 2 3, 4 5 6 7, 5 5 5, 1 2 3, 4 5 6 7"),
    ("1-800-555-1234", "1, 8 0 0, 5 5 5, 1 2 3 4"),
    ("555\u2011123\u20114567", "5 5 5, 1 2 3, 4 5 6 7"),
    ("500-1000 people", "500 to 1000 people"),
    ("No. 5, #1, pp. 3-4", "number 5, number 1, pages 3 to 4"),
    # units
    ("100 km/h, 5kg, 20°C", "100 kilometers per hour, 5 kilograms, 20 degrees Celsius"),
    ("3 ft, 1 lb", "3 feet, 1 pound"),
    ("5-10\u202fkg, a 5 km run, a 6-ft man", "5 to 10 kilograms, a 5 kilometer run, a 6 foot man"),
    ("3 m², 16 kHz", "3 square meters, 16 kilohertz"),
    # words
    ("Dr. Smith, Mrs. Jones and St. Kilda", "Dr Smith, Mrs Jones and St Kilda"),
    ("Ms. Jones, Lt. Col. Élan, Ms Jones", "Miz Jones, Lieutenant Colonel Élan, Miz Jones"),
    ("Smith Jr. of 5th Ave", "Smith Junior. of 5th Avenue"),
    ("e.g. this, i.e. that vs. them", "for example this, that is that versus them"),
    # addresses
    ("mail a.b_c@my-site.org.", "mail a dot b underscore c at my dash site dot org."),
    ("(https://example.com/docs/)", "(example dot com slash docs)"),
    ("www.example.com!", "www dot example dot com!"),
]

NEUTRAL = [
    ("a **bold** and *light* move", "a bold and light move"),
    ("say `code` now", "say code now"),
    ("# Title\n## Next", "Title\nNext"),
    ("* item\n* other", "item\nother"),
    ("a*b and ~~c~~", "a b and c"),
    ("see [the page](https://a.b/c-d) ![or](x.png)", "see the page or"),
    ("+49 30 1234567", "+4 9, 3 0, 1 2 3 4 5 6 7"),
    ("https://beispiel", "beispiel"),
    ("Dr. Müller", "Dr Müller"),
]

LEFT_ALONE = [
    "",
    " ",
    "plain words, and 3 * 4 = 12 or 2*3.",
    "NASA said 1,000,000 people, 50%, 3.14, the 2nd, 2024 and 1999",
    "C# and C++, AT&T, and/or",
    "no. 5 times no. No. I won't",
    "10-5=5, 1-2-3, 2024-12, COVID-19, F-16, A1-2, 10 - 5",
    "v1.2.3, 192.168.0.1, 1.234,56 €, 13/13/2024, 9/11, 5/2",
    "12:30:45, 16:9, 00:15",
    "1970s, 5G, 4x4, 5m people, 123 W Main Street",
    "I saw the Dr. 5 times. xDr. Smith. Dr. who? on Main St. The end, etc. The end.",
    "+5 apples, $HOME, $, 5$VAR",
    "snake_case and _it_ and <b>x</b>",
    "hello 😀 \ud800 \u0301\u200d",
    "example.com is a domain.Next",
]


def pieces(text: str, normalized: Normalized) -> list[tuple[str, str]]:
    """What is said for which piece, where the two differ."""
    pairs = [(text[a:b], normalized.text[c:d]) for a, b, c, d in normalized.spans]
    return [(piece, spoken) for piece, spoken in pairs if piece != spoken]


@pytest.mark.parametrize(("text", "spoken"), ENGLISH + NEUTRAL)
def test_english(text: str, spoken: str) -> None:
    assert normalize(text).text == spoken
    assert normalize(text, "en").text == spoken
    assert normalize(text, "en_US").text == spoken


@pytest.mark.parametrize(("text", "spoken"), NEUTRAL)
def test_every_language(text: str, spoken: str) -> None:
    assert normalize(text, "de").text == spoken


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_what_is_well_read_or_not_understood_is_left_alone(text: str) -> None:
    assert normalize(text) == identity(text)


@pytest.mark.parametrize("text", ["$5 am 12/25/2024, 10-20 kg, No. 5, 1/2 z.B. 3:30", "a.b@c.de"])
def test_another_language_is_left_alone(text: str) -> None:
    assert normalize(text, "de-DE") == identity(text)


@pytest.mark.parametrize(
    ("language", "spoken"),
    [
        ("en-US", "January 2nd, 2024"),
        ("en-us-nyc", "January 2nd, 2024"),
        ("en-GB", "1st of February 2024"),
        ("en-gb-x-rp", "1st of February 2024"),
        ("en-AU", "1st of February 2024"),
    ],
)
def test_the_region_says_whether_the_day_comes_first(language: str, spoken: str) -> None:
    assert normalize("1/2/2024", language).text == spoken
    assert "25" in normalize("12/25/2024", language).text


@pytest.mark.parametrize("text", ["**", "# ", "** \n", "`", "*", "***"])
def test_marks_alone_sound_as_a_pause(text: str) -> None:
    assert normalize(text) == Normalized("—", (Span(0, len(text), 0, 1),))


def test_spans_say_which_piece_is_said_how() -> None:
    text = "**Pay** $5 to Dr. Smith"
    normalized = normalize(text)
    assert pieces(text, normalized) == [("**", ""), ("**", ""), ("$5", "5 dollars"), (".", "")]
    assert identity("abc").spans == (Span(0, 3, 0, 3),)
    assert identity("").spans == ()


# --- the way back ------------------------------------------------------------------------------------


def test_a_clock_gives_identical_text_its_own_times() -> None:
    clock = SourceClock(identity("abcd"))
    assert clock.feed((0, 5), 10) == (0, 5)
    assert clock.feed((), 10) == ()
    assert clock.feed((1, 7), 10) == (1, 7)


def test_a_replaced_piece_shares_out_the_time_of_what_is_said() -> None:
    clock = SourceClock(normalize("$5 a"))  # "5 dollars a"
    starts = tuple(range(0, 110, 10))
    assert clock.feed(starts, 110) == (0, 40, 90, 100)


def test_a_piece_that_is_said_in_several_chunks_is_reported_where_its_characters_begin() -> None:
    clock = SourceClock(normalize("$5 a"))
    assert clock.feed((0, 10, 20), 30) == (0,)  # "5 d" of "5 dollars a"
    assert clock.feed((0,), 10) == ()  # "o"
    assert clock.feed((0, 10, 20, 30, 40), 50) == (0,)  # "llars"
    assert clock.feed((0, 10), 20) == (0, 10)  # " a"


def test_what_is_not_said_begins_with_what_follows_or_ends_the_last_chunk() -> None:
    clock = SourceClock(normalize("**a** b**"))  # "a b"
    assert clock.feed((0,), 10) == (0, 0, 0)
    assert clock.feed((0, 10), 20) == (0, 0, 0, 10, 20, 20)
    assert clock.feed((), 5) == ()


def test_an_engine_without_times_gives_a_source_without_times() -> None:
    clock = SourceClock(normalize("$5"))
    assert clock.feed((), 100) == ()
    assert clock.feed((), 100) == ()


# --- heard by the real engine -------------------------------------------------------------------------

SAME = [
    ("$5", "five dollars"),
    ("€1,200.50", "one thousand two hundred euros and fifty cents"),
    ("12/25/2024", "December twenty fifth, two thousand twenty four"),
    ("Call 555-1234", "Call five five five, one two three four"),
    ("1/2 cup", "one half cup"),
    ("3:05 pm", "three oh five pm"),
    ("10-20", "ten to twenty"),
    ("100 km/h", "one hundred kilometers per hour"),
    ("No. 5", "number five"),
    ("Dr. Smith", "Doctor Smith"),
    ("Lt. Jones", "Lieutenant Jones"),
    ("**bold** `text`", "bold text"),
]


async def seconds(synthesizer: Synthesizer, text: str, voice: str | None = None) -> float:
    async with synthesizer.speak(Job(text, voice)) as chunks:
        return sum([len(chunk.pcm) async for chunk in chunks]) / 2 / EspeakEngine.sample_rate


@pytest.mark.espeak
@pytest.mark.anyio
async def test_what_is_said_takes_as_long_as_the_words_for_it() -> None:
    async with EspeakEngine().start(1) as (synthesizer,):
        for text, words in SAME:
            expected = await seconds(synthesizer, words)
            assert await seconds(synthesizer, normalize(text).text) == pytest.approx(expected, rel=0.04), text


@pytest.mark.espeak
@pytest.mark.anyio
@pytest.mark.parametrize(("text", "voice"), [("No. 5", "en-us"), ("Ich sah Dr. Müller heute.", "de")])
async def test_the_full_stop_of_an_abbreviation_makes_no_pause(text: str, voice: str) -> None:
    async with EspeakEngine().start(1) as (synthesizer,):
        raw = await seconds(synthesizer, text, voice)
        assert await seconds(synthesizer, normalize(text, voice).text, voice) < raw - 0.25


@pytest.mark.espeak
@pytest.mark.anyio
async def test_the_real_engine_times_the_characters_that_were_sent() -> None:
    text = "It was $1,234.56 on 12/25/2024, and Dr. Smith paid it."
    normalized = normalize(text)
    clock = SourceClock(normalized)
    starts: list[float] = []
    samples = 0
    async with (
        EspeakEngine().start(1) as (synthesizer,),
        synthesizer.speak(Job(normalized.text)) as chunks,
    ):
        async for chunk in chunks:
            length = len(chunk.pcm) // 2
            source = clock.feed(chunk.starts, length)
            assert all(0 <= start <= length for start in source)
            starts += [samples + start for start in source]
            samples += length
    assert len(starts) == len(text)
    assert starts == sorted(starts)
    # a sum of eight words takes longer than what stands before it, and the date begins when it is over
    assert starts[text.index(" on")] - starts[text.index("$")] > 3 * starts[text.index("$")]
