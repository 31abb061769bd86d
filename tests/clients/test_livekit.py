"""livekit-plugins-elevenlabs, unmodified."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

plugin = pytest.importorskip(
    "livekit.plugins.elevenlabs", reason="`make clients` installs the LiveKit plugin"
)
aiohttp = pytest.importorskip("aiohttp")
agents = pytest.importorskip("livekit.agents")

pytestmark = [pytest.mark.clients, pytest.mark.espeak]

VOICE = plugin.tts.DEFAULT_VOICE_ID
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


@asynccontextmanager
async def speaking(server: Any, **options: Any) -> AsyncIterator[Any]:
    async with aiohttp.ClientSession() as http:
        tts = plugin.TTS(base_url=f"{server.http}/v1", api_key="any", http_session=http, **options)
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


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(main(), 40))  # type: ignore[arg-type]


@pytest.mark.parametrize("encoding", [None, "pcm_24000", "mp3_44100_128"])
def test_a_turn_is_heard_whole_and_its_words_in_order(
    server: Any, seconds_of: Callable[[str, str], float], encoding: str | None
) -> None:
    async def main() -> Heard:
        async with speaking(server, **{"encoding": encoding} if encoding else {}) as tts:
            return await listen(tts, TEXT)

    heard = run(main)
    assert heard.seconds == pytest.approx(seconds_of(TEXT, VOICE), rel=0.1)
    assert [str(word).strip() for word in heard.words] == TEXT.split()
    starts = [word.start_time for word in heard.words]
    assert starts == sorted(starts)
    assert starts[0] < 0.5
    assert heard.seconds - 1.5 < starts[-1] < heard.seconds


def test_all_turns_share_one_socket(server: Any) -> None:
    async def main() -> list[Heard]:
        async with speaking(server, encoding="pcm_24000") as tts:
            one_by_one = [await listen(tts, SORRY) for _ in range(3)]
            return one_by_one + list(await asyncio.gather(*(listen(tts, SORRY) for _ in range(5))))

    turns = run(main)
    assert len({round(heard.seconds, 2) for heard in turns}) == 1
    assert all([str(word).strip() for word in heard.words] == SORRY.split() for heard in turns)
    server.logged("socket_closed", 1)
    assert len(server.logged("socket_opened", 1)) == 1
    ends = server.logged("context_closed", 8)
    assert [end["reason"] for end in ends] == ["completed"] * 8


@pytest.mark.parametrize("end_input", [True, False], ids=["the whole turn was sent", "while it is written"])
def test_after_an_interruption_the_next_turn_is_clean(
    server: Any, seconds_of: Callable[[str, str], float], end_input: bool
) -> None:
    async def main() -> tuple[Heard, Heard]:
        async with speaking(server, encoding="pcm_24000") as tts:
            cut = await listen(tts, LONG, until=0.5, end_input=end_input)
            return cut, await listen(tts, SORRY)

    cut, sorry = run(main)
    assert 0.5 <= cut.seconds < 60
    assert sorry.seconds == pytest.approx(seconds_of(SORRY, VOICE), rel=0.1)
    assert [str(word).strip() for word in sorry.words] == SORRY.split()


@pytest.mark.parametrize("encoding", ["mp3_22050_32", "pcm_24000"])
def test_synthesize_speaks_over_http(
    server: Any, seconds_of: Callable[[str, str], float], encoding: str
) -> None:
    async def main() -> float:
        async with speaking(server, encoding=encoding) as tts:
            seconds = 0.0
            async with tts.synthesize(TEXT, conn_options=ONCE) as stream:
                async for audio in stream:
                    seconds += audio.frame.duration
            return seconds

    assert run(main) == pytest.approx(seconds_of(TEXT, VOICE), rel=0.1)


def test_it_lists_the_voices(server: Any) -> None:
    async def main() -> Any:
        async with speaking(server) as tts:
            return await tts.list_voices()

    voices = run(main)
    assert len(voices) > 100
    assert all(voice.id and voice.name and voice.category for voice in voices)


def test_a_wrong_key_is_told_at_once(locked: Any) -> None:
    async def main() -> None:
        async with speaking(locked) as tts:
            await listen(tts, SORRY)

    with pytest.raises(agents.APIStatusError) as refused:
        run(main)
    assert refused.value.status_code == 401
