"""mux: a multi-context WebSocket multiplexer for text-to-speech."""

__version__ = "0.1.0"
