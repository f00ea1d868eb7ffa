"""Documents on their way in: ids that are safe and unique, texts that fit a line."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stepladder.dataset import MAX_LINE_BYTES
from stepladder.importers.json_rows import read_json_rows
from stepladder.importers.report import Place, Report, short
from stepladder.records import Document, Status, UserError

ID_KEYS = ("doc_id", "id", "_id")
TEXT_KEYS = ("text", "content", "body")
STATUSES: tuple[Status, ...] = ("published", "draft", "archived")


def safe_id(own: str) -> str:
    """An id without slashes, spaces and the like, so that it is a path nowhere; empty if nothing is left.

    >>> safe_id("../help/Returns & refunds.md"), safe_id("fees_(general)_001")
    ('help-Returns-refunds.md', 'fees_(general)_001')
    """
    return re.sub(r"-+", "-", re.sub(r"[^\w.()+:-]+", "-", own)).strip("-.")[:150]


class Documents:
    """Documents in the order they came, each under a safe id that no other has."""

    def __init__(self, report: Report, date: str) -> None:
        self.report = report
        self.date = date
        self.documents: list[Document] = []
        self._of_own: dict[str, str] = {}
        self._used: set[str] = set()
        self.unused_keys: set[str] = set()

    def add(self, place: Place, document: Document, wanted: str = "") -> str | None:
        """Its doc_id, or None where it cannot be used: then it is listed.

        The id of the source (or the one `wanted` for it) is made safe, and numbered where two different ones look alike
        afterwards; evidence finds it by the id of the source. The same id twice is a document twice, and the first one stays.
        """
        own = document.doc_id
        wanted = wanted or own
        if not document.text.strip():
            self.report.say(place, "document left out", "no text", f"document {short(repr(own), 60)}")
            return None
        if own in self._of_own:
            self.report.say(place, "document left out", "an id that another document has", f"{short(repr(own), 60)}; expected unique ids")
            return None
        document = dataclasses.replace(document, doc_id=self._free(safe_id(wanted) or "document"))
        size = len(json.dumps(dataclasses.asdict(document), ensure_ascii=False).encode())
        if size >= MAX_LINE_BYTES:
            what = f"found {size:,} bytes, expected fewer than {MAX_LINE_BYTES:,}; split it"
            self.report.say(place, "document left out", "too long", what)
            return None
        if document.doc_id != wanted:
            self.report.say(place, "kept", "id of a document made safe or unique", f"{short(repr(own), 60)} is now {document.doc_id!r}")
        self._of_own[own] = document.doc_id
        self._used.add(document.doc_id)
        self.documents.append(document)
        return document.doc_id

    def _free(self, wanted: str) -> str:
        number = 1
        while (doc_id := wanted if number == 1 else f"{wanted}-{number}") in self._used:
            number += 1
        return doc_id

    def id_of(self, own: str) -> str | None:
        """The doc_id of the document that the source calls so, with or without what made it unsafe."""
        return self._of_own.get(own) or (own if own in self._used else None)

    def add_row(self, place: Place, row: Mapping[str, Any]) -> str | None:
        """A document out of a JSON object: an id, and a text or content; the rest where it has it."""
        own = next((str(row[key]).strip() for key in ID_KEYS if isinstance(row.get(key), str | int)), "")
        text = next((row[key] for key in TEXT_KEYS if isinstance(row.get(key), str)), None)
        title = row.get("title") or ""
        if not own or text is None or not isinstance(title, str):
            what = f"found the keys {short(list(row), 80)}, expected doc_id or id, title, and text or content"
            self.report.say(place, "document left out", "not a document", what)
            return None
        status = row.get("status", "published")
        date = str(row.get("updated_at") or self.date)
        if status not in STATUSES or not re.match(r"\d{4}-\d\d-\d\d", date):
            what = (
                f"found status {short(repr(status), 30)} and updated_at {short(repr(date), 30)}, expected one of {STATUSES} and an ISO date"
            )
            self.report.say(place, "document left out", "status or date that cannot be", what)
            return None
        known = {*ID_KEYS, *TEXT_KEYS, "title", "url", "kind", "status", "updated_at"}
        self.unused_keys.update(key for key in row if key not in known)
        return self.add(
            place, Document(own, title, _text(row, "url"), _text(row, "kind") or "document", status, date, text if text.strip() else title)
        )

    def note_unused(self, name: str) -> None:
        """Say which keys of the rows had no place in a document."""
        if self.unused_keys:
            self.report.notes.append(f"{name}: keys not used: {short(', '.join(sorted(self.unused_keys)))}")


def _text(row: Mapping[str, Any], key: str) -> str:
    return value if isinstance(value := row.get(key), str) else ""


def read_document_rows(path: Path, documents: Documents) -> None:
    """Documents out of a JSON Lines file or a JSON array. Raises UserError where there is none."""
    for place, row in read_json_rows(path, path.name, documents.report):
        documents.add_row(place, row)
    documents.note_unused(path.name)
    if not documents.documents:
        raise UserError(f"{path}: found no document; expected rows with doc_id, title and text")
