"""One import from start to end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from stepladder import dataset
from stepladder.importers.beir import collect_beir
from stepladder.importers.chat import collect_chat
from stepladder.importers.draft import Collected, Draft
from stepladder.importers.options import Options
from stepladder.importers.pages import collect_folder
from stepladder.importers.report import Report, short
from stepladder.importers.settle import settled, split_counts
from stepladder.importers.squad import collect_squad
from stepladder.importers.tables import collect_table
from stepladder.importers.writer import check_free, staged, write
from stepladder.records import UserError

KINDS = ("squad", "beir", "csv", "jsonl", "chat", "folder")
PROSE_WORDS = 12


def import_data(kind: str, sources: Sequence[Path], dest: Path, options: Options, tell: Callable[[str], None]) -> None:
    """Read the sources and write the dataset folder `dest`, whole or not at all; `tell` gets the summary, line by line,
    with nothing in it that could steer a terminal.

    Raises UserError: for options and sources that cannot be, where nothing can be used, and where `dest` holds something.
    """
    options.check(kind)
    report = Report()
    try:
        check_free(dest)
        collected = _collect(kind, sources, options, report)
        cases = [] if kind == "folder" else settled(collected, options, report)
        with staged(dest) as staging:
            write(staging, collected, cases, report)
            if kind != "folder":
                dataset.load(staging)
    except OSError as error:
        raise UserError(f"{error.filename or dest}: {error.strerror or error}; expected to read the source and write {dest}") from None
    for line in [*collected.told, *summary(kind, collected, cases, report), f"written: {dest}"]:
        tell("".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line))


def _collect(kind: str, sources: Sequence[Path], options: Options, report: Report) -> Collected:
    if kind in ("csv", "jsonl"):
        return collect_table(kind, sources, options, report)
    if kind == "squad":
        return collect_squad(sources, options, report)
    if kind == "chat":
        return collect_chat(sources, options, report)
    if kind not in KINDS:
        raise UserError(f"kind: found {kind!r}; expected one of {', '.join(KINDS)}")
    if len(sources) != 1:
        raise UserError(f"found {len(sources)} sources; expected one folder for kind {kind}")
    return (collect_beir if kind == "beir" else collect_folder)(sources[0], options, report)


def summary(kind: str, collected: Collected, cases: Sequence[Draft], report: Report) -> list[str]:
    """What was read, used and left out, and what is left to fill in."""
    left_out = [f"  {line}" for line in report.summary()]
    lines = [f"read {collected.rows:,} {'files' if kind == 'folder' else 'rows'}, used {len(cases) or len(collected.documents):,}"]
    if cases:
        lines.append("cases: " + ", ".join(f"{split} {count:,}" for split, count in split_counts(cases).items()))
    if collected.documents:
        lines.append(f"documents: {len(collected.documents):,}")
    if left_out:
        lines += ["not taken as they stood, all in import_report.csv:", *left_out]
    if collected.fields:
        lines.append("fields: " + ", ".join(_field(name, collected) for name in collected.fields))
    return [*lines, *(f"note: {note}" for note in report.notes), *(f"to fill in: {what}" for what in _open(kind, collected, cases))]


def _field(name: str, collected: Collected) -> str:
    spec = collected.fields[name]
    values = spec.get("enum") or spec.get("items", {}).get("enum")
    return (
        f"{name} ({len(values)} values)"
        if values
        else f"{name} ({' or '.join(spec['type']) if isinstance(spec['type'], list) else spec['type']})"
    )


def _open(kind: str, collected: Collected, cases: Sequence[Draft]) -> list[str]:
    """What an import cannot know."""
    todo = []
    if kind == "folder":
        todo.append(
            "cases.jsonl and gold.jsonl, which are empty: the messages, each in split train, dev or test, and what is right for them"
        )
    if collected.fields:
        todo.append(f"descriptions in schema.json, where there are only the words of the names: {short(', '.join(collected.fields), 200)}")
    strings = [name for name, spec in collected.fields.items() if "string" in spec.get("type", ()) and "pattern" not in spec]
    if strings:
        todo.append(f"a pattern in schema.json for {short(', '.join(strings), 200)}: without one the embedded model finds no such value")
    if cases and not any(case.output for case in cases):
        todo.append(
            "labels: no row has any"
            + (" but its evidence, so retrieval is measured and answers are not" if any(c.evidence for c in cases) else "")
        )
    wordings = [wording for case in cases for wording in (case.output or {}).get("answer") or ()]
    if prose := sum(len(wording.split()) > PROSE_WORDS for wording in wordings):
        todo.append(f"{prose:,} of {len(wordings):,} answers have more than {PROSE_WORDS} words: those get token F1 and no right or wrong")
    for split, why in (("train", "tuned rungs are not measured"), ("dev", "nothing is tuned")):
        if cases and not split_counts(cases)[split]:
            todo.append(f"split {split} is empty: {why}")
    return [*todo, "brief.yaml: what is marked OPEN"]
