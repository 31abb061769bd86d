# SPDX-License-Identifier: GPL-3.0-or-later
"""The model worker: a program of its own that speaks texts with voice models in files, and writes PCM.

Run as ``python model_worker.py piper|sherpa --rate HZ [--threads N] MODEL...``. It imports nothing of mux:
Piper's package and espeak-ng, which turn text into phonemes, are under the GPL, and the pipe is the border. A
MODEL is a JSON object with absolute paths:

    piper       {"sample_rate": 22050, "file": "x.onnx"}, with its x.onnx.json beside it
    sherpa      {"sample_rate": 24000, "kind": "vits" | "kokoro" | "kitten", "files": {"model": "x.onnx",
                "tokens": "tokens.txt", ...}, "espeak": [voice, ...]} with espeak-ng's voice for each speaker,
                null for one that reads text

The pipe's frames, `abort` and the end of stdin are as `espeak_worker.py` says at its top, but for:

    job         {"job": 7, "text": "...", "model": 0, "speaker": 2, "speed": 1.0, "stability": 0.5}
    kind 0      HELLO, when each model has spoken once; JSON: {}, or {"missing": why} or {"failed": why}
    kind 2      AUDIO at the rate of HZ, whatever the model's; `starts` is 0, for these models say no times
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import queue
import re
import signal
import struct
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

HELLO, BEGUN, AUDIO, END = range(4)
HEADER = struct.Struct("<BIII")
FRAME_MS = 100
PAUSE_MS = 200
"""What a text without a letter or number becomes, such as three dots, where a model says nothing to it."""


class Unusable(Exception):
    """A model that nothing can be spoken with, and what to do about it."""


class Model(Protocol):
    def speak(self, order: dict[str, Any], emit: Callable[[Any], bool]) -> None:
        """Give the audio to `emit` (float32 from -1 to 1, one dimension) sentence by sentence, until that
        answers False."""

    def ready(self) -> None:
        """Forget an earlier `stop`."""

    def stop(self) -> None:
        """Called from another thread: make `speak` end soon, with or without an exception."""


# --- Piper --------------------------------------------------------------------------------------------


class PiperModel:
    """A voice of Piper: a VITS network, and a .json file that says which phonemes it takes."""

    def __init__(self, facts: dict[str, Any], threads: int) -> None:
        import onnxruntime
        from piper import PiperVoice
        from piper.config import PiperConfig

        file = Path(facts["file"])
        try:
            config = PiperConfig.from_dict(json.loads(Path(f"{file}.json").read_text(encoding="utf-8")))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise Unusable(
                f"{file}.json does not describe a Piper voice ({type(error).__name__}: {error}); "
                "take the .onnx.json file that was published with the model"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(
                str(file), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise Unusable(f"{file} is not a model that ONNX Runtime can load ({error})") from error
        inputs = {entry.name for entry in session.get_inputs()}
        wanted = {"input", "input_lengths", "scales"} | ({"sid"} if config.num_speakers > 1 else set())
        if inputs != wanted:
            raise Unusable(
                f"{file} takes {', '.join(sorted(inputs))}, but the Piper voice in its .json file takes "
                f"{', '.join(sorted(wanted))}; give a model that was exported for Piper, with its own .json"
            )
        # Piper's own loader would take every core, and could not stop in the middle of a sentence.
        self._voice = PiperVoice(session=session, config=config, download_dir=file.parent)
        self._new_run = onnxruntime.RunOptions
        self.ready()
        trial = {"text": "a", "speaker": config.default_speaker_id, "speed": 1.0, "stability": 0.5}
        try:
            self.speak(trial, lambda audio: True)
        except Exception as error:
            raise Unusable(f"{file} cannot speak ({type(error).__name__}: {error})") from error

    def speak(self, order: dict[str, Any], emit: Callable[[Any], bool]) -> None:
        import numpy

        config = self._voice.config
        # 0.5 is the model's own liveliness; at 1 it says the same text in the same way each time
        noise = 2 * (1 - order["stability"])
        scales = (
            config.noise_scale * noise,
            config.length_scale / order["speed"],
            config.noise_w_scale * noise,
        )
        for phonemes in self._voice.phonemize(order["text"]):
            if not phonemes:
                continue
            ids = numpy.array([self._voice.phonemes_to_ids(phonemes)], dtype=numpy.int64)
            inputs = {
                "input": ids,
                "input_lengths": numpy.array([ids.shape[1]], dtype=numpy.int64),
                "scales": numpy.array(scales, dtype=numpy.float32),
            }
            if config.num_speakers > 1:
                inputs["sid"] = numpy.array([order["speaker"]], dtype=numpy.int64)
            audio = self._voice.session.run(None, inputs, self._run)[0]
            if audio.dtype != numpy.float32 or audio.size != max(audio.shape):
                raise TypeError(f"its output is {audio.dtype}{list(audio.shape)}, not one row of float32")
            audio = audio.reshape(-1)
            peak = float(numpy.abs(audio).max(initial=0.0))
            if not emit(audio / peak if peak > 1e-8 else audio):  # as loud as Piper itself makes it
                return

    def ready(self) -> None:
        self._run = self._new_run()

    def stop(self) -> None:
        self._run.terminate = True


# --- sherpa-onnx --------------------------------------------------------------------------------------


class SherpaModel:
    """A model in the form that sherpa-onnx publishes. Most take phonemes, some read text."""

    def __init__(self, facts: dict[str, Any], threads: int) -> None:
        import sherpa_onnx

        networks = {
            "vits": sherpa_onnx.OfflineTtsVitsModelConfig,
            "kokoro": sherpa_onnx.OfflineTtsKokoroModelConfig,
            "kitten": sherpa_onnx.OfflineTtsKittenModelConfig,
        }
        network = {facts["kind"]: networks[facts["kind"]](**facts["files"])}
        config = sherpa_onnx.OfflineTtsConfig(
            model=sherpa_onnx.OfflineTtsModelConfig(**network, num_threads=threads), max_num_sentences=1
        )
        if not config.validate():
            raise Unusable(f"{facts['files']['model']} and the files beside it are not a complete model")
        self._tts = sherpa_onnx.OfflineTts(config)
        self._settings = sherpa_onnx.GenerationConfig
        self._espeak = facts["espeak"]
        self._phonemizer = Phonemizer() if any(self._espeak) else None
        spoke = False

        def listen(audio: Any) -> bool:
            nonlocal spoke
            spoke = True
            return True

        self.speak({"text": "a", "speaker": 0, "speed": 1.0}, listen)
        if self._espeak[0] and not spoke:  # who reads text might not know the word
            raise Unusable(
                f"{facts['files']['model']} gives no audio; take a model made for this sherpa-onnx"
            )

    def speak(self, order: dict[str, Any], emit: Callable[[Any], bool]) -> None:
        settings = self._settings()
        settings.sid, settings.speed = order["speaker"], order["speed"]
        voice = self._espeak[order["speaker"]]
        if voice and self._phonemizer is not None:
            sentences = self._phonemizer.sentences(order["text"], voice)
            if not sentences:
                return
            settings.phoneme_codepoints = [list(map(ord, sentence)) for sentence in sentences]
        # It asks after each sentence whether to go on; what it returns is the same audio once more.
        self._tts.generate(order["text"], settings, lambda audio, progress: int(emit(audio)))

    def ready(self) -> None:
        """Nothing is left of a job that ended."""

    def stop(self) -> None:
        """Nothing stops it inside a sentence: whoever cannot wait so long ends the process."""


class VoiceSpec(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p), ("languages", ctypes.c_char_p), ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte), ("age", ctypes.c_ubyte), ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte), ("score", ctypes.c_int), ("spare", ctypes.c_void_p),
    ]  # fmt: skip


class Phonemizer:
    """Text to the phonemes that these models were trained on: espeak-ng's, with the punctuation kept."""

    MARK = re.compile(r"([.?!,:;。！？।؟…，、；：])[\"'”’»)\]\s]*$")
    LATIN = str.maketrans("。！？।؟…，、；：", ".!?.?.,,;:")
    LONG = 200
    """Phonemes after which the next clause is a sentence of its own: a model takes about 500 at a time."""

    def __init__(self) -> None:
        import espeakng_loader

        loader: Any = espeakng_loader
        self._library = ctypes.CDLL(loader.get_library_path())
        os.chdir(loader.get_data_path())  # espeak cannot take a path of 160 characters or more
        if self._library.espeak_Initialize(2, 0, b".", 0x8000) <= 0:  # AUDIO_OUTPUT_SYNCHRONOUS, DONT_EXIT
            raise Unusable("espeak-ng does not find its data; install espeakng-loader again")
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._library.espeak_TextToPhonemes.argtypes = [
            ctypes.POINTER(ctypes.c_void_p), ctypes.c_int, ctypes.c_int,
        ]  # fmt: skip

    def sentences(self, text: str, voice: str) -> list[str]:
        self._speak_as(voice)
        found, sentence = [], ""
        for phonemes, clause in self._clauses(text):
            mark = self.MARK.search(clause)
            end = mark[1].translate(self.LATIN) if mark else ""
            phonemes = re.sub(r"\([^)]*\)", "", phonemes)  # "(de)": the next words are in another language
            sentence += unicodedata.normalize("NFD", phonemes) + end
            if end in (".", "?", "!") or len(sentence) > self.LONG:
                found.append(sentence)
                sentence = ""
            else:
                sentence += " "
        return [sentence.strip() for sentence in (*found, sentence) if sentence.strip()]

    def _speak_as(self, voice: str) -> None:
        spec = VoiceSpec(languages=voice.encode())
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0 and (
            self._library.espeak_SetVoiceByProperties(ctypes.byref(spec)) != 0
        ):
            raise LookupError(f"espeak-ng has no voice {voice}")

    def _clauses(self, text: str) -> Iterator[tuple[str, str]]:
        """Each clause's phonemes, and the text that they were read from."""
        data = ctypes.create_string_buffer(text.encode("utf-8", "replace"))
        begin = at = ctypes.addressof(data)
        cursor = ctypes.c_void_p(begin)
        while cursor.value is not None:
            phonemes = self._library.espeak_TextToPhonemes(ctypes.byref(cursor), 1, 2) or b""  # UTF-8, IPA
            end = cursor.value or begin + len(data) - 1
            clause = data.raw[at - begin : end - begin].decode(errors="replace")
            at = end
            # it has looked at the first character of the next clause, too
            yield phonemes.decode(errors="replace"), clause[:-1] if cursor.value else clause


