"""The LiveKit plugin that comes with the kugelaudio SDK, unmodified."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

aiohttp = pytest.importorskip("aiohttp", reason="`make clients` installs LiveKit")
agents = pytest.importorskip("livekit.agents", reason="`make clients` installs LiveKit")
plugin = pytest.importorskip("kugelaudio.livekit", reason="`make clients` installs the KugelAudio SDK")

pytestmark = [
    pytest.mark.clients,
    pytest.mark.espeak,
    # its own, of aiohttp
    pytest.mark.filterwarnings("ignore:parameter 'timeout' of type 'float':DeprecationWarning"),
]

VOICE, OTHER = 1071, 1072
ONCE = agents.APIConnectOptions(max_retry=0, timeout=5)
"""The plugin tries again by itself; here nothing may need that."""
TEXT = "Hello there, this is the first sentence. And here comes another one, a bit longer than the first."
LONG = "This one will be interrupted after a moment, because the user speaks up. " * 60
SORRY = "Sorry, go ahead please."


class Heard:
    def __init__(self) -> None:
        self.seconds = 0.0
        self.words: list[Any] = []

    def add(self, audio: Any) -> None:
        self.seconds += audio.frame.duration
        self.words += audio.frame.userdata.get("lk.timed_transcripts") or []

    def text(self) -> str:
        return " ".join(str(word) for word in self.words)


@asynccontextmanager
async def speaking(server: Any, **options: Any) -> AsyncIterator[Any]:
    options = {"api_key": "any", "voice_id": VOICE, "language": "en", "word_timestamps": True} | options
    async with aiohttp.ClientSession() as http:
        tts = plugin.TTS(base_url=server.http, http_session=http, **options)
        yield tts
        await tts.aclose()


async def listen(tts: Any, text: str, *, until: float | None = None, end_input: bool = True) -> Heard:
    """One turn, its text in pieces of a word; left when `until` seconds were heard."""
    heard = Heard()
    async with tts.stream(conn_options=ONCE) as stream:
        for word in text.split(" "):
            stream.push_text(word + " ")
        if end_input:
            stream.end_input()
        async for audio in stream:
            heard.add(audio)
            if until is not None and heard.seconds >= until:
                break
    return heard


async def whole(tts: Any, text: str) -> Heard:
    """One text that is not streamed."""
    heard = Heard()
    async with tts.synthesize(text, conn_options=ONCE) as stream:
        async for audio in stream:
            heard.add(audio)
    return heard


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(main(), 40))  # type: ignore[arg-type]


@pytest.mark.parametrize("sample_rate", [24000, 8000])
def test_a_turn_is_heard_whole_and_its_words_in_order(
    server: Any, seconds_of: Callable[[str, str], float], sample_rate: int
) -> None:
    async def main() -> Heard:
        async with speaking(server, sample_rate=sample_rate) as tts:
            return await listen(tts, TEXT)

    heard = run(main)
    assert heard.seconds == pytest.approx(seconds_of(TEXT, str(VOICE)), rel=0.1)
    assert heard.text() == TEXT
    starts = [word.start_time for word in heard.words]
    assert sum(later < earlier for earlier, later in pairwise(starts)) == 1, "times count in each sentence"
    ends = [word.end_time for word in heard.words]
    spoken = ends[-1] + max(ends[: TEXT[: TEXT.index(".") + 1].count(" ") + 1])
    assert heard.seconds - 1.5 < spoken < heard.seconds


def test_all_turns_share_one_socket_streamed_or_not(
    server: Any, seconds_of: Callable[[str, str], float]
) -> None:
    async def main() -> list[Heard]:
        async with speaking(server) as tts:
            one_by_one = [await listen(tts, SORRY), await whole(tts, SORRY), await listen(tts, SORRY)]
            at_once = [*(listen(tts, SORRY) for _ in range(5)), *(whole(tts, SORRY) for _ in range(5))]
            return one_by_one + list(await asyncio.gather(*at_once))

    seconds = seconds_of(SORRY, str(VOICE))
    turns = run(main)
    assert all(heard.seconds == pytest.approx(seconds, rel=0.1) for heard in turns)
    assert all(heard.text() == SORRY for heard in turns)
    server.logged("socket_closed", 1)
    assert len(server.logged("socket_opened", 1)) == 1
    assert [end["reason"] for end in server.logged("context_closed", 13)] == ["completed"] * 13


def test_a_text_of_many_sentences_that_is_not_streamed(
    server: Any, seconds_of: Callable[[str, str], float]
) -> None:
    """It says `close_context` after each sentence's audio; no such word may cut off what follows."""
    text = " ".join(
        f"This is sentence number {number}." for number in ("one", "two", "three", "four", "five")
    )

    async def main() -> Heard:
        async with speaking(server) as tts:
            return await whole(tts, text)

    seconds = seconds_of(text, str(VOICE))
    heard = run(main)
    assert heard.seconds == pytest.approx(seconds, rel=0.1)
    assert heard.text() == text
    (end,) = server.logged("context_closed", 1)
    assert end["reason"] == "completed"


