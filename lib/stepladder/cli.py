"""`stepladder ...`: a thin skin over the batch."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import click

from stepladder import audit, dataset, labels, readme
from stepladder.batch import Options, run
from stepladder.cli_import import import_command
from stepladder.guard import guarded, whole
from stepladder.render import render
from stepladder.runs import checkout, verdict_lines

KEPT = "Stopped. What was finished is kept; the same command goes on from the cache."


@click.group()
def main() -> None:
    """Which rung does your problem need: a strong prompt, retrieval, fine-tuning, or both?"""


main.add_command(import_command)


@main.command()
@click.option("--data", default="", help="Dataset folder; empty: the shared dataset.")
@click.option("--model", default="embedded", show_default=True, help="embedded, openai:NAME, ollama:NAME or hf:ID.")
@click.option("--out", default="", help="Folder of the run; empty: results/<data>-<model>.")
@click.option("--split", default="test", show_default=True, help="The split that is scored: test or dev.")
@click.option("--limit", default="0", help="At most so many cases of each split; 0: all.")
@click.option("--seed", default="0", help="Seed of everything random.")
@click.option("--climb", default="", help="all: climb on where a gate of a priced model does not open.")
@click.option(
    "--incumbent", default="", help="Predictions (JSON lines of case_id and output) of the system you run today: a row of its own."
)
@click.option("-p", "--parameter", "parameters", nargs=2, multiple=True, metavar="NAME VALUE", help="A parameter of single notebooks.")
def report(
    data: str,
    model: str,
    out: str,
    split: str,
    limit: str,
    seed: str,
    climb: str,
    incumbent: str,
    parameters: tuple[tuple[str, str], ...],
) -> None:
    """Climb the ladder on a dataset folder and write the report."""

    def work() -> None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a kill ends the notebook that runs, too
        own = {name: _value(value) for name, value in parameters}
        if incumbent:
            own["incumbent"] = str(Path(incumbent).expanduser().resolve())
        options = Options(data, model, out, split, whole("SEED", seed), whole("LIMIT", limit), climb, parameters=own)
        folder = run(options, tell=click.echo)
        for line in [*verdict_lines(folder), os.path.relpath(folder / "report.html")]:
            click.echo(line)

    guarded(work, KEPT)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def validate(folder: Path) -> None:
    """Print every problem of a dataset folder with file, line and field; silent where there is none.

    A warning, and no problem: texts that the embedded reader was trained on, which would flatter its figures.
    """

    def work() -> None:
        loaded = dataset.load(folder)
        labels.second_labels(loaded)
        seen = audit.seen_by_reader(loaded)
        if len(seen):
            click.echo(
                f"warning: the embedded reader was trained on sentences of {len(seen)} of these texts, {seen['what'].iloc[0]} "
                f"{seen['id'].iloc[0]!r} the first of them; its figures here are too good to be compared",
                err=True,
            )

    guarded(work, KEPT)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--n", "n_cases", default=200, show_default=True, type=click.IntRange(1), help="Cases on the sheet.")
@click.option("--split", default="test", show_default=True, type=click.Choice(dataset.SPLITS))
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option("--sheet", default=Path("label_sheet.csv"), show_default=True, type=click.Path(path_type=Path), help="The CSV sheet.")
@click.option("--read", "back", is_flag=True, help="Read the filled sheet back instead of writing it.")
def label(folder: Path, n_cases: int, split: str, seed: int, sheet: Path, back: bool) -> None:
    """Write a blind, stratified sheet for people to label, or read it back.

    Cases without gold get their labels from it; of the others a second opinion is kept, and the agreement is printed.
    """

    def work() -> None:
        loaded = dataset.load(folder)
        if not back:
            cases = labels.sample(loaded, n_cases, split, seed)
            labels.write_sheet(loaded, cases, sheet)
            click.echo(f"{sheet}: {len(cases)} cases of split {split}, without their labels. Fill it in, then: --read --sheet {sheet}")
            return
        done = labels.keep(loaded, labels.read_sheet(loaded, sheet))
        click.echo(f"{done.new} cases labelled in gold.jsonl, {done.second} a second time in {labels.SECOND}.")
        loaded = dataset.load(folder)
        for title, table in (("Agreement", labels.agreement(loaded)), ("Disagreements", labels.disagreements(loaded))):
            if len(table):
                click.echo(f"{title}:\n{table.round(2).to_string(index=False, max_colwidth=60)}")

    guarded(work, KEPT)


@main.command(name="render")
@click.argument("folder", type=click.Path(path_type=Path))
def render_command(folder: Path) -> None:
    """Write report.html and report.md of a run again."""
    guarded(lambda: click.echo(str(render(folder))), KEPT)


@main.command(name="reader")
@click.argument("datasets", type=click.Path(path_type=Path))
def reader_command(datasets: Path) -> None:
    """Score the embedded reader on questions that it was not trained on: of SQuAD, of PolicyQA, and of the help pages of data/reading.

    DATASETS holds squad2_dev_half/dev-v2.0.json and policyqa/dev.json and test.json (notebooks/appendix/README.md).
    """

    def work() -> None:
        from stepladder.tuning.reading_scores import held_out_scores  # torch

        for line in held_out_scores(datasets, (checkout() or Path()) / "data" / "reading" / "desk.jsonl"):
            click.echo(line)

    guarded(work, KEPT)


@main.command(name="readme")
def readme_command() -> None:
    """Copy the figures of results/reference into the README."""
    guarded(lambda: click.echo(readme.renew()), KEPT)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
