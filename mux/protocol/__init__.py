"""The sans-I/O core: no async, no clock, no sockets. `Session` is its front door."""
