"""What a mock can be told: when faults strike, that seeds repeat, and how a mistake is answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from raw import raw

from mux.errors import MuxError
from mux.mock import Fault, Scenario, load_scenario, parse_fault, parse_scenario, serve_mock

SCENARIO = """
dialect = "kugelaudio"
seed = 7
pace = 1.5

[[fault]]
name = "close_1012"
socket = 1
nth = 3
after_ms = 300

[[fault]]
name = "wrong_id"
rate = 0.25
context = "turn-*"
times = 2
instead = true
"""


def test_a_file_says_it_all(tmp_path: Path) -> None:
    path = tmp_path / "bad-day.toml"
    path.write_text(SCENARIO)
    assert load_scenario(path) == Scenario(
        dialect="kugelaudio",
        seed=7,
        pace=1.5,
        faults=(
            Fault("close_1012", socket=1, nth=3, after_ms=300),
            Fault("wrong_id", rate=0.25, context="turn-*", times=2, instead=True),
        ),
    )


def test_a_flag_is_a_name_and_perhaps_a_rate() -> None:
    assert parse_fault("stall") == Fault("stall")
    assert parse_fault("stall=0.1") == Fault("stall", rate=0.1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed = ", ("not valid TOML", "[[fault]]")),
        ("sed = 1", ("sed", "seed", "dialect", "pace")),
        ('dialect = "cartesia"', ("dialect", "elevenlabs or kugelaudio", "cartesia")),
        ('seed = "many"', ("seed", "whole number", "many")),
        ("pace = 0", ("pace", "above 0")),
        ("[fault]\nname = 'stall'", ("[[fault]]", "list")),
        ("[[fault]]\nrate = 0.5", ("fault 1", "no name", "close_1012")),
        ("[[fault]]\nname = 'stal'", ("stal", "Did you mean stall")),
        ("[[fault]]\nname = 5", ("name must be", "5")),
        ("[[fault]]\nname = 'stall'\nrate = 1.5", ("rate", "0 to 1", "1.5")),
        ("[[fault]]\nname = 'stall'\nrate = '1'", ("rate", "0 to 1")),
        ("[[fault]]\nname = 'stall'\nnth = 0", ("nth", "from 1")),
        ("[[fault]]\nname = 'stall'\nafter = 3", ("after", "after_ms")),
        ("[[fault]]\nname = 'stall'\n[[fault]]\nname = 'refused'\ncontext = 'a'", ("fault 2", "context")),
        ("[[fault]]\nname = 'close_1012'\nbytes = 5", ("close_1012", "bytes", "after_ms")),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(MuxError) as refused:
        parse_scenario(text, "bad-day.toml")
    assert refused.value.code == "invalid_config"
    for word in words:
        assert word in str(refused.value), str(refused.value)


@pytest.mark.parametrize("text", ["", "fish", "fish=1", "stall=", "stall=often", "stall=2"])
def test_a_wrong_flag_is_refused(text: str) -> None:
    with pytest.raises(MuxError) as refused:
        parse_fault(text)
    assert refused.value.code == "invalid_config"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MuxError, match="No such file"):
        load_scenario(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"# caf\xe9")
    with pytest.raises(MuxError, match="UTF-8"):
        load_scenario(tmp_path / "latin.toml")


def test_python_is_told_the_same() -> None:
    with pytest.raises(MuxError, match="Did you mean stall"):
        Scenario(faults=(Fault("stal"),))
    with pytest.raises(MuxError, match="refused has no after_ms"):
        Scenario(faults=(Fault("refused", after_ms=1),))


# --- when ------------------------------------------------------------------------------------------------

MIXTURE = [
    Fault("zero_audio", rate=0.3),
    Fault("final_twice", rate=0.3),
    Fault("malformed_json", rate=0.2),
    Fault("wrong_id", rate=0.2),
]


async def history(seed: int) -> list[tuple[Any, ...]]:
    """What two apps at a time get of a mock that fails at random."""
    got = []
    async with serve_mock("elevenlabs", MIXTURE, seed=seed) as mock, raw(mock) as client:
        for turn in range(10):
            ids = [f"{turn}-{side}" for side in "ab"]
            for id in ids:
                await client.speak(id, "Hello there, my friend. ")
            await client.ended(*ids)
        await client.for_a_while(0.05)
        for id in sorted({frame["contextId"] for frame in client.frames}):
            audio = [frame for frame in client.of(id) if frame.get("audio")]
            wrong = "wrong" in id  # how the server cuts its audio is a matter of timing
            got.append((id, client.ends(id), len(audio) if wrong else client.ms(id)))
        got.append((len(client.unreadable), sorted(mock.fired.items())))
    return got


@pytest.mark.anyio
async def test_a_seed_repeats_itself() -> None:
    first, again, other = await history(1), await history(1), await history(2)
    assert first == again
    assert first != other


@pytest.mark.anyio
async def test_times_bounds_how_often() -> None:
    async with serve_mock("elevenlabs", [Fault("zero_audio", times=2)]) as mock, raw(mock) as client:
        for id in "abc":
            await client.speak(id)
            await client.ended(id)
        assert [client.ms(id) > 0 for id in "abc"] == [False, False, True]
        assert mock.fired == {"zero_audio": 2}


@pytest.mark.anyio
async def test_nth_counts_the_contexts_that_fit() -> None:
    fault = Fault("zero_audio", context="turn-*", nth=2, socket=2)
    async with serve_mock("kugelaudio", [fault]) as mock, raw(mock) as one, raw(mock) as two:
        for client in (one, two):
            for id in ("turn-1", "other", "turn-2", "turn-3"):
                await client.speak(id)
                await client.ended(id)
        assert all(one.ms(id) for id in ("turn-1", "other", "turn-2", "turn-3"))
        assert [id for id in ("turn-1", "other", "turn-2", "turn-3") if not two.ms(id)] == ["turn-2"]


@pytest.mark.anyio
async def test_a_rate_is_a_probability() -> None:
    fault = Fault("zero_audio", rate=0.5)
    async with serve_mock("kugelaudio", [fault]) as mock, raw(mock) as client:
        for number in range(40):
            await client.speak(f"c{number}", "Hi. ")
            await client.ended(f"c{number}")
        assert 10 <= mock.fired["zero_audio"] <= 30
