"""Kinds csv and jsonl: messages with labels, one row each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stepladder.importers.columns import MIN_SHARE_WITH_TEXT, Roles, Row, assign_roles
from stepladder.importers.csv_rows import read_csv
from stepladder.importers.documents import Documents, safe_id
from stepladder.importers.draft import Collected, Draft, squeezed
from stepladder.importers.fields import is_missing, items_of, label_of, separator_of, spec_of
from stepladder.importers.json_rows import read_json_rows
from stepladder.importers.options import Options
from stepladder.importers.pages import read_documents
from stepladder.importers.reading import named_apart, source_files
from stepladder.importers.report import Place, Report, short
from stepladder.importers.splits import split_word
from stepladder.records import Evidence, EvidenceSet, Output, Split, UserError

SUFFIXES = {"csv": (".csv", ".tsv"), "jsonl": (".jsonl", ".json", ".ndjson", ".jsonlines")}


def collect_table(kind: str, sources: Sequence[Path], options: Options, report: Report) -> Collected:
    """The rows of the files as cases. Raises UserError where there are no rows, or too few have a text."""
    files = source_files(sources, SUFFIXES[kind], report)
    read = read_csv if kind == "csv" else read_json_rows
    placed = [(place, row) for path, name in named_apart(files).items() for place, row in read(path, name, report)]
    if not placed:
        why = "; ".join(report.summary()) or "empty"
        raise UserError(f"{short(', '.join(map(str, files)))}: found no row that can be used ({why}); expected rows with a message each")
    documents = Documents(report, options.date)
    if options.documents:
        read_documents(Path(options.documents), documents)
    roles = assign_roles([row for _, row in placed], options, textual=kind == "csv")
    splits = _file_splits(files, roles, options, report)
    table = _Table(roles, splits, documents, report)
    collected = Collected(rows=len(placed) + report.count("row left out"), documents=documents.documents, told=_told(roles))
    with_text = sum(not is_missing(row.get(roles.text)) for _, row in placed)
    if with_text <= MIN_SHARE_WITH_TEXT * len(placed):
        what = f"found a text in {with_text:,} of {len(placed):,} rows, in column {roles.text!r}"
        raise UserError(
            f"{what}; expected one in more than {MIN_SHARE_WITH_TEXT:.0%}; name the column: --text COL, one of {short(list(placed[0][1]))}"
        )
    collected.cases = [case for place, row in placed if (case := table.case(place, row))]
    collected.fields = {name: label.spec for name, label in roles.fields.items()}
    for entity in roles.entities:
        collected.fields |= {name: spec_of(name, "string", [], closed=False, nullable=True) for name in entity.names}
    return collected


def _told(roles: Roles) -> list[str]:
    rows = [("column", "role", "why"), *((short(column, 40), short(role, 60), why) for column, role, why in roles.told)]
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    return [f"  {column:<{widths[0]}}  {role:<{widths[1]}}  {why}" for column, role, why in rows]


def _file_splits(files: Sequence[Path], roles: Roles, options: Options, report: Report) -> dict[str, Split]:
    """Split by file, where no column has it and the name of every file holds one, test among them."""
    if roles.split or options.split == "none":
        return {}
    found = {name: split_word(path.stem) for path, name in named_apart(files).items()}
    named = {name: split for name, split in found.items() if split}
    if len(named) == len(found) and "test" in named.values():
        report.notes.append("split: by the names of the files: " + ", ".join(f"{name} is {split}" for name, split in named.items()))
        return named
    if named:
        report.notes.append(f"split: not by the names of the files ({', '.join(found)}), because not all are split words, or none is test")
    return {}


class _Table:
    """Turns rows into cases, with the roles of the columns fixed."""

    def __init__(self, roles: Roles, splits: dict[str, Split], documents: Documents, report: Report) -> None:
        self.roles = roles
        self.splits = splits
        self.documents = documents
        self.report = report

    def case(self, place: Place, row: Row) -> Draft | None:
        """The case of a row, or None where it cannot be used: then it is listed."""
        roles = self.roles
        text = row.get(roles.text)
        if is_missing(text) or not isinstance(text, str):
            self.report.leave_out(place, "no text", f"{roles.text}: found {short(repr(text), 40)}, expected the message")
            return None
        split = self.splits.get(place.file)
        if roles.split:
            split = split_word(str(row.get(roles.split)))
            if split is None:
                what = f"{roles.split}: found {short(repr(row.get(roles.split)), 40)}, expected train, dev or test"
                self.report.leave_out(place, "no split", what)
                return None
        group = "" if is_missing(row.get(roles.group)) else str(row[roles.group]).strip()
        output = self._labels(place, text, row)
        return Draft(
            place=place,
            case_id=self._case_id(place, row),
            text=text,
            group=f"group {group}" if group else f"text {squeezed(text)}",
            split=split,
            group_id=group or None,
            output=output or None,
            evidence=self._evidence(place, row),
        )

    def _case_id(self, place: Place, row: Row) -> str:
        own = row.get(self.roles.id)
        return safe_id(f"{place.file.rpartition('.')[0]}-{place.line}") if is_missing(own) else str(own).strip()

    def _labels(self, place: Place, text: str, row: Row) -> Output:
        """The labels of a row: what is empty is not labelled, but for a JSON null as the answer, which means: abstain."""
        output: Output = {}
        for name, label in self.roles.fields.items():
            value = row.get(label.column)
            if not is_missing(value):
                output[name] = label_of(value, label.kind, label.separator)
        for entity in self.roles.entities:
            output |= entity.labels(text, row, place, self.report)
        answer = row.get(self.roles.answer)
        if not self.roles.answer or self.roles.answer not in row:
            return output
        if answer is None:
            output["answer"] = None
        elif wordings := _wordings(answer):
            output["answer"] = wordings
        elif not is_missing(answer):
            self.report.say(
                place, "label left out", "no answer in words", f"found {short(repr(answer), 60)}, expected text or a list of texts"
            )
        return output

    def _evidence(self, place: Place, row: Row) -> EvidenceSet:
        """The documents that a row names, all of them needed. One that is not there spoils the evidence of the row."""
        value = row.get(self.roles.evidence)
        if is_missing(value):
            return ()
        if not isinstance(value, str | list) or (isinstance(value, list) and not all(isinstance(own, str) for own in value)):
            self.report.say(place, "evidence left out", "not ids of documents", f"found {short(repr(value), 60)}, expected a list of ids")
            return ()
        own_ids = items_of(value, ";")
        doc_ids = [self.documents.id_of(own) for own in own_ids]
        if unknown := [own for own, doc_id in zip(own_ids, doc_ids, strict=True) if doc_id is None]:
            what = f"found {short(', '.join(unknown), 80)}, expected ids of the documents"
            self.report.say(place, "evidence left out", "unknown document", what)
            return ()
        return tuple((Evidence(doc_id),) for doc_id in dict.fromkeys(doc_ids) if doc_id)


def _wordings(answer: Any) -> list[str]:
    """The accepted wordings of an answer; none where it is neither text nor a list of texts."""
    if isinstance(answer, list) and all(isinstance(wording, str) for wording in answer):
        return items_of(answer, separator_of(()))
    return [answer.strip()] if isinstance(answer, str) and answer.strip() else []
