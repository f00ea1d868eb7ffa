"""From what was read to what is written: unique ids, splits, no copies across them, lines that a reader can take."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from stepladder.dataset import MAX_LINE_BYTES, SPLITS
from stepladder.importers import splits
from stepladder.importers.draft import Collected, Draft
from stepladder.importers.options import Options
from stepladder.importers.report import Report, short
from stepladder.records import UserError


def settled(collected: Collected, options: Options, report: Report) -> list[Draft]:
    """The cases to write, each with its split. Raises UserError where none is left, or none to test on."""
    cases = [case for case in collected.cases if _usable(case, report)]
    if not cases:
        first = "; ".join(report.summary()[:3]) or "the source is empty"
        raise UserError(f"found no row that can be used among {collected.rows:,} ({first}); expected messages; nothing was written")
    if any(case.split for case in cases):
        cases = splits.without_copies(cases, report)
        _note_straddling(cases, report)
    else:
        cases = splits.seeded(cases, options.shares, options.seed)
        report.notes.append(f"split: seeded ({options.seed}), {len({case.group for case in cases}):,} groups kept whole")
    cases = unique_ids(cases, report)  # now that copies are gone: a query of two splits keeps its id
    if not any(case.split == "test" for case in cases):
        found = dict(Counter(case.split for case in cases))
        raise UserError(f"the test split is empty (found {found}); expected rows of test; add them, or split by seed: --split none")
    if collected.fields and (several := splits.conflicts(cases)):
        report.notes.append(f"{several:,} texts stand more than once in one split with different labels; all are kept")
    fewer = splits.limited(cases, options.limit, options.seed)
    if len(fewer) < len(cases):
        report.notes.append(f"--limit {options.limit}: {len(cases) - len(fewer):,} cases not taken, chosen by seed {options.seed}")
    return fewer


def unique_ids(cases: Sequence[Draft], report: Report) -> list[Draft]:
    """The cases with an id each; where one stands twice, the later ones get a number, and are listed."""
    used: set[str] = set()
    named = []
    taken = {case.case_id for case in cases}
    for case in cases:
        case_id, number = case.case_id, 1
        while case_id in used or (number > 1 and case_id in taken):
            number += 1
            case_id = f"{case.case_id}-{number}"
        used.add(case_id)
        if case_id != case.case_id:
            report.say(case.place, "kept", "id that another row has", f"{short(repr(case.case_id), 60)} is now {short(repr(case_id), 60)}")
        named.append(replace(case, case_id=case_id))
    return named


def _usable(case: Draft, report: Report) -> bool:
    if not case.text.strip():
        report.leave_out(case.place, "no text")
        return False
    longest = max(len(line(row)) for row in (case_row(replace(case, split="train")), gold_row(case) or {}))
    if longest > MAX_LINE_BYTES - 100:  # a split with a longer name, a number behind the id
        report.leave_out(case.place, "too long", f"found {longest:,} bytes as JSON, expected at most {MAX_LINE_BYTES:,}")
        return False
    return True


def _note_straddling(cases: Sequence[Draft], report: Report) -> None:
    where: dict[str, set[str | None]] = {}
    for case in cases:
        if case.group_id:
            where.setdefault(case.group_id, set()).add(case.split)
    if several := sum(len(there) > 1 for there in where.values()):
        report.notes.append(f"{several:,} groups stand in more than one split of the source; left so: --split none splits by group")


def line(row: dict[str, Any]) -> bytes:
    """A row as a line of a JSONL file."""
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def case_row(case: Draft) -> dict[str, Any]:
    message = {"messages": [{"role": role, "text": text} for role, text in case.messages]} if case.messages else {"text": case.text}
    return {"case_id": case.case_id, "split": case.split, **message, "tags": list(case.tags), "group_id": case.group_id}


def gold_row(case: Draft) -> dict[str, Any] | None:
    """What is right for a case; None where nothing is known."""
    if case.output is None and not case.evidence:
        return None
    items = [[{k: v for k, v in asdict(evidence).items() if v is not None} for evidence in item] for item in case.evidence]
    return {"case_id": case.case_id, "output": case.output or {}, "evidence": [item[0] if len(item) == 1 else item for item in items]}


def split_counts(cases: Sequence[Draft]) -> dict[str, int]:
    return {split: sum(case.split == split for case in cases) for split in SPLITS}
