import pytest

from mux.audio.formats import FORMATS, AudioFormat, parse_format
from mux.errors import MuxError

TOKENS = {
    *("pcm_8000", "pcm_16000", "pcm_22050", "pcm_24000", "pcm_32000", "pcm_44100", "pcm_48000"),
    *("ulaw_8000", "alaw_8000", "mp3_22050_32", "mp3_24000_48", "mp3_44100_32", "mp3_44100_64"),
    *("mp3_44100_96", "mp3_44100_128", "mp3_44100_192", "mp3_44100"),
    *("opus_48000_32", "opus_48000_64", "opus_48000_96", "opus_48000_128", "opus_48000_192"),
}
WAV = {f"wav_{rate}" for rate in (8000, 16000, 22050, 24000, 32000, 44100, 48000)}
"""For answers that are sent whole."""


def test_exactly_these_tokens_are_known() -> None:
    assert set(FORMATS) == TOKENS | WAV


def test_a_token_says_codec_rate_and_bit_rate() -> None:
    assert parse_format("pcm_22050") == AudioFormat("pcm_22050", "pcm", 22050)
    assert parse_format("mp3_24000_48") == AudioFormat("mp3_24000_48", "mp3", 24000, 48)
    assert parse_format("opus_48000_96") == AudioFormat("opus_48000_96", "opus", 48000, 96)
    assert parse_format("wav_32000", streaming=False) == AudioFormat("wav_32000", "wav", 32000)
    assert parse_format("mp3_44100") == parse_format("mp3_44100_128")
    for token, format in FORMATS.items():
        codec, rate, *kbps = format.token.split("_")
        assert (format.codec, str(format.sample_rate)) == (codec, rate), token
        assert [str(format.bitrate_kbps)] == kbps or (not kbps and format.bitrate_kbps is None)


@pytest.mark.parametrize(
    ("token", "content_type"),
    [
        ("pcm_16000", "audio/pcm"),
        ("ulaw_8000", "audio/basic"),
        ("alaw_8000", "audio/x-alaw-basic"),
        ("mp3_44100_64", "audio/mpeg"),
        ("opus_48000_64", "audio/opus"),
        ("wav_8000", "audio/wav"),
    ],
)
def test_content_types(token: str, content_type: str) -> None:
    assert parse_format(token, streaming=False).content_type == content_type


def refusal(token: str, *, streaming: bool) -> MuxError:
    with pytest.raises(MuxError) as refused:
        parse_format(token, streaming=streaming)
    assert refused.value.code == "unsupported_format"
    assert repr(token[:40]) in str(refused.value)
    allowed = refused.value.problem.allowed
    assert allowed is not None
    assert f"Ask for one of {', '.join(allowed)}." in str(refused.value)
    assert len(str(refused.value)) < 700
    for offered in allowed:
        parse_format(offered, streaming=streaming)
    return refused.value


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(
    "token",
    ["", "pcm", "pcm_11025", "PCM_24000", "pcm_24000 ", "mp3_44100_320", "ulaw_16000", "opus", "x" * 5000],
)
def test_an_unknown_format_is_refused_by_name(token: str, streaming: bool) -> None:
    refused = refusal(token, streaming=streaming)
    assert "unknown" in str(refused)
    assert set(refused.problem.allowed or ()) == (TOKENS if streaming else TOKENS | WAV)


@pytest.mark.parametrize("token", sorted(WAV))
def test_wav_is_for_whole_answers_only(token: str) -> None:
    assert parse_format(token, streaming=False).token == token
    refused = refusal(token, streaming=True)
    assert "whole HTTP answers only" in str(refused)
    assert set(refused.problem.allowed or ()) == TOKENS


def test_without_pyav_opus_is_refused_with_the_command_that_installs_it(without_pyav: None) -> None:
    refused = refusal("opus_48000_32", streaming=True)
    assert "pip install 'ttsmux[opus]'" in str(refused)
    offered = {token for token in TOKENS if not token.startswith("opus")}
    assert set(refused.problem.allowed or ()) == offered
    assert set(refusal("nonsense", streaming=True).problem.allowed or ()) == offered
