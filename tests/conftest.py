"""Every async test runs on asyncio and on trio. A test marked `virtual_time` runs on trio alone, with a
clock that jumps to the next deadline as soon as everybody waits: sleeping takes no time."""

from __future__ import annotations

from typing import Any

import pytest
import trio.testing


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "anyio_backend" in metafunc.fixturenames:
        virtual = metafunc.definition.get_closest_marker("virtual_time")
        backends = ["virtual"] if virtual else ["asyncio", "trio"]
        metafunc.parametrize("anyio_backend", backends, indirect=True)


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    if request.param == "virtual":
        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
    return request.param, {}
