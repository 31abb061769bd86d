"""A script without an event loop.

python script.py ws://127.0.0.1:8790 story.wav
"""

from __future__ import annotations

import sys
import wave
from pathlib import Path

import mux.sync
from mux.client import Chunk, ContextEnd


def story(url: str) -> bytes:
    pcm = bytearray()
    with mux.sync.connect(url, voice="en-us-f2", output_format="pcm_16000") as session:
        with session.context("narrator", settings={"speed": 1.1}) as narrator:
            narrator.send("Once upon a time ", flush=False)
            narrator.send("there was one socket.")
            narrator.close()
            for chunk in narrator:
                pcm += chunk.audio
        interrupted: mux.sync.Context = session.create_context("captain", voice="en-us-m3")
        interrupted.send("Who is there? Show yourself!", flush=True)
        next(interrupted)
        print(f"The captain was interrupted: {interrupted.cancel().reason.value}")
        session.send("lookout", "Land!", flush=True)
        session.close_context("lookout")
        with session.events() as events:
            for event in events:
                match event:
                    case Chunk(audio=audio):
                        pcm += audio
                    case ContextEnd(context=name, error=error):
                        print(f"{name}: {error or 'done'}")
        usage = session.usage_for("narrator")
        print(f"The narrator used {usage.characters_accepted if usage else 0} characters.")
    return bytes(pcm)


def main(url: str, path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(story(url))
    speech = mux.sync.speak(url, "The end.", voice="en-us-f2", output_format="pcm_16000")
    speech.save(path.with_name("end.wav"))
    print(f"The end comes after {speech.alignment.ends[-1] if speech.alignment else 0} ms.")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
