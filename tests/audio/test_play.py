"""The player here is a real program: Python, copying its standard input to a file."""

import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from mux.audio import play
from mux.audio.play import PLAYERS, Player, find_player
from mux.errors import MuxError

pytestmark = pytest.mark.anyio


def program(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-S", "-E", "-c", "import sys, shutil\n" + code, *map(str, arguments)]


def recorder(path: Path) -> list[str]:
    """A player that plays into a file."""
    return program("shutil.copyfileobj(sys.stdin.buffer, open(sys.argv[1], 'wb'))", path)


async def test_everything_written_is_played_before_the_block_ends(
    tmp_path: Path, tone: Callable[..., bytes]
) -> None:
    pcm = tone(24000, 120_000)  # more than a pipe holds
    async with Player(24000, recorder(tmp_path / "played")) as player:
        await player.write(pcm[:10])
        await player.write(b"")
        await player.write(pcm[10:])
    assert (tmp_path / "played").read_bytes() == pcm


async def test_an_exception_in_the_block_kills_the_player() -> None:
    player = Player(24000, program("import time; time.sleep(50)"))

    async def fail_while_playing() -> None:
        async with player:
            await player.write(bytes(2000))
            raise KeyError

    with pytest.raises(KeyError):
        await fail_while_playing()
    assert player.returncode not in (None, 0)


async def test_cancelling_in_the_middle_of_a_write_kills_the_player_at_once() -> None:
    start = anyio.current_time()
    with anyio.move_on_after(0.05) as scope:
        async with Player(24000, program("import time; time.sleep(50)")) as player:
            await player.write(bytes(2_000_000))
    assert scope.cancelled_caught
    assert anyio.current_time() - start < 2.0, "not only when the player had been given up"
    assert player.returncode not in (None, 0)


async def test_a_player_that_fails_says_why() -> None:
    broken = program("sys.exit('no such device')")
    with pytest.raises(MuxError, match="ended with status 1: no such device") as failed:
        async with Player(24000, broken) as player:
            await player.write(bytes(2_000_000))
    assert failed.value.code == "playback_failed"
    with pytest.raises(MuxError, match="no such device"):
        async with Player(24000, broken):
            pass


async def test_a_player_that_never_ends_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(play, "GRACE", 0.02)
    with pytest.raises(MuxError, match="did not end") as failed:
        async with Player(24000, program("import time; time.sleep(50)")) as player:
            await player.write(bytes(48))
    assert failed.value.code == "playback_failed"
    assert player.returncode not in (None, 0)


async def test_a_player_that_takes_nothing_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(play, "GRACE", 0.02)
    monkeypatch.setattr(play, "PIECE_SECONDS", 0.03)
    with pytest.raises(MuxError, match=r"took no sound for 0\.05 s"):
        async with Player(24000, program("import time; time.sleep(50)")) as player:
            await player.write(bytes(2_000_000))
    assert player.returncode not in (None, 0)


async def test_without_any_player_the_programs_looked_for_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_player(24000) is None
    with pytest.raises(MuxError) as missing:
        async with Player(24000):
            pass
    assert missing.value.code == "missing_dependency"
    assert all(name in str(missing.value) for name in ("ffplay", "aplay", "paplay", "play", "pw-cat"))


async def test_a_named_player_that_is_not_there_is_named() -> None:
    with pytest.raises(MuxError, match="'/nowhere/speaker' cannot be started") as missing:
        async with Player(24000, ["/nowhere/speaker"]):
            pass
    assert missing.value.code == "missing_dependency"


@pytest.mark.parametrize("name", PLAYERS)
def test_a_player_is_found_and_told_the_rate(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / name).write_text("#!/bin/sh\n")
    (tmp_path / name).chmod(0o755)
    command = find_player(22050)
    assert command is not None
    assert command[0] == str(tmp_path / name)
    assert any("22050" in option for option in command)
    assert not any("{" in option for option in command)


async def test_half_a_sample_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="odd length"):
        async with Player(24000, recorder(tmp_path / "played")) as player:
            await player.write(b"abc")
