"""Write a dataset folder whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stepladder.dataset.reader import ANSWER_SCHEMA
from stepladder.importers.draft import Collected, Draft
from stepladder.importers.report import Report
from stepladder.importers.settle import case_row, gold_row, line, split_counts
from stepladder.records import UserError


def check_free(dest: Path) -> None:
    """Raises UserError where a folder of that name holds something, or a file has the name."""
    if dest.is_symlink() or (dest.exists() and not (dest.is_dir() and not any(dest.iterdir()))):
        raise UserError(f"{dest}: is there already and not an empty folder; expected a new name; remove it or choose another")


@contextlib.contextmanager
def staged(dest: Path) -> Iterator[Path]:
    """A folder to write to that becomes `dest` at the end; what goes wrong on the way leaves nothing behind."""
    dest.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=dest.parent, prefix=f".{dest.name}-") as holder:
        staging = Path(holder) / "folder"
        staging.mkdir()
        yield staging
        check_free(dest)
        if dest.exists():
            dest.rmdir()
        os.replace(staging, dest)


def write(folder: Path, collected: Collected, cases: Sequence[Draft], report: Report) -> None:
    """The files of a dataset folder. What there is nothing for is not written, but for cases and gold."""
    rows: dict[str, list[dict[str, Any]]] = {
        "cases.jsonl": [case_row(case) for case in cases],
        "gold.jsonl": [row for case in cases if (row := gold_row(case))],
    }
    if collected.documents:
        rows["documents.jsonl"] = [asdict(document) for document in collected.documents]
    for name, its in rows.items():
        with (folder / name).open("wb") as stream:
            stream.writelines(line(row) for row in its)
    schema = schema_of(collected, cases)
    if schema:
        (folder / "schema.json").write_text(json.dumps(schema, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    if collected.company:
        (folder / "company.md").write_text(collected.company.strip() + "\n", encoding="utf-8")
    (folder / "brief.yaml").write_text(brief(list(schema["properties"]) if schema else [], cases), encoding="utf-8")
    report.write(folder / "import_report.csv")


def schema_of(collected: Collected, cases: Sequence[Draft]) -> dict[str, Any] | None:
    """The schema of the fields, with `answer` and `sources` where there are answers or evidence; None without any field."""
    properties = dict(collected.fields)
    asked: dict[str, Any] = ANSWER_SCHEMA["properties"]
    if any(case.evidence or "answer" in (case.output or {}) for case in cases):
        properties["answer"] = asked["answer"]
        if collected.documents:
            properties["sources"] = asked["sources"]
    if not properties:
        return None
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Reply",
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": properties,
    }


def brief(names: Sequence[str], cases: Sequence[Draft]) -> str:
    """brief.yaml: valid as it stands; what nobody has decided yet is marked OPEN."""
    labelled = {name for case in cases for name in case.output or {}}
    must = [name for name in names if name in labelled]
    sources = str(any(case.evidence for case in cases)).lower()
    return f"""\
# The five questions, answered before the run. What an import cannot know is marked OPEN: decide, then remove the mark.

# 1. What is success? `resolved`: every field in `must` is right. The gates compare with these targets.
success:
  metric: resolved
  target: 0.80                    # OPEN: which share of messages must be handled right?
  must: {json.dumps(must, ensure_ascii=False)}   # OPEN: all labelled fields; keep those that count
  field_targets: {{}}               # OPEN: a share for each field that has a target of its own, such as {{intent: 0.90}}
margin: 0.05                      # OPEN: a difference smaller than this is not worth building for

# 2. How many good examples are there to train on?
data_audit: {{examples: {split_counts(cases)["train"]}}}        # counted by the import, not judged

# 3. How often do the facts change?
update_frequency: monthly         # OPEN: never, monthly, weekly or daily

# 4. How long may an answer take, for 95 of 100 messages?
latency_budget_seconds_p95: 5.0   # OPEN

# 5. Must an answer name its source?
sources_required: {sources}           # OPEN

# What it costs
monthly_cases: 1000               # OPEN
prices: {{input_per_million: 0.0, output_per_million: 0.0, compute_per_hour: 0.0}}   # OPEN: in dollars
"""
