from mux.errors import CLOSE_REASON_BYTES, ERRORS, MuxError, Problem, close_reason


def test_every_row_has_a_spelling_and_sane_codes() -> None:
    for code, row in ERRORS.items():
        assert row.elevenlabs, code
        assert 200 <= row.http < 600, code
        assert 1000 <= row.close < 1016, code


def test_close_reason_fits_a_close_frame_and_never_splits_a_character() -> None:
    assert close_reason("short") == "short"
    cut = close_reason("ü" * 200)
    assert len(cut.encode()) <= CLOSE_REASON_BYTES
    assert cut.endswith("...")
    assert set(cut[:-3]) == {"ü"}


def test_an_error_carries_its_problem() -> None:
    error = MuxError.of("busy", "Too busy.", limit=20, observed=21)
    assert error.problem == Problem(code="busy", message="Too busy.", limit=20, observed=21)
    assert error.retryable
    assert str(error) == "Too busy."
