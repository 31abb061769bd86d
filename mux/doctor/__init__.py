"""Names what is wrong between an app and its text-to-speech socket, and what to do about it."""
