"""build: a graph of 100,000 vectors, beside bare hnswlib, faiss and usearch with the same parameters, one thread each."""

# Two libraries at a time, a core each: one after the other they would take more than half of all the time there is, and what
# else the machine does then slows the two alike that are compared. Should Graph.build ever use more threads, this must change.

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from common import NOT_INSTALLED, aim, clustered, done, folder, keep, named, nearest, options, recall, table

from stepladder.cache import Stopwatch
from stepladder.encoder import DIMENSIONS
from stepladder.search.graph import Graph, GraphSettings

S = GraphSettings()
QUERIES = 500
Search = Callable[[np.ndarray], Any]  # queries to the rows of ten vectors each


def stepladder(vectors: np.ndarray) -> tuple[Search, Graph]:
    graph = Graph(DIMENSIONS, S).build(vectors)
    return lambda queries: [graph.nearest(query, 10) for query in queries], graph


def hnswlib(vectors: np.ndarray) -> tuple[Search, None]:
    import hnswlib

    index = hnswlib.Index(space="cosine", dim=DIMENSIONS)
    index.init_index(max_elements=len(vectors), M=S.m, ef_construction=S.ef_construction, random_seed=0)
    index.add_items(vectors, num_threads=1)
    index.set_ef(S.ef)
    return lambda queries: index.knn_query(queries, k=10, num_threads=1)[0], None


def faiss(vectors: np.ndarray) -> tuple[Search, None]:
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexHNSWFlat(DIMENSIONS, S.m, faiss.METRIC_INNER_PRODUCT)  # of vectors of length one: the cosine
    index.hnsw.efConstruction = S.ef_construction
    index.add(vectors)
    index.hnsw.efSearch = S.ef
    return lambda queries: index.search(queries, 10)[1], None


def usearch(vectors: np.ndarray) -> tuple[Search, None]:
    from usearch.index import Index

    index = Index(ndim=DIMENSIONS, metric="cos", dtype="f32", connectivity=S.m, expansion_add=S.ef_construction, expansion_search=S.ef)
    index.add(np.arange(len(vectors)), vectors, threads=1)
    return lambda queries: index.search(queries, 10, threads=1).keys, None


LIBRARIES = {"stepladder": stepladder, "hnswlib": hnswlib, "faiss-cpu": faiss, "usearch": usearch}
SIDE_BY_SIDE = (("stepladder", "hnswlib"), ("faiss-cpu", "usearch"))


def measure(library: str, n: int) -> tuple[float, float, float] | None:
    """(seconds, MB of memory gained, recall@10) of one library in a process of its own, or None where it is not installed."""
    import psutil

    vectors, queries = clustered(n, seed=0), clustered(QUERIES, seed=1)
    try:
        LIBRARIES[library](vectors[:100])  # what is loaded once is neither timed nor weighed
    except ImportError:
        return None
    gc.collect()
    before = psutil.Process().memory_info().rss
    with Stopwatch() as watch:
        search, graph = LIBRARIES[library](vectors)
    gained = psutil.Process().memory_info().rss - before
    if graph is not None and "STEPLADDER_BENCH" in os.environ:
        with folder() as left:
            keep(graph, left, vectors, watch.seconds)
    return watch.seconds, gained / 1e6, recall(search(queries), nearest(queries, vectors))


def main() -> None:
    n = 5000 if options(__doc__).quick else 100_000
    found: dict[str, tuple[float, float, float] | None] = {}
    for pair in SIDE_BY_SIDE:
        with multiprocessing.get_context("spawn").Pool(2, maxtasksperchild=1) as processes:
            found |= dict(zip(pair, processes.starmap(measure, [(library, n) for library in pair], chunksize=1), strict=True))
    bare = found["hnswlib"]
    assert bare is not None
    rows = [
        [named(library), *(f"{values[0]:.1f}", f"{values[0] / bare[0]:.2f}", f"{values[2]:.3f}", f"{values[1]:.0f}")]
        if values
        else [named(library), NOT_INSTALLED]
        for library, values in found.items()
    ]
    table(
        f"{n:,} vectors, M {S.m}, efConstruction {S.ef_construction}, ef {S.ef}, one thread each, two at a time",
        ["", "s", "times hnswlib", "recall@10", "MB"],
        rows,
    )
    ours = found["stepladder"]
    assert ours is not None
    aim("seconds, times bare hnswlib", ours[0] / bare[0], at_most=1.1)
    aim("recall@10", ours[2], at_least=0.95, form=".3f")
    print("  MB: memory gained while building, the vectors copied into the graph included")
    done()


if __name__ == "__main__":
    main()
