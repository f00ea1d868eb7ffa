"""Entity labels with character offsets: an offset that points at something else gives the label away as wrong."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from stepladder.importers.fields import field_name, is_missing
from stepladder.importers.report import Place, Report, short

LEADING_ZEROS = "leading zeros lost"
CASE_ONLY = "differs in case only"
MISMATCH = "entity is not what stands at its offsets"
NO_OFFSETS = "no usable offsets, and the entity does not stand in the text"


@dataclass(frozen=True)
class Entity:
    """The columns of an entity: its value; its type, or the one field that it fills; and where it stands in the text.

    `start` and `end` are empty where there are no offsets; `span` is a column of [start, end].
    """

    value: str
    names: tuple[str, ...]
    type: str = ""
    start: str = ""
    end: str = ""
    span: str = ""
    types: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        return [column for column in (self.value, self.type, self.start, self.end, self.span) if column]

    def labels(self, text: str, row: Mapping[str, Any], place: Place, report: Report) -> dict[str, str | None]:
        """field -> value; None where the row has another entity or none; absent where the label cannot be trusted.

        What is absent is listed, with what stands at the offsets and what the label says.
        """
        labels: dict[str, str | None] = dict.fromkeys(self.names)
        has_type = bool(self.type) and not is_missing(row.get(self.type))
        value = row.get(self.value)
        if is_missing(value) and not has_type:
            return labels
        if self.type and not has_type:
            report.say(place, "label left out", "entity without a type", f"{self.value}: found {short(repr(value))}, expected a type")
            return {}
        name = self._field(row)
        if name is None:
            return labels
        wrong = self._fault(text, value, row)
        if wrong:
            report.say(place, "label left out", wrong[0], f"{name}: {wrong[1]}")
            del labels[name]
        else:
            labels[name] = str(value).strip()
        return labels

    def _field(self, row: Mapping[str, Any]) -> str | None:
        if not self.type:
            return self.names[0]
        return dict(zip(self.types, self.names, strict=True)).get(str(row[self.type]).strip())

    def _fault(self, text: str, value: Any, row: Mapping[str, Any]) -> tuple[str, str] | None:
        """(reason, found and expected), or None where the label is right."""
        if is_missing(value):
            return "entity without a value", f"found nothing in {self.value}, expected the words of the text"
        expected = str(value).strip()
        if not (self.start or self.span):
            return None
        offsets = self._offsets(row)
        if offsets is None:
            where = f"found no offsets for {short(repr(expected))}"
            return None if expected in text else (NO_OFFSETS, f"{where}, expected it in the text")
        found = text[offsets[0] : offsets[1]]
        if found == expected:
            return None
        reason = MISMATCH
        if found.casefold() == expected.casefold():
            reason = CASE_ONLY
        elif found.lstrip("0") == expected and found.isdigit():
            reason = LEADING_ZEROS
        return reason, f"found {short(repr(found))} at {offsets[0]} to {offsets[1]}, expected {short(repr(expected))}"

    def _offsets(self, row: Mapping[str, Any]) -> tuple[int, int] | None:
        pair = row.get(self.span) if self.span else [row.get(self.start), row.get(self.end)]
        try:
            start, end = (int(str(offset)) for offset in pair or ())
        except ValueError:
            return None
        return (start, end) if 0 <= start < end else None


def entity_of(column: str, columns: Collection[str]) -> Entity | None:
    """The entity whose value stands in a column, by the names of the columns beside it; None where none tell.

    Known: `x_value` with `x_type`, `x.text` with `x.span`, and offsets called start and end, after the
    name of the value or alone, with or without `_offset`. Fields are named later, where there is a type.
    """
    if column.endswith(".text") and (span := f"{column[:-5]}.span") in columns:
        return Entity(column, (field_name(column[:-5].rpartition(".")[2]),), span=span)
    stem = column.removesuffix("_value").removesuffix("_text")
    kind = next((name for name in (f"{stem}_type", f"{column}_type") if name in columns and name != column), "")
    for prefix in (f"{column}_", f"{stem}_", "") if kind or column == "entity" else (f"{column}_", f"{stem}_"):
        for start, end in (("start_offset", "end_offset"), ("start", "end")):
            if prefix + start in columns and prefix + end in columns:
                return Entity(column, (field_name(stem),), kind, prefix + start, prefix + end)
    return Entity(column, (field_name(stem),), kind) if kind and stem != column else None
