"""Documents to passages. A passage keeps its character span, so that evidence quotes map onto any chunking."""

from __future__ import annotations

from collections.abc import Iterator

from stepladder.encoder import count_tokens, sentence_spans
from stepladder.records import Document, Passage


def chunk(document: Document, max_tokens: int = 120) -> list[Passage]:
    """Cut at paragraph borders, at sentence borders where a paragraph is too long, and inside a sentence only where one
    alone is too long. Short neighbouring paragraphs share a passage. An empty document has no passages.
    """
    passages: list[Passage] = []
    for start, end in _pack(document.text, list(_units(document.text, max_tokens)), max_tokens):
        passages.append(
            Passage(
                passage_id=f"{document.doc_id}#{len(passages) + 1}",
                doc_id=document.doc_id,
                title=document.title,
                url=document.url,
                kind=document.kind,
                text=document.text[start:end],
                start=start,
                end=end,
            )
        )
    return passages


def _units(text: str, max_tokens: int) -> Iterator[tuple[int, int]]:
    """Paragraphs, or the sentences of a long one, or slices of a long sentence."""
    position = 0
    for paragraph in text.split("\n\n"):
        start, position = position, position + len(paragraph) + 2
        if not paragraph.strip():
            continue
        if count_tokens(paragraph) <= max_tokens:
            yield start, start + len(paragraph.rstrip())
            continue
        for left, right in sentence_spans(paragraph):
            step = max(1, (right - left) * max_tokens // max(1, count_tokens(paragraph[left:right])))
            if right - left <= step:
                yield start + left, start + right
            else:
                for slice_start in range(left, right, step):
                    yield start + slice_start, start + min(slice_start + step, right)


def _pack(text: str, units: list[tuple[int, int]], max_tokens: int) -> Iterator[tuple[int, int]]:
    """Join neighbouring units while they fit."""
    current: tuple[int, int] | None = None
    for start, end in units:
        if current and count_tokens(text[current[0] : end]) <= max_tokens:
            current = (current[0], end)
            continue
        if current:
            yield current
        current = (start, end)
    if current:
        yield current
