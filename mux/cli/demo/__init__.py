"""`mux demo`: a scripted dialogue over one socket, shown while it runs, written to WAV files."""

from mux.cli.demo.command import command

__all__ = ["command"]
