from __future__ import annotations

import io
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from mux.log import get_logger
from mux.server.limits import Limits
from mux.server.listener import open_listener
from mux.server.logs import LIBRARIES, configure_logging, redact
from mux.server.run import serve

KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """`configure_logging` is for a whole process; undo it."""
    loggers = [logging.getLogger(), logging.getLogger("mux"), *map(logging.getLogger, LIBRARIES)]
    before = [(logger, logger.level, logger.handlers[:], logger.propagate) for logger in loggers]
    yield
    for logger, level, handlers, propagate in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers
        logger.propagate = propagate


def test_json_is_one_object_per_line() -> None:
    out = io.StringIO()
    configure_logging("json", "info", out)
    get_logger("mux.server").info("context_closed", reason="completed", context="a\nb")
    get_logger("mux.server").debug("not_this")
    logging.getLogger("elsewhere").warning("from a %s", "library")
    logging.getLogger("elsewhere").info("not this")
    ours, library = (msgspec.json.decode(line) for line in out.getvalue().splitlines())
    assert (ours["event"], ours["level"], ours["logger"]) == ("context_closed", "info", "mux.server")
    assert (ours["reason"], ours["context"]) == ("completed", "a\nb")
    assert ours["time"].endswith("Z")
    assert (library["event"], library["level"]) == ("from a library", "warning")


def test_text_has_no_colours_unless_on_a_terminal() -> None:
    out = io.StringIO()
    configure_logging("text", "debug", out)
    get_logger("mux.server").debug("context_closed", reason="completed")
    assert "context_closed" in out.getvalue()
    assert "reason=completed" in out.getvalue()
    assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_traceback_shows_no_local_variables(format: str) -> None:
    out = io.StringIO()
    configure_logging(format, "info", out)
    spoken = "".join(["the words ", "of a person"])
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        get_logger("mux.server").exception("failed")
        logging.getLogger("elsewhere").exception("failed too")
    assert out.getvalue().count("RuntimeError: broken") == 2
    assert spoken not in out.getvalue()


@pytest.mark.parametrize(
    "line",
    [
        f'127.0.0.1:5 - "WebSocket /v1/x?xi-api-key={KEY}&model_id=m" [accepted]',
        f"GET /v1/x?inactivity_timeout=20&api_key={KEY} HTTP/1.1",
        f"xi-api-key: {KEY}",
        f"Authorization: Bearer {KEY}",
        f"[(b'host', b'x'), (b'xi-api-key', b'{KEY}')]",
        f"{{'authorization': 'Bearer {KEY}'}}",
        f'{{"event": "headers {{\\"xi-api-key\\": \\"{KEY}\\"}}"}}',
        f"single_use_token={KEY}",
    ],
)
def test_whatever_looks_like_a_credential_is_removed(line: str) -> None:
    assert KEY not in redact(line)
    assert "[removed]" in redact(line)


@pytest.mark.parametrize(
    "line",
    [
        "Did you mean MUX_API_KEYS? Allowed: MUX_HOST.",
        "no API key is set. Set api_keys (or the variable MUX_API_KEYS, comma-separated)",
        "what? reason=completed",
    ],
)
def test_sentences_stay_as_they_are(line: str) -> None:
    assert redact(line) == line


@asynccontextmanager
async def refusing_and_accepting() -> AsyncIterator[int]:
    async def door(ws: WebSocket) -> None:
        if "refuse" in ws.query_params:
            await ws.send_denial_response(JSONResponse({}, status_code=401))
        elif "break" in ws.query_params:
            raise RuntimeError("broken")
        else:
            await ws.accept()
            await ws.close()

    app = Starlette(routes=[WebSocketRoute("/door", door)])
    listener = open_listener("127.0.0.1", 0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(serve, app, listener, anyio.Event(), limits=Limits(linger=0.05)))
        yield listener.getsockname()[1]
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
@pytest.mark.parametrize("format", ["text", "json"])
@pytest.mark.parametrize("eager", [False, True], ids=["as configured", "libraries at debug"])
async def test_no_key_of_a_handshake_is_ever_written(
    format: str, eager: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    out = io.StringIO()
    configure_logging(format, "debug", out)
    if eager:
        for name in LIBRARIES:
            logging.getLogger(name).setLevel(logging.DEBUG)
    async with refusing_and_accepting() as port:
        for query in ("", "&refuse=1", "&break=1"):
            for version in ("13", "12"):
                request = (
                    f"GET /door?xi-api-key={KEY}{query} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
                    f"Upgrade: websocket\r\nSec-WebSocket-Version: {version}\r\n"
                    f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                    f"xi-api-key: {KEY}\r\nAuthorization: Bearer {KEY}\r\n\r\n"
                )
                async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                    await stream.send(request.encode())
                    assert (await stream.receive()).startswith(b"HTTP/1.1")
    written = out.getvalue()
    captured = capfd.readouterr()
    assert "request_refused" in written  # something was
    assert "RuntimeError: broken" in written
    assert KEY not in written + captured.out + captured.err
