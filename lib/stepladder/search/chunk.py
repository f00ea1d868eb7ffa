"""Documents to passages. A passage keeps its character span, so that evidence quotes map onto any chunking."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from semantic_text_splitter import TextSplitter

from stepladder.encoder.weights import tokenizer
from stepladder.records import Document, Passage


def chunk(document: Document, max_tokens: int = 120, overlap: int = 0, blind: bool = False) -> list[Passage]:
    """Passages of at most `max_tokens` tokens of the encoder, cut at the highest border that serves: paragraph, line, sentence, word.

    Neighbours share up to `overlap` tokens, in whole units. `blind` cuts every `max_tokens` tokens wherever that falls,
    which is the straw man of claim K13. An empty document has no passages. Raises ValueError where overlap is not below max_tokens.
    """
    if not 0 <= overlap < max_tokens:
        raise ValueError(f"overlap: found {overlap}, expected 0 or more and less than max_tokens ({max_tokens})")
    spans = _blind_spans(document.text, max_tokens, overlap) if blind else _spans(document.text, max_tokens, overlap)
    return [
        Passage(
            passage_id=f"{document.doc_id}#{number}",
            doc_id=document.doc_id,
            title=document.title,
            url=document.url,
            kind=document.kind,
            text=document.text[start:end],
            start=start,
            end=end,
        )
        for number, (start, end) in enumerate(spans, start=1)
    ]


@lru_cache(maxsize=32)
def _splitter(max_tokens: int, overlap: int) -> TextSplitter:
    return TextSplitter.from_huggingface_tokenizer(tokenizer(), max_tokens, overlap=overlap)


def _spans(text: str, max_tokens: int, overlap: int) -> Iterator[tuple[int, int]]:
    whole = text.encode("utf-8", "replace").decode()  # a lone surrogate becomes one other character, so spans hold
    for start, piece in _splitter(max_tokens, overlap).chunk_indices(whole):
        if piece.strip():
            yield start, start + len(piece)


def _blind_spans(text: str, max_tokens: int, overlap: int) -> Iterator[tuple[int, int]]:
    offsets = tokenizer().encode(text.encode("utf-8", "replace").decode(), add_special_tokens=False).offsets
    for first in range(0, max(min(1, len(offsets)), len(offsets) - overlap), max_tokens - overlap):
        part = offsets[first : first + max_tokens]
        yield part[0][0], part[-1][1]
