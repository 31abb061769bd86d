from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.espeak


def test_the_local_voices_are_listed(mux: Callable[..., Any]) -> None:
    lines = mux("voices").stdout.splitlines()
    ids = [line.split("\t")[0] for line in lines]
    assert len(ids) == len(set(ids)) > 100
    assert ids[0] == "en-us-f2"
    german = mux("voices", "--language", "de").stdout.splitlines()
    assert german
    assert all(line.split("\t")[1].startswith("de") for line in german)


def test_a_language_without_a_voice_is_named(mux: Callable[..., Any]) -> None:
    done = mux("voices", "--language", "xx")
    assert done.returncode == 2
    assert done.stderr.startswith("mux: No local voice speaks 'xx'.")
