"""Nearest vectors: exact where that is cheap, by an HNSW graph where it is not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import hnswlib
import numpy as np

EXACT_BELOW = 20_000  # measured on two cores: below, reading every vector takes a few milliseconds, and finds all
GATHER_BELOW = 20_000  # so many vectors picked out by a filter are compared one by one
REBUILD_BELOW = 50_000  # below, a new graph is made in seconds; above, passages are added to and removed from the old one
MOST_DELETED = 0.2  # share of tombstones at which a large graph is made anew


@dataclass(frozen=True)
class GraphSettings:
    """HNSW (Malkov and Yashunin 2020): neighbours per node, breadth when building and when searching."""

    m: int = 16
    ef_construction: int = 200
    ef: int = 200


class Graph:
    """An HNSW graph over some rows of a matrix of unit vectors. `rows` maps its labels to rows of the matrix, -1 where deleted."""

    def __init__(self, dimensions: int, settings: GraphSettings) -> None:
        self.settings = settings
        self.dimensions = dimensions
        self.rows = np.zeros(0, dtype=np.int64)
        self._index = hnswlib.Index(space="cosine", dim=dimensions)

    def build(self, vectors: np.ndarray) -> Graph:
        """All rows of a matrix (n, dimensions). One thread, so that the same vectors give the same graph."""
        self._index.init_index(
            max_elements=max(1, len(vectors)), ef_construction=self.settings.ef_construction, M=self.settings.m, random_seed=0
        )
        self._index.add_items(vectors, np.arange(len(vectors)), num_threads=1)
        self._index.set_ef(self.settings.ef)
        self.rows = np.arange(len(vectors))
        return self

    def move(self, rows: np.ndarray, vectors: np.ndarray, added: np.ndarray) -> None:
        """Follow a change of the matrix: `rows` gives each label its new row or -1, and the `added` rows get labels of their own."""
        for label in np.flatnonzero((rows < 0) & (self.rows >= 0)):
            self._index.mark_deleted(int(label))
        self._index.resize_index(len(rows) + len(added))
        if len(added):
            self._index.add_items(vectors[added], np.arange(len(rows), len(rows) + len(added)), num_threads=1)
        self.rows = np.concatenate([rows, added])

    @property
    def deleted(self) -> float:
        """Share of tombstones."""
        return float((self.rows < 0).mean()) if len(self.rows) else 0.0

    def nearest(self, vector: np.ndarray, n: int) -> np.ndarray:
        """Rows of the n nearest vectors, nearest first."""
        n = min(n, int((self.rows >= 0).sum()))
        if n > self.settings.ef:
            self._index.set_ef(n)
        try:
            labels, _ = self._index.knn_query(vector, k=n, num_threads=1)
        finally:
            self._index.set_ef(self.settings.ef)
        return np.asarray(self.rows[labels[0].astype(np.int64)])

    def save(self, path: Path) -> None:
        self._index.save_index(str(path))

    def load(self, path: Path, rows: np.ndarray) -> Graph:
        """A saved graph; `ef` is not in the file, so it comes from the settings."""
        self._index.load_index(str(path), max_elements=max(1, len(rows)))
        self._index.set_ef(self.settings.ef)
        self.rows = rows
        return self


def nearest_allowed(vector: np.ndarray, vectors: np.ndarray, graph: Graph | None, allowed: np.ndarray | None, n: int) -> np.ndarray:
    """Rows of the n vectors nearest to a query (dimensions,) among the `allowed` rows (None: all), nearest first.

    Exact without a graph, where the filter leaves few vectors, and where a large part of all is wanted. Else the graph is asked
    for more than n, and for twice as many until n of them pass: a filter callback inside the graph would be a hundred times
    slower (hnswlib's own figures).
    """
    n = min(n, len(vectors) if allowed is None else len(allowed))
    if graph is not None and 4 * n <= len(vectors) and (allowed is None or len(allowed) >= GATHER_BELOW):
        try:
            return graph.nearest(vector, n) if allowed is None else _nearest_passing(vector, vectors, graph, allowed, n)
        except RuntimeError:  # hnswlib reaches fewer vectors than were asked for, as among hundreds of equal ones
            pass
    scores = vectors @ vector if allowed is None else vectors[allowed] @ vector
    best = top(scores, n)
    return best if allowed is None else allowed[best]


def _nearest_passing(vector: np.ndarray, vectors: np.ndarray, graph: Graph, allowed: np.ndarray, n: int) -> np.ndarray:
    passing = np.zeros(len(vectors), dtype=bool)
    passing[allowed] = True
    ask = n * len(vectors) // len(allowed) * 3 // 2
    while True:
        rows = graph.nearest(vector, ask)
        rows = rows[passing[rows]]
        if len(rows) >= n:
            return np.asarray(rows[:n])
        if ask >= len(vectors):
            raise RuntimeError(f"the graph reaches {len(rows)} of {n} passing vectors")
        ask *= 2


def top(scores: np.ndarray, n: int) -> np.ndarray:
    """Positions of the n highest scores, highest first, equal ones in their order."""
    if n < len(scores):
        limit = np.partition(scores, len(scores) - n)[len(scores) - n]
        some = np.flatnonzero(scores >= limit)
        return np.asarray(some[np.argsort(-scores[some], kind="stable")][:n])
    return np.argsort(-scores, kind="stable")
