"""Find passages: dense (MiniLM, exact or HNSW) and lexical (BM25), fused, reranked, filtered by metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice

import bm25s
import numpy as np
import Stemmer

from stepladder.cache import Stopwatch, content_hash
from stepladder.encoder import DIMENSIONS, Encoder, count_tokens
from stepladder.records import Document, Passage, UserError
from stepladder.search.chunk import chunk
from stepladder.search.fuse import convex_sum, reciprocal_rank_fusion
from stepladder.search.graph import EXACT_BELOW, MOST_DELETED, REBUILD_BELOW, Graph, GraphSettings, nearest_allowed, top
from stepladder.search.rerank import Reranker, load_reranker
from stepladder.search.settings import Between, Changes, Filter, SearchSettings

CANDIDATES = 50
METADATA = ("doc_id", "kind", "status", "title", "updated_at", "url")


@dataclass(frozen=True)
class Part:
    """One document in the index: its metadata, the hash of all of it, its passages, and their stems for BM25."""

    metadata: dict[str, str]
    content: str
    passages: tuple[Passage, ...]
    stems: tuple[list[str], ...]


class SearchIndex:
    """An index of the published documents. Drafts and archived documents never enter it.

    A passage is embedded together with its title. Filters name a metadata field and the values that may pass, such as
    `{"kind": ["policy"], "updated_at": Between("2026-01-01")}`; they hold before the search. `seconds` tells what each part of
    the last search took. Raises UserError for two documents with one id.
    """

    def __init__(
        self, documents: Sequence[Document], encoder: Encoder, settings: SearchSettings = SearchSettings(), rerank: Reranker | None = None
    ) -> None:
        self.encoder = encoder
        self.settings = settings
        self.rerank = rerank or (load_reranker(settings.rerank, encoder.cache) if settings.rerank else None)
        self.parts: dict[str, Part] = {}
        self.passages: list[Passage] = []
        self.vectors = np.zeros((0, DIMENSIONS), dtype=np.float32)
        self.graph: Graph | None = None
        self.seconds: dict[str, float] = {}
        self._stemmer = Stemmer.Stemmer("english")
        self.update(documents)

    # --- what is in it

    def stale(self, documents: Sequence[Document]) -> Changes:
        """How these documents differ from what the index holds; only published ones count."""
        return self._changes({d.doc_id: _content(d) for d in _published(documents)})

    def _changes(self, contents: Mapping[str, str]) -> Changes:
        return Changes(
            added=tuple(i for i in contents if i not in self.parts),
            changed=tuple(i for i, content in contents.items() if i in self.parts and self.parts[i].content != content),
            removed=tuple(i for i in self.parts if i not in contents),
        )

    def update(self, documents: Sequence[Document]) -> Changes:
        """Make the index hold just the published ones of these documents, and return what differed.

        Only passages of new and changed documents are cut and embedded, and of those only texts that the cache does not know.
        """
        published = _published(documents)
        contents = {d.doc_id: _content(d) for d in published}
        changes = self._changes(contents)
        new = set(changes.added) | set(changes.changed)
        cut = {d.doc_id: self._cut(d) for d in published if d.doc_id in new}
        texts = [p.headed for passages in cut.values() for p in passages]
        stems = iter(self.stems(texts))
        fresh = {d.doc_id: _part(d, contents[d.doc_id], cut[d.doc_id], stems) for d in published if d.doc_id in new}
        parts = {d.doc_id: fresh.get(d.doc_id) or self.parts[d.doc_id] for d in published}
        self._put(parts, new, self.encoder.encode(texts))
        return changes

    def _cut(self, document: Document) -> list[Passage]:
        return chunk(document, self.settings.max_tokens, self.settings.overlap, self.settings.blind)

    def stems(self, texts: list[str]) -> list[list[str]]:
        """The words of each text that BM25 counts."""
        if not texts:
            return []
        words: list[list[str]] = bm25s.tokenize(texts, stopwords="en", stemmer=self._stemmer, show_progress=False, return_ids=False)
        return words

    def _put(self, parts: dict[str, Part], new: set[str], made: np.ndarray) -> None:
        """Lay out passages and vectors in the order of `parts`; the graph follows, or is made anew where that is cheap."""
        starts = dict(zip(self.parts, np.cumsum([0, *(len(p.passages) for p in self.parts.values())]), strict=False))
        old_rows = np.full(sum(len(p.passages) for p in parts.values()), -1, dtype=np.int64)
        row = 0
        for doc_id, part in parts.items():
            if doc_id not in new:
                old_rows[row : row + len(part.passages)] = np.arange(len(part.passages)) + starts[doc_id]
            row += len(part.passages)
        vectors = np.empty((len(old_rows), self.vectors.shape[1]), dtype=np.float32)
        kept = old_rows >= 0
        vectors[kept], vectors[~kept] = self.vectors[old_rows[kept]], made
        moved = np.full(len(self.passages), -1, dtype=np.int64)
        moved[old_rows[kept]] = np.flatnonzero(kept)
        self.restore(parts, vectors)
        self.graph = self._graph_after(moved, np.flatnonzero(~kept))

    def restore(self, parts: dict[str, Part], vectors: np.ndarray) -> None:
        """Take over passages and their vectors (n_passages, 384), in the order of `parts`."""
        self.parts, self.vectors = parts, vectors
        self.passages = [p for part in parts.values() for p in part.passages]
        self._codes: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._bm25 = _lexical_index([words for part in parts.values() for words in part.stems])

    def _graph_after(self, moved: np.ndarray, added: np.ndarray) -> Graph | None:
        wanted = len(self.passages) >= EXACT_BELOW if self.settings.graph is None else self.settings.graph
        if not wanted or not self.passages:
            return None
        if self.graph is not None and len(self.passages) >= REBUILD_BELOW:
            rows = np.where(self.graph.rows >= 0, moved[self.graph.rows], -1)
            if (rows < 0).mean() <= MOST_DELETED:
                self.graph.move(rows, self.vectors, added)
                return self.graph
        return self._empty_graph().build(self.vectors)

    def _empty_graph(self) -> Graph:
        return Graph(DIMENSIONS, GraphSettings(ef=max(self.settings.ef, CANDIDATES)))

    # --- what is found

    def search(self, query: str, k: int = 5, where: Filter | None = None, token_budget: int | None = None) -> list[Passage]:
        """The best k passages for a query, best first; fewer where the filter, the minimum score or the token budget leaves fewer.

        `Passage.score` is the cosine of query and passage, which has one scale for all queries; the order may come from
        fusion or a reranker instead. The budget keeps the longest head of the list that fits. Raises ValueError for k below 1
        and for a filter on a field that documents do not have.
        """
        if k < 1:
            raise ValueError(f"k: found {k}, expected at least 1")
        self.seconds = {}
        allowed = self._allowed(where)
        if not query.strip() or not self.passages or (allowed is not None and not len(allowed)):
            return []
        with self._timed("embed"):
            vector = self.encoder.encode([query])[0]
        rows = self._ranked(query, vector, allowed, max(k, CANDIDATES))
        cosines = self.vectors[rows] @ vector
        found = [replace(self.passages[i], score=float(c)) for i, c in zip(rows, cosines, strict=True) if c >= self.settings.min_score]
        if self.rerank is not None and found:
            with self._timed("rerank"):
                head, rest = found[: self.settings.reranked], found[self.settings.reranked :]
                order = np.argsort(-np.asarray(self.rerank(query, head)), kind="stable")
                found = [head[i] for i in order] + rest
        return keep_within(found[:k], token_budget)

    def _timed(self, name: str) -> _Timed:
        return _Timed(self.seconds, name)

    def _allowed(self, where: Filter | None) -> np.ndarray | None:
        """Rows that pass a filter, None for all."""
        if not where:
            return None
        unknown = set(where) - set(METADATA)
        if unknown:
            raise ValueError(f"filter on {sorted(unknown)}; expected {', '.join(METADATA[:-1])} or {METADATA[-1]}")
        passing = np.ones(len(self.passages), dtype=bool)
        for name, wanted in where.items():
            if isinstance(wanted, str):
                raise ValueError(f"filter on {name}: found the text {wanted!r}, expected a list of values or Between; write [{wanted!r}]")
            values, codes = self._column(name)
            if isinstance(wanted, Between):
                right = (values >= wanted.low) & (values.astype(f"U{len(wanted.high) or 1}") <= wanted.high if wanted.high else True)
            else:
                right = np.isin(values, list(wanted))
            passing &= right[codes]
        return np.flatnonzero(passing)

    def _column(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(distinct values, the number of each passage's value) of a metadata field."""
        if name not in self._codes:
            values, codes = np.unique(np.array([p.metadata[name] for p in self.parts.values()], dtype=str), return_inverse=True)
            self._codes[name] = values, np.repeat(codes, [len(p.passages) for p in self.parts.values()])
        return self._codes[name]

    def _ranked(self, query: str, vector: np.ndarray, allowed: np.ndarray | None, n: int) -> list[int]:
        dense, lexical = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        words: np.ndarray | None = None
        if self.settings.method in ("dense", "fused"):
            with self._timed("dense"):
                dense = nearest_allowed(vector, self.vectors, self.graph, allowed, n)
        if self.settings.method in ("bm25", "fused"):
            with self._timed("lexical"):
                words = self._lexical_scores(query)
                if words is not None:
                    lexical = top(words, n) if allowed is None else allowed[top(words[allowed], n)]
                    lexical = lexical[words[lexical] > 0]
        with self._timed("fuse"):
            if self.settings.method != "fused" or self.settings.fusion == "rank" or words is None:
                return reciprocal_rank_fusion([some.tolist() for some in (dense, lexical) if len(some)])
            rows = np.array(list(dict.fromkeys([*dense.tolist(), *lexical.tolist()])), dtype=np.int64)
            order = np.argsort(-convex_sum(self.vectors[rows] @ vector, words[rows], self.settings.dense_weight), kind="stable")
            return [int(i) for i in rows[order]]

    def _lexical_scores(self, query: str) -> np.ndarray | None:
        """BM25 scores of all passages, or None where the query or the index has no words."""
        words = self.stems([query])[0] if self._bm25 is not None else []
        return np.asarray(self._bm25.get_scores(words)) if words and self._bm25 is not None else None


