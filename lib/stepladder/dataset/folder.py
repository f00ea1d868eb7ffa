"""A dataset folder in memory."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stepladder.cache import content_hash
from stepladder.dataset.rows import Brief
from stepladder.records import Case, Document, Gold, Passage, Split

SPLITS: tuple[Split, ...] = ("train", "dev", "test")


@dataclass(frozen=True)
class Update:
    """One change of the day the facts change; `document` is None where a document goes."""

    doc_id: str
    document: Document | None


@dataclass(frozen=True)
class Dataset:
    """A dataset folder in memory. What the folder lacks is empty here and named in `lacks`, with the reason."""

    folder: Path
    documents: tuple[Document, ...]
    updates: tuple[Update, ...]
    all_cases: tuple[Case, ...]
    gold: Mapping[str, Gold]
    schema: dict[str, Any]
    brief: Brief
    company: str
    lacks: dict[str, str] = field(default_factory=dict)
    content_hash: str = ""

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    def cases(self, split: Split) -> list[Case]:
        return [case for case in self.all_cases if case.split == split]

    def labelled(self, split: Split) -> list[Case]:
        """The cases of a split of which gold labels at least one field; evidence alone is no label."""
        return [case for case in self.cases(split) if case.case_id in self.gold and self.gold[case.case_id].output]

    def gold_of(self, cases: list[Case]) -> dict[str, Gold]:
        return {case.case_id: self.gold[case.case_id] for case in cases if case.case_id in self.gold}

    @property
    def must(self) -> list[str]:
        """The fields that make a case resolved: those of the brief, else all that the schema has but `sources`."""
        return self.brief.success.must or [name for name in self.schema["properties"] if name != "sources"]

    @property
    def behaviour_fields(self) -> list[str]:
        return [name for name in self.schema["properties"] if name not in ("answer", "sources")]

    def limited(self, limit: int) -> Dataset:
        """At most `limit` cases of each split (0: all): the same ids whoever asks, in the order of the file."""
        if not limit:
            return self
        kept: set[str] = set()
        for split in SPLITS:
            ids = sorted((case.case_id for case in self.cases(split)), key=content_hash)
            kept.update(ids[:limit])
        return replace(self, all_cases=tuple(case for case in self.all_cases if case.case_id in kept))

    def after_update(self) -> Dataset:
        """The same folder on the day the facts have changed: documents and gold, cases untouched."""
        documents = {document.doc_id: document for document in self.documents}
        for update in self.updates:
            if update.document is None:
                documents.pop(update.doc_id, None)
            else:
                documents[update.doc_id] = update.document
        gold = {case_id: row.after_update() for case_id, row in self.gold.items()}
        return replace(self, documents=tuple(documents.values()), gold=gold)

    def changed_ids(self) -> set[str]:
        """Ids of the cases whose answer the update changes."""
        return {i for i, row in self.gold.items() if row.after_update().output.get("answer") != row.output.get("answer")}


def gold_context(dataset: Dataset, case: Case) -> list[Passage]:
    """The paragraphs that hold the evidence of a case: the upper bound of any retrieval. It feeds the bound alone.

    The first alternative of each needed item is taken. Without a quote the whole document counts.
    """
    gold = dataset.gold.get(case.case_id)
    texts = {document.doc_id: document for document in dataset.documents}
    passages: dict[str, Passage] = {}
    for item in gold.evidence if gold else ():
        evidence = next((e for e in item if e.doc_id in texts), None)
        if evidence is None:
            continue
        document = texts[evidence.doc_id]
        start, end = _paragraph_of(document.text, evidence.quote)
        passage_id = f"{document.doc_id}@{start}"
        passages[passage_id] = Passage(
            passage_id, document.doc_id, document.title, document.url, document.kind, document.text[start:end], start, end, 1.0
        )
    return list(passages.values())


def find_quote(text: str, quote: str) -> tuple[int, int] | None:
    """Character span of a quote in a text, whatever the white space between its words and their case; None where it is not there."""
    found = re.search(r"\s+".join(map(re.escape, quote.split())), text, re.IGNORECASE)
    return found.span() if found else None


def _paragraph_of(text: str, quote: str | None) -> tuple[int, int]:
    """Character span of the paragraphs that a quote touches; the whole text without one."""
    found = find_quote(text, quote) if quote is not None else None
    if not found:
        return 0, len(text)
    start = text.rfind("\n\n", 0, found[0])
    end = text.find("\n\n", found[1])
    return (0 if start < 0 else start + 2), (len(text) if end < 0 else end)
