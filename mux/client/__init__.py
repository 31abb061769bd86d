"""The client library: what apps import. `mux.connect` is its front door."""

from mux.client.session import Chunk, Context, Session, connect

__all__ = ["Chunk", "Context", "Session", "connect"]
