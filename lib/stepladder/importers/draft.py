"""What every kind of source is turned into before it is written: cases with their gold, documents, fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from stepladder.importers.report import Place
from stepladder.records import Document, EvidenceSet, Output, Split

Turns = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Draft:
    """One case on its way. `split` is None until it is chosen; cases of one `group` never straddle a seeded split.

    `text` is the message, or all turns of `messages`, by which copies are known. An `output` of None has no labels.
    """

    place: Place
    case_id: str
    text: str
    group: str
    split: Split | None = None
    messages: Turns = ()
    group_id: str | None = None
    tags: tuple[str, ...] = ()
    output: Output | None = None
    evidence: EvidenceSet = ()


@dataclass
class Collected:
    """All that was read. `told` are lines for the summary: the roles of columns; `rows` counts what was read, used or not."""

    rows: int = 0
    cases: list[Draft] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)
    fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    company: str = ""
    told: list[str] = field(default_factory=list)


def squeezed(text: str) -> str:
    """The text by which copies are known: without case, and with one space for any white space."""
    return " ".join(text.casefold().split())
