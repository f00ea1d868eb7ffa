"""Cheap floors that every table carries: the most frequent value, and TF-IDF with logistic regression."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from stepladder.records import Case, Gold, Output, Prediction

Answerer = Callable[[Case], Prediction]


def majority(cases: Sequence[Case], gold: Mapping[str, Gold], schema: dict[str, Any]) -> Answerer:
    """The same output for every case: the most frequent train value of each field. No train: null everywhere."""
    rows = [gold[case.case_id].output for case in cases if case.case_id in gold]
    constant = {name: _most_frequent(rows, name) for name in schema["properties"]}
    return lambda case: _predict(case, constant)


def tfidf(cases: Sequence[Case], gold: Mapping[str, Gold], schema: dict[str, Any], seed: int = 0) -> Answerer:
    """TF-IDF (words and pairs) with logistic regression for the enum fields; other fields as `majority`.

    Raises ValueError without labelled train cases.
    """
    labelled = [case for case in cases if case.case_id in gold]
    if not labelled:
        raise ValueError("no labelled train cases; expected at least one")
    rows = [gold[case.case_id].output for case in labelled]
    constant = {name: _most_frequent(rows, name) for name in schema["properties"]}
    fitted = {}
    for name, spec in schema["properties"].items():
        known = [(case.text, row[name]) for case, row in zip(labelled, rows, strict=True) if row.get(name) is not None]
        if "enum" in spec and len({value for _, value in known}) > 1:
            pipe = make_pipeline(
                TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
                LogisticRegression(C=10, max_iter=2000, class_weight="balanced", random_state=seed),
            )
            fitted[name] = pipe.fit([text for text, _ in known], [value for _, value in known])

    def answer(case: Case) -> Prediction:
        chosen = {name: pipe.predict([case.text])[0] for name, pipe in fitted.items()}
        return _predict(case, constant | {name: getattr(v, "item", lambda v=v: v)() for name, v in chosen.items()})

    return answer


def _most_frequent(rows: Sequence[Output], name: str) -> Any:
    """The most frequent value of a field, ties by first sight; an answer is frequent only as null."""
    if name == "sources":
        return []
    if name == "answer":
        return None
    values = Counter(json.dumps(row[name]) for row in rows if name in row)
    return json.loads(values.most_common(1)[0][0]) if values else None


def _predict(case: Case, output: Output) -> Prediction:
    return Prediction(case.case_id, dict(output), json.dumps(output, ensure_ascii=False))