@pytest.mark.parametrize("end_input", [True, False], ids=["the whole turn was sent", "while it is written"])
def test_after_an_interruption_the_next_turn_is_clean(
    server: Any, seconds_of: Callable[[str, str], float], end_input: bool
) -> None:
    async def main() -> tuple[Heard, Heard]:
        async with speaking(server) as tts:
            cut = await listen(tts, LONG, until=0.5, end_input=end_input)
            return cut, await listen(tts, SORRY)

    seconds = seconds_of(SORRY, str(VOICE))
    cut, sorry = run(main)
    assert 0.5 <= cut.seconds < 60
    assert sorry.seconds == pytest.approx(seconds, rel=0.1)
    assert sorry.text() == SORRY
    ends = {end["reason"]: end for end in server.logged("context_closed", 2)}
    assert set(ends) == {"cancelled", "completed"}
    assert ends["cancelled"]["audio_sent_ms"] < 60_000, "it would speak for four minutes"


def test_changed_options_are_heard(server: Any, seconds_of: Callable[[str, str], float]) -> None:
    async def main() -> list[Heard]:
        async with speaking(server) as tts:
            heard = [await listen(tts, TEXT)]
            tts.update_options(speed=0.8)
            heard.append(await listen(tts, TEXT))
            tts.update_options(voice_id=OTHER, speed=None)
            heard.append(await listen(tts, TEXT))
            return heard

    lengths = [seconds_of(TEXT, str(VOICE)), seconds_of(TEXT, str(VOICE)) / 0.8, seconds_of(TEXT, str(OTHER))]
    assert [heard.seconds for heard in run(main)] == pytest.approx(lengths, rel=0.1)
    server.logged("socket_closed", 3)


def test_a_prewarmed_socket_is_used(server: Any) -> None:
    async def main() -> None:
        async with speaking(server) as tts:
            tts.prewarm()
            await asyncio.sleep(0.3)  # it says a voice without a context; that must open none
            assert (await listen(tts, SORRY)).words

    run(main)
    server.logged("socket_closed", 1)
    assert len(server.logged("socket_opened", 1)) == 1
    assert len(server.logged("context_closed", 1)) == 1


def test_a_wrong_key_is_told_at_once(locked: Any) -> None:
    async def main() -> None:
        async with speaking(locked, api_key="wrong") as tts:
            await listen(tts, SORRY)

    with pytest.raises(agents.APIStatusError) as refused:
        run(main)
    assert refused.value.status_code in {401, 403}
    assert refused.value.request_id


def test_a_refusal_names_its_context(server: Any) -> None:
    """An error without a context's id would end all its turns and the socket."""

    async def main() -> Heard:
        async with speaking(server, voice_id=None) as tts:
            good = asyncio.create_task(listen(tts, SORRY))
            with pytest.raises(agents.APIStatusError) as refused:
                await good
            assert refused.value.status_code == 400
            assert refused.value.body["error_code"] == "MISSING_VOICE_ID"
        async with speaking(server) as tts:
            return await listen(tts, SORRY)

    assert run(main).words
