"""Speech to the loudspeaker, through a player program that is installed already."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE
from types import TracebackType
from typing import Self

import anyio
import anyio.abc

from mux.audio.pcm import samples
from mux.errors import MuxError

__all__ = ["PLAYERS", "Player", "find_player"]

PLAYERS: dict[str, str] = {
    "paplay": "--raw --format=s16le --rate={rate} --channels=1 --latency-msec=200",
    "aplay": "-q -t raw -f S16_LE -r {rate} -c 1 --buffer-time=200000 -",
    "pw-cat": "--playback --raw --format s16 --rate {rate} --channels 1 -",
    "play": "-q -t raw -e signed-integer -b 16 -L -r {rate} -c 1 -",
    # Mono is what ffplay takes raw samples for by itself; the option that says so was renamed in FFmpeg 7.
    "ffplay": "-nodisp -autoexit -loglevel error -fflags nobuffer -probesize 32 "
    "-f s16le -sample_rate {rate} -i pipe:0",
}
"""Programs that play mono s16le from standard input, and their options; the first that is installed is used.
PulseAudio and ALSA would gather 2 s and 0.5 s of audio before the first sound: they are told 0.2 s."""

PIECE_SECONDS = 0.5
"""Audio is handed over in pieces of this length at most, so that each has a fixed deadline."""
GRACE = 10.0
"""Seconds that a player may lag (starting up, opening the device) before it counts as stuck."""
KILL_SECONDS = 5.0


def find_player(sample_rate: int) -> list[str] | None:
    """The command of the first installed player, for mono s16le at `sample_rate` (Hz) on its standard input;
    None where there is none."""
    for name, options in PLAYERS.items():
        if program := shutil.which(name):
            return [program, *options.format(rate=sample_rate).split()]
    return None


class Player:
    """Plays speech: ``async with Player(24000) as player: await player.write(pcm)``.

    Leaving the block plays out what was written. Leaving it by an exception or by cancellation is silence at
    once: the program is killed. `command` names another program that reads mono s16le from standard input.
    """

    def __init__(self, sample_rate: int, command: Sequence[str] | None = None) -> None:
        self.sample_rate = sample_rate
        self._command = command
        self._dry_at = 0.0

    async def __aenter__(self) -> Self:
        """Start the program.

        Raises:
            MuxError: `missing_dependency`, naming the programs that were looked for.
        """
        command = self._command or find_player(self.sample_rate)
        if command is None:
            raise MuxError.of(
                "missing_dependency",
                f"No program that plays sound was found (looked for {', '.join(PLAYERS)}). "
                "Install one of them, or save the speech to a file instead.",
                allowed=tuple(PLAYERS),
            )
        self._name = Path(command[0]).stem
        # A file, not a pipe: nobody has to empty it while the program runs.
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 (closed in _end)
        try:
            self._process = await anyio.open_process(
                command, stdin=PIPE, stdout=DEVNULL, stderr=self._complaints
            )
        except BaseException as error:
            self._complaints.close()
            if isinstance(error, OSError):
                raise MuxError.of(
                    "missing_dependency",
                    f"The player {command[0]!r} cannot be started ({error.strerror}). "
                    "Install it, name another, or save the speech to a file instead.",
                    observed=command[0],
                ) from error
            raise
        return self

    @property
    def returncode(self) -> int | None:
        """The program's exit status; None while it runs; not 0 if it was killed."""
        return self._process.returncode

    async def write(self, pcm: bytes) -> None:
        """Play more mono s16le. Returns when the operating system has taken it: up to 128 KiB (2.7 s at
        24,000 Hz) and the program's own buffer ahead of the sound. Cancelling may leave half of `pcm`
        with the program: leave the block then.

        Raises:
            MuxError: `playback_failed`: the program ended, or took nothing for 10 s longer than it should.
            ValueError: `pcm` has an odd length.
        """
        samples(pcm)
        step = 2 * int(self.sample_rate * PIECE_SECONDS)
        for start in range(0, len(pcm), step):
            await self._hand_over(pcm[start : start + step])

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await self._play_out()
        finally:
            await self._end()

    async def _hand_over(self, piece: bytes) -> None:
        assert self._process.stdin is not None
        try:
            with anyio.fail_after(PIECE_SECONDS + GRACE):
                await self._process.stdin.send(piece)
        except TimeoutError:
            raise self._failure(f"took no sound for {PIECE_SECONDS + GRACE:g} s") from None
        except (OSError, anyio.BrokenResourceError):
            with anyio.move_on_after(GRACE):
                await self._process.wait()
            raise self._failure(self._ending()) from None
        self._dry_at = max(anyio.current_time(), self._dry_at) + len(piece) / 2 / self.sample_rate

    async def _play_out(self) -> None:
        """Wait until the program has played everything and ended by itself."""
        assert self._process.stdin is not None
        await self._process.stdin.aclose()
        with anyio.CancelScope(deadline=max(anyio.current_time(), self._dry_at) + GRACE):
            await self._process.wait()
        if self._process.returncode != 0:
            raise self._failure(self._ending())

    async def _end(self) -> None:
        """Leave no program and no file behind, even while being cancelled."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + KILL_SECONDS):
            await self._process.aclose()
        self._complaints.close()

    def _ending(self) -> str:
        status = self._process.returncode
        return "did not end" if status is None else f"ended with status {status}"

    def _failure(self, what: str) -> MuxError:
        self._complaints.seek(0)
        lines = self._complaints.read(4096).decode(errors="replace").split("\n")
        said = next((line.strip() for line in reversed(lines) if line.strip()), "it gave no reason")
        return MuxError.of(
            "playback_failed",
            f"The player {self._name} {what}: {said[:200]}. "
            "Check the sound device, or save the speech to a file instead.",
            observed=self._process.returncode,
        )
