"""`mux tap`: a recorder between a client and a service."""

from mux.cli.tap.command import command

__all__ = ["command"]