class _Timed(Stopwatch):
    """A stopwatch that adds its seconds to a table."""

    def __init__(self, table: dict[str, float], name: str) -> None:
        self.table, self.name = table, name

    def __exit__(self, *_: object) -> None:
        super().__exit__(*_)
        self.table[self.name] = self.table.get(self.name, 0.0) + self.seconds


def keep_within(passages: Sequence[Passage], token_budget: int | None) -> list[Passage]:
    """The longest head of a list of passages that fits a budget of tokens, titles counted; all without a budget."""
    kept: list[Passage] = []
    for passage in passages:
        if token_budget is not None:
            token_budget -= count_tokens(passage.headed)
            if token_budget < 0:
                break
        kept.append(passage)
    return kept


def _part(document: Document, content: str, passages: Sequence[Passage], stems: Iterator[list[str]]) -> Part:
    """A document with its passages, and the next so many of the stems."""
    metadata = {name: getattr(document, name) for name in METADATA}
    return Part(metadata, content, tuple(passages), tuple(islice(stems, len(passages))))


def _lexical_index(stems: list[list[str]]) -> bm25s.BM25 | None:
    if not any(stems):
        return None
    index = bm25s.BM25()
    index.index(stems, show_progress=False)
    return index


def _published(documents: Sequence[Document]) -> list[Document]:
    published = [document for document in documents if document.status == "published"]
    seen: set[str] = set()
    for document in published:
        if document.doc_id in seen:
            raise UserError(f"two published documents have the doc_id {document.doc_id!r}; expected each id once; rename or remove one")
        seen.add(document.doc_id)
    return published


def _content(document: Document) -> str:
    return content_hash(asdict(document))
