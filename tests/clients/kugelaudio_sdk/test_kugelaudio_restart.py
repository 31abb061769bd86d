"""The kugelaudio SDK for Python, unmodified, and a server that goes away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from kugelaudio_ears import LONG, MARKS, SORRY, VOICE, Heard, errors, listen, opened, run, serving

pytestmark = MARKS


@pytest.mark.parametrize("kind", ["stream", "multi", "one-shot"])
def test_a_turn_after_a_restart_is_replayed(kind: str) -> None:
    """An idle socket is closed with 1012, and the SDK says the next turn to the new server by itself."""

    async def main() -> None:
        with serving("--engine", "tone") as (old, base):
            port = base.rpartition(":")[2]
            async with opened(base) as client:
                session = await opening(client)
                before = await speak(client, session)
                old.terminate()
                assert await asyncio.to_thread(old.wait, 10) == 0
                with serving("--engine", "tone", "--port", port):
                    after = await speak(client, session)
                    if session is not None:
                        await session.close()
        assert before.audio == after.audio

    async def opening(client: Any) -> Any:
        if kind == "one-shot":
            return None
        if kind == "stream":
            session = client.tts.streaming_session(voice_id=VOICE, language="en")
        else:
            session = client.tts.multi_context_session(default_voice_id=VOICE, language="en")
        await session.connect()
        return session

    async def speak(client: Any, session: Any) -> Any:
        if kind == "one-shot":
            return await client.tts.generate_async(SORRY, voice_id=VOICE, language="en")
        return await listen(session.send(*(["a"] if kind == "multi" else []), SORRY, flush=True))

    run(main)


def test_a_turn_is_finished_before_the_server_goes_and_new_sockets_are_sent_on() -> None:
    async def main() -> None:
        with serving("--engine", "tone") as (process, base):
            async with opened(base) as client:
                busy = client.tts.streaming_session(voice_id=VOICE, language="en")
                await busy.connect()
                speech = busy.send(LONG, flush=True)
                heard = Heard()
                heard.add(await anext(speech))  # and reads no further for now
                process.terminate()
                await asyncio.sleep(0.3)
                late = client.tts.streaming_session(voice_id=VOICE, language="en")
                with pytest.raises(errors.ServerRestartingError) as going:
                    await listen(late.send(SORRY, flush=True))
                assert going.value.retry_after == 1
                await late.close()
                await heard.all(speech)
                assert busy.last_usage.audio_seconds == pytest.approx(heard.seconds, abs=0.01)
                assert await asyncio.to_thread(process.wait, 10) == 0
                await busy.close()

    run(main)
