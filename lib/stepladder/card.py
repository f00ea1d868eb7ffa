"""The tables of a data card: what is in a dataset folder, how hard it is on dev, how far two passes of labelling agree."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from stepladder import labels
from stepladder.cache import Cache
from stepladder.dataset import SPLITS, Dataset, load
from stepladder.encoder import Encoder
from stepladder.floors import tfidf
from stepladder.records import Case
from stepladder.scoring import retrieval_scores
from stepladder.search import SearchIndex, SearchSettings

WHOLE = 100_000  # tokens of a passage: each document is one


def contents(folder: Dataset) -> pd.DataFrame:
    """Rows of each kind: documents by kind and status, updates, cases by split and by whether they have an answer."""
    statuses = ("published", "draft", "archived")
    by_kind: Counter[tuple[str, str]] = Counter((d.kind, str(d.status)) for d in folder.documents)
    rows = [(f"documents, {kind}", *(by_kind[kind, status] for status in statuses)) for kind in sorted({k for k, _ in by_kind})]
    rows.append(("documents", *(sum(d.status == status for d in folder.documents) for status in statuses)))
    return pd.DataFrame(rows, columns=["", *statuses])


def updates(folder: Dataset) -> dict[str, int]:
    """How many updates change, add and delete a document."""
    known = {document.doc_id for document in folder.documents}
    return {
        "change a document": sum(u.document is not None and u.doc_id in known for u in folder.updates),
        "add one": sum(u.document is not None and u.doc_id not in known for u in folder.updates),
        "delete one": sum(u.document is None for u in folder.updates),
    }


def slices(folder: Dataset) -> pd.DataFrame:
    """Cases of each split and tag."""
    tags = sorted({tag for case in folder.all_cases for tag in case.tags})
    counts = {split: Counter(tag for case in folder.cases(split) for tag in case.tags) for split in SPLITS}
    rows = [("all cases", *(len(folder.cases(split)) for split in SPLITS))]
    rows += [(f"`{tag}`", *(counts[split][tag] for split in SPLITS)) for tag in tags]
    return pd.DataFrame(rows, columns=["slice", *SPLITS])


def hardness(folder: Dataset, encoder: Encoder) -> dict[str, float]:
    """How easy dev is for what knows nothing: a share per cheap method, on dev alone.

    `intent by TF-IDF`: the first enum field by TF-IDF and logistic regression fitted on train. `BM25 first`: of the dev
    cases with evidence for an answer, those whose first document by BM25 over whole documents is a needed one. `best
    constant`: resolved by the one output that resolves most.
    """
    dev = [case for case in folder.cases("dev") if case.case_id in folder.gold]
    found: dict[str, float] = {}
    field = next((name for name, spec in folder.schema["properties"].items() if "enum" in spec), None)
    if field and dev and any(case.case_id in folder.gold for case in folder.cases("train")):
        guess = tfidf(folder.cases("train"), folder.gold, folder.schema)
        right = [(guess(case).output or {}).get(field) == folder.gold[case.case_id].output.get(field) for case in dev]
        found[f"{field} by TF-IDF"] = sum(right) / len(right)
    asked = [case for case in dev if folder.gold[case.case_id].evidence and folder.gold[case.case_id].output.get("answer")]
    if asked:
        index = SearchIndex(folder.documents, encoder, SearchSettings(method="bm25", max_tokens=WHOLE, min_score=-1.0))
        scores = [retrieval_scores(index.search(case.text, k=10), folder.gold[case.case_id].evidence) for case in asked]
        found["BM25 first"] = sum(row["hit_at_1"] for row in scores) / len(scores)
    if dev:
        found["best constant"] = _best_constant(folder, dev)
    return found


def _best_constant(folder: Dataset, dev: Sequence[Case]) -> float:
    """Share of dev that the most frequent combination of required fields resolves; an answer counts by its first wording."""
    outputs = [folder.gold[case.case_id].output for case in dev]
    firsts = [{name: (row[name] or [None])[0] if name == "answer" else row[name] for name in folder.must if name in row} for row in outputs]
    return Counter(json.dumps(row, sort_keys=True) for row in firsts).most_common(1)[0][1] / len(dev)


def markdown(frame: pd.DataFrame) -> str:
    """A table in Markdown; shares with two digits, an empty cell for what was not measured."""
    cells = [[_cell(value) for value in row] for row in frame.astype(object).to_numpy().tolist()]
    lines = ["| " + " | ".join(map(str, frame.columns)) + " |", "|" + " --- |" * len(frame.columns)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in cells)])


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:.2f}"
    return "" if value is None else str(value)


def card(path: Path, cache: Cache | None = None) -> str:
    """The tables of a folder's data card, as Markdown."""
    folder = load(path)
    parts = [
        "### Documents",
        markdown(contents(folder)),
        "Updates: " + ", ".join(f"{n} {what}" for what, n in updates(folder).items()) + ".",
    ]
    parts += ["### Cases", markdown(slices(folder))]
    hard = hardness(folder, Encoder(cache or Cache()))
    rows = pd.DataFrame([(name, share) for name, share in hard.items()], columns=["on dev", "share right"])
    parts += ["### How hard it is", markdown(rows)]
    agreement = labels.agreement(folder)
    if len(agreement):
        differ = labels.disagreements(folder)
        fields = ", ".join(f"{n} in {name}" for name, n in Counter(differ["field"]).most_common())
        said = f"The two passes differ in {len(differ)} labels: {fields}. Each is settled in `{labels.SETTLED}`, with the reason."
        parts += ["### The second pass against the first", markdown(agreement), said]
    return "\n\n".join(parts) + "\n"
