"""Lines of JSON -> checked rows. Problems are collected with file, line and field; none stops the reading."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

MAX_LINE_BYTES = 1_000_000


class Lines:
    """The files of a folder, the `problems` found in them, and which of them it `lacks`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[str] = []
        self.lacks: dict[str, str] = {}

    def say(self, file: str, line: int, name: str, what: str) -> None:
        """Note a problem: `what` was found and was expected."""
        place = f"{file}:{line}" if line else file
        self.problems.append(f"{place}: {name + ': ' if name else ''}{what}")

    def rows(self, file: str, lacking: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """(line number, object) for each line; memory is bounded by the longest allowed line."""
        path = self.folder / file
        if not path.exists():
            self.lacks[file] = lacking
            return
        if not path.is_file():
            self.say(file, 0, "", "is no file; expected one JSON object per line")
            return
        with path.open("rb") as stream:
            number = 0
            while line := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    self.say(file, number, "", f"line longer than {MAX_LINE_BYTES:,} bytes; expected one JSON object per line; split it")
                    return
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                    row = json.loads(text) if text else None
                except (UnicodeDecodeError, ValueError, RecursionError) as error:
                    self.say(file, number, "", f"not valid JSON in UTF-8 ({short(error)}); expected one JSON object per line")
                    continue
                if isinstance(row, dict):
                    yield number, row
                elif text:
                    self.say(file, number, "", f"found a JSON {type(row).__name__}, expected an object")

    def parse(self, model: Any, file: str, line: int, row: dict[str, Any]) -> Any:
        """The row as that pydantic model, or None where it is none: each fault is a problem."""
        try:
            return TypeAdapter(model).validate_json(json.dumps(row))
        except ValidationError as error:
            for issue in error.errors(include_url=False):
                where = ".".join(str(part) for part in issue["loc"] if part not in ("upsert", "delete")) or "row"
                found = "" if issue["type"] == "missing" else f"; found {short(repr(issue['input']))}"
                self.say(file, line, where, f"{_advice(issue, model)}{found}")
        except (TypeError, ValueError, RecursionError) as error:
            self.say(file, line, "", f"not JSON ({short(error)}); expected text, finite numbers, true, false, null, lists and objects")
        return None

    def unique(self, seen: dict[str, int], key: str, file: str, line: int, name: str) -> bool:
        """Is this the first row with that id? A second one is a problem."""
        if key in seen:
            self.say(file, line, name, f"duplicate id {key!r}, first seen in line {seen[key]}; expected unique ids; rename one")
            return False
        seen[key] = line
        return True


def short(what: object, length: int = 120) -> str:
    text = " ".join(str(what).split())
    return text if len(text) <= length else text[: length - 1] + "…"


def _advice(issue: Any, model: Any) -> str:
    if issue["type"] == "missing":
        return "missing field; add it"
    if issue["type"] == "extra_forbidden":
        fields = getattr(model, "model_fields", None)
        return f"unknown field; expected one of {list(fields)}" if fields and len(issue["loc"]) == 1 else "unknown field; remove it"
    return str(issue["msg"])
