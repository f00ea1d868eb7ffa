"""What an import did not take as it stood: listed by line, counted by reason."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Effect = Literal["row left out", "label left out", "evidence left out", "document left out", "file left out", "kept"]
COLUMNS = ("file", "line", "effect", "reason", "what")


@dataclass(frozen=True)
class Place:
    """Where something stands: a file, and a line number or, in one JSON document, a path such as `test[17]`."""

    file: str
    line: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True)
class Entry:
    place: Place
    effect: Effect
    reason: str
    what: str


@dataclass
class Report:
    """Collects while an import runs. `notes` are sentences for the summary that belong to no single line."""

    entries: list[Entry] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def say(self, place: Place, effect: Effect, reason: str, what: str = "") -> None:
        self.entries.append(Entry(place, effect, reason, what))

    def leave_out(self, place: Place, reason: str, what: str = "") -> None:
        """A row that cannot be used."""
        self.say(place, "row left out", reason, what)

    def count(self, effect: Effect) -> int:
        return sum(entry.effect == effect for entry in self.entries)

    def summary(self) -> list[str]:
        """One line for each effect and reason, the frequent first; the first place of each as an example."""
        counts = Counter((entry.effect, entry.reason) for entry in self.entries)
        first = {(entry.effect, entry.reason): entry.place for entry in reversed(self.entries)}
        return [
            f"{effect}: {count:,} x {reason} (first: {first[effect, reason]})"
            for (effect, reason), count in sorted(counts.items(), key=lambda item: (item[0][0], -item[1], item[0][1]))
        ]

    def write(self, path: Path) -> None:
        """`import_report.csv`; a report without entries has its header alone."""
        with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(COLUMNS)
            for entry in self.entries:
                writer.writerow([_plain(cell) for cell in (entry.place.file, entry.place.line, entry.effect, entry.reason, entry.what)])


def _plain(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@") else cell


def short(what: object, length: int = 120) -> str:
    """One line of at most `length` characters, for a message."""
    text = " ".join(str(what).split())
    return text if len(text) <= length else text[: length - 1] + "…"
