"""A voice app as its author would write it: a narrator and a character, in turns, with what can go wrong.

python story.py ws://127.0.0.1:8790
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping

import anyio

import mux
from mux.client import Callbacks, Chunk, ClosedEarly, ContextEnd, OverLimit, Refused, SpeechError, TimedOut

SCRIPT = [
    ("narrator", "en-us-f2", "The door opened by itself."),
    ("captain", "en-us-m3", "Who is there? Show yourself!"),
]


async def say(session: mux.Session, name: str, voice: str, text: str) -> bytes:
    """One context, word by word, as a language model gives them."""
    pcm = bytearray()
    settings = mux.VoiceSettings(stability=0.4, speed=1.1)
    async with session.context(name, voice=voice, settings=settings) as context:
        for word in text.split(" "):
            await context.send(word + " ")
        await context.close()
        async for chunk in context:
            pcm += chunk.audio
            if chunk.alignment is not None:
                first: int = chunk.alignment.starts[0] if chunk.alignment.starts else 0
                print(f"{name} at {first} ms: {chunk.alignment.text}")
        spoken, unspoken = context.split(played_ms=context.audio_ms or 0.0)
        print(f"{name} said {len(spoken)} characters, {len(unspoken)} are left")
    return bytes(pcm)


async def together(session: mux.Session) -> Mapping[str, bytes]:
    """All contexts at once, in one iteration."""
    audio: defaultdict[str, bytes] = defaultdict(bytes)
    for name, voice, text in SCRIPT:
        context: mux.Context = await session.create_context(name, voice=voice)
        await context.send(text, flush=True)
        await context.close()
    async with session.events() as events:
        async for event in events:
            match event:
                case Chunk(context=name, audio=pcm):
                    audio[name] += pcm
                case ContextEnd(context=name, error=None):
                    print(f"{name} is done")
                case ContextEnd(context=name, error=error):
                    print(f"{name} failed: {error}")
    return audio


def advice(error: SpeechError) -> str:
    match error:
        case ClosedEarly(unspoken=str(rest)):
            return f"say it again: {len(rest)} characters"
        case OverLimit() | TimedOut():
            return "try again later"
        case Refused(code=code, reason=reason):
            return f"change the request ({code}): {reason}"
        case _:
            return "try again" if error.retryable else "give up"


async def closed(name: str, usage: mux.Usage | None) -> None:
    print(f"{name} used {usage.characters_accepted if usage else 0} characters")


async def main(url: str) -> None:
    async with mux.connect(url, output_format="pcm_16000", reconnect=True) as session:
        for name, voice, text in SCRIPT:
            await say(session, name, voice, text)
        audio = await together(session)
        total = sum(usage.audio_sent_ms for usage in session.context_usage.values())
        print(f"{len(audio)} voices, {total / 1000:.1f} s")
        try:
            await say(session, "narrator", "en-us-f2", "\ud800")
        except SpeechError as error:
            print(f"{error.context}: {advice(error)}")
    async with mux.connect(url, callbacks=Callbacks(on_context_closed=closed, on_chunk=None)) as session:
        await session.send("narrator", "The end.")
        await session.close_context("narrator")


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