# --- the program --------------------------------------------------------------------------------------


class Worker:
    def __init__(self, models: list[tuple[Model, int]], sample_rate: int, out: BinaryIO) -> None:
        self._models = models
        """Each with its own sample rate, in Hz."""
        self._sample_rate = sample_rate
        self._out = out
        self._jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._aborted = 0
        """Jobs up to this number are to stop."""
        self._job = 0

    def run(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()
        while True:
            order = self._jobs.get()
            self._job = int(order["job"])
            send_frame(self._out, BEGUN, self._job)
            outcome = {}
            try:
                # Before the question: an abort that comes in between is either seen there, or stops this job.
                self._models[order["model"]][0].ready()
                if self._job > self._aborted:
                    self._speak(order)
            except Exception as error:
                if self._job > self._aborted:
                    outcome = {"error": f"{type(error).__name__}: {error}"}
            send_frame(self._out, END, self._job, json.dumps(outcome).encode())

    def _read(self) -> None:
        try:
            for line in sys.stdin.buffer:
                order = json.loads(line)
                if "abort" not in order:
                    self._jobs.put(order)
                    continue
                self._aborted = max(self._aborted, int(order["abort"]))
                if self._job <= self._aborted:
                    for model, _ in self._models:
                        model.stop()
        finally:
            os._exit(0)  # whoever started us is gone; the main thread may be busy, or blocked in a write

    def _speak(self, order: dict[str, Any]) -> None:
        import numpy

        model, model_rate = self._models[order["model"]]
        frame = 2 * (self._sample_rate * FRAME_MS // 1000)

        spoke = False

        def emit(audio: Any) -> bool:
            nonlocal spoke
            spoke = True
            audio = numpy.asarray(audio, dtype=numpy.float32)
            if model_rate != self._sample_rate:
                import soxr

                audio = soxr.resample(audio, model_rate, self._sample_rate)
            pcm = (numpy.clip(audio, -1, 1) * 32767).astype("<i2").tobytes()
            for at in range(0, len(pcm), frame):
                if self._job <= self._aborted:
                    return False
                send_frame(self._out, AUDIO, self._job, pcm[at : at + frame])
            return self._job > self._aborted

        model.speak(order, emit)
        if not spoke and not any(map(str.isalnum, order["text"])):
            emit(numpy.zeros(model_rate * PAUSE_MS // 1000, dtype=numpy.float32))


def send_frame(out: BinaryIO, kind: int, job: int, payload: bytes = b"") -> None:
    out.write(HEADER.pack(kind, job, len(payload), 0) + payload)
    out.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description="worker for voice models; see the top of this file")
    parser.add_argument("library", choices=("piper", "sherpa"))
    parser.add_argument("models", type=json.loads, nargs="+", help="JSON objects")
    parser.add_argument("--rate", type=int, required=True, help="samples a second of what is written")
    parser.add_argument("--threads", type=int, default=1, help="processor cores for one sentence")
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; our parent decides
    out = open(os.dup(1), "wb")  # noqa: SIM115
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)  # the libraries print; stdout is for frames
    kinds: dict[str, Callable[[dict[str, Any], int], Model]] = {"piper": PiperModel, "sherpa": SherpaModel}
    try:
        models: list[tuple[Model, int]] = [
            (kinds[arguments.library](facts, arguments.threads), facts["sample_rate"])
            for facts in arguments.models
        ]
    except ImportError as error:
        hello = {"missing": str(error)}
    except Unusable as error:
        hello = {"failed": str(error)}
    except Exception as error:
        hello = {"failed": f"{type(error).__name__}: {error}"}
    else:
        hello = {}
        os.dup2(null, 2)
    send_frame(out, HELLO, 0, json.dumps(hello).encode())
    if not hello:
        Worker(models, arguments.rate, out).run()


if __name__ == "__main__":
    main()
