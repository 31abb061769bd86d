"""What was said between a client and a service: recorded, kept in files, and understood."""

from __future__ import annotations

from mux.exchange.har import read_har, write_har
from mux.exchange.model import Close, Exchange, Message, Recording
from mux.exchange.watch import ContextWatch, SocketWatch

__all__ = [
    "Close",
    "ContextWatch",
    "Exchange",
    "Message",
    "Recording",
    "SocketWatch",
    "read_har",
    "write_har",
]
