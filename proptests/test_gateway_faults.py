"""Random mixtures of the mock's faults behind the gateway: whatever happens, every segment is heard whole and
once, or its end says why; no audio goes astray; all slots come back."""

from __future__ import annotations

import os

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from mux.engines.base import Chunk, Job
from mux.engines.remote import RemoteEngine, Upstream
from mux.engines.tone import ToneEngine
from mux.errors import MuxError
from mux.links.endpoint import Dialect, Pools
from mux.mock import FAULTS, Fault, serve_mock
from mux.tasks import owned_tasks

DEEP = os.environ.get("MUX_PROFILE") == "deep"
TEXTS = ("Some words, and more. ", "Another thing to say. ")
VOICES = ("anna", "bert")
HARMFUL = sorted(set(FAULTS) - {"unauthorized", "forbidden"})
"""The other two are for good: nothing can be spoken then."""

faults = st.lists(
    st.builds(
        lambda name, rate: Fault(name, rate=rate),
        st.sampled_from(HARMFUL),
        st.floats(0.02, 0.25),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda fault: fault.name,
)


async def alone(text: str, voice: str) -> bytes:
    async with ToneEngine(24000).start(1) as (tone,), tone.speak(Job(text, voice)) as chunks:
        return b"".join([chunk.pcm async for chunk in chunks])


async def history(dialect: Dialect, planned: list[Fault], seed: int) -> None:
    expected = {(text, voice): await alone(text, voice) for text in TEXTS for voice in VOICES}
    async with serve_mock(dialect, planned, seed=seed, pace=60.0) as mock, owned_tasks() as tasks:
        upstream = Upstream(
            name="mock",
            dialect=dialect,
            url=mock.url,
            sockets=2,
            repair="exact",
            stall_seconds=0.4,
            patience=4.0,
        )
        engine = RemoteEngine(upstream)
        pools = Pools(upstream.endpoint, tasks)
        slots = [engine.slot(pools) for _ in range(4)]

        async def app(number: int) -> None:
            voice = VOICES[number % 2]
            for text in TEXTS:
                chunks: list[Chunk] = []
                try:
                    await slots[number].relay(Job(text, voice), chunks.append)
                    assert b"".join(bytes(chunk.pcm) for chunk in chunks) == expected[text, voice]
                except MuxError:
                    heard = b"".join(bytes(chunk.pcm) for chunk in chunks)
                    assert expected[text, voice].startswith(heard), "what was heard before is right, too"

        async with anyio.create_task_group() as speaking:
            for number in range(len(slots)):
                speaking.start_soon(app, number)
        with anyio.fail_after(15):
            while pools.used:  # noqa: ASYNC110 (other tasks wait for the service)
                await anyio.sleep(0.02)


@settings(max_examples=100 if DEEP else 5, deadline=None)
@given(st.sampled_from(["elevenlabs", "kugelaudio"]), faults, st.integers(0, 99))
def test_mixtures_of_faults(dialect: Dialect, planned: list[Fault], seed: int) -> None:
    anyio.run(history, dialect, planned, seed)
