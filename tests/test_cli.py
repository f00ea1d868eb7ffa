"""The command line: exit codes, what goes to which stream, no traceback at a user."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from stepladder import audit
from stepladder.cli import main
from stepladder.encoder.text import fingerprints

SCHEMA = {"type": "object", "properties": {"intent": {"enum": ["late", "price"]}, "sources": {"type": "array"}}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.mkdir()
    rows = [{"case_id": f"c{i}", "split": "test", "text": f"message {i}"} for i in range(4)]
    gold = [{"case_id": f"c{i}", "output": {"intent": "late"}} for i in range(3)]
    for name, some in (("cases", rows), ("gold", gold)):
        (path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some), encoding="utf-8")
    (path / "schema.json").write_text(json.dumps(SCHEMA), encoding="utf-8")
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_validate_is_silent_where_nothing_is_wrong(folder: Path) -> None:
    done = run("validate", folder)
    assert (done.exit_code, done.output) == (0, "")


def test_validate_prints_every_problem(folder: Path) -> None:
    with (folder / "cases.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"case_id": "c0", "split": "test", "text": "again"}\n{"case_id": "c9", "split": "exam", "text": "x"}\nno json\n')
    done = run("validate", folder)
    assert done.exit_code == 1
    lines = done.output.splitlines()
    assert [line.split(":")[:2] for line in lines] == [["cases.jsonl", "5"], ["cases.jsonl", "6"], ["cases.jsonl", "7"]]
    assert "Traceback" not in done.output


def test_validate_reads_the_second_labels_too(folder: Path) -> None:
    (folder / "second_labels.jsonl").write_text("[]\n", encoding="utf-8")
    done = run("validate", folder)
    assert done.exit_code == 1
    assert done.output.startswith("second_labels.jsonl:1: ")


LEARNED = "My parcel has not come for nine days now. Could you tell me where in the world it is?"


@pytest.fixture
def learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that was trained on one text."""
    np.save(tmp_path / "sources.npy", fingerprints([LEARNED]))
    monkeypatch.setattr(audit, "SOURCES", tmp_path / "sources.npy")


def test_validate_warns_of_texts_that_the_reader_was_trained_on(folder: Path, learned: None) -> None:
    with (folder / "cases.jsonl").open("a", encoding="utf-8") as stream:
        for name in ("c8", "c9"):
            stream.write(json.dumps({"case_id": name, "split": "test", "text": LEARNED}) + "\n")
    done = run("validate", folder)
    assert (done.exit_code, done.stdout) == (0, "")  # a warning is no problem
    [line] = done.stderr.splitlines()
    assert line.startswith("warning: the embedded reader was trained on sentences of 2 of these texts, case 'c8' the first of them;")


def test_validate_is_silent_where_the_reader_knows_none_of_the_texts(folder: Path, learned: None) -> None:
    done = run("validate", folder)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["missing_folder", "data"])
def test_the_reader_is_not_scored_without_its_questions(folder: Path, name: str) -> None:
    done = run("reader", folder.parent / name)
    assert (done.exit_code, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"found no {folder.parent / name}")
    assert "expected the sets that notebooks/appendix/README.md names" in line
    assert isinstance(done.exception, SystemExit)  # no traceback


def test_a_sheet_goes_out_and_comes_back(folder: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    done = run("label", folder, "--n", "4", "--sheet", sheet)
    assert done.exit_code == 0
    assert "4 cases of split test, without their labels" in done.output
    with sheet.open(encoding="utf-8-sig", newline="") as stream:
        heading, *rows = list(csv.reader(stream))
    with sheet.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([heading, *([*row[:2], "price" if row[0] == "c1" else "late"] for row in rows)])
    done = run("label", folder, "--sheet", sheet, "--read")
    assert done.exit_code == 0
    assert "1 cases labelled in gold.jsonl, 3 a second time" in done.output
    assert "Agreement:" in done.output
    assert "0.67" in done.output
    assert "c1" in done.output.split("Disagreements:")[1]
    assert run("label", folder, "--sheet", sheet).exit_code == 1, "a filled sheet is not overwritten"


def test_a_missing_sheet_is_said_in_a_line(folder: Path, tmp_path: Path) -> None:
    done = run("label", folder, "--sheet", tmp_path / "none.csv", "--read")
    assert done.exit_code == 1
    assert "none.csv" in done.output
    assert "expected a CSV file" in done.output
