"""One spoken word: the test of key, voice, model, format, and of the end of a context."""

from __future__ import annotations

from mux.audio.formats import FORMATS
from mux.doctor.answers import explained
from mux.doctor.case import Case
from mux.doctor.conversation import Conversation, converse
from mux.doctor.findings import Finding, Tell, fine, found
from mux.doctor.patience import Patience
from mux.exchange.watch import ContextWatch

__all__ = ["WORD", "speak_a_word"]

WORD = "Hello there. "
NAME = "doctor"
FEWEST_MS = 30
"""Audio of one character of fast speech: with less, something is missing."""
PROMPT = 2.0
"""A socket that ends within so many seconds, before any audio, never worked."""


async def speak_a_word(case: Case, patience: Patience, tell: Tell) -> bool:
    """Have a word spoken, and tell what of it was well. Returns whether it was heard.

    Raises:
        MuxError: the socket could not be opened.
    """
    problems: list[Finding] = []
    async with converse(case, patience) as talk:
        heard = await _turn(talk, patience, hurried=True)
        if heard.ended and not heard.error and not heard.audio_bytes and talk.ending is None:
            problems = [await _second_try(case, patience)]
        elif talk.ending is None:
            await talk.listen(patience.settle)
        problems = problems or _problems(talk, heard, patience)
        took = heard.ended_at or talk.now
    for finding in problems:
        tell(finding.took(took))
    if any(finding.verdict == "problem" for finding in problems):
        for finding in talk.oddities("speech"):
            tell(finding)
        return False
    for finding in _well(case, talk):
        tell(finding)
    for finding in talk.oddities("speech"):
        tell(finding)
    size = f"{heard.audio_ms / 1000:.1f} s" if heard.audio_ms else f"{heard.audio_bytes} bytes"
    if not problems:
        first = heard.first_audio_ms or 0.0
        sentence = f"A word was heard {first:.0f} ms after its text: {size} of audio, and then the end"
        tell(fine("speech", sentence).took(took))
    return True


async def _turn(talk: Conversation, patience: Patience, *, hurried: bool) -> ContextWatch:
    """Speak, and wait for the end. `hurried`: all at once, as most apps do."""
    wire = talk.wire
    await talk.say(*wire.open(NAME), *wire.speak(NAME, WORD))
    heard = talk.context(NAME)
    if not hurried:
        since = talk.now
        await talk.until(lambda: heard.audio_bytes > 0, lambda: since + patience.audio)
    await talk.say(*wire.end(NAME))
    since = talk.now
    over = lambda: heard.ended_at is not None or bool(talk.watch.errors)  # noqa: E731
    await talk.until(over, lambda: max(since, heard.last_audio_at or 0.0) + patience.audio)
    if heard.error or talk.watch.errors:
        await talk.listen(1.0)  # the close that follows says more
    return heard


async def _second_try(case: Case, patience: Patience) -> Finding:
    """An end without audio: is it that the close came too soon?"""
    async with converse(case, patience) as talk:
        heard = await _turn(talk, patience, hurried=False)
        if heard.audio_bytes:
            return found("speech", "close_overtakes", f"{heard.audio_bytes} bytes when the close came later")
        return next(iter(talk.failure("speech", NAME)), found("speech", "silent_success", *talk.closed()))


def _problems(talk: Conversation, heard: ContextWatch, patience: Patience) -> list[Finding]:
    well = heard.ended_at is not None and not heard.error and heard.audio_bytes > 0
    lost = talk.ending is not None and heard.ended.startswith("socket closed")
    if well and not lost:
        return _slowness(talk, heard, patience)
    if failure := talk.failure("speech", NAME):
        return failure
    if talk.ending is not None:
        soon = not heard.audio_bytes and talk.ended_at < PROMPT
        cause = "unexplained" if soon else "closed_midway"
        return explained(talk.case, "speech", cause, *talk.closed(), code=talk.ending.code)
    if not heard.audio_bytes:
        return [found("speech", "no_audio", seconds=patience.audio)]
    partly = not heard.flushed and 0 < heard.audio_ms < FEWEST_MS * len(WORD.strip())
    evidence = f"{heard.audio_ms:.0f} ms of audio"
    return [found("speech", "audio_stalled" if partly else "no_end", evidence, seconds=patience.audio)]


def _slowness(talk: Conversation, heard: ContextWatch, patience: Patience) -> list[Finding]:
    findings = []
    first = (heard.first_audio_ms or 0.0) / 1000
    if first > patience.slow_audio:
        findings.append(found("speech", "slow_start", verdict="warning", seconds=first))
    waited = (heard.ended_at or 0.0) - (heard.last_audio_at or 0.0)
    if talk.wire.contexts and waited > patience.late_end:
        findings.append(found("contexts", "slot_late", verdict="warning", seconds=waited))
    return findings


def _well(case: Case, talk: Conversation) -> list[Finding]:
    """What a word that was heard says about the rest."""
    given = case.key is not None or case.key_in_query
    voice = f"The voice {case.voice} speaks" if case.voice else "The default voice speaks"
    model = f"The model {case.model} is served here" if case.model else "The service's default model is used"
    return [
        fine("key", "The key was accepted" if given else "No key was given, and none is needed"),
        fine("voice", voice),
        fine("model", model),
        check_format(case, talk),
    ]


def check_format(case: Case, talk: Conversation) -> Finding:
    """Whether the audio is what was asked for, as far as it can be seen."""
    asked = FORMATS.get(case.output_format or "")
    if asked is None:
        return fine("format", "No output format was asked for: the service's default is used")
    told = talk.heads[0]
    if case.dialect == "kugelaudio" and told.sample_rate is not None:
        codec = {"mulaw": "ulaw", "alaw": "alaw"}.get(told.encoding or "", "pcm")
        came = f"{codec}_{told.sample_rate}"
        if came != asked.token:
            return found("format", "wrong_format", detail=f"{asked.token} was asked for, {came} came")
        return fine("format", f"{asked.token} was asked for, and came")
    is_mp3 = looks_like_mp3(talk.head)
    if is_mp3 and asked.codec != "mp3" and case.dialect == "elevenlabs":
        # mp3 is what the service sends to whom it did not hear asking.
        detail = f"output_format={asked.token} was asked for, but mp3 came, which is the default"
        return found("format", "query_stripped", detail=detail)
    wrong = (asked.codec == "mp3") != is_mp3 or (asked.codec == "opus") != talk.head.startswith(b"OggS")
    if wrong:
        return found("format", "wrong_format", detail=f"{asked.token} was asked for, and something else came")
    return fine("format", f"{asked.token} was asked for, and nothing speaks against it")


def looks_like_mp3(head: bytes) -> bool:
    """Whether audio begins as mp3 does: with a tag, or with two frames of layer III, one after the other."""
    if head.startswith(b"ID3"):
        return True
    size = _mp3_frame(head)
    return size > 0 and (len(head) < size + 4 or _mp3_frame(head[size:]) > 0)


KBPS = {
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
}
"""Bit rates of layer III by the version's two bits: MPEG 1, MPEG 2."""
RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000)}


def _mp3_frame(data: bytes) -> int:
    """The bytes of the frame at the beginning; 0 where there is none."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE6 != 0xE2:
        return 0
    version, rate = data[1] >> 3 & 3, data[2] >> 2 & 3
    if version not in KBPS or rate == 3:
        return 0
    kbps = KBPS[version][data[2] >> 4]
    return (144000 if version == 3 else 72000) * kbps // RATES[version][rate] + (data[2] >> 1 & 1)
