"""Loggers: structured events through the standard library's logging, so that an app that imports mux decides
what becomes of them. `mux.server.logs` is what the program itself decides."""

from __future__ import annotations

import logging

import structlog

__all__ = ["Logger", "get_logger"]

Logger = structlog.stdlib.BoundLogger


def get_logger(name: str) -> Logger:
    """A logger whose events carry their facts as the record's extra fields."""
    logger: Logger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.render_to_log_kwargs],
        wrapper_class=Logger,
    )
    return logger
