"""What a person may say about an import."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, fields

from stepladder.records import UserError

Pairs = tuple[tuple[str, str], ...]
SHARES = (0.6, 0.1, 0.3)
_OF_EVERY_KIND = ("shares", "limit", "seed", "updated_at")


@dataclass(frozen=True)
class Options:
    """Empty means: guess. Names of columns belong to kinds csv and jsonl alone.

    split: a column, or "none" for a seeded split whatever the data says. shares: of train, dev and test in a seeded split.
    updated_at: the date of documents that have none of their own; empty: today.
    """

    text: str = ""
    id: str = ""
    split: str = ""
    group: str = ""
    answer: str = ""
    evidence: str = ""
    documents: str = ""
    fields: Pairs = ()
    lists: Pairs = ()
    entities: Pairs = ()
    drop_ignored: bool = False
    shares: tuple[float, float, float] = SHARES
    limit: int = 0
    seed: int = 0
    updated_at: str = ""

    @property
    def date(self) -> str:
        return self.updated_at or datetime.date.today().isoformat()

    def check(self, kind: str) -> None:
        """Raises UserError for what this kind does not take, and for values that cannot be."""
        names = [field.name for field in fields(self) if field.name not in _OF_EVERY_KIND and getattr(self, field.name)]
        if names and kind not in ("csv", "jsonl"):
            flags = ", ".join("--" + _FLAGS.get(name, name.replace("_", "-")) for name in names)
            raise UserError(f"{flags}: kind {kind} has no columns to choose; expected kind csv or jsonl")
        if not (min(self.shares) >= 0 and abs(sum(self.shares) - 1) <= 1e-6 and self.shares[2] > 0):
            raise UserError(f"--shares: found {self.shares}; expected train, dev and test, together 1, with some test: .6,.1,.3")
        try:
            datetime.date.fromisoformat(self.date)
        except ValueError:
            raise UserError(f"--updated-at: found {self.updated_at!r}; expected a date such as 2026-01-31") from None
        if self.evidence and not self.documents:
            raise UserError("--evidence: names documents, and there are none; expected --documents FOLDER or documents.jsonl beside it")


_FLAGS = {"fields": "field", "lists": "list", "entities": "entity"}


def parse_shares(text: str) -> tuple[float, float, float]:
    """Three numbers with commas between them: the shares of train, dev and test."""
    try:
        train, dev, test = (float(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"--shares: found {text!r}; expected three numbers, train, dev and test: .6,.1,.3") from None
    return train, dev, test


def parse_pair(flag: str, text: str) -> tuple[str, str]:
    """NAME=COL. The name has no equals sign; the column may."""
    name, sign, column = text.partition("=")
    if not (name and sign and column):
        raise UserError(f"{flag}: found {text!r}; expected NAME=COL, the field's name and its column")
    return name, column
