"""A stand-in for the real services that fails on purpose, for people who test their clients.

>>> from mux.mock import Fault, serve_mock
>>> fault = Fault("close_1012", socket=1, nth=3, after_ms=300)
>>> async with serve_mock("elevenlabs", [fault]) as mock:
...     await speak_at(mock.url)
...     assert mock.fired["close_1012"] == 1
"""

from mux.mock.context import Context
from mux.mock.faults import FAULTS
from mux.mock.plan import Fault
from mux.mock.scenario import Scenario, load_scenario, parse_fault, parse_scenario
from mux.mock.server import Mock, mock_settings, serve_mock

__all__ = [
    "FAULTS",
    "Context",
    "Fault",
    "Mock",
    "Scenario",
    "load_scenario",
    "mock_settings",
    "parse_fault",
    "parse_scenario",
    "serve_mock",
]
