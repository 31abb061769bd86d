from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def mux() -> Run:
    """Run the program as a user does."""

    def run(*arguments: str, input: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "mux", *arguments],
            input=input,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
            env={"PATH": "/usr/bin:/bin", **variables},
        )

    return run
