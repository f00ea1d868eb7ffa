"""CSV as RFC 4180 has it, with any of , ; tab | between cells."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator
from pathlib import Path

from stepladder.dataset import MAX_LINE_BYTES
from stepladder.importers.reading import lines, utf8
from stepladder.importers.report import Place, Report
from stepladder.records import UserError

DELIMITERS = (",", ";", "\t", "|")
SAMPLE_LINES = 200


class _Physical:
    """The lines of a file for csv.reader. A class and no generator: it goes on after it has raised csv.Error."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = 0
        self._lines = lines(path)
        self._pieces: list[str] = []

    def __iter__(self) -> _Physical:
        return self

    def __next__(self) -> str:
        if not self._pieces:
            self.number, line = next(self._lines)
            if line is None:
                raise csv.Error(f"line longer than {MAX_LINE_BYTES:,} bytes")
            # A carriage return alone ends a line too, as old spreadsheets write it; inside quotes csv.reader joins again
            self._pieces = [utf8(piece, f"{self.path}:{self.number}") for piece in reversed(line.splitlines(keepends=True))]
        return self._pieces.pop()


def read_csv(path: Path, name: str, report: Report) -> Iterator[tuple[Place, dict[str, str]]]:
    """(place, cells by column) for each row under the header; `name` stands for the file in the report.

    Cells are as written: no spaces are stripped, an empty cell is "". Rows that break the rules of quoting, have another
    number of cells than the header, or are too long are listed and left out; after an unclosed quote the next row
    is looked for on the line after it. Blank lines are no rows. Raises UserError where the file is not UTF-8.
    """
    physical = _Physical(path)
    reader = csv.reader(physical, delimiter=sniff(path), strict=True)
    header: list[str] = []
    while True:
        start = physical.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if not header:
                raise UserError(f"{path}:{start}: the header cannot be read ({error}); expected the names of the columns") from None
            report.leave_out(_place(name, start, physical.number), "not readable as CSV", f"{error}; expected quoting as in RFC 4180")
            continue
        if not cells:
            continue
        place = _place(name, start, physical.number)
        if not header:
            header = _header(cells, path, report)
        elif len(cells) != len(header):
            report.leave_out(place, "wrong number of cells", f"found {len(cells)}, expected {len(header)}")
        else:
            yield place, dict(zip(header, cells, strict=True))


def _place(name: str, start: int, end: int) -> Place:
    return Place(name, str(start) if end <= start else f"{start}-{end}")


def _header(cells: list[str], path: Path, report: Report) -> list[str]:
    names: list[str] = []
    for number, cell in enumerate(cells, start=1):
        name = cell.strip() or f"column {number}"
        if name in names:
            name = f"{name} ({number})"
        if name != cell.strip():
            report.notes.append(f"{path.name}: column {number} has {'the name of another' if cell.strip() else 'no name'}; called {name!r}")
        names.append(name)
    return names


def sniff(path: Path) -> str:
    """The delimiter under which most rows of the head of a file have as many cells as its header; a comma if there is none.

    Only a delimiter that stands in the header counts, so a semicolon inside a message decides nothing.
    """
    head: list[str] = []
    for number, line in lines(path):
        if number > SAMPLE_LINES or line is None:
            break
        head.append(utf8(line, f"{path}:{number}"))

    def fit(delimiter: str) -> tuple[float, int]:
        widths: list[int] = []
        with contextlib.suppress(csv.Error):  # a quote that the sample cuts through, or one that is none under this delimiter
            for cells in csv.reader(head, delimiter=delimiter, strict=True):
                widths += [len(cells)] if cells else []
        if not widths or widths[0] < 2:
            return 0.0, 0
        return sum(width == widths[0] for width in widths) / len(widths), widths[0]

    return max(DELIMITERS, key=fit)
