"""The notebooks: their form, a small run of all seven, a repeat, and each alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest

from stepladder import batch, runs

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
RUNG_STEPS = ("01_prompt", "02_rag", "03_fine_tune", "04_hybrid")
HEADINGS = ["Question", "Parameters", "Data", "Method", "Check", "Choose", "Result", "Where it fails", "Takeaway"]


def cells(path: Path, kind: str) -> list[str]:
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def test_all_seven_are_there() -> None:
    assert [path.stem for path in NOTEBOOKS] == list(runs.STEPS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_form(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    first = notebook.cells[0].source.splitlines()[0]
    assert first.startswith("# ")
    assert first.endswith("?")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code), "outputs are stripped"
    assert max(len(cell.source.splitlines()) for cell in code) <= 20
    assert [cell.metadata.get("tags") for cell in code].count(["parameters"]) == 1
    assert code[0].metadata.get("tags") == ["parameters"]


@pytest.mark.parametrize("name", RUNG_STEPS)
def test_the_rungs_have_the_same_headings(name: str) -> None:
    texts = cells(NOTEBOOKS[0].with_name(f"{name}.ipynb"), "markdown")
    assert [line[3:] for text in texts for line in text.splitlines() if line.startswith("## ")] == HEADINGS


@pytest.mark.parametrize("name", RUNG_STEPS)
def test_answer_is_one_short_function(name: str) -> None:
    [source] = [text for text in cells(NOTEBOOKS[0].with_name(f"{name}.ipynb"), "code") if "def answer(" in text]
    body = source.split("def answer(")[1].split("\n\n\n")[0]
    assert "-> Prediction" in body
    assert len(body.splitlines()) <= 11


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_papermill_sees_every_parameter_with_type_and_help(path: Path) -> None:
    source = cells(path, "code")[0]
    seen = papermill.inspect_notebook(str(path))
    assert list(seen) == re.findall(r"^(\w+):", source, re.MULTILINE)
    assert set(runs.COMMON) <= set(seen)
    for name, row in seen.items():
        assert row["help"], name
        assert row["inferred_type_name"] in ("str", "int", "bool", "float"), name
    own = set(seen) - set(runs.COMMON)
    start = next(text for text in cells(path, "code") if "runs.start(" in text)
    assert set(re.findall(r"(\w+)=(?:int|float|str|bool)\b", start)) == own


def test_a_small_run_writes_everything(small_run: Path) -> None:
    for name in runs.STEPS:
        assert (small_run / name / f"{name}.ipynb").exists()
        assert json.loads((small_run / name / "run.json").read_text())["step"] == name
    for name in RUNG_STEPS:
        scores = pd.read_csv(small_run / name / "scores.csv")
        assert list(scores.columns) == runs.SCORE_COLUMNS
        rows = [json.loads(line) for line in (small_run / name / "predictions.jsonl").read_text().splitlines()]
        for rung in {row["rung"] for row in rows}:
            assert len({row["case_id"] for row in rows if row["rung"] == rung}) == 5, "one row per case, none missing"
        assert (small_run / name / "choice.json").exists()
    summary = pd.read_csv(small_run / "summary.csv")
    assert set(summary["rung"]) == {"majority", "tfidf", "empty_context", "prompt", "rag", "fine_tune", "hybrid", "gold_context"}
    assert (small_run / "report.md").read_text().startswith("# ")
    assert list((small_run / "figures").glob("*.png"))
    assert not [path for path in small_run.iterdir() if path.name.startswith(".")], "nothing half-written is left"


def test_the_progress_names_every_notebook(small_run: Path) -> None:
    told = (small_run / "told.txt").read_text().splitlines()
    assert [line.split()[0] for line in told] == list(runs.STEPS)


def test_gates_of_five_cases_are_undecided(small_run: Path) -> None:
    gates = json.loads((small_run / "06_decision" / "run.json").read_text())["gates"]
    assert {gate["number"] for gate in gates} == {1, 2, 3, 4}
    assert {gate["answer"] for gate in gates} <= {"undecided", "not measured"}
    assert all(gate["more"] for gate in gates if gate["answer"] == "undecided")
    lines = runs.verdict_lines(small_run)
    assert lines[0].startswith("Ship: prompt because ")
    assert lines[1].startswith("Facts: ")
    assert " Behaviour: " in lines[1]
    assert lines[2].startswith("Undecided: gate 1, about ")


def test_the_report_stands_alone(small_run: Path) -> None:
    page = (small_run / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|iframe)\b", page)
    assert not re.search(r"""(src|href)\s*=\s*(?!["']?(data:|#))""", page)
    assert "@import" not in page
    assert not re.search(r"url\(\s*(?![\"']?data:)", page)
    assert "encoder of 22 million parameters" in page.split("<h2")[0], "the first sentence says whose verdict this is"
    assert "def " not in re.sub(r"data:image/png;base64,[^\"']+", "", page)


def test_executed_notebooks_hold_no_path_of_this_machine(small_run: Path) -> None:
    for name in runs.STEPS:
        notebook = nbformat.read(small_run / name / f"{name}.ipynb", as_version=4)
        assert "papermill" not in notebook.metadata
        text = (small_run / name / f"{name}.ipynb").read_text(encoding="utf-8")
        assert str(small_run) not in text
        assert "PosixPath" not in text
        streams = [o for c in notebook.cells for o in c.get("outputs", []) if o.output_type == "stream"]
        assert not [o for o in streams if o.name == "stderr"]


def test_a_repeat_gives_the_same_bytes(small_folder: Path, small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """00 to 03 again, as the first time from an empty cache, in another folder."""
    monkeypatch.setenv("STEPLADDER_CACHE", str(tmp_path / "cache"))
    for name in runs.STEPS[:4]:
        run_alone(name, tmp_path / f"{name}.ipynb", data=str(small_folder), out=str(tmp_path / "again"), split="test")
        for file in ("predictions.jsonl", "scores.csv", "choice.json") if name in RUNG_STEPS else ():
            assert (tmp_path / "again" / name / file).read_bytes() == (small_run / name / file).read_bytes(), (name, file)


def run_alone(name: str, target: Path, **parameters: object) -> subprocess.CompletedProcess[str]:
    """Plain papermill, in a folder that is not the checkout."""
    command = [sys.executable, "-m", "papermill", str(batch.notebooks_folder() / f"{name}.ipynb"), str(target), "--no-progress-bar"]
    for key, value in parameters.items():
        command += ["-p", key, str(value)]
    return subprocess.run(command, cwd=target.parent, capture_output=True, text=True, timeout=600)


def test_a_misspelt_parameter_stops_a_notebook(tmp_path: Path) -> None:
    done = run_alone("00_brief", tmp_path / "out.ipynb", out=str(tmp_path / "run"), limt=3)
    assert done.returncode != 0
    assert "unknown parameter limt" in done.stderr
    assert not (tmp_path / "run").exists()


def test_an_ill_typed_parameter_stops_a_notebook(tmp_path: Path) -> None:
    done = run_alone("00_brief", tmp_path / "out.ipynb", out=str(tmp_path / "run"), limit="few")
    assert done.returncode != 0
    assert "parameter limit: found 'few'" in done.stderr
