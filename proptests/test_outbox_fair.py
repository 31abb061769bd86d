"""Turns are fair and events go first, whatever waits."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from mux.protocol.outbox import Outbox, Part, Speech

RATE = 1000
FRAME_MS = 100
names = st.integers(0, 7)


def drain(outbox: Outbox[int], most: int = 100_000) -> list[tuple[int, object]]:
    """(owner, item) in the order in which they go out."""
    taken: list[tuple[int, object]] = []
    while len(taken) < most and (part := outbox.next()) is not None:
        taken.append((part.owner, part.take_speech(FRAME_MS) if part.speaks() else part.take_event()))
        outbox.queue(part)
    return taken


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=20))
def test_with_all_ready_no_context_waits_more_than_one_round(lengths: list[int]) -> None:
    outbox: Outbox[int] = Outbox()
    for owner, samples in enumerate(lengths):
        outbox.part(owner).push(Speech(1, b"\0\0" * samples, RATE))
    order = [owner for owner, _ in drain(outbox)]
    left = Counter({owner: -(-samples // FRAME_MS) for owner, samples in enumerate(lengths)})
    assert Counter(order) == left
    while order:
        ready = {owner for owner in left if left[owner]}
        round, order = order[: len(ready)], order[len(ready) :]
        assert sorted(round) == sorted(ready)
        left.subtract(round)


actions = st.one_of(
    st.tuples(st.just("event"), names),
    st.tuples(st.just("speech"), names, st.integers(1, 350), st.integers(1, 2)),
    st.tuples(st.just("pull"), st.integers(1, 5)),
    st.tuples(st.just("purge"), names),
    st.tuples(st.just("release"), names),
)


@given(st.lists(actions, max_size=80), st.sets(names))
def test_any_history_keeps_order_turns_and_counts(history: list[tuple[str, ...]], held: set[int]) -> None:
    """Against lists: what goes out of a part is what came in, in order; events before any speech; and
    between two frames of one part every other part that is ready has its turn."""
    outbox: Outbox[int] = Outbox()
    parts: list[Part[int]] = [outbox.part(owner, owner in held) for owner in range(8)]
    waiting: list[list[object]] = [[] for _ in parts]
    held = set(held)
    behind: dict[int, set[int]] = {owner: set() for owner in range(8)}
    """Who was served since this part became ready to speak and waits: each of them may be there once."""
    count = 0

    def speaks(owner: int) -> bool:
        return owner not in held and bool(waiting[owner]) and isinstance(waiting[owner][0], tuple)

    def pull() -> None:
        ready = [owner for owner in range(8) if waiting[owner] and owner not in held]
        eager = [owner for owner in ready if not speaks(owner)]
        talking = [owner for owner in ready if speaks(owner)]
        part = outbox.next()
        assert (part is None) == (not ready)
        if part is None:
            return
        owner = part.owner
        assert owner in (eager or ready)
        if eager:
            assert part.take_event() == waiting[owner].pop(0)
        else:
            frame = part.take_speech(FRAME_MS)
            segment, pcm = waiting[owner].pop(0)  # type: ignore[misc]
            while len(pcm) < 2 * FRAME_MS and speaks(owner) and waiting[owner][0][0] == segment:  # type: ignore[index]
                pcm += waiting[owner].pop(0)[1]  # type: ignore[index]
            if rest := pcm[2 * FRAME_MS :]:
                waiting[owner].insert(0, (segment, rest))
            assert (frame.segment, frame.pcm) == (segment, pcm[: 2 * FRAME_MS])
            for other in talking:
                if other != owner:
                    assert owner not in behind[other], f"{owner} had two turns while {other} waited"
                    behind[other].add(owner)
        behind[owner].clear()
        outbox.queue(part)

    for action in history:
        match action:
            case "event", int(owner):
                count += 1
                parts[owner].push(count)
                waiting[owner].append(count)
            case "speech", int(owner), int(samples), int(segment):
                count += 1
                pcm = count.to_bytes(2, "little") * samples
                parts[owner].push(Speech(segment, pcm, RATE))
                waiting[owner].append((segment, pcm))
            case "pull", int(times):
                for _ in range(times):
                    pull()
            case "purge", int(owner):
                parts[owner].purge()
                waiting[owner].clear()
                behind[owner].clear()
            case "release", int(owner):
                parts[owner].release()
                held.discard(owner)
    for owner, part in enumerate(parts):
        speech = sum(len(item[1]) for item in waiting[owner] if isinstance(item, tuple))
        assert part.waiting_bytes == speech
        assert abs(part.waiting_seconds - speech / 2 / RATE) < 1e-9
        part.release()
    held.clear()
    while outbox:
        pull()
    assert not any(waiting)
