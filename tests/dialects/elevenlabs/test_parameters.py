from __future__ import annotations

import pytest

from mux.dialects.elevenlabs import Parameters, parse_parameters
from mux.errors import MuxError
from mux.protocol.voice import ContextSettings


def test_without_a_query_the_documented_defaults_hold() -> None:
    assert parse_parameters("alice", {}) == Parameters(
        settings=ContextSettings(
            voice="alice", auto_mode=False, inactivity_timeout=20.0, normalize=True, ssml=False
        ),
        output_format="mp3_44100_128",
        sync_alignment=False,
        hello=False,
        key=None,
        unknown=(),
    )


LIVEKIT = {
    "model_id": "eleven_turbo_v2_5",
    "output_format": "pcm_24000",
    "enable_ssml_parsing": "false",
    "enable_logging": "true",
    "inactivity_timeout": "180",
    "apply_text_normalization": "auto",
    "sync_alignment": "true",
    "auto_mode": "true",
}
PIPECAT = {"model_id": "eleven_flash_v2_5", "output_format": "pcm_24000", "auto_mode": "true"}
BOLNA = {
    "model_id": "eleven_turbo_v2_5",
    "output_format": "ulaw_8000",
    "inactivity_timeout": "170",
    "sync_alignment": "true",
    "optimize_streaming_latency": "4",
}


@pytest.mark.parametrize(
    ("query", "auto", "sync", "timeout"),
    [
        pytest.param(LIVEKIT, True, True, 180.0, id="livekit"),
        pytest.param(PIPECAT, True, False, 20.0, id="pipecat"),
        pytest.param(BOLNA, False, True, 170.0, id="bolna"),
    ],
)
def test_the_queries_of_real_clients_are_understood(
    query: dict[str, str], auto: bool, sync: bool, timeout: float
) -> None:
    parameters = parse_parameters("v", query)
    assert parameters.settings.auto_mode is auto
    assert parameters.settings.inactivity_timeout == timeout
    assert parameters.sync_alignment is sync
    assert parameters.output_format == query["output_format"]
    assert parameters.unknown == ()


@pytest.mark.parametrize("voice", ["None", "null", ""])
def test_pipecats_word_none_is_no_voice(voice: str) -> None:
    assert parse_parameters(voice, {}).settings.voice is None


def test_an_empty_value_counts_as_not_given() -> None:
    query = {"inactivity_timeout": "", "auto_mode": "", "output_format": "", "language_code": "", "what": ""}
    assert parse_parameters("v", query) == parse_parameters("v", {})


@pytest.mark.parametrize("name", ["auto_mode", "sync_alignment", "mux_hello"])
@pytest.mark.parametrize("value", ["maybe", "yes", "2", "truefalse"])
def test_a_flag_that_is_none_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(MuxError) as caught:
        parse_parameters("v", {name: value})
    assert caught.value.code == "invalid_parameter"
    assert name in str(caught.value)
    assert "true or false" in str(caught.value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    ("value", "flag"), [("true", True), ("True", True), ("1", True), ("FALSE", False), ("0", False)]
)
def test_flags_come_in_any_case(value: str, flag: bool) -> None:
    assert parse_parameters("v", {"auto_mode": value}).settings.auto_mode is flag
    assert parse_parameters("v", {"sync_alignment": value}).sync_alignment is flag
    assert parse_parameters("v", {"mux_hello": value}).hello is flag


@pytest.mark.parametrize("value", ["soon", "nan", "inf", "-inf", "1e400", "20s"])
def test_a_timeout_that_is_no_number_is_refused_by_name(value: str) -> None:
    with pytest.raises(MuxError, match="inactivity_timeout must be a number of seconds") as caught:
        parse_parameters("v", {"inactivity_timeout": value})
    assert caught.value.code == "invalid_parameter"
    assert caught.value.problem.observed == value


def test_a_timeout_out_of_range_is_left_for_the_core_to_clamp() -> None:
    assert parse_parameters("v", {"inactivity_timeout": "500"}).settings.inactivity_timeout == 500
    assert parse_parameters("v", {"inactivity_timeout": "0"}).settings.inactivity_timeout == 0


@pytest.mark.parametrize("name", ["xi-api-key", "xi_api_key", "api_key", "authorization"])
def test_a_key_is_found_under_each_of_its_names_and_is_never_listed_as_unknown(name: str) -> None:
    parameters = parse_parameters("v", {name: "sesame"})
    assert parameters.key == "sesame"
    assert parameters.unknown == ()


def test_a_single_use_token_is_no_key() -> None:
    parameters = parse_parameters("v", {"single_use_token": "once"})
    assert (parameters.key, parameters.token, parameters.unknown) == (None, "once", ())


def test_unknown_names_are_told_without_their_values_and_change_nothing() -> None:
    parameters = parse_parameters("v", {"zebra": "secret", "apple": "1", "model_id": "m", "seed": "7"})
    assert parameters.unknown == ("apple", "zebra")
    assert parameters.settings == parse_parameters("v", {}).settings


def test_a_long_value_is_cut_in_the_sentence() -> None:
    with pytest.raises(MuxError) as caught:
        parse_parameters("v", {"auto_mode": "x" * 10_000})
    assert len(str(caught.value)) < 200
