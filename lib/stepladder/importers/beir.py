"""Kind beir: a retrieval set as BEIR has it (Thakur et al. 2021): corpus.jsonl, queries.jsonl, qrels/*.tsv."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from stepladder.importers.documents import Documents, read_document_rows
from stepladder.importers.draft import Collected, Draft, squeezed
from stepladder.importers.json_rows import read_json_rows
from stepladder.importers.options import Options
from stepladder.importers.reading import lines, utf8
from stepladder.importers.report import Place, Report, short
from stepladder.importers.splits import split_word
from stepladder.records import Evidence, Split, UserError


def collect_beir(folder: Path, options: Options, report: Report) -> Collected:
    """Queries as cases whose evidence is any of the documents judged above 0; there are no answers.

    The split is that of the qrels file, if test is among several; a query in two of them stays in test, else in dev.
    Raises UserError where a file is missing.
    """
    for name in ("corpus.jsonl", "queries.jsonl", "qrels"):
        if not (folder / name).exists():
            raise UserError(f"{folder / name}: not there; expected a BEIR folder: corpus.jsonl, queries.jsonl, qrels/test.tsv")
    files = sorted((folder / "qrels").glob("*.tsv"))
    if not files:
        raise UserError(f"{folder / 'qrels'}: found no .tsv file; expected train.tsv, dev.tsv or test.tsv")
    documents = Documents(report, options.date)
    read_document_rows(folder / "corpus.jsonl", documents)
    queries = _queries(folder / "queries.jsonl", report)
    splits = {path: split_word(path.stem) for path in files}
    given = len(files) > 1 and None not in splits.values() and "test" in splits.values()
    if not given:
        report.notes.append(f"split: not by qrels ({', '.join(path.name for path in files)}), because there is but one, or none is test")
    collected = Collected(rows=len(queries), documents=documents.documents)
    judged: set[str] = set()
    for path in files:
        relevant = _judgements(path, documents, queries, report)
        judged |= relevant.keys()
        for query_id, doc_ids in relevant.items():
            collected.cases += _case(query_id, *queries[query_id], doc_ids, splits[path] if given else None, report)
    for query_id in queries.keys() - judged:
        report.leave_out(queries[query_id][0], "not judged", f"query {short(repr(query_id), 60)} is in no qrels")
    return collected


def _queries(path: Path, report: Report) -> dict[str, tuple[Place, str]]:
    """query id -> (place, text)."""
    queries: dict[str, tuple[Place, str]] = {}
    for place, row in read_json_rows(path, path.name, report):
        own, text = row.get("_id", row.get("id")), row.get("text")
        if not isinstance(own, str | int) or not isinstance(text, str) or not text.strip():
            report.leave_out(place, "no text", f"found the keys {short(list(row), 60)}, expected _id and text")
        elif str(own) in queries:
            report.leave_out(place, "an id that another query has", short(repr(own), 60))
        else:
            queries[str(own)] = place, text
    return queries


def _judgements(path: Path, documents: Documents, queries: dict[str, tuple[Place, str]], report: Report) -> dict[str, list[str]]:
    """query id -> doc_ids with a score above 0; empty where all are judged irrelevant or unknown."""
    relevant: dict[str, list[str]] = {}
    for place, query_id, own, score in _rows(path, report):
        if query_id not in queries:
            report.leave_out(place, "unknown query", f"found {short(repr(query_id), 60)}, expected an id of queries.jsonl")
            continue
        found = relevant.setdefault(query_id, [])
        if score <= 0:
            continue
        doc_id = documents.id_of(own)
        if doc_id is None:
            report.say(place, "evidence left out", "unknown document", f"found {short(repr(own), 60)}, expected an id of corpus.jsonl")
        elif doc_id not in found:
            found.append(doc_id)
    return relevant


def _rows(path: Path, report: Report) -> Iterator[tuple[Place, str, str, float]]:
    """(place, query id, document id, score) of a qrels file, with or without its header."""
    for number, line in lines(path):
        place = Place(f"qrels/{path.name}", str(number))
        if line is None:
            report.leave_out(place, "line too long")
            continue
        text = utf8(line, f"{path}:{number}").rstrip("\r\n")
        if not text.strip():
            continue
        cells = next(csv.reader([text], delimiter="\t", quoting=csv.QUOTE_NONE))
        if number == 1 and cells[-1].strip() == "score":
            continue
        try:
            query_id, own, score = cells
            yield place, query_id.strip(), own.strip(), float(score)
        except ValueError:
            report.leave_out(
                place, "not a judgement", f"found {short(repr(text), 80)}, expected query-id, corpus-id and score, tabs between"
            )


def _case(query_id: str, place: Place, text: str, doc_ids: list[str], split: Split | None, report: Report) -> list[Draft]:
    if not doc_ids:
        report.leave_out(place, "no document judged above 0", f"query {short(repr(query_id), 60)}")
        return []
    evidence = (tuple(Evidence(doc_id) for doc_id in doc_ids),)
    return [Draft(place, query_id, text, f"text {squeezed(text)}", split=split, evidence=evidence)]
