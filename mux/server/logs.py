"""What is written to stderr: our structured log, and what the libraries have to say, in one format.

Spoken text and keys are never logged by us. The libraries log request lines, query included, so their
loggers are kept to warnings, and every line is searched for credentials before it is written.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any, TextIO

import msgspec
import structlog
from structlog.typing import Processor

__all__ = ["configure_logging", "redact"]

LIBRARIES = {
    # uvicorn warns of every malformed request; we log those ourselves, on both servers alike.
    "uvicorn": logging.ERROR,
    "uvicorn.error": logging.ERROR,
    "uvicorn.access": logging.ERROR,
    "hypercorn.error": logging.WARNING,
    "hypercorn.access": logging.ERROR,
    "websockets": logging.WARNING,
    "trio-websocket": logging.WARNING,
    "asyncio": logging.WARNING,
}

_QUERY = re.compile(r"\?[\w.%\[\]-]+=[^\s\"'<>\\]*")
_CREDENTIAL = re.compile(
    r"(?i)\b(xi-api-key|api[-_]keys?|authorization|[\w-]*token)"
    r"(\\?[\"']?\s*[:=]\s*(?:b?\\?[\"'])?|\\?[\"'],\s*b?\\?[\"'])"
    r"((?:bearer|basic|token)\s+)?[^\s\"',;&)\]}\\]+"
)


def redact(line: str) -> str:
    """Take out of a log line whatever looks like a query string or a credential header."""
    return _CREDENTIAL.sub(r"\1\2[removed]", _QUERY.sub("?[removed]", line))


def configure_logging(format: str = "text", level: str = "info", stream: TextIO | None = None) -> None:
    """Send all logging of the process to `stream` (stderr), one event per line.

    `format` is "text" (for people; colours only on a terminal) or "json" (one object per line: `time`,
    `level`, `logger`, `event`, and the event's own fields). `level` is the lowest level of mux's own events:
    "debug", "info", "warning" or "error"; libraries always start at warning.
    """
    stream = sys.stderr if stream is None else stream
    threshold = getattr(logging, level.upper())
    shared: list[Processor] = [
        structlog.stdlib.ExtraAdder(),
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        _Formatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(format, stream),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("mux").setLevel(threshold)
    for name, lowest in LIBRARIES.items():
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(lowest)


class _Formatter(structlog.stdlib.ProcessorFormatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def _renderers(format: str, stream: TextIO) -> list[Processor]:
    # Both show tracebacks without the values of local variables: those hold spoken text and keys.
    if format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json)]
    return [
        structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), timestamp_key="time", exception_formatter=structlog.dev.plain_traceback
        )
    ]


def _json(event: Any, **_: Any) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()
