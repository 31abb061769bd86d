# SPDX-License-Identifier: GPL-3.0-or-later
"""The espeak-ng worker: a program of its own that speaks texts with libespeak-ng and writes PCM.

Run as ``python espeak_worker.py [--library FILE] [--data DIRECTORY]``. It imports nothing of mux: the pipe is
the border between two programs and two licences, and the place where a crash of the C library ends.

In (stdin, UTF-8), one JSON object a line:

    {"job": 7, "text": "...", "voice": "gmw/en-US+f2", "rate": 175, "pitch": 50, "range": 50, "volume": 100}
    {"abort": 7}        stop job 7, and every job with a lower number

Job numbers rise. Jobs are spoken in order, one at a time. The end of stdin ends the program at once.

Out (stdout), frames: a little-endian header ``kind:u8 job:u32 size:u32 starts:u32``, then `size` bytes, then
`starts` numbers (u32):

    kind 0 HELLO   job 0; JSON: {"sample_rate", "version", "library", "languages"}, or {"missing": why} or
                   {"failed": why}, after which the program ends
    kind 1 BEGUN   the job was read and is being worked on: from here on a crash is this job's
    kind 2 AUDIO   s16le mono PCM, and the sample in it at which each of the text's next `starts` code points
                   begins; never decreasing; the last of them ends with the frame
    kind 3 END     JSON: {} or {"error": why}; the last frame of a job, also of an aborted one

Each code point of a text that is spoken to its end is in exactly one AUDIO frame. After its HELLO the program
writes nothing to stderr.
"""

from __future__ import annotations

import argparse
import ctypes
import ctypes.util
import json
import os
import queue
import signal
import struct
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HELLO, BEGUN, AUDIO, END = range(4)
HEADER = struct.Struct("<BIII")

# speak_lib.h: the names are espeak's
AUDIO_OUTPUT_SYNCHRONOUS = 2
INITIALIZE_PHONEME_EVENTS, INITIALIZE_PHONEME_IPA, INITIALIZE_DONT_EXIT = 0x1, 0x2, 0x8000
CHARS_UTF8, ENDPAUSE = 0x1, 0x1000
POS_CHARACTER = 1
EVENT_TERMINATED, EVENT_WORD, EVENT_PHONEME = 0, 1, 7
RATE, VOLUME, PITCH, RANGE, PUNCTUATION, CAPITALS, WORDGAP = range(1, 8)

CHUNK_MS = 60
FRAME_MS = 100
"""Frames after the first are cut at the first character boundary after this much audio."""
RATES = (80, 449)
"""Words a minute. From 450 on the audio goes through sonic, and the samples of events no longer fit it."""


class Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("string", ctypes.c_char * 8),  # of a union of 8 bytes: a phoneme's name
    ]


class VoiceEntry(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("languages", ctypes.c_void_p), ("identifier", ctypes.c_char_p)]
    # more follows; entries are only ever read through pointers


SynthCallback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event)
)


class Missing(Exception):
    """There is no usable espeak-ng here."""


# --- finding the library ------------------------------------------------------------------------------


def candidates() -> Iterator[tuple[Path, Path | None]]:
    """Libraries to try, with their data directory (None: the one that the library was built with)."""
    for package, pattern in (("espeakng_loader", "*espeak-ng.*"), ("piper", "espeakbridge.*")):
        spec = find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            for file in sorted(Path(place).glob(pattern)):
                if file.suffix in (".so", ".dylib", ".dll", ".pyd"):
                    yield file, Path(place, "espeak-ng-data")
    for name in (ctypes.util.find_library("espeak-ng"), "libespeak-ng.so.1"):
        if name:
            yield Path(name), None
    for prefix in ("/opt/homebrew", "/usr/local"):
        yield Path(prefix, "lib", "libespeak-ng.dylib"), None


def load(library: Path | None, data: Path | None) -> tuple[Any, str, int]:
    """Load and initialise espeak-ng: the library, where it came from, its sample rate in Hz."""
    if library is not None:
        beside = library.parent / "espeak-ng-data"
        choices = [(library, data or (beside if beside.is_dir() else None))]
    else:
        choices = [(file, data or its_data) for file, its_data in candidates()]
    tried = []
    for file, directory in choices:
        try:
            espeak = ctypes.CDLL(str(file))
            initialize = espeak.espeak_Initialize
        except (OSError, AttributeError) as error:
            tried.append(str(error))
            continue
        if directory is not None and not directory.is_dir():
            tried.append(f"{directory}: no such directory")
            continue
        if directory is not None:
            os.chdir(directory)  # espeak cannot take a path of 160 characters or more; "." is short
        where = None if directory is None else b"."
        options = INITIALIZE_PHONEME_EVENTS | INITIALIZE_PHONEME_IPA | INITIALIZE_DONT_EXIT
        rate = initialize(AUDIO_OUTPUT_SYNCHRONOUS, CHUNK_MS, where, options)
        if rate > 0:  # without its data it answers 0, not -1
            return espeak, str(file), rate
        tried.append(f"{file}: espeak_Initialize answered {rate}")
    raise Missing("; ".join(tried))


