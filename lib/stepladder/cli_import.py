"""`stepladder import KIND SOURCE DEST`: a thin skin over the importers."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import click

from stepladder.guard import guarded, whole
from stepladder.importers import KINDS, SHARES, Options, import_data, parse_pair, parse_shares


@click.command(name="import")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...", type=click.Path(path_type=Path))
@click.argument("dest", type=click.Path(path_type=Path))
@click.option("--text", default="", metavar="COL", help="csv, jsonl: the column of the messages.")
@click.option("--id", default="", metavar="COL", help="csv, jsonl: the column of ids.")
@click.option("--split", default="", metavar="COL", help="csv, jsonl: the column of train, dev, test; none: split by seed.")
@click.option(
    "--group", default="", metavar="COL", help="csv, jsonl: rows of one thread or paraphrase group; a seeded split keeps them together."
)
@click.option("--answer", default="", metavar="COL", help="csv, jsonl: the column of accepted answers.")
@click.option("--field", "fields", multiple=True, metavar="NAME=COL", help="csv, jsonl: a field of the output.")
@click.option("--list", "lists", multiple=True, metavar="NAME=COL", help="csv, jsonl: a field with several values.")
@click.option(
    "--entity", "entities", multiple=True, metavar="NAME=COL", help="csv, jsonl: words of the message, checked against offsets beside it."
)
@click.option("--documents", default="", metavar="PATH", help="csv, jsonl: a folder of pages, or a documents.jsonl.")
@click.option("--evidence", default="", metavar="COL", help="csv, jsonl: the column of needed doc ids: a list, or with ; between.")
@click.option("--drop-ignored", is_flag=True, help="csv, jsonl: guess no fields; take those that options name.")
@click.option("--shares", default=",".join(map(str, SHARES)), show_default=True, help="Shares of train, dev and test in a seeded split.")
@click.option("--limit", default="0", help="At most so many cases of each split; 0: all.")
@click.option("--seed", default="0", help="Seed of splits and limits.")
@click.option("--updated-at", default="", metavar="DATE", help="Date of documents without one of their own; empty: today.")
def import_command(kind: str, sources: tuple[Path, ...], dest: Path, **given: Any) -> None:
    """Make a dataset folder DEST out of data in a common shape.

    \b
    squad   SQuAD JSON: questions on paragraphs
    beir    a folder with corpus.jsonl, queries.jsonl and qrels/
    csv     messages with labels, one row each; a file, several, or a folder with train.csv and test.csv
    jsonl   the same as JSON Lines, a JSON array, or an object of arrays
    chat    conversations as fine-tuning services take them
    folder  Markdown, HTML, text, PDF and JSON pages: documents only

    What options do not name is guessed and printed; rows that cannot be used are listed in DEST/import_report.csv.
    """

    def work() -> None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a kill leaves nothing half-written
        import_data(kind, sources, dest, _options(given), tell=click.echo)

    guarded(work, "Stopped. Nothing was written.")


def _options(given: dict[str, Any]) -> Options:
    """The options of the command line as the importers take them. Raises UserError."""
    pairs = {name: tuple(parse_pair(f"--{flag}", text) for text in given[name]) for name, flag in _PAIRS.items()}
    numbers = {name: whole(name.upper(), given[name]) for name in ("limit", "seed")}
    return Options(**given | pairs | numbers | {"shares": parse_shares(given["shares"])})


_PAIRS = {"fields": "field", "lists": "list", "entities": "entity"}
