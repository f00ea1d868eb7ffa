"""embed: 5,000 texts of mixed length to vectors, beside sentence-transformers with its defaults."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from common import aim, done, named, options, seconds_of, support, table
from sentence_transformers import SentenceTransformer

from stepladder.cache import Cache
from stepladder.encoder import DIMENSIONS, sentences, weights_folder
from stepladder.encoder.vectors import Arithmetic, embed, fastest_arithmetic, network_in
from stepladder.encoder.weights import tokenizer
from stepladder.records import Document, Passage
from stepladder.scoring import retrieval_scores
from stepladder.search import chunk

SIZES = (160, 200, 64, 96, 220, 48)  # none over 256 tokens with its title, so that neither side cuts a text
LAYERS = 6
Side = Callable[[list[str]], np.ndarray]  # texts to their vectors


def texts(passages: Sequence[Passage], documents: Sequence[Document]) -> Iterator[str]:
    """The passages first, then the documents cut in other ways, then their sentences."""
    yield from (p.headed for p in passages)
    yield from (p.headed for size in SIZES for d in documents for p in chunk(d, size))
    yield from (s for d in documents for s in sentences(d.text))


def operations(lengths: np.ndarray) -> float:
    """Floating-point operations of real tokens: two for each weight of the six layers, and attention with all tokens of its text."""
    layers = network_in("fp32").encoder
    weights = sum(p.numel() for p in layers.parameters() if p.ndim == 2)
    width = network_in("fp32").config.hidden_size
    return float(2 * weights * lengths.sum() + LAYERS * 4 * width * (lengths.astype(float) ** 2).sum())


def rate_of_products(arithmetic: Arithmetic, size: int) -> float:
    """Operations per second of a large product of matrices, the best of five."""
    kind = torch.bfloat16 if arithmetic == "bf16" else torch.float32
    left, right = torch.randn(size, size).to(kind), torch.randn(size, size).to(kind)
    return 2.0 * size**3 / min(seconds_of(lambda: left @ right) for _ in range(5))


def ndcg(passages: Sequence[Passage], vectors: np.ndarray, queries: Side) -> float:
    """nDCG@10 on documents over the dev cases with evidence, whose messages are the queries."""
    cases = [case for case in support().cases("dev") if support().gold_of([case]) and support().gold[case.case_id].evidence]
    scores = queries([case.text for case in cases]) @ vectors.T
    values = [
        retrieval_scores([passages[i] for i in np.argsort(-row, kind="stable")], support().gold[case.case_id].evidence)["ndcg_at_10"]
        for case, row in zip(cases, scores, strict=True)
    ]
    return float(np.mean(values))


def main() -> None:
    chosen = options(__doc__)
    documents = support().documents[:30] if chosen.quick else support().documents
    passages = [p for d in documents if d.status == "published" for p in chunk(d)]  # as the search cuts them
    some = list(islice(dict.fromkeys(texts(passages, documents)), 200 if chosen.quick else 5000))
    lengths = np.array([len(tokenizer().encode(text).ids) for text in some])
    halves = np.array_split(np.random.default_rng(0).permutation(len(some)), 2)
    with tempfile.TemporaryDirectory() as cache:
        arithmetic = fastest_arithmetic(Cache(Path(cache)))
    peer = SentenceTransformer(str(weights_folder()), device="cpu")

    def theirs(batch: list[str]) -> np.ndarray:
        return np.asarray(peer.encode(batch))

    def ours(batch: list[str]) -> np.ndarray:
        return embed(batch, arithmetic)

    for warm in (ours, theirs):
        warm(some[:: max(1, len(some) // 100)])  # loading and the first shapes are not timed
    vectors: dict[Side, np.ndarray] = {side: np.zeros((len(some), DIMENSIONS), dtype=np.float32) for side in (ours, theirs)}
    spent = dict.fromkeys(vectors, 0.0)
    turns: tuple[tuple[Side, np.ndarray], ...] = ((ours, halves[0]), (theirs, halves[0]), (theirs, halves[1]), (ours, halves[1]))
    for side, half in turns:  # what drifts slows both

        def work(side: Side = side, half: np.ndarray = half) -> None:
            vectors[side][half] = side([some[i] for i in half])

        spent[side] += seconds_of(work)

    quality = {side: ndcg(passages, vectors[side][: len(passages)], side) for side in vectors}
    limits = {kind: rate_of_products(kind, 1024 if chosen.quick else 4096) for kind in {arithmetic, "fp32"}}
    rows = []
    sides: tuple[tuple[Side, str, Arithmetic], ...] = (
        (ours, named("stepladder"), arithmetic),
        (theirs, named("sentence-transformers"), "fp32"),
    )
    for side, name, kind in sides:
        rate = operations(lengths) / spent[side]
        speed = [f"{spent[side]:.1f}", f"{len(some) / spent[side]:.0f}", f"{quality[side]:.4f}"]
        rows.append([name, kind, *speed, f"{rate / 1e9:.0f}", f"{limits[kind] / 1e9:.0f}", f"{rate / limits[kind]:.0%}"])
    table(
        f"{len(some):,} texts of {lengths.min()} to {lengths.max()} tokens, {lengths.mean():.0f} on average",
        ["", "arithmetic", "s", "texts/s", "nDCG@10", "GFLOP/s", "of a large product", "share"],
        rows,
    )
    aim("texts per second, ratio", spent[theirs] / spent[ours], at_least=2.5, unit="x")
    aim("nDCG@10 on documents, ratio", 100 * quality[ours] / quality[theirs], at_least=99.5, unit=" %")
    print(f"  smallest cosine of two vectors of one text: {(vectors[ours] * vectors[theirs]).sum(axis=1).min():.4f}")
    done()


if __name__ == "__main__":
    main()
