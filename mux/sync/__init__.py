"""The client for scripts that have no event loop: the same sessions and contexts, with calls that wait.

>>> import mux.sync
>>> mux.sync.speak("ws://127.0.0.1:8790", "Once upon a time.").save("story.wav")
>>> with mux.sync.connect("ws://127.0.0.1:8790") as session:
...     with session.context("narrator", voice="en-us-f2") as narrator:
...         narrator.send("Once upon a time.")
...         narrator.close()
...         for chunk in narrator:
...             play(chunk.audio)

A session runs on an event loop in a thread of its own, which ends with its block. Any thread may call any
method; a context is read by one of them, and so are a session's events. What threads still wait for when the
block ends is `ClosedEarly`. `Callbacks` are called in the loop's thread: they must be quick; there properties
can be read, while methods raise `RuntimeError`.

KeyboardInterrupt ends the call that waits; then leave the block, which closes the sockets at once. Errors are
those of the async client.
"""

from mux.sync.session import Context, Session, connect
from mux.sync.speech import Speech, speak

__all__ = ["Context", "Session", "Speech", "connect", "speak"]
