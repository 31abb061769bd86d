import pytest

from mux.audio.formats import FORMATS, AudioFormat, parse_format
from mux.errors import MuxError

TOKENS = {
    *("pcm_8000", "pcm_16000", "pcm_22050", "pcm_24000", "pcm_32000", "pcm_44100", "pcm_48000"),
    *("ulaw_8000", "alaw_8000", "mp3_22050_32", "mp3_24000_48", "mp3_44100_32", "mp3_44100_64"),
    *("mp3_44100_96", "mp3_44100_128", "mp3_44100_192", "mp3_44100"),
}


def test_exactly_these_tokens_are_known() -> None:
    assert set(FORMATS) == TOKENS


def test_a_token_says_codec_rate_and_bit_rate() -> None:
    assert parse_format("pcm_22050") == AudioFormat("pcm_22050", "pcm", 22050)
    assert parse_format("mp3_24000_48") == AudioFormat("mp3_24000_48", "mp3", 24000, 48)
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
    ],
)
def test_content_types(token: str, content_type: str) -> None:
    assert parse_format(token).content_type == content_type


@pytest.mark.parametrize(
    "token", ["", "pcm", "pcm_11025", "PCM_24000", "pcm_24000 ", "mp3_44100_320", "ulaw_16000", "x" * 5000]
)
def test_an_unknown_format_is_refused_by_name(token: str) -> None:
    with pytest.raises(MuxError) as refused:
        parse_format(token)
    assert refused.value.code == "unsupported_format"
    assert repr(token[:40]) in str(refused.value)
    assert "unknown" in str(refused.value)
    assert refused.value.problem.allowed == tuple(FORMATS)
    assert all(allowed in str(refused.value) for allowed in FORMATS)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("token", ["opus_48000_32", "opus_48000_192", "wav_24000", "wav_44100"])
def test_a_vendor_format_that_a_socket_cannot_have_is_refused_as_such(token: str) -> None:
    with pytest.raises(MuxError, match="not available on a socket here") as refused:
        parse_format(token)
    assert refused.value.code == "unsupported_format"
    assert token in str(refused.value)
