"""What every rung is held against: the most frequent value, TF-IDF with logistic regression, and what a team runs today."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from stepladder.records import Case, CaseError, Gold, Output, Prediction, UserError

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


def incumbent(path: Path, cases: Sequence[Case]) -> Answerer:
    """The system that a team runs today, from a file of its predictions: JSON lines of `case_id` and `output`.

    Other keys are ignored, so a predictions.jsonl of a run serves if it holds one rung. A case that the file lacks, or an
    output that is no object, is a failure of that case. Raises UserError for a broken row, an id that stands twice, or a
    file that knows none of the cases.
    """
    said: dict[str, Any] = {}
    problems = []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"INCUMBENT: {path}: {error}; expected JSON lines of case_id and output, in UTF-8") from None
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line) if line.strip() else None
            if row is not None and str(row["case_id"]) in said:
                problems.append(f"{path.name}:{number}: case_id: {row['case_id']!r} stands twice; expected each case once, of one system")
            elif row is not None:
                said[str(row["case_id"])] = row["output"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            problems.append(f"{path.name}:{number}: {error!r}; expected an object with case_id and output")
    if not problems and not any(case.case_id in said for case in cases):
        problems.append(f"{path.name}: none of its {len(said)} ids is one of the {len(cases)} cases; expected ids of cases.jsonl")
    if problems:
        raise UserError("\n".join(problems))

    def answer(case: Case) -> Prediction:
        if not isinstance(said.get(case.case_id), dict):
            raise CaseError("the incumbent's file has no object for this case")
        return _predict(case, said[case.case_id])

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
