"""Text in pieces that feeding may stop after."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import asynccontextmanager

from mux.protocol.segmenter import MAX_SEGMENT, SENTENCE, ends_sentence, pieces

__all__ = ["is_between_sentences", "pieces_of", "sentences"]


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text with the white space after them; joined they are the text. Very long ones come
    in several pieces."""
    start = 0
    for match in SENTENCE.finditer(text):
        if ends_sentence(text, start, len(text), match):
            yield from _bearable(text[start : match.end()])
            start = match.end()
    yield from _bearable(text[start:])


def _bearable(sentence: str) -> Iterator[str]:
    if len(sentence) > MAX_SEGMENT and not sentence.isspace():
        yield from (cut.text for cut in pieces(sentence, "longest"))
    elif sentence:
        yield sentence


def is_between_sentences(before: str, after: str) -> bool:
    """Whether a sentence ends where `before` does, as `after` goes on. Text without any end is taken to have
    one at a space, or at last anywhere."""
    before = before[-2 * MAX_SEGMENT :]
    text = before + after
    for match in SENTENCE.finditer(text):
        if match.start() < len(before) <= match.end() and ends_sentence(text, 0, len(text), match):
            return True
    if len(before) < MAX_SEGMENT or any(SENTENCE.finditer(before)):
        return False
    return len(before) == 2 * MAX_SEGMENT or before[-1].isspace() or after[:1].isspace()


@asynccontextmanager
async def pieces_of(text: str | AsyncIterable[str]) -> AsyncIterator[AsyncIterator[str]]:
    """A text by its sentences, or what an app's iterator writes; an iterator that can be closed is closed at
    the end of the block."""
    source = aiter(text) if not isinstance(text, str) else _Sentences(text)
    try:
        yield source
    finally:
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()


class _Sentences(AsyncIterator[str]):
    def __init__(self, text: str) -> None:
        self._pieces = sentences(text)

    async def __anext__(self) -> str:
        piece = next(self._pieces, None)
        if piece is None:
            raise StopAsyncIteration
        return piece
