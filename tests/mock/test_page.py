"""docs/mock.md: an example of each fault, and every example is understood."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mux.mock import FAULTS, parse_scenario
from mux.mock.plan import Fault

PAGE = (Path(__file__).parents[2] / "docs" / "mock.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"^### (\w+)\n\n```toml\n(.*?)```\n\n[^\n]+", PAGE, re.DOTALL | re.MULTILINE))


def test_each_fault_has_an_example() -> None:
    assert list(EXAMPLES) == list(FAULTS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_is_one_of_this_fault(name: str) -> None:
    assert [fault.name for fault in parse_scenario(EXAMPLES[name]).faults] == [name]


def test_the_scenario_and_the_fields_are_those_that_there_are() -> None:
    (scenario,) = re.findall(r"```toml\n(dialect.*?)```", PAGE, re.DOTALL)
    assert [fault.name for fault in parse_scenario(scenario).faults] == ["close_1012", "zero_audio"]
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == list(Fault.__struct_fields__)
