"""What kind of label a column holds, and the JSON Schema of the field that it becomes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from stepladder.importers.reading import strict_json

Kind = Literal["boolean", "integer", "number", "string", "list", "span", "empty", "other"]
MAX_VALUES = 200
MIN_MEAN_COUNT = 3
MAX_VALUE_CHARACTERS = 100
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,14})")
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d+)?")
_SEPARATORS = (";", "|", ",")


def words(name: str) -> str:
    """The words of a name, and nothing else.

    >>> words("card_arrival"), words("cancelOrder"), words("Refund-not.showing")
    ('card arrival', 'cancel Order', 'Refund not showing')
    """
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", re.sub(r"[_\-.]+", " ", name))
    return " ".join(apart.split()) or name


def field_name(column: str, taken: Iterable[str] = ()) -> str:
    """A name for the field of a column: word characters only, not `answer` or `sources`, and not one that is taken.

    >>> field_name("slots.date"), field_name("1"), field_name("answer"), field_name("a b", ["a_b"])
    ('slots_date', 'label', 'answer_label', 'a_b_2')
    """
    name = re.sub(r"\W+", "_", column).strip("_") or "label"
    if name[0].isdigit():
        name = "label" if name.isdigit() else f"label_{name}"
    if name in ("answer", "sources"):
        name += "_label"
    number = 1
    while (chosen := name if number == 1 else f"{name}_{number}") in set(taken):
        number += 1
    return chosen


def is_missing(value: Any) -> bool:
    """No label: null, an empty cell, or white space."""
    return value is None or (isinstance(value, str) and not value.strip())


def kind_of(values: Iterable[Any], textual: bool = False) -> Kind:
    """What all the values are; `textual` values come from CSV, where true, 12 and ["a"] are text that is read as such.

    Numbers with leading zeros are strings: the zeros mean something. Values of several kinds are "other".
    """
    kinds = {_kind(value, textual) for value in values if not is_missing(value)}
    if textual and not kinds <= {"integer", "number"} and len(kinds) > 1:
        return "string"  # one cell that is a word makes the numbers beside it words
    if kinds == {"integer", "number"}:
        return "number"
    if kinds == {"list", "span"}:
        return "other"
    return kinds.pop() if len(kinds) == 1 else "other" if kinds else "empty"


def _kind(value: Any, textual: bool) -> Kind:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "integer" if isinstance(value, int) else "number"
    if isinstance(value, list):
        if len(value) == 2 and all(isinstance(item, int) and not isinstance(item, bool) for item in value):
            return "span"
        return "list" if all(isinstance(item, str) for item in value) else "other"
    if not isinstance(value, str):
        return "other"
    text = value.strip()
    if textual and text.casefold() in ("true", "false"):
        return "boolean"
    if textual and _NUMBER.fullmatch(text):
        return "integer" if _INTEGER.fullmatch(text) else "number"
    return "list" if textual and _json_list(text) is not None else "string"


def _json_list(text: str) -> list[str] | None:
    if not text.startswith("["):
        return None
    try:
        items = strict_json(text)
    except ValueError:
        return None
    return items if all(isinstance(item, str) for item in items) else None


def separator_of(values: Iterable[Any]) -> str:
    """What stands between the items of a list written as text: the first of ; | , that occurs."""
    texts = [value for value in values if isinstance(value, str)]
    return next((mark for mark in _SEPARATORS if any(mark in text for text in texts)), _SEPARATORS[0])


def items_of(value: Any, separator: str) -> list[str]:
    """The items of a list, of a JSON list written as text, or of text with separators; each once, none empty.

    >>> items_of("a; b;;a", ";"), items_of('["x"]', ";")
    (['a', 'b'], ['x'])
    """
    if isinstance(value, str):
        parsed = _json_list(value.strip())
        value = value.split(separator) if parsed is None else parsed
    return list(dict.fromkeys(item.strip() for item in value if item.strip()))


def label_of(value: Any, kind: Kind, separator: str = ";") -> Any:
    """A value as it stands in gold; `value` is not missing and of this kind."""
    if kind == "list":
        return items_of(value, separator)
    if kind == "boolean":
        return value if isinstance(value, bool) else value.strip().casefold() == "true"
    if kind == "integer":
        return int(value)
    if kind == "number":
        return float(value)
    return value.strip()


def is_label_like(values: Sequence[str]) -> bool:
    """Few short values, each often: a class, not prose."""
    distinct = set(values)
    few = 2 <= len(distinct) <= MAX_VALUES and len(values) >= MIN_MEAN_COUNT * len(distinct)
    return few and all(len(value) <= MAX_VALUE_CHARACTERS and "\n" not in value for value in distinct)


def spec_of(name: str, kind: Kind, labels: Sequence[Any], closed: bool, nullable: bool = False) -> dict[str, Any]:
    """The JSON Schema of a field. `closed`: its strings are all there are, so they become an enum.

    Descriptions are the words of the names: what they mean is for people to write.
    """
    spec: dict[str, Any] = {"description": words(name)}
    if kind == "list":
        values = sorted({item for label in labels for item in label or ()})
        items = spec_enum(values) if closed and values else {"type": "string"}
        return spec | {"type": ["array", "null"] if nullable else "array", "items": items}
    if kind == "string" and closed:
        described = spec_enum(sorted({label for label in labels if label is not None}))
        return spec | described | ({"enum": [*described["enum"], None]} if nullable else {})
    return spec | {"type": [kind, "null"] if nullable else kind}


def spec_enum(values: Sequence[str]) -> dict[str, Any]:
    return {"enum": list(values), "x-enum-descriptions": {value: words(value) for value in values}}
