"""Which column of a table plays which role: what the options say, and for the rest a guess with its reason."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stepladder.importers.fields import (
    MAX_VALUES,
    Kind,
    field_name,
    is_label_like,
    is_missing,
    items_of,
    kind_of,
    separator_of,
    spec_of,
)
from stepladder.importers.options import Options
from stepladder.importers.spans import Entity, entity_of
from stepladder.importers.splits import split_word
from stepladder.records import UserError

TEXT_NAMES = ("text", "message", "instruction", "query", "question", "body", "utterance")
ID_NAMES = ("id", "case_id", "_id", "uid", "uuid", "row_id", "example_id", "sample_id", "message_id", "question_id", "query_id", "task_id")
GROUP_NAMES = ("group", "group_id", "thread", "thread_id", "conversation_id", "dialogue_id", "dialog_id")
PROSE_NAMES = ("response", "reply", "answer", "answers", "completion", "output", "target")
MAX_COLUMNS = 1000
MIN_SHARE_WITH_TEXT = 0.6

Row = dict[str, Any]


@dataclass(frozen=True)
class LabelColumn:
    """A column whose values are labels of one field."""

    column: str
    kind: Kind
    spec: dict[str, Any]
    separator: str = ";"


@dataclass
class Roles:
    """What each column is for. `told` has a line for every column: (column, role, why)."""

    text: str = ""
    id: str = ""
    split: str = ""
    group: str = ""
    answer: str = ""
    evidence: str = ""
    fields: dict[str, LabelColumn] = field(default_factory=dict)
    entities: list[Entity] = field(default_factory=list)
    told: list[tuple[str, str, str]] = field(default_factory=list)


def assign_roles(rows: Sequence[Row], options: Options, textual: bool) -> Roles:
    """The roles of the columns of some rows; `textual` where they come from CSV. Raises UserError for options that
    name no column, and where no column can be the message."""
    return _Guess(rows, options, textual).roles()


class _Guess:
    """Works through the columns once; what has a role is in `taken`."""

    def __init__(self, rows: Sequence[Row], options: Options, textual: bool) -> None:
        self.options = options
        self.textual = textual
        self.n_rows = len(rows)
        self.values: dict[str, list[Any]] = {}
        for row in rows:
            for column, value in row.items():
                self.values.setdefault(column, [])
                if not is_missing(value):
                    self.values[column].append(value)
            if len(self.values) > MAX_COLUMNS:
                raise UserError(
                    f"found more than {MAX_COLUMNS:,} columns; expected the same few in each row; is the data in another shape?"
                )
        self.kinds = {column: kind_of(values, textual) for column, values in self.values.items()}
        self.taken: set[str] = set()
        self.found = Roles()

    def roles(self) -> Roles:
        self._check_options()
        self._text()
        self._id()
        self._split()
        self._group()
        for role in ("answer", "evidence"):
            if column := getattr(self.options, role):
                setattr(self.found, role, column)
                self._take(column, role, f"--{role}")
        self._asked_fields()
        self._entities()
        for column in [name for name in self.values if name not in self.taken]:
            self._rest(column)
        return self.found

    def _take(self, column: str, role: str, why: str) -> None:
        self.taken.add(column)
        self.found.told.append((column, role, why))

    def _check_options(self) -> None:
        asked = {f"--{role}": getattr(self.options, role) for role in ("text", "id", "split", "group", "answer", "evidence")}
        pairs = [("--field", p) for p in self.options.fields] + [("--list", p) for p in self.options.lists]
        pairs += [("--entity", p) for p in self.options.entities]
        named = [(flag, column) for flag, column in asked.items() if column and (flag, column) != ("--split", "none")]
        for flag, column in [*named, *((f"{flag} {name}", column) for flag, (name, column) in pairs)]:
            if column not in self.values:
                raise UserError(f"{flag}: found no column {column!r}; expected one of {list(self.values)}")
        names = [name for _, (name, _) in pairs]
        for flag, (name, _) in pairs:
            if not re.fullmatch(r"[A-Za-z_]\w*", name) or name in ("answer", "sources"):
                raise UserError(f"{flag}: found the name {name!r}; expected letters, digits and _, and neither answer nor sources")
            if names.count(name) > 1:
                raise UserError(f"{flag}: the name {name!r} is given twice; expected one column for each field")

    def _text(self) -> None:
        why = "--text"
        chosen = self.options.text
        if not chosen:
            strings = [name for name in self.values if self._is_text(name)]
            strings = [name for name in strings if name not in self._asked() and name.casefold() not in PROSE_NAMES]
            chosen = next((name for wanted in TEXT_NAMES for name in strings if name.casefold() == wanted), "")
            why = "its name"
            if not chosen and strings:
                lengths = {name: sum(len(value) for value in self.values[name] if isinstance(value, str)) / self.n_rows for name in strings}
                chosen = max(strings, key=lambda name: lengths[name])
                why = f"the longest text: {lengths[chosen]:.0f} characters on average"
        if not chosen:
            raise UserError(f"found no column of text among {list(self.values)}; expected one with the messages; name it: --text COL")
        self.found.text = chosen
        self._take(chosen, "text", why)

    def _is_text(self, column: str) -> bool:
        """Whether most of the values are text; a stray number among the messages does not hide them."""
        n_texts = sum(isinstance(value, str) for value in self.values[column])
        return self.kinds[column] in ("string", "other") and n_texts > MIN_SHARE_WITH_TEXT * len(self.values[column])

    def _asked(self) -> set[str]:
        """Columns that an option names."""
        o = self.options
        return {o.text, o.id, o.split, o.group, o.answer, o.evidence, *(column for _, column in (*o.fields, *o.lists, *o.entities))}

    def _free(self, column: str) -> bool:
        return column not in self.taken and column not in self._asked()

    def _id(self) -> None:
        if self.options.id:
            self.found.id = self.options.id
            self._take(self.options.id, "id", "--id")
            return
        names = [name for name in self.values if self._free(name) and self.kinds[name] in ("string", "integer")]
        for name in sorted((name for name in names if name.casefold() in ID_NAMES), key=lambda name: ID_NAMES.index(name.casefold())):
            if len({str(value).strip() for value in self.values[name]}) == self.n_rows:
                self.found.id = name
                self._take(name, "id", "its name, and no value stands twice")
                return

    def _split(self) -> None:
        if self.options.split == "none":
            return
        if self.options.split:
            self.found.split = self.options.split
            self._take(self.options.split, "split", "--split")
            return
        for name, values in self.values.items():
            if not self._free(name) or self.kinds[name] != "string" or len(values) < self.n_rows:
                continue
            seen = {split_word(value) for value in set(values)}
            if None not in seen and "test" in seen:
                self.found.split = name
                self._take(name, "split", f"its values: {', '.join(sorted(set(values))[:8])}")
                return

    def _group(self) -> None:
        named = next((n for n in self.values if self._free(n) and n.casefold() in GROUP_NAMES and self.values[n]), "")
        if chosen := self.options.group or named:
            self.found.group = chosen
            self._take(chosen, "group", "--group" if self.options.group else "its name")

    def _asked_fields(self) -> None:
        for name, column in self.options.fields:
            kind = self.kinds[column]
            if kind in ("other", "span", "empty"):
                what = {"other": "values of several types or lists of objects", "span": "pairs of numbers", "empty": "no value"}[kind]
                raise UserError(
                    f"--field {name}: found {what} in column {column!r}; expected text, numbers, true and false, or lists of text"
                )
            self._field(name, column, "--field")
        for name, column in self.options.lists:
            if self.kinds[column] not in ("string", "list", "integer") or (not self.textual and self.kinds[column] == "integer"):
                raise UserError(f"--list {name}: found {self.kinds[column]} values in column {column!r}; expected lists of text")
            self.kinds[column] = "list"
            self._field(name, column, f"--list, items apart by {separator_of(self.values[column])!r}")

    def _field(self, name: str, column: str, why: str) -> None:
        kind = self.kinds[column]
        values = self.values[column]
        separator = separator_of(values)
        labels: list[Any] = []
        if kind == "string":
            labels = [value.strip() for value in values]
        elif kind == "list":
            labels = [items_of(value, separator) for value in values]
        distinct = len({item for label in labels for item in ([label] if kind == "string" else label)})
        closed = 0 < distinct <= MAX_VALUES
        spec = spec_of(name, kind, labels, closed)
        what = f"field {name}: " + {"string": "one of" if closed else "free text,", "list": "some of"}.get(kind, kind)
        self.found.fields[name] = LabelColumn(column, kind, spec, separator)
        self._take(column, f"{what} {distinct:,} values" if labels else what, why)

    def _entities(self) -> None:
        columns = list(self.values)
        for name, column in self.options.entities:
            found = entity_of(column, columns) or Entity(column, (name,))
            types = self._types(found)
            typed = name in types
            self._entity(replace(found, names=(name,), type=found.type if typed else "", types=(name,) if typed else ()), "--entity")
        if self.options.drop_ignored:
            return
        for column in columns:
            found_here = entity_of(column, columns)
            if found_here is None or not all(self._free(name) for name in found_here.columns) or self.kinds[column] == "empty":
                continue
            if types := self._types(found_here):
                found_here = replace(found_here, types=tuple(types), names=tuple(self._new_name(t) for t in types))
            elif found_here.type:
                continue
            else:
                found_here = replace(found_here, names=(self._new_name(found_here.names[0]),))
            self._entity(found_here, "its name and the columns beside it")

    def _types(self, entity: Entity) -> list[str]:
        """The types that an entity column tells apart; none where they are too many to be types."""
        types = sorted({str(value).strip() for value in self.values[entity.type]}) if entity.type else []
        return types if len(types) <= MAX_VALUES else []

    def _new_name(self, column: str) -> str:
        taken = [*self.found.fields, *(name for entity in self.found.entities for name in entity.names)]
        return field_name(column, taken)

    def _entity(self, entity: Entity, why: str) -> None:
        self.found.entities.append(entity)
        checked = ", checked against its offsets" if entity.start or entity.span else ""
        self._take(entity.value, f"entity {', '.join(entity.names)}{checked}", why)
        for column, role in ((entity.type, "type"), (entity.start, "start"), (entity.end, "end"), (entity.span, "offsets")):
            if column and column not in self.taken:
                self._take(column, f"{role} of {entity.value}", why)

    def _rest(self, column: str) -> None:
        """A column without a role so far: a field if it looks like one, else ignored with the reason."""
        kind = self.kinds[column]
        why_not = self._why_no_field(column, kind, self.values[column])
        if why_not:
            self._take(column, "ignored", why_not)
        else:
            why = {"string": "few values, each often", "list": "lists of text"}.get(kind, f"{kind} values")
            self._field(self._new_name(column), column, why)

    def _why_no_field(self, column: str, kind: Kind, values: list[Any]) -> str:
        beside = next((e.value for e in self.found.entities if e.span and column.startswith(e.value.removesuffix("text"))), "")
        if self.options.drop_ignored:
            return "no option names it (--drop-ignored)"
        if column.casefold() in PROSE_NAMES:
            return f"a reply is no answer unless you say so: --answer {column!r}"
        if beside:
            return f"beside the entity {beside}; --field NAME={column} takes it"
        if kind in ("empty", "span", "number", "other"):
            return {
                "empty": "no values",
                "span": "pairs of numbers",
                "number": "fractions",
                "other": "values of several types, or objects",
            }[kind]
        if kind == "list":
            n_items = len({item for value in values for item in items_of(value, separator_of(values))})
            return "" if 0 < n_items <= MAX_VALUES else f"{n_items:,} different items; a list field has 1 to {MAX_VALUES}"
        distinct = {str(value).strip() for value in values}
        if len(distinct) == 1:
            return f"one value only: {next(iter(distinct))[:40]!r}"
        if kind == "integer":
            return "another number in every row" if len(distinct) == len(values) > 20 else ""
        if kind == "string" and all(split_word(value) for value in distinct):
            return "names of splits, not taken" + ("" if self.options.split else ", because test is not among them in every row")
        if kind == "string" and not is_label_like([value.strip() for value in values]):
            return f"{len(distinct):,} different values in {len(values):,} rows: no class; --field NAME={column} takes it"
        return ""
