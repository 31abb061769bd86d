from collections.abc import Callable
from typing import Any

from mux import __version__


def test_the_module_is_the_program(mux: Callable[..., Any]) -> None:
    assert __version__ in mux("--version").stdout
    shown = mux("--help").stdout
    assert all(command in shown for command in ("serve", "demo", "say", "voices"))
    assert mux("nonsense").returncode == 2
