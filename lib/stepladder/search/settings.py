"""How an index searches, what it may be filtered by, and how it differs from a set of documents: plain rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Between:
    """A filter that lets values from `low` to `high` pass, both included; an empty end is open.

    Dates are ISO texts, and an end counts as far as it is written: `high="2026-01"` lets all of January pass.
    """

    low: str = ""
    high: str = ""


Filter = Mapping[str, Sequence[str] | Between]


@dataclass(frozen=True)
class SearchSettings:
    """How an index cuts, searches and orders. `min_score` is a cosine: passages below it are dropped, whatever their rank."""

    method: Literal["dense", "bm25", "fused"] = "fused"
    fusion: Literal["rank", "sum"] = "sum"
    dense_weight: float = 0.7  # of the sum: best on the train and dev cases of data/support and on questions of SQuAD
    max_tokens: int = 120
    overlap: int = 0
    blind: bool = False
    min_score: float = 0.0
    rerank: str = ""  # embedded or hf:ID; empty: no reranking
    reranked: int = 10  # so many of the best are looked at again
    graph: bool | None = None  # None: a graph from EXACT_BELOW passages on
    ef: int = 200

    def label(self) -> str:
        """What differs from the usual, in words.

        >>> SearchSettings(max_tokens=60, rerank="embedded").label()
        'fused by sum (0.7 dense), 60 tokens, reranked (embedded)'
        """
        parts = [f"fused by {self.fusion}" if self.method == "fused" else self.method]
        parts[0] += f" ({self.dense_weight:g} dense)" if self.method == "fused" and self.fusion == "sum" else ""
        parts.append(f"{self.max_tokens} tokens{' cut blindly' if self.blind else ''}")
        parts += [f"overlap {self.overlap}"] if self.overlap else []
        parts += [f"min score {self.min_score:g}"] if self.min_score else []
        parts += [f"reranked ({self.rerank})"] if self.rerank else []
        return ", ".join(parts)


@dataclass(frozen=True)
class Changes:
    """What an update would do, or has done: ids of documents."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)
