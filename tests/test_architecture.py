"""Imports point one way, libraries are known in one place, and files stay short enough to be read."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import mux

ROOT = Path(mux.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
BASE = {"errors", "log", "tasks"}

MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "log": set(),
    "tasks": set(),
    "config": {"errors", "protocol", "usage"},
    "usage": {"protocol"},
    "protocol": {"errors"},
    "audio": {"errors"},
    "dialects": BASE | {"protocol", "usage"},
    "engines": BASE | {"protocol", "audio", "dialects", "links"},
    "links": BASE | {"protocol", "dialects"},
    "exchange": BASE | {"audio", "links"},
    "client": BASE | {"protocol", "audio", "dialects", "links"},
    "sync": BASE | {"protocol", "audio", "links", "client"},
    "server": BASE | {"protocol", "dialects", "links", "audio", "engines", "config"},
    "doctor": BASE | {"protocol", "dialects", "links", "audio", "exchange"},
    "mock": BASE | {"protocol", "dialects", "links", "audio", "engines", "config", "server"},
    "testing": BASE | {"protocol", "dialects", "links", "client", "audio", "engines", "config", "server"},
    "cli": BASE
    | {
        "",
        "protocol",
        "dialects",
        "links",
        "client",
        "audio",
        "engines",
        "config",
        "server",
        "mock",
        "exchange",
        "doctor",
    },
    "": {"client", "errors", "links", "protocol"},
    "__main__": {"cli"},
}
"""What each package of mux (or module beside them; "" is mux itself) may know of the others."""

MAY_KNOW: dict[str, set[str]] = {
    "trio_websocket": {"links/trio_transport.py"},
    # uvicorn's WebSocket is made of the same library, and its control frames pass through our hands.
    "websockets": {"links/websockets_transport.py", "server/on_asyncio.py"},
    "wsproto": {"links/trio_transport.py", "server/on_trio.py", "exchange/frames.py"},
    "uvicorn": {"server/on_asyncio.py"},
    "uvloop": set(),
    "httptools": set(),
    "hypercorn": {"server/on_trio.py"},
    "h11": {"server/on_asyncio.py", "server/on_trio.py", "server/head.py", "exchange/tap.py"},
    "starlette": {
        *(f"server/{name}.py" for name in ("accepted", "app", "catalogue", "door", "refusals", "run")),
        *(f"server/{name}.py" for name in ("on_asyncio", "on_trio", "sockets", "speech", "http_body")),
        *(f"mock/{name}.py" for name in ("server", "socket")),  # its types alone
        *(f"server/kugelaudio/{name}.py" for name in ("catalogue", "door", "sockets", "speech")),
    },
    "av": {"audio/opus.py"},
    "soxr": {"audio/converter.py", "engines/model_worker.py"},
    "lameenc": {"audio/mp3.py"},
    "httpx": {"engines/http_connection.py"},
    "piper": {"engines/model_worker.py"},
    "sherpa_onnx": {"engines/model_worker.py"},
    "onnxruntime": {"engines/model_worker.py"},
    "espeakng_loader": {"engines/espeak_worker.py", "engines/model_worker.py"},
}
"""The files that may import a library."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(path: Path) -> Iterator[str]:
    """Every name that a file imports, anywhere in it, with the package that it comes from."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} imports relatively"
            assert node.module is not None
            # `from mux import links` is an import of mux.links.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def package_of(name: str) -> str:
    """The package of mux (or the module beside them) that holds a dotted name; "" is mux itself."""
    first = name.removeprefix("mux").lstrip(".").split(".")[0]
    return first if (ROOT / first).is_dir() or (ROOT / f"{first}.py").exists() else ""


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_one_way(path: Path) -> None:
    relative = path.relative_to(ROOT)
    own = "" if relative.name == "__init__.py" and len(relative.parts) == 1 else relative.parts[0]
    own = own.removesuffix(".py")
    known = {package_of(name) for name in imported(path) if name.split(".")[0] == "mux"} - {own}
    assert known <= MAY_IMPORT[own], f"{name_of(path)} must not know {known - MAY_IMPORT[own]}"


def test_the_order_of_packages_has_no_circle() -> None:
    def below(package: str, above: tuple[str, ...]) -> None:
        assert package not in above, " -> ".join([*above, package])
        for other in MAY_IMPORT[package]:
            below(other, (*above, package))

    for package in MAY_IMPORT:
        below(package, ())


def test_each_library_is_known_where_it_belongs_and_nowhere_else() -> None:
    strays = {
        (library, name_of(path))
        for path in MODULES
        for library in {name.split(".")[0] for name in imported(path)} & MAY_KNOW.keys()
        if name_of(path) not in MAY_KNOW[library]
    }
    assert not strays


def test_the_core_knows_no_clock_no_task_and_no_socket() -> None:
    forbidden = {"anyio", "trio", "asyncio", "sniffio", "socket", "time", "threading", "selectors", "ssl"}
    for path in (ROOT / "protocol").rglob("*.py"):
        assert not {name.split(".")[0] for name in imported(path)} & forbidden, name_of(path)
        assert not [n for n in ast.walk(ast.parse(path.read_bytes())) if isinstance(n, ast.AsyncFunctionDef)]


def test_no_module_decides_for_one_loop_but_the_ones_for_that_loop() -> None:
    """Everything above the transports and servers runs on asyncio and on trio alike."""
    for_one_loop = {
        "client/patter/background.py",  # Patter gives its adapters no task group, and runs on asyncio alone
        "links/trio_transport.py",
        "links/websockets_transport.py",
        "server/on_asyncio.py",
        "server/on_trio.py",
        "server/tls_stream.py",
    }
    knowing = {
        name_of(path)
        for path in MODULES
        if {"trio", "asyncio"} & {name.split(".")[0] for name in imported(path)}
    }
    assert knowing <= for_one_loop


@pytest.mark.parametrize("worker", ["espeak_worker", "model_worker"])
def test_the_worker_programs_import_nothing_of_mux(worker: str) -> None:
    """They are under another licence than the rest, and run as programs of their own."""
    names = list(imported(ROOT / "engines" / f"{worker}.py"))
    assert not [name for name in names if name.split(".")[0] == "mux"]
    for path in MODULES:
        assert f"mux.engines.{worker}" not in " ".join(imported(path)), name_of(path)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_file_can_be_read_in_one_sitting_and_is_finished(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    assert not re.findall(r"\b(?:TODO|FIXME|XXX|HACK)\b", text)
