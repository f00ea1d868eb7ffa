"""What is wrong, thin or suspicious in a dataset folder, as tables that a person can act on. Nothing is changed or removed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import py3langid
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from stepladder import comparison
from stepladder.dataset import SPLITS, Dataset
from stepladder.encoder import MAX_TOKENS, Encoder, WeightsError, count_tokens
from stepladder.encoder.pairs import SOURCES
from stepladder.encoder.text import fingerprints
from stepladder.records import Case

CONTAINMENT = 0.6
COSINE = 0.9
MIN_TRAIN = 15
MIN_TEST = 8
ENGLISH = "en"
LEAST_LETTERS = 20  # a shorter text names no language
DISCORDANT = 0.2
FRESH_DAYS = {"daily": 30, "weekly": 365, "monthly": 730}
_BLOCK = 500
SHARED_SENTENCES = 2  # fewer may be chance: "Please contact us if you have any questions."


def balance(folder: Dataset) -> pd.DataFrame:
    """Cases per value of each enum field and split; `thin` marks values too rare to be learnt or measured."""
    rows = []
    for name, spec in folder.schema["properties"].items():
        values = spec.get("enum") or spec.get("items", {}).get("enum") or []
        counts = {split: Counter(_values(folder, split, name)) for split in SPLITS}
        for value in values:
            n: dict[str, int] = {split: counts[split][str(value)] for split in SPLITS}
            rows.append({"field": name, "value": str(value), **n, "thin": "thin" if _thin(n) else ""})
    return pd.DataFrame(rows, columns=["field", "value", *SPLITS, "thin"])


def _values(folder: Dataset, split: Any, name: str) -> Iterator[str]:
    for row in folder.gold_of(folder.cases(split)).values():
        value = row.output.get(name)
        yield from map(str, value if isinstance(value, list) else [value])


def _thin(n: dict[str, int]) -> bool:
    return n["train"] < MIN_TRAIN or n["test"] < MIN_TEST


def near_duplicates(cases: Sequence[Case], encoder: Encoder, containment: float = CONTAINMENT, cosine: float = COSINE) -> pd.DataFrame:
    """Pairs of cases in different splits that say almost the same.

    Either the shorter one's character 5-grams stand in the longer one (Broder 1997: containment), or the vectors are
    near. `declared` marks pairs of one group_id and pairs that are both tagged taught: those are meant. Worst first.
    """
    columns = ["case_id", "split", "other_case_id", "other_split", "containment", "cosine", "declared", "text", "other_text"]
    texts = [" ".join(case.text.casefold().split()) for case in cases]
    if not any(len(text) >= 5 for text in texts):
        return pd.DataFrame(columns=columns)
    grams = CountVectorizer(analyzer="char", ngram_range=(5, 5), binary=True, dtype=np.float32).fit_transform(texts)
    sizes = np.maximum(np.asarray(grams.sum(axis=1)).ravel(), 1)
    vectors = encoder.encode([case.text for case in cases])
    splits = np.array([case.split for case in cases])
    rows = []
    for start in range(0, len(cases), _BLOCK):
        part = slice(start, start + _BLOCK)
        shared = (grams[part] @ grams.T).toarray() / np.minimum(sizes[part, None], sizes[None, :])
        near = vectors[part] @ vectors.T
        found = ((shared >= containment) | (near >= cosine)) & (splits[part, None] != splits[None, :])
        for i, j in zip(*np.nonzero(found), strict=True):
            a, b = cases[start + i], cases[j]
            if start + i < j:
                a, b = sorted((a, b), key=lambda case: SPLITS.index(case.split), reverse=True)
                declared = (a.group_id is not None and a.group_id == b.group_id) or ("taught" in a.tags and "taught" in b.tags)
                mark = "declared" if declared else ""
                rows.append((a.case_id, a.split, b.case_id, b.split, float(shared[i, j]), float(near[i, j]), mark, a.text, b.text))
    frame = pd.DataFrame(rows, columns=columns)
    return frame.sort_values(["containment", "cosine"], ascending=False, ignore_index=True)


def suspicious_labels(folder: Dataset, encoder: Encoder, seed: int = 0, most: int = 20) -> pd.DataFrame:
    """The labels that other cases speak against most, over all enum fields: wrong, or hard.

    Each case is labelled by a logistic regression on its vector that was fitted without it (5 folds); the margin is the
    probability of its favourite minus that of the given label (Northcutt et al. 2021, confident learning).
    """
    rows = []
    for name, spec in folder.schema["properties"].items():
        known = [(c, str(folder.gold[c.case_id].output[name])) for c in folder.all_cases if _labelled(folder, c, name)]
        counts = Counter(value for _, value in known)
        known = [(c, value) for c, value in known if counts[value] >= 5]
        if "enum" not in spec or len({value for _, value in known}) < 2:
            continue
        given = np.array([value for _, value in known])
        model = LogisticRegression(C=10, max_iter=200, tol=1e-2, class_weight="balanced")
        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        chances = cross_val_predict(model, encoder.encode([c.text for c, _ in known]), given, cv=folds, method="predict_proba")
        names = np.unique(given)
        own = chances[np.arange(len(given)), np.searchsorted(names, given)]
        for (case, value), row, mine in zip(known, chances, own, strict=True):
            if row.max() > mine:
                rows.append((case.case_id, case.split, name, value, str(names[row.argmax()]), float(row.max() - mine), case.text))
    frame = pd.DataFrame(rows, columns=["case_id", "split", "field", "label", "others say", "margin", "text"])
    return frame.sort_values("margin", ascending=False, ignore_index=True).head(most)


def _labelled(folder: Dataset, case: Case, name: str) -> bool:
    row = folder.gold.get(case.case_id)
    return row is not None and isinstance(row.output.get(name), (str, int, bool)) and not isinstance(row.output.get(name), list)


def unsupported_answers(folder: Dataset) -> pd.DataFrame:
    """Answers none of whose accepted wordings stands literally in the quoted evidence. Worked out, or a mistake."""
    texts = {document.doc_id: document.text for document in folder.documents}
    rows = []
    for case in folder.all_cases:
        gold = folder.gold.get(case.case_id)
        wordings = (gold.output.get("answer") or []) if gold else []
        evidence = [e.quote or texts.get(e.doc_id, "") for item in gold.evidence for e in item] if gold else []
        if wordings and evidence and not any(_plain(w) in _plain(text) for w in wordings for text in evidence):
            rows.append((case.case_id, case.split, wordings[0], evidence[0]))
    return pd.DataFrame(rows, columns=["case_id", "split", "answer", "first evidence"])


def _plain(text: str) -> str:
    return " ".join(re.findall(r"[\w£$€%.,-]*\w|[£$€%]", text.casefold()))


def other_languages(cases: Sequence[Case]) -> pd.DataFrame:
    """Messages that py3langid takes for another language than English. Very short ones are left out."""
    rows = []
    for case in cases:
        if sum(map(str.isalpha, case.text)) >= LEAST_LETTERS:
            language = str(py3langid.classify(case.text)[0])
            if language != ENGLISH:
                rows.append((case.case_id, case.split, language, case.text))
    return pd.DataFrame(rows, columns=["case_id", "split", "language", "text"])


def token_lengths(cases: Sequence[Case]) -> pd.Series:
    """WordPiece tokens of each message, by case_id; the embedded encoder reads the first 256."""
    return pd.Series({case.case_id: count_tokens(case.text) for case in cases}, dtype=int)


def too_long(lengths: pd.Series) -> int:
    return int((lengths > MAX_TOKENS - 2).sum())


def slices(folder: Dataset) -> pd.DataFrame:
    """Cases of each tag, the smallest difference that the test cases of it can show, and how many the margin needs.

    For a paired comparison in which two rungs differ on 20 % of the cases (5 % level, 80 % power).
    """
    tags = sorted({tag for case in folder.all_cases for tag in case.tags})
    needed = comparison.cases_needed(folder.brief.margin, max(DISCORDANT, folder.brief.margin))
    rows = []
    for tag in ["all cases", *tags]:
        n: dict[str, int] = {split: sum(tag == "all cases" or tag in case.tags for case in folder.cases(split)) for split in SPLITS}
        smallest = comparison.smallest_difference(n["test"], DISCORDANT)
        rows.append({"slice": tag, **n, "smallest difference": smallest, "more for the margin": max(0, needed - n["test"])})
    return pd.DataFrame(rows)


def brief_against_data(folder: Dataset, today: date) -> pd.DataFrame:
    """The five questions of brief.yaml: what it says, what the data says, and whether they agree (yes, no, cannot tell)."""
    brief = folder.brief
    labelled = sum(case.case_id in folder.gold for case in folder.cases("train"))
    unlabelled = [name for name in folder.must if not any(name in row.output for row in folder.gold.values())]
    rare = balance(folder)
    rare = rare[rare["field"].isin(folder.must) & (rare["thin"] != "")]
    what = f"all {len(folder.must)} required fields are labelled" if not unlabelled else f"no case labels {', '.join(unlabelled)}"
    thin = f"; {len(rare)} of their values are thin" if len(rare) else ""
    with_evidence = sum(bool(row.evidence) for row in folder.gold.values())
    answered = sum(bool(row.output.get("answer")) for row in folder.gold.values())
    linked = sum(bool(document.url) for document in folder.documents)
    sources = f"{with_evidence} cases name evidence, {answered} have an answer; {linked} of {len(folder.documents)} documents have a URL"
    rows = [
        (
            "What is success?",
            f"{brief.success.metric} at least {brief.success.target:.2f} on {', '.join(folder.must)}",
            what + thin,
            "no" if unlabelled or not folder.gold else "yes",
        ),
        (
            "How many good examples?",
            str(brief.data_audit.examples),
            f"{labelled} labelled train cases",
            "yes" if labelled >= brief.data_audit.examples > 0 else "no",
        ),
        ("How often do facts change?", brief.update_frequency, *_freshness(folder, today)),
        (
            "How fast, for 95 of 100?",
            f"within {brief.latency_budget_seconds_p95:g} seconds",
            "measured by the rungs, read in 06",
            "cannot tell",
        ),
        (
            "Must an answer name its source?",
            "yes" if brief.sources_required else "no",
            sources,
            "yes" if with_evidence or not brief.sources_required else "no",
        ),
    ]
    return pd.DataFrame(rows, columns=["question", "the brief says", "the data says", "agree"])


def _freshness(folder: Dataset, today: date) -> tuple[str, str]:
    """What the dates say of how often facts change. An update of a document counts as the day it bears."""
    dates = sorted({d.updated_at[:10] for d in folder.documents} | {u.document.updated_at[:10] for u in folder.updates if u.document})
    if not dates:
        return "no documents", "cannot tell"
    known = [found for found in map(_date, dates) if found]
    since = today - timedelta(days=365)
    recent = sum(bool(found and found > since) for found in (_date(d.updated_at) for d in folder.documents))
    said = f"{recent} of {len(folder.documents)} documents changed within a year, the newest on {dates[-1]}; {len(folder.updates)} updates"
    frequency = folder.brief.update_frequency
    if not known:
        return said, "cannot tell"
    if frequency == "never":
        return said, "no" if folder.updates else "yes"
    return said, "yes" if max(known) >= today - timedelta(days=FRESH_DAYS[frequency]) else "no"


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        return None


def seen_by_reader(folder: Dataset) -> pd.DataFrame:
    """Documents and cases of which the embedded reader has been trained on two sentences or more: it would read those too well.

    Raises WeightsError where the fingerprints are missing.
    """
    if not SOURCES.exists():
        raise WeightsError(
            f"{SOURCES}: no such file; expected the fingerprints of what the reader was trained on; install the package again"
        )
    known = np.load(SOURCES)
    rows = []
    texts = [("document", d.doc_id, d.text) for d in folder.documents] + [("case", c.case_id, c.text) for c in folder.all_cases]
    for what, name, text in texts:
        own = fingerprints([text])
        shared = int((known[np.searchsorted(known, own).clip(max=len(known) - 1)] == own).sum())
        if shared >= SHARED_SENTENCES:
            rows.append({"what": what, "id": name, "shared sentences": shared, "of": len(own)})
    return pd.DataFrame(rows, columns=["what", "id", "shared sentences", "of"])
