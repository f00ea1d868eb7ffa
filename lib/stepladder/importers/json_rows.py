"""Rows out of JSON Lines, a JSON array, or a JSON object of arrays."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from stepladder.dataset import MAX_LINE_BYTES
from stepladder.importers.reading import json_document, lines, strict_json
from stepladder.importers.report import Place, Report, short

SAMPLE_LINES = 20
MAX_DEPTH = 20
PART = "part"


def read_json_rows(path: Path, name: str, report: Report) -> Iterator[tuple[Place, dict[str, Any]]]:
    """(place, flat row) for each row; `name` stands for the file in the report.

    Nested objects become dotted columns, rows that are arrays get the columns "0", "1", ..., and in an object of arrays
    the key of the array becomes column `part`. What is no row is listed and left out. Raises UserError where
    a file that is one JSON document cannot be read.
    """
    found = _of_lines(path, name, report) if is_json_lines(path) else _of_document(json_document(path), name, report)
    for place, value, more in found:
        try:
            yield place, more | flat(value)
        except ValueError as error:
            report.leave_out(place, "no row", str(error))


def is_json_lines(path: Path) -> bool:
    """Whether each line is a JSON value of its own, judged by the first lines.

    One line alone is a document, unless it is an object with something else than arrays. A broken first line does not
    hide that the others are rows.
    """
    sample = list(islice((line for _, line in lines(path) if line is None or line.strip()), SAMPLE_LINES))
    values = [_value(line) for line in sample]
    if not values:
        return True
    if len(values) == 1:
        return isinstance(values[0], dict) and not _parts(values[0])
    rows = sum(isinstance(value, dict | list) for value in values)
    return isinstance(values[0], dict | list) or ((sample[0] is None or sample[0].lstrip()[:1] == b"{") and rows * 2 >= len(values))


def _value(line: bytes | None) -> Any:
    try:
        return strict_json((line or b"").decode("utf-8"))
    except ValueError:
        return None


def _parts(value: Any) -> dict[str, list[Any]]:
    """The arrays of rows in an object, by key; empty where it holds none."""
    if not isinstance(value, dict):
        return {}
    return {key: rows for key, rows in value.items() if isinstance(rows, list) and any(isinstance(row, dict | list) for row in rows)}


def _of_lines(path: Path, name: str, report: Report) -> Iterator[tuple[Place, Any, dict[str, Any]]]:
    for number, line in lines(path):
        place = Place(name, str(number))
        if line is None:
            report.leave_out(place, "line too long", f"expected at most {MAX_LINE_BYTES:,} bytes")
            continue
        try:
            text = line.decode("utf-8").strip()
            if text:
                yield place, strict_json(text), {}
        except ValueError as error:
            report.leave_out(place, "not valid JSON in UTF-8", short(error))


def _of_document(document: Any, name: str, report: Report) -> Iterator[tuple[Place, Any, dict[str, Any]]]:
    if isinstance(document, list):
        for number, row in enumerate(document):
            yield Place(name, f"[{number}]"), row, {}
        return
    parts = _parts(document)
    if not parts:
        yield Place(name, ""), document, {}
        return
    for key in document:
        place = Place(name, short(key, 60))
        if document[key] == []:
            report.notes.append(f"{place}: no rows in it")
        elif key not in parts:
            report.say(place, "kept", "not read, because it is no array of rows", short(repr(document[key]), 60))
        for number, row in enumerate(parts.get(key, ())):
            own = isinstance(row, dict) and PART in row
            yield Place(name, f"{place.line}[{number}]"), row, {f"{PART} of the file" if own else PART: key}


def flat(row: Any, prefix: str = "", depth: int = 0) -> dict[str, Any]:
    """A row with dotted names for what is nested; lists stay lists.

    Raises ValueError where the value is no row, where two values would get one name, and beyond MAX_DEPTH.

    >>> flat({"text": "Hi", "slots": {"date": {"text": "today"}}})
    {'text': 'Hi', 'slots.date.text': 'today'}
    """
    if isinstance(row, list) and not prefix:
        row = {str(number): cell for number, cell in enumerate(row)}
    if not isinstance(row, dict):
        raise ValueError(f"found a JSON {type(row).__name__}, expected an object or an array")
    if depth > MAX_DEPTH:
        raise ValueError(f"nested too deeply, expected at most {MAX_DEPTH} objects in each other")
    flattened: dict[str, Any] = {}
    for key, value in row.items():
        cells = flat(value, f"{prefix}{key}.", depth + 1) if isinstance(value, dict) else {f"{prefix}{key}": value}
        if twice := flattened.keys() & cells.keys():
            raise ValueError(f"two values for column {short(min(twice), 60)!r}; expected names that differ when joined with dots")
        flattened |= cells
    return flattened
