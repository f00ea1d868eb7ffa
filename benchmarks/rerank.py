"""rerank: a search with ten passages reranked by the embedded reader, beside the same network as a plain CrossEncoder."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from common import PreparedEncoder, aim, done, milliseconds, named, options, support, table
from sentence_transformers import CrossEncoder

from stepladder.cache import Cache
from stepladder.encoder import count_tokens, weights_folder
from stepladder.encoder.pairs import MAX_QUESTION_TOKENS, WEIGHTS, PairReader, trained_network
from stepladder.encoder.questions import asked
from stepladder.encoder.vectors import Arithmetic, embed, has_bf16
from stepladder.records import Document, Passage
from stepladder.search import Reranker, SearchIndex, SearchSettings, chunk
from stepladder.search.rerank import EmbeddedReranker

PASSAGES = 10
AIMS: dict[Arithmetic, float] = {"fp32": 200.0, "bf16": 100.0}
WARM_UP = 10


class Watched:
    """A reranker that remembers what it was given and what it said."""

    def __init__(self, rerank: Reranker) -> None:
        self.rerank = rerank
        self.said: dict[str, dict[str, float]] = {}

    def __call__(self, query: str, passages: Sequence[Passage]) -> np.ndarray:
        scores = np.asarray(self.rerank(query, passages))
        self.said[query] = {p.passage_id: float(score) for p, score in zip(passages, scores, strict=True)}
        return scores


def cross_encoder(weights: Path, folder: Path) -> CrossEncoder:
    """The encoder, the pooler and the pair head of the reader, written as the folder that sentence-transformers loads."""
    ours = trained_network(weights, "fp32")
    config = transformers.BertConfig.from_pretrained(str(weights_folder()), num_labels=1)
    theirs = transformers.BertForSequenceClassification(config)
    theirs.bert.load_state_dict(ours.encoder.state_dict())
    theirs.classifier.load_state_dict(ours.pair.state_dict())
    theirs.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(str(weights_folder())).save_pretrained(folder)
    return CrossEncoder(str(folder), device="cpu")


def index_of(documents: Sequence[Document], vectors: np.ndarray, arithmetic: Arithmetic, rerank: Reranker, cache: Cache) -> SearchIndex:
    """An index of these documents with the vectors of their passages; queries are embedded in that arithmetic."""
    texts = [p.headed for d in documents for p in chunk(d)]
    settings = SearchSettings(method="dense", min_score=-1.0, reranked=PASSAGES)
    return SearchIndex(documents, PreparedEncoder(cache, texts, vectors, arithmetic), settings, Watched(rerank))


def latencies(index: SearchIndex, queries: Sequence[str]) -> tuple[np.ndarray, float]:
    """(milliseconds of each search, the median of those that reranking took); the first few are not counted."""
    parts: list[float] = []

    def work(query: str) -> None:
        index.search(query, k=PASSAGES)
        parts.append(1000 * index.seconds["rerank"])

    return milliseconds(work, queries)[WARM_UP:], float(np.median(parts[WARM_UP:]))


def agreement(ours: dict[str, dict[str, float]], theirs: dict[str, dict[str, float]]) -> tuple[float, float, float]:
    """(share of queries with one order, share of pairs of passages in one order, largest difference of two scores).

    Only passages count that both sides were given: in another arithmetic the search may hand on another tenth passage.
    """
    whole, pairs, differences = [], [], []
    for query, scores in ours.items():
        both = [i for i in scores if i in theirs[query]]
        a, b = np.array([scores[i] for i in both]), np.array([theirs[query][i] for i in both])
        same = np.sign(a[:, None] - a) == np.sign(b[:, None] - b)
        whole.append(bool(same.all()))
        pairs.append(same[np.triu_indices(len(both), 1)])
        differences.append(np.abs(a - b).max())
    return float(np.mean(whole)), float(np.concatenate(pairs).mean()), float(max(differences))


def main() -> None:
    chosen = options(__doc__, ("--weights", "weights of the reader in place of those that come with stepladder"))
    weights = chosen.weights or WEIGHTS
    if not weights.exists():
        print(f"\n  not measured ({weights.name}, the weights of the reader, is not there)")
        return
    documents = [d for d in support().documents if d.status == "published"][: 15 if chosen.quick else None]
    vectors = embed([p.headed for d in documents for p in chunk(d)])
    texts = dict.fromkeys(asked(case.text) for split in ("dev", "train") for case in support().cases(split))
    # Of other texts the reader would read a part, and a plain CrossEncoder the whole
    alike = [text for text in texts if text and asked(text) == text and count_tokens(text) <= MAX_QUESTION_TOKENS]
    queries = alike[: WARM_UP + (10 if chosen.quick else 100)]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        peer = cross_encoder(weights, folder / "cross-encoder")
        rerankers: dict[str, tuple[Arithmetic, Reranker, Cache]] = {}
        for arithmetic in ("fp32", "bf16") if has_bf16() else ("fp32",):
            cache = Cache(folder / arithmetic)  # each query is asked once of each, so nothing of it is in its cache
            rerankers[f"stepladder, {arithmetic}"] = arithmetic, EmbeddedReranker(PairReader(cache, weights, arithmetic)), cache
        plain = f"CrossEncoder of {named('sentence-transformers')}, fp32"
        rerankers[plain] = "fp32", lambda query, passages: peer.predict([(query, p.headed) for p in passages]), Cache(folder / "plain")
        indexes = {name: index_of(documents, vectors, *parts) for name, parts in rerankers.items()}
        measured = {name: latencies(index, queries) for name, index in indexes.items()}
    said: dict[str, Any] = {name: index.rerank.said for name, index in indexes.items() if isinstance(index.rerank, Watched)}
    for name in said:
        if name != plain:  # a CrossEncoder with one label says the sigmoid of its logit
            said[name] = {q: {i: float(torch.sigmoid(torch.tensor(x))) for i, x in row.items()} for q, row in said[name].items()}
    theirs = float(np.median(measured[plain][0]))
    rows = []
    for name, (spent, inside) in measured.items():
        row = [name, f"{np.median(spent):.0f}", f"{np.percentile(spent, 95):.0f}", f"{inside:.0f}", f"{theirs / np.median(spent):.2f}"]
        whole, pairs, difference = agreement(said[name], said[plain])
        rows.append([*row, f"{whole:.0%}", f"{pairs:.2%}", f"{difference:.4f}"] if name != plain else [*row, "", "", ""])
    table(
        f"{len(queries) - WARM_UP} questions, {len(indexes[plain].passages)} passages, ten of them reranked",
        ["", "p50 ms", "p95 ms", "rerank p50", "ratio", "same order", "pairs in order", "largest difference"],
        rows,
    )
    for arithmetic, most in AIMS.items():
        if (name := f"stepladder, {arithmetic}") in measured:
            aim(f"p50 in {arithmetic}", float(np.median(measured[name][0])), at_most=most, form=".0f", unit=" ms")
    if not has_bf16():
        print("  bf16 not measured (the processor does not multiply it by itself)")
    done()


if __name__ == "__main__":
    main()
