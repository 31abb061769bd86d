"""Hypothesis profiles. `ci` (the default) is small and always takes the same examples; `MUX_PROFILE=deep`
searches long and at random, and keeps what it finds in .hypothesis. A failure prints a blob that repeats it:
`@reproduce_failure`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))  # for the models: importlib mode adds no test directory

settings.register_profile(
    "ci",
    max_examples=100,
    stateful_step_count=50,
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=True,
)
settings.register_profile(
    "deep",
    max_examples=2000,
    stateful_step_count=150,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
PROFILE = os.environ.get("MUX_PROFILE", "ci")
settings.load_profile(PROFILE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A deep search takes as long as it takes."""
    for item in items:
        if PROFILE == "deep" and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(0))
