"""A reader that finds what a table says, for tests of what is made of its findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stepladder.encoder.pairs import PairReader, Reading, Span

NOTHING = -9.0  # the score of a text in which it knows no answer


class TableReader(PairReader):
    """Finds the spans of a table, (words of the question, answer) -> score, and remembers what it was given to read."""

    def __init__(self, table: Mapping[tuple[str, str], float]) -> None:
        self.name = "table"
        self.table = table
        self.given: list[tuple[str, str]] = []

    def read(self, pairs: Sequence[tuple[str, str]]) -> list[Reading]:
        self.given += pairs
        return [self._best(*pair) for pair in pairs]

    def _best(self, question: str, text: str) -> Reading:
        known = [(score, text.index(span), span) for (words, span), score in self.table.items() if words in question and span in text]
        score, start, span = max(known, default=(NOTHING, 0, text[:1]))
        return Reading((Span(start, start + len(span), score),), fit=0.0)
