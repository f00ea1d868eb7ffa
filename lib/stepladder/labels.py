"""A second pair of eyes: a blind sheet for people to fill in, read back and held against the first labels."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jsonschema
import pandas as pd
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.proportion import proportion_confint

from stepladder.cache import content_hash
from stepladder.dataset import Dataset, DatasetError
from stepladder.records import Case, Gold, Output, Prediction, UserError
from stepladder.scoring import scores_table

SECOND = "second_labels.jsonl"
SETTLED = "settled_labels.jsonl"
NULL = "-"
SEPARATOR = "|"
SHEET_COLUMNS = ["case_id", "message"]


class SheetError(UserError):
    """A sheet cannot be read back: one line per problem."""


def sample(folder: Dataset, n_cases: int, split: str = "test", seed: int = 0) -> list[Case]:
    """`n_cases` of a split, in the proportions of its strata, in an order that tells nothing.

    A stratum is the labelled value of the first enum field, where there are labels, with the first tag. Every k-th of
    the cases sorted by stratum is taken (systematic sampling), starting at a seeded place.
    """
    cases = [case for case in folder.all_cases if case.split == split]
    if not cases:
        raise UserError(f"split {split} has no cases; expected one of the splits of cases.jsonl that has some")
    first = next((name for name, spec in folder.schema["properties"].items() if "enum" in spec), None)
    stratum = {c.case_id: (_labelled(folder, c, first), c.tags[:1], content_hash(str(seed), c.case_id)) for c in cases}
    ordered = sorted(cases, key=lambda case: stratum[case.case_id])
    n_cases = min(n_cases, len(ordered))
    start = int(content_hash("start", str(seed)), 16) % len(ordered)
    picked = [ordered[(start + i * len(ordered) // n_cases) % len(ordered)] for i in range(n_cases)]
    return sorted(picked, key=lambda case: stratum[case.case_id][2])


def _labelled(folder: Dataset, case: Case, name: str | None) -> str:
    row = folder.gold.get(case.case_id)
    return str(row.output.get(name)) if row and name else ""


def write_sheet(folder: Dataset, cases: Sequence[Case], path: Path) -> None:
    """A CSV sheet with the message and an empty column per field; what is allowed stands in the heading.

    No label is written. A message that a spreadsheet would run as a formula gets an apostrophe before it. Raises
    UserError where the file exists: it may hold somebody's work.
    """
    if path.exists():
        raise UserError(f"{path}: exists already, and may hold labels; remove it or name another file")
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        sheet = csv.writer(stream)
        sheet.writerow([*SHEET_COLUMNS, *(heading(name, spec) for name, spec in _fields(folder).items())])
        for case in cases:
            sheet.writerow([case.case_id, _harmless(case.text), *("" for _ in _fields(folder))])


def _harmless(text: str) -> str:
    return f"'{text}" if text.lstrip()[:1] in tuple("=+-@\t\r") else text


def _fields(folder: Dataset) -> dict[str, dict[str, Any]]:
    return {name: spec for name, spec in folder.schema["properties"].items() if name != "sources"}


def heading(name: str, spec: Mapping[str, Any]) -> str:
    """
    >>> heading("urgency", {"enum": ["low", "high"]}), heading("days", {"type": ["integer", "null"]})
    ('urgency (low / high)', 'days (whole number, - if none)')
    """
    if name == "answer":
        return "answer (wordings with | between them, - if the documents do not say)"
    values = spec.get("enum") or spec.get("items", {}).get("enum")
    kinds = spec.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    words = {"integer": "whole number", "number": "number", "boolean": "true / false", "string": "text", "array": "values with | between"}
    said = " / ".join(str(v) for v in values if v is not None) if values else next((words[k] for k in kinds if k in words), "text")
    none = ", - if none" if "null" in kinds or (values and None in values) else ""
    return f"{name} ({said}{none})"


def read_sheet(folder: Dataset, path: Path) -> dict[str, Output]:
    """case_id -> the fields that were filled in. An empty cell is not labelled, `-` is null, a row of empty cells is left out.

    Raises SheetError with every problem: an unknown case, field or value, or a case twice.
    """
    known = {case.case_id for case in folder.all_cases}
    fields = _fields(folder)
    problems: list[str] = []
    rows: dict[str, Output] = {}
    for line, cells in _cells(path, problems):
        case_id = cells.get("case_id", "")
        if case_id not in known:
            problems.append(f"{path.name}:{line}: case_id: found {case_id!r}; expected an id of cases.jsonl")
        if case_id in rows:
            problems.append(f"{path.name}:{line}: case_id: {case_id!r} stands twice; expected each case once")
        output: Output = {}
        for name, cell in cells.items():
            if name in SHEET_COLUMNS or not cell.strip():
                continue
            if name not in fields:
                problems.append(f"{path.name}:{line}: {name}: unknown column; expected some of {', '.join(fields)}")
                continue
            value, wrong = _parse(name, cell.strip(), fields[name])
            if wrong:
                problems.append(f"{path.name}:{line}: {name}: found {cell.strip()[:60]!r}; expected {heading(name, fields[name])}")
            output[name] = value
        if output:
            rows[case_id] = output
    if problems:
        raise SheetError("\n".join(problems))
    if not rows:
        raise SheetError(f"{path.name}: no cell is filled in; expected at least one labelled case")
    return rows


def _cells(path: Path, problems: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, cells by field name) of each row; a heading counts up to its bracket."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            sheet = csv.reader(stream, strict=True)
            names = [name.split(" (")[0].strip() for name in next(sheet, [])]
            if "case_id" not in names:
                raise SheetError(f"{path.name}:1: found columns {names}; expected case_id among them, as stepladder label writes it")
            for cells in sheet:
                if len(cells) != len(names):
                    problems.append(f"{path.name}:{sheet.line_num}: found {len(cells)} cells; expected {len(names)}")
                elif any(cell.strip() for cell in cells):
                    yield sheet.line_num, dict(zip(names, cells, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SheetError(f"{path}: {error}; expected a CSV file in UTF-8, as stepladder label writes it") from None


def _parse(name: str, cell: str, spec: Mapping[str, Any]) -> tuple[Any, bool]:
    """(value, is it wrong?)"""
    if name == "answer":
        wordings = [part.strip() for part in cell.split(SEPARATOR) if part.strip()]
        return (None, False) if cell == NULL else (wordings, not wordings)
    kinds = spec.get("type", [])
    value: Any = cell
    if cell == NULL:
        value = None
    elif "array" in kinds:
        value = [part.strip() for part in cell.split(SEPARATOR) if part.strip()]
    elif "boolean" in kinds and cell.casefold() in ("true", "false"):
        value = cell.casefold() == "true"
    elif "integer" in kinds and cell.lstrip("-").isdecimal():
        value = int(cell)
    elif "number" in kinds:
        try:
            value = float(cell)
        except ValueError:
            return cell, True
    return value, bool(list(jsonschema.Draft202012Validator(dict(spec)).iter_errors(value)))


@dataclass(frozen=True)
class ReadBack:
    """What reading a sheet back did: cases newly labelled in gold.jsonl, cases labelled a second time."""

    new: int
    second: int


def keep(folder: Dataset, rows: Mapping[str, Output]) -> ReadBack:
    """Labels of cases without gold are added to gold.jsonl; of the others kept in second_labels.jsonl. Gold is never changed."""
    new = {case_id: output for case_id, output in rows.items() if case_id not in folder.gold}
    again = second_labels(folder) | {case_id: output for case_id, output in rows.items() if case_id in folder.gold}
    if new:
        path = folder.folder / "gold.jsonl"
        before = path.read_text(encoding="utf-8-sig") if path.exists() else ""
        before += "" if before.endswith("\n") or not before else "\n"
        _write(path, before + "".join(_line(case_id, output) for case_id, output in new.items()))
    if again:
        _write(folder.folder / SECOND, "".join(_line(case_id, output) for case_id, output in sorted(again.items())))
    return ReadBack(len(new), len(rows) - len(new))


def _line(case_id: str, output: Output) -> str:
    return json.dumps({"case_id": case_id, "output": output}, ensure_ascii=False) + "\n"


def _write(path: Path, text: str) -> None:
    """The whole file, or none of it."""
    staged = path.with_name(f".{path.name}.tmp")
    staged.write_text(text, encoding="utf-8")
    os.replace(staged, path)


def second_labels(folder: Dataset) -> dict[str, Output]:
    """The labels of a second pass, by case_id; empty where there was none. Raises DatasetError for a broken file."""
    rows = _rows(folder, SECOND, "{case_id, output}, as stepladder label writes it")
    return {row["case_id"]: row["output"] for row in rows if isinstance(row["output"], dict)}


def first_labels(folder: Dataset) -> dict[str, Gold]:
    """Gold as it was before disagreements were settled: settled_labels.jsonl remembers what the first pass had said."""
    gold = dict(folder.gold)
    for row in _rows(folder, SETTLED, "{case_id, field, first, second, settled, why}"):
        before = gold[row["case_id"]]
        gold[row["case_id"]] = replace(before, output=before.output | {row["field"]: row["first"]})
    return gold


def _rows(folder: Dataset, file: str, expected: str) -> list[dict[str, Any]]:
    """The rows of an optional file about cases that are loaded; with a limit some are not."""
    path = folder.folder / file
    needed = expected.strip("{}").split("}")[0].split(", ")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines() if path.exists() else (), 1):
        try:
            row = json.loads(line)
            if missing := [name for name in needed if name not in row]:
                raise KeyError(*missing)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DatasetError([f"{file}:{number}: {error!r}; expected {expected}"]) from None
        if row["case_id"] in folder.gold or row["case_id"] in {case.case_id for case in folder.all_cases}:
            rows.append(row)
    return rows


def agreement(folder: Dataset) -> pd.DataFrame:
    """How far the second pass agrees with the first: share and Cohen's kappa per field, and for all required fields at once.

    The interval holds 95 % and is exact (Clopper and Pearson 1934).

    An answer agrees where the first pass's scoring would accept one of the second's wordings. Its kappa is that of
    answering against abstaining. Kappa is left out where both passes know one value only.
    """
    rows = []
    first, second, cases = _both(folder)
    scores = _scores(folder, cases, first, second)
    for name in [*_fields(folder), "resolved"]:
        metric = "resolved" if name == "resolved" else f"{name}_correct"
        values = scores[scores["metric"] == metric].set_index("case_id")["value"]
        if len(values):
            low, high = proportion_confint(values.sum(), len(values), method="beta")
            kappa = _kappa(name, list(values.index), second, first)
            called = "all required fields" if name == "resolved" else name
            rows.append((called, len(values), values.mean(), low, high, kappa))
    return pd.DataFrame(rows, columns=["field", "cases", "agreement", "low", "high", "kappa"])


def _both(folder: Dataset) -> tuple[dict[str, Gold], dict[str, Output], list[Case]]:
    """(first labels, second labels, the cases that have both)."""
    first, second = first_labels(folder), second_labels(folder)
    return first, second, [case for case in folder.all_cases if case.case_id in second and case.case_id in first]


def _scores(folder: Dataset, cases: Sequence[Case], first: Mapping[str, Gold], second: Mapping[str, Output]) -> pd.DataFrame:
    """The second pass scored as if it were a model, on the fields that it labelled; of its wordings the best counts."""
    parts = []
    for case in cases:
        output, gold = second[case.case_id], first[case.case_id]
        shared = {name: value for name, value in gold.output.items() if name in output}
        asked = {case.case_id: Gold(case.case_id, shared, gold.evidence, rejected=gold.rejected)}
        tries = [Prediction(case.case_id, output | {"answer": wording}, "") for wording in output.get("answer") or [None]]
        must = folder.must if all(name in shared for name in folder.must if name in gold.output) else []
        tables = [scores_table("second", "second", [said], asked, must) for said in tries]
        parts.append(max(tables, key=lambda table: table.loc[table["metric"] == "answer_correct", "value"].sum()))
    return pd.concat(parts) if parts else pd.DataFrame(columns=["case_id", "metric", "value"])


def _kappa(name: str, case_ids: Sequence[str], second: Mapping[str, Output], gold: Mapping[str, Gold]) -> float | None:
    if name == "resolved":
        return None
    pairs = [(gold[i].output.get(name), second[i].get(name)) for i in case_ids]
    marks = [(str(a is None), str(b is None)) if name == "answer" else (json.dumps(a), json.dumps(b)) for a, b in pairs]
    return float(cohen_kappa_score(*zip(*marks, strict=True))) if len({m for pair in marks for m in pair}) > 1 else None


def disagreements(folder: Dataset) -> pd.DataFrame:
    """The fields in which the two passes differ, a row each."""
    first, second, cases = _both(folder)
    scores = _scores(folder, cases, first, second)
    rows = []
    for row in scores[(scores["value"] == 0) & scores["metric"].str.endswith("_correct")].to_dict("records"):
        name = str(row["metric"]).removesuffix("_correct")
        if name in _fields(folder):
            case_id = row["case_id"]
            rows.append((case_id, name, _shown(first[case_id].output[name]), _shown(second[case_id].get(name))))
    return pd.DataFrame(rows, columns=["case_id", "field", "first", "second"])


def _shown(value: Any) -> str:
    return f" {SEPARATOR} ".join(map(str, value)) if isinstance(value, list) else NULL if value is None else str(value)
