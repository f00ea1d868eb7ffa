"""What the benchmarks share: two cores, clocks, made-up vectors, a folder for what one script leaves to the next, and tables."""

from __future__ import annotations

import os

# Before numpy and torch are loaded, which read these once. Set by the caller, they hold as they are.
os.environ.update({f"{name}_NUM_THREADS": os.environ.get(f"{name}_NUM_THREADS", "2") for name in ("OMP", "OPENBLAS", "MKL", "RAYON")})
os.environ["TOKENIZERS_PARALLELISM"] = "true"  # the default of sentence-transformers, which make would switch off
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"

import argparse
import contextlib
import hashlib
import json
import platform
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stepladder import dataset
from stepladder.cache import Cache, Stopwatch
from stepladder.encoder import DIMENSIONS, Encoder
from stepladder.encoder.vectors import Arithmetic
from stepladder.search.graph import Graph, GraphSettings

CENTRES = 300
SPREAD = 0.05  # around a centre, in each dimension: two vectors of one centre have a cosine of about .5
STARTED = time.perf_counter()


def options(about: str | None, *files: tuple[str, str]) -> argparse.Namespace:
    """The command line of a benchmark, `files` with their help among it; a line says what is measured, and on what."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--quick", action="store_true", help="a small size, to see that it runs; its figures mean nothing")
    for name, what in files:
        parser.add_argument(name, type=Path, help=what)
    chosen = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    warnings.filterwarnings("ignore")
    print(f"\n=== {str(about).splitlines()[0]}")
    print(f"    {torch.get_num_threads()} cores, {_processor()}, Python {platform.python_version()}, torch {torch.__version__}", end="")
    print("; --quick: these figures mean nothing" if chosen.quick else "", flush=True)
    return chosen


def _processor() -> str:
    """What the processor calls itself, and the instructions that torch uses."""
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    return f"{names[0] if names else platform.processor() or platform.machine()} ({torch.backends.cpu.get_cpu_capability()})"


@lru_cache(maxsize=1)
def support() -> dataset.Dataset:
    """The dataset that comes with the project."""
    return dataset.load(Path(__file__).parents[1] / "data" / "support")


# --- clocks


def seconds_of(work: Callable[[], object]) -> float:
    with Stopwatch() as watch:
        work()
    return watch.seconds


def milliseconds(work: Callable[[Any], object], items: Sequence[Any]) -> np.ndarray:
    """Milliseconds of each of the calls."""
    return np.array([1000 * seconds_of(lambda item=item: work(item)) for item in items])  # type: ignore[misc]


# --- vectors and what holds them


def clustered(n: int, seed: int) -> np.ndarray:
    """(n, 384) unit vectors around some hundred centres, the same centres for every seed: embeddings lie in clusters."""
    centres = np.random.default_rng(0).standard_normal((CENTRES, DIMENSIONS)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    rng = np.random.default_rng(1 + seed)
    vectors = rng.standard_normal((n, DIMENSIONS), dtype=np.float32)
    vectors *= SPREAD
    vectors += centres[rng.integers(CENTRES, size=n)]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def nearest(queries: np.ndarray, vectors: np.ndarray, n: int = 10, among: np.ndarray | None = None) -> list[set[int]]:
    """The rows of the n vectors truly nearest to each query, `among` some rows or all."""
    rows = np.arange(len(vectors)) if among is None else among
    scores = queries @ (vectors if among is None else vectors[among]).T
    best = np.argpartition(-scores, min(n, len(rows)) - 1, axis=1)[:, :n]
    return [set(rows[some].tolist()) for some in best]


def recall(found: Sequence[Sequence[int]], truth: Sequence[set[int]]) -> float:
    """Share of the truly nearest that were found."""
    return sum(len(right & set(some)) for some, right in zip(found, truth, strict=False)) / sum(map(len, truth[: len(found)]))


class PreparedEncoder(Encoder):
    """Has the vectors of some texts ready, by the row in a matrix, and really embeds all others."""

    def __init__(self, cache: Cache, texts: Sequence[str], vectors: np.ndarray, arithmetic: Arithmetic | None = None) -> None:
        super().__init__(cache, arithmetic)
        self.rows = {text: row for row, text in enumerate(texts)}
        self.prepared = vectors

    def _embed(self, texts: list[str]) -> np.ndarray:
        rows = np.array([self.rows.get(text, -1) for text in texts])
        made = np.empty((len(texts), DIMENSIONS), dtype=np.float32)
        made[rows >= 0] = self.prepared[rows[rows >= 0]]
        if others := [text for text, row in zip(texts, rows, strict=True) if row < 0]:
            made[rows < 0] = super()._embed(others)
        return made


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Where scripts run one after another leave things to each other (`STEPLADDER_BENCH`), else a folder that goes at the end."""
    if given := os.environ.get("STEPLADDER_BENCH"):
        yield Path(given)
    else:
        with tempfile.TemporaryDirectory() as made:
            yield Path(made)


def graph_of(vectors: np.ndarray, left: Path) -> tuple[Graph, float]:
    """The library's graph of these vectors and the seconds that building it took, now or in an earlier script of this run."""
    path = left / f"{hashlib.sha256(vectors.tobytes()).hexdigest()}.hnsw"
    graph = Graph(DIMENSIONS, GraphSettings())
    if not path.exists():
        keep(graph, left, vectors, seconds_of(lambda: graph.build(vectors)))
        return graph, json.loads(path.with_suffix(".json").read_text())
    return graph.load(path, np.arange(len(vectors))), json.loads(path.with_suffix(".json").read_text())


def keep(graph: Graph, left: Path, vectors: np.ndarray, seconds: float) -> None:
    """Leave a graph to the scripts that follow."""
    path = left / f"{hashlib.sha256(vectors.tobytes()).hexdigest()}.hnsw"
    graph.save(path)
    path.with_suffix(".json").write_text(json.dumps(seconds))


# --- what is printed


def named(package: str) -> str:
    """A package with its version, or without where it is not installed."""
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return package


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned text; a row of two cells has a remark in place of its figures."""
    full = [columns, *(row for row in rows if len(row) == len(columns))]
    widths = [max(len(row[i]) for row in full) for i in range(len(columns))]
    widths[0] = max(len(row[0]) for row in [columns, *rows])
    print(f"\n{title}")
    for row in [columns, *rows]:
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)] if len(row) == len(columns) else row[1:]
        print("  " + "   ".join([row[0].ljust(widths[0]), *rest]).rstrip())


NOT_INSTALLED = "not measured (not installed)"


def aim(what: str, found: float, at_least: float | None = None, at_most: float | None = None, form: str = ".2f", unit: str = "") -> None:
    """Say whether an aim was reached. Nothing fails where it was not: a clock is no test."""
    reached = found >= at_least if at_least is not None else at_most is not None and found <= at_most
    wanted = f"at least {at_least:{form}}{unit}" if at_least is not None else f"at most {at_most:{form}}{unit}"
    print(f"  aim: {what} {wanted}; found {found:{form}}{unit}: {'reached' if reached else 'missed'}")


def done() -> None:
    print(f"  ({time.perf_counter() - STARTED:.0f} s)", flush=True)