def languages(espeak: Any) -> list[dict[str, Any]]:
    """What espeak_ListVoices knows: identifier, name and language tags of each language."""
    espeak.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(VoiceEntry))
    listed = espeak.espeak_ListVoices(None)
    found = []
    for number in range(10_000):
        if not listed[number]:
            break
        entry = listed[number].contents
        identifier = entry.identifier.decode(errors="replace")
        if identifier.startswith(("!v", "mb/")):  # variants; voices of another synthesizer, MBROLA
            continue
        tags, at = [], entry.languages  # a list of: priority byte, tag, NUL; ended by a priority of 0
        while ctypes.c_ubyte.from_address(at).value:
            tag = ctypes.string_at(at + 1)
            tags.append(tag.decode(errors="replace"))
            at += len(tag) + 2
        found.append({"identifier": identifier, "name": entry.name.decode(errors="replace"), "tags": tags})
    return found


# --- one job ------------------------------------------------------------------------------------------


class Alignment:
    """Where each code point of a text begins, found from espeak's WORD and PHONEME events as they come.

    A word lasts until the next one begins; its letters are spread evenly over its phonemes; the punctuation
    and white space after it take the pause. `starts` holds samples since the job's start, for the code points
    that are settled: those before the word that is being spoken.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.starts: list[int] = []
        self.settled = 0
        """The sample at which the settled code points end."""
        self._phonemes: list[int] = []
        self._pause: int | None = None

    def word(self, index: int, sample: int) -> None:
        """A word begins at code point `index`. The parts of a number are words that repeat or go back: they
        belong to the word that is being spoken."""
        if len(self.starts) < index < len(self.text):
            self._settle(index, sample)

    def phoneme(self, sample: int, pause: bool) -> None:
        if not pause:
            self._phonemes.append(sample)
            self._pause = None
        elif self._pause is None:
            self._pause = sample

    def end(self, sample: int) -> None:
        self._settle(len(self.text), sample)

    def _settle(self, index: int, sample: int) -> None:
        begin, end = self.settled, max(sample, self.settled)
        span = self.text[len(self.starts) : index]
        letters = len(span)
        while letters and _is_quiet(span[letters - 1]):
            letters -= 1
        pause = end
        if 0 < letters < len(span) and self._pause is not None:
            pause = min(max(self._pause, begin), end)
        spoken = letters or len(span)  # marks alone ("%", an emoji) are words themselves
        edges = [begin, *sorted(at for at in self._phonemes[1:] if begin < at < pause), pause]
        self.starts += [_between(edges, number / spoken) for number in range(spoken)]
        quiet = len(span) - spoken
        self.starts += [pause + (end - pause) * number // quiet for number in range(quiet)]
        self.settled, self._phonemes, self._pause = end, [], None


def _is_quiet(character: str) -> bool:
    """Separators, punctuation, control characters. Not `isalnum`: vowel signs are marks, and spoken."""
    return unicodedata.category(character)[0] in "ZPC"


def _between(edges: list[int], part: float) -> int:
    place = part * (len(edges) - 1)
    at = int(place)
    return int(edges[at] + (edges[at + 1] - edges[at]) * (place - at))


class Speech:
    """One job being spoken: takes espeak's chunks and events, sends AUDIO frames."""

    def __init__(self, text: str, frame: int, send: Callable[[bytes, list[int]], None]) -> None:
        self._align = Alignment(text)
        self._frame = frame
        """Samples of a full frame."""
        self._send = send
        self._pcm = bytearray()
        self._total = self._sent = self._characters = 0
        """Samples received and sent; code points sent."""

    def chunk(self, pcm: bytes, events: list[Event]) -> None:
        self._pcm += pcm
        self._total += len(pcm) // 2
        for event in events:
            if event.sample >= self._total:
                continue  # a word without audio has no place of its own: it joins the one before
            if event.type == EVENT_WORD:
                self._align.word(event.text_position - 1, event.sample)
            elif event.type == EVENT_PHONEME:
                self._align.phoneme(event.sample, pause=not event.string)
        self._flush(self._align.settled)

    def finish(self) -> None:
        self._align.end(self._total)
        self._flush(self._total)

    def _flush(self, settled: int) -> None:
        """Send what is settled, in frames whose borders are borders of characters."""
        starts, first = self._align.starts, self._characters
        for index in range(first + 1, len(starts)):
            if self._sent + self._frame <= starts[index] < settled:
                self._emit(index, starts[index])
        if settled > self._sent:
            self._emit(len(starts), settled)

    def _emit(self, index: int, sample: int) -> None:
        size = 2 * (sample - self._sent)
        starts = [at - self._sent for at in self._align.starts[self._characters : index]]
        self._send(bytes(self._pcm[:size]), starts)
        del self._pcm[:size]
        self._sent, self._characters = sample, index


