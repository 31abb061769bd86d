from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest


def _tone(sample_rate: int, count: int, hz: float = 997.0, peak: float = 16000.0) -> bytes:
    time = np.arange(count) / sample_rate
    return np.round(peak * np.sin(2 * np.pi * hz * time)).astype("<i2").tobytes()


@pytest.fixture(scope="session")
def tone() -> Callable[..., bytes]:
    """`tone(sample_rate, count, hz, peak)`: a sine of `count` samples as mono s16le."""
    return _tone
