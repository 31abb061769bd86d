"""Vendors' wires: bytes to commands and events to bytes, pure functions in both directions."""
