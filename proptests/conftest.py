"""Hypothesis profiles. `ci` (the default) is small and always takes the same examples; `MUX_PROFILE=deep`
searches long and at random, and keeps what it finds in .hypothesis. A failure prints a blob that repeats it:
`@reproduce_failure`."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

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
    max_examples=5000,
    stateful_step_count=150,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("MUX_PROFILE", "ci"))
