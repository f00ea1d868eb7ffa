"""Find passages: dense (MiniLM, exact or HNSW) and lexical (BM25), fused by reciprocal rank, filtered by metadata."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import bm25s
import hnswlib
import numpy as np
import Stemmer

from stepladder.encoder import Encoder
from stepladder.records import Document, Passage
from stepladder.search.chunk import chunk

EXACT_BELOW = 20_000  # below some 20,000 to 50,000 vectors exact search is as fast as a graph
RRF_K = 60  # Cormack, Clarke and Buettcher 2009
CANDIDATES = 50

Reranker = Callable[[str, Sequence[Passage]], Sequence[float]]
Filter = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class SearchSettings:
    """How an index searches. `min_score` is a cosine: passages below it are dropped, whatever their rank."""

    method: Literal["dense", "bm25", "fused"] = "fused"
    max_tokens: int = 120
    min_score: float = 0.0
    graph: bool | None = None  # None: a graph from EXACT_BELOW passages on
    ef: int = 200


class SearchIndex:
    """An index of the published documents. Drafts and archived documents never enter it.

    A passage is embedded together with its title. Filters name a metadata field and the values that may pass, such as
    `{"kind": ["policy"]}`; they are applied before the search, never in a callback.
    """

    def __init__(
        self, documents: Sequence[Document], encoder: Encoder, settings: SearchSettings = SearchSettings(), rerank: Reranker | None = None
    ) -> None:
        self.encoder = encoder
        self.settings = settings
        self.rerank = rerank
        self.update(documents)

    def update(self, documents: Sequence[Document]) -> None:
        """Make the index hold just these documents. Only texts that the cache does not know are embedded."""
        published = [document for document in documents if document.status == "published"]
        self.metadata = {d.doc_id: d for d in published}
        self.passages = [p for document in published for p in chunk(document, self.settings.max_tokens)]
        texts = [f"{p.title}\n{p.text}" for p in self.passages]
        self.vectors = self.encoder.encode(texts)
        self._stem = Stemmer.Stemmer("english")
        self._bm25: bm25s.BM25 | None = None
        corpus = bm25s.tokenize(texts, stopwords="en", stemmer=self._stem, show_progress=False) if texts else None
        if corpus is not None and corpus.vocab:
            self._bm25 = bm25s.BM25()
            self._bm25.index(corpus, show_progress=False)
        large = len(self.passages) >= EXACT_BELOW
        self._graph = self._build_graph() if self.passages and (large if self.settings.graph is None else self.settings.graph) else None

    def _build_graph(self) -> hnswlib.Index:
        graph = hnswlib.Index(space="cosine", dim=self.vectors.shape[1])
        graph.init_index(max_elements=len(self.vectors), ef_construction=200, M=16, random_seed=0)
        graph.add_items(self.vectors, np.arange(len(self.vectors)), num_threads=1)  # one thread: the same graph every time
        graph.set_ef(max(self.settings.ef, CANDIDATES))
        return graph

    def search(self, query: str, k: int = 5, where: Filter | None = None) -> list[Passage]:
        """The best k passages for a query, best first; fewer where the filter or the minimum score leaves fewer.

        `Passage.score` is the cosine of query and passage, which has one scale for all queries; the order may come from
        fusion or a reranker instead.
        """
        if k < 1:
            raise ValueError(f"k: found {k}, expected at least 1")
        allowed = self._allowed(where)
        if not query.strip() or not len(allowed):
            return []
        vector = self.encoder.encode([query])[0]
        cosines = self.vectors @ vector
        ranked = self._ranked(query, vector, cosines, allowed, max(k, CANDIDATES))
        found = [replace(self.passages[i], score=float(cosines[i])) for i in ranked if cosines[i] >= self.settings.min_score]
        if self.rerank is not None and found:
            order = np.argsort(-np.asarray(self.rerank(query, found)), kind="stable")
            found = [found[i] for i in order]
        return found[:k]

    def _allowed(self, where: Filter | None) -> np.ndarray:
        if not where:
            return np.arange(len(self.passages))
        unknown = set(where) - {"doc_id", "kind", "status", "title", "updated_at"}
        if unknown:
            raise ValueError(f"filter on {sorted(unknown)}; expected doc_id, kind, status, title or updated_at")
        passing = {i for i, d in self.metadata.items() if all(getattr(d, name) in values for name, values in where.items())}
        return np.array([i for i, p in enumerate(self.passages) if p.doc_id in passing], dtype=int)

    def _ranked(self, query: str, vector: np.ndarray, cosines: np.ndarray, allowed: np.ndarray, n: int) -> list[int]:
        rankings = []
        if self.settings.method in ("dense", "fused"):
            rankings.append(self._dense(vector, cosines, allowed, n))
        if self.settings.method in ("bm25", "fused"):
            rankings.append(self._lexical(query, allowed, n))
        return reciprocal_rank_fusion(rankings)

    def _dense(self, vector: np.ndarray, cosines: np.ndarray, allowed: np.ndarray, n: int) -> list[int]:
        if self._graph is not None and len(allowed) == len(self.passages):
            labels, _ = self._graph.knn_query(vector, k=min(n, len(allowed)), num_threads=1)
            return [int(i) for i in labels[0]]
        return [int(i) for i in allowed[np.argsort(-cosines[allowed], kind="stable")][:n]]

    def _lexical(self, query: str, allowed: np.ndarray, n: int) -> list[int]:
        if self._bm25 is None:
            return []
        words = bm25s.tokenize([query], stopwords="en", stemmer=self._stem, show_progress=False, return_ids=False)[0]
        if not words:
            return []
        scores = np.asarray(self._bm25.get_scores(list(words)))
        best = allowed[np.argsort(-scores[allowed], kind="stable")][:n]
        return [int(i) for i in best if scores[i] > 0]


def reciprocal_rank_fusion(rankings: Sequence[Sequence[int]]) -> list[int]:
    """Ids by the sum of 1 / (60 + rank) over the rankings (Cormack et al. 2009); ties keep the order of first sight.

    >>> reciprocal_rank_fusion([[1, 2, 3], [3, 1]])
    [1, 3, 2]
    """
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, start=1):
            scores[item] = scores.get(item, 0.0) + 1 / (RRF_K + rank)
    return sorted(scores, key=lambda item: -scores[item])