# --- the program --------------------------------------------------------------------------------------


class Worker:
    def __init__(self, espeak: Any, rate: int, out: Any) -> None:
        self._espeak = espeak
        self._rate = rate
        self._out = out
        self._jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._aborted = 0
        """Jobs up to this number are to stop."""
        self._job = 0
        self._speech: Speech | None = None
        self._callback = SynthCallback(self._on_chunk)  # must outlive every call of the library
        espeak.espeak_SetSynthCallback(self._callback)
        espeak.espeak_Synth.argtypes = [
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
            ctypes.c_void_p, ctypes.c_void_p,
        ]  # fmt: skip

    def run(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()
        while True:
            order = self._jobs.get()
            self._job = int(order["job"])
            send_frame(self._out, BEGUN, self._job)
            try:
                self._speak(order)
                outcome = {}
            except Exception as error:
                outcome = {"error": f"{type(error).__name__}: {error}"}
            send_frame(self._out, END, self._job, json.dumps(outcome).encode())

    def _read(self) -> None:
        try:
            for line in sys.stdin.buffer:
                order = json.loads(line)
                if "abort" in order:
                    self._aborted = max(self._aborted, int(order["abort"]))
                else:
                    self._jobs.put(order)
        finally:
            os._exit(0)  # whoever started us is gone; the main thread may be blocked in a write

    def _speak(self, order: dict[str, Any]) -> None:
        if self._job <= self._aborted:
            return
        espeak = self._espeak
        # All of this is global state of the library, and jobs leave it dirty: the voice first, then every
        # parameter, before each job.
        if espeak.espeak_SetVoiceByName(order["voice"].encode()) != 0:
            raise LookupError(f"espeak-ng has no voice {order['voice']}")
        for parameter, value in (
            (RATE, min(max(order["rate"], RATES[0]), RATES[1])),
            (VOLUME, order["volume"]),
            (PITCH, order["pitch"]),
            (RANGE, order["range"]),
            (PUNCTUATION, 0),
            (CAPITALS, 0),
            (WORDGAP, 0),
        ):
            espeak.espeak_SetParameter(parameter, value, 0)
        text = order["text"]
        speech = Speech(text, self._rate * FRAME_MS // 1000, partial(send_frame, self._out, AUDIO, self._job))
        self._speech = speech
        data = text.encode("utf-8", "replace")
        # ENDPAUSE: one job for each sentence then sounds like the whole text in one go. Never the SSML flag:
        # markup in a user's text crashes the library, and outlives its job.
        status = espeak.espeak_Synth(
            data, len(data) + 1, 0, POS_CHARACTER, 0, CHARS_UTF8 | ENDPAUSE, None, None
        )
        if self._job <= self._aborted:
            return
        if status != 0:
            raise RuntimeError(f"espeak_Synth answered {status}")
        speech.finish()

    def _on_chunk(self, samples: Any, count: int, events: Any) -> int:
        """Called by the library about every 60 ms of speech; 1 stops it."""
        if self._job <= self._aborted or self._speech is None:
            return 1
        happened: list[Event] = []
        while events[len(happened)].type != EVENT_TERMINATED:
            happened.append(events[len(happened)])
        pcm = ctypes.string_at(samples, 2 * count) if samples and count else b""
        try:
            self._speech.chunk(pcm, happened)
        except OSError:  # nobody reads any more; an exception cannot pass through C
            self._aborted = self._job
            return 1
        return 0


def send_frame(out: Any, kind: int, job: int, payload: bytes = b"", starts: Sequence[int] = ()) -> None:
    header = HEADER.pack(kind, job, len(payload), len(starts))
    out.write(header + payload + struct.pack(f"<{len(starts)}I", *starts))
    out.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description="espeak-ng worker; see the top of this file")
    parser.add_argument("--library", type=Path, help="the libespeak-ng file to load")
    parser.add_argument("--data", type=Path, help="its espeak-ng-data directory")
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; our parent decides
    out = open(os.dup(1), "wb")  # noqa: SIM115
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)  # the C library prints; stdout is for frames
    try:
        espeak, source, rate = load(arguments.library, arguments.data)
        espeak.espeak_Info.restype = ctypes.c_char_p
        version = espeak.espeak_Info(None).decode(errors="replace")
        hello = {"sample_rate": rate, "version": version, "library": source, "languages": languages(espeak)}
    except Missing as error:
        send_frame(out, HELLO, 0, json.dumps({"missing": str(error)}).encode())
        return
    except Exception as error:
        send_frame(out, HELLO, 0, json.dumps({"failed": f"{type(error).__name__}: {error}"}).encode())
        return
    os.dup2(null, 2)
    send_frame(out, HELLO, 0, json.dumps(hello).encode())
    Worker(espeak, rate, out).run()


if __name__ == "__main__":
    main()
