"""Sentences of a text."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

import numpy as np

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"”')\]]?\s+(?=[\"“'(\[]?[A-Z0-9£€$#>])|\n+")


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Character spans of the sentences and lines of a text, white space trimmed, in order; no sentence is empty."""
    spans, start = [], 0
    for end, next_start in [
        *((m.start() + len(m.group()) - len(m.group().lstrip("\"”')]")), m.end()) for m in _SENTENCE_END.finditer(text)),
        (len(text), len(text)),
    ]:
        piece = text[start:end]
        if piece.strip():
            left = start + len(piece) - len(piece.lstrip())
            spans.append((left, left + len(piece.strip())))
        start = next_start
    return spans


def sentences(text: str) -> list[str]:
    """
    >>> sentences("Hi there. It cost £3.95! Why?")
    ['Hi there.', 'It cost £3.95!', 'Why?']
    """
    return [text[start:end] for start, end in sentence_spans(text)]


def fingerprints(texts: Iterable[str]) -> np.ndarray:
    """Sorted 64-bit hashes of the sentences of some texts, letters and digits alone, of at least six words: to see what two sets share."""
    found = set()
    for text in texts:
        for sentence in sentences(text):
            words = re.findall(r"\w+", sentence.lower())
            if len(words) >= 6:
                found.add(int.from_bytes(hashlib.blake2b(" ".join(words).encode("utf-8", "replace"), digest_size=8).digest(), "little"))
    return np.array(sorted(found), dtype=np.uint64)
