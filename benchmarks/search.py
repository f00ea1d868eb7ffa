"""search: passages for a vector, at 10,000 and 100,000 passages, beside the stores in memory of Haystack and LlamaIndex."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import (
    NOT_INSTALLED,
    PreparedEncoder,
    aim,
    clustered,
    done,
    folder,
    graph_of,
    milliseconds,
    named,
    nearest,
    options,
    recall,
    support,
    table,
)

from stepladder.cache import Cache
from stepladder.encoder import sentences
from stepladder.encoder.vectors import Arithmetic, fastest_arithmetic
from stepladder.records import Document
from stepladder.search import SearchIndex, SearchSettings
from stepladder.search.graph import EXACT_BELOW, GATHER_BELOW, Graph, nearest_allowed

SHARES = {"": 1.0, "half": 0.5, "tenth": 0.1, "hundredth": 0.01, "thousandth": 0.001}  # of the passages that a filter lets pass
QUERIES = 200
EXACT = "stepladder, exact"
PATIENCE = 2.0  # seconds for each cell of a slow store, and three queries at least
Ask = Callable[[np.ndarray, str], Sequence[int]]  # a vector and the kind that may pass, "" for all, to ten rows


@dataclass(frozen=True)
class Made:
    """Passages with vectors that were made up; the kind of a passage is what filters ask for."""

    vectors: np.ndarray
    kinds: np.ndarray

    def documents(self) -> list[Document]:
        return [Document(str(i), "", "", kind, "published", "2026-01-02", f"Passage {i}.") for i, kind in enumerate(self.kinds)]

    def rows(self, kind: str) -> np.ndarray:
        return np.flatnonzero(self.kinds == kind) if kind else np.arange(len(self.kinds))


def made(n: int) -> Made:
    kinds = np.full(n, "rest", dtype=object)
    order, start = np.random.default_rng(2).permutation(n), 0
    for kind, share in list(SHARES.items())[1:]:
        kinds[order[start : start + round(share * n)]] = kind
        start += round(share * n)
    return Made(clustered(n, seed=0), kinds)


# --- whom to ask


def our_index(made: Made, graph: Graph | None, cache: Cache, arithmetic: Arithmetic) -> SearchIndex:
    """A SearchIndex as it would be with these vectors; the graph may have been built before."""
    documents = made.documents()
    encoder = PreparedEncoder(cache, [d.text for d in documents], made.vectors, arithmetic)
    index = SearchIndex(documents, encoder, SearchSettings(method="dense", min_score=-1.0, graph=False))
    index.graph = graph
    return index


def ours(index: SearchIndex, graph: Graph | None) -> Ask:
    def ask(vector: np.ndarray, kind: str) -> list[int]:
        allowed = index._allowed({"kind": [kind]} if kind else None)
        return nearest_allowed(vector, index.vectors, graph, allowed, 10).tolist()

    return ask


def haystack(made: Made) -> Ask:
    import haystack
    from haystack.document_stores.in_memory import InMemoryDocumentStore

    store = InMemoryDocumentStore(shared=False)  # compares by the dot product, which is the cosine here, and less work
    store.write_documents(
        [
            haystack.Document(id=str(i), content=f"Passage {i}.", meta={"kind": kind}, embedding=vector)
            for i, (kind, vector) in enumerate(zip(made.kinds, made.vectors.tolist(), strict=True))
        ]
    )

    def ask(vector: np.ndarray, kind: str) -> list[int]:
        where = {"field": "meta.kind", "operator": "==", "value": kind} if kind else None
        return [int(d.id) for d in store.embedding_retrieval(vector.tolist(), filters=where, top_k=10)]

    return ask


def llama_index(made: Made) -> Ask:
    from llama_index.core.schema import TextNode
    from llama_index.core.vector_stores import MetadataFilter, MetadataFilters, VectorStoreQuery
    from llama_index.core.vector_stores.simple import SimpleVectorStore

    store = SimpleVectorStore()
    store.add(
        [
            TextNode(id_=str(i), text=f"Passage {i}.", metadata={"kind": kind}, embedding=vector)
            for i, (kind, vector) in enumerate(zip(made.kinds, made.vectors.tolist(), strict=True))
        ]
    )

    def ask(vector: np.ndarray, kind: str) -> list[int]:
        where = MetadataFilters(filters=[MetadataFilter(key="kind", value=kind)]) if kind else None
        return [int(i) for i in store.query(VectorStoreQuery(vector.tolist(), similarity_top_k=10, filters=where)).ids or []]

    return ask


PEERS = {"haystack-ai": haystack, "llama-index-core": llama_index}

# --- measuring


@dataclass(frozen=True)
class Cell:
    """One store asked with one filter: milliseconds of each query, and what was found."""

    milliseconds: np.ndarray
    recall: float

    @property
    def p50(self) -> float:
        return float(np.median(self.milliseconds))


def measure(ask: Ask, made: Made, patience: float) -> dict[str, Cell]:
    """All filters, each with as many of the queries as the patience lasts for."""
    queries = clustered(QUERIES, seed=1)
    return {kind: _cell(ask, kind, queries, nearest(queries, made.vectors, among=made.rows(kind)), patience) for kind in SHARES}


def _cell(ask: Ask, kind: str, queries: np.ndarray, truth: list[set[int]], patience: float) -> Cell:
    found: list[Sequence[int]] = []
    spent: list[float] = []
    ask(queries[-1], kind)
    start = time.perf_counter()
    for query in queries:
        spent += milliseconds(lambda query: found.append(ask(query, kind)), [query]).tolist()
        if len(spent) >= 3 and time.perf_counter() - start > patience:
            break
    return Cell(np.array(spent), recall(found, truth))


def compare(made: Made, index: SearchIndex, patience: float) -> list[float]:
    """Print the table of one size; return how many times longer each peer took in each row."""
    sides = {"stepladder": measure(ours(index, index.graph), made, 60.0)}
    if index.graph is not None:
        sides[EXACT] = measure(ours(index, None), made, patience)
    for peer, load in PEERS.items():
        try:
            ask = load(made)
        except ImportError:
            sides[peer] = {}
        else:
            sides[peer] = measure(ask, made, patience)
            del ask
    rows, ratios = [], []
    for kind, share in SHARES.items():
        for side, cells in sides.items():
            name = f"{f'{share:.1%} pass' if kind else 'no filter':11} {named(side)}"
            if side == EXACT and len(made.rows(kind)) < GATHER_BELOW:
                continue  # the row above is exact already
            if kind not in cells:
                rows.append([name, NOT_INSTALLED])
                continue
            cell, our = cells[kind], sides["stepladder"][kind]
            if side in PEERS:
                ratios.append(cell.p50 / our.p50)
            p95 = f"{np.percentile(cell.milliseconds, 95):.2f}" if len(cell.milliseconds) >= 20 else "-"
            rows.append([name, f"{cell.p50:.2f}", p95, f"{cell.recall:.3f}", str(len(cell.milliseconds)), f"{cell.p50 / our.p50:.1f}"])
    how = "graph" if index.graph is not None else "exact"
    table(f"{len(made.kinds):,} passages, ten for a vector ({how})", ["", "p50 ms", "p95 ms", "recall@10", "queries", "times ours"], rows)
    aim("recall@10 in every row", min(cell.recall for cell in sides["stepladder"].values()), at_least=0.95, form=".3f")
    return ratios


def whole_search(index: SearchIndex, n_queries: int) -> None:
    """A search as it is called: the query embedded, never seen before, then looked up."""
    messages = [case.text for split in ("dev", "test", "train") for case in support().cases(split)]
    questions = list(dict.fromkeys(s for text in messages for s in sentences(text) if s.endswith("?")))
    rows, medians = [], []
    for name, queries in (("a question", questions), ("a whole message", list(dict.fromkeys(messages)))):
        for kind in ("", "tenth"):
            asked = queries[: 2 * n_queries][(kind != "") :: 2]  # each once, so that none is in the cache
            where = {"kind": [kind]} if kind else None
            parts: list[dict[str, float]] = []

            def work(query: str, where: dict[str, list[str]] | None = where, parts: list[dict[str, float]] = parts) -> None:
                index.search(query, k=5, where=where)
                parts.append(index.seconds)

            milliseconds(work, [f"{query} " for query in asked[:10]])  # loading is not timed
            parts.clear()
            spent = milliseconds(work, asked)
            inside = [f"{1000 * np.median([some[part] for some in parts]):.2f}" for part in ("embed", "dense")]
            words = np.mean([len(query.split()) for query in asked])
            title = f"{name} of {words:.0f} words, {f'{SHARES[kind]:.0%} pass' if kind else 'no filter'}"
            rows.append([title, f"{np.median(spent):.2f}", f"{np.percentile(spent, 95):.2f}", *inside, str(len(spent))])
            medians.append(float(np.median(spent)))
    title = f"SearchIndex.search at {len(index.passages):,} passages, dense, the query embedded in {index.encoder.arithmetic}"
    table(title, ["", "p50 ms", "p95 ms", "embed p50", "find p50", "queries"], rows)
    aim("p50 of a search with a question", medians[0], at_most=10, form=".1f", unit=" ms")
    aim("p50 of a search with a whole message", medians[2], at_most=10, form=".1f", unit=" ms")


def main() -> None:
    quick = options(__doc__).quick
    ratios: list[float] = []
    with folder() as left, tempfile.TemporaryDirectory() as cache:
        arithmetic = fastest_arithmetic(Cache(Path(cache)))
        for n in (1_000, EXACT_BELOW) if quick else (10_000, 100_000):
            some = made(n)
            graph = graph_of(some.vectors, left)[0] if n >= EXACT_BELOW else None
            index = our_index(some, graph, Cache(Path(cache) / str(n)), arithmetic)
            ratios += compare(some, index, 0.5 if quick else PATIENCE)
        if ratios:
            aim("times ours, the least of all rows", min(ratios), at_least=3.0, unit="x")
        whole_search(index, 10 if quick else 100)
    done()


if __name__ == "__main__":
    main()
