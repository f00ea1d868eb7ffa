"""The batch: bad input stops it before any work, gates stop a priced model, a kill leaves nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from fake_server import FakeServer
from stepladder import batch, runs
from stepladder.cli import main
from stepladder.models import ModelError
from stepladder.parameters import ParameterError

SHARED = Path(__file__).parents[1] / "data" / "support"


def report(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["report", *arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shared dataset, to be spoilt."""
    copy = tmp_path / "data"
    shutil.copytree(SHARED, copy)
    return copy


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--limit", "few"], "LIMIT: found 'few'; expected a whole number"),
        (["--seed", "-1"], "SEED: found '-1'; expected a whole number"),
        (["--model", "gpt"], "model: found 'gpt', expected embedded, openai:NAME, ollama:NAME or hf:ID"),
        (["--model", "openai:"], "model: found 'openai:'"),
        (["--climb", "some"], "CLIMB: found 'some'; expected all"),
        (["--split", "train"], "parameter split: found 'train'; expected dev or test"),
        (["--data", "no/such/folder"], "no such folder; expected a dataset folder"),
        (["-p", "token_bugdet", "10"], "unknown parameter token_bugdet; expected some of"),
    ],
)
def test_a_bad_option_is_said_in_a_line(arguments: list[str], said: str, tmp_path: Path) -> None:
    result = report("--out", str(tmp_path / "run"), *arguments)
    assert result.exit_code == 1
    assert said in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "run").exists()


def test_bad_data_stops_before_any_work(folder: Path, tmp_path: Path) -> None:
    lines = (folder / "cases.jsonl").read_text(encoding="utf-8").splitlines()
    lines[2] = lines[2][:-5]
    lines[4] = json.dumps(json.loads(lines[4]) | {"split": "tset"})
    (folder / "cases.jsonl").write_text("\n".join(lines), encoding="utf-8")
    result = report("--data", str(folder), "--out", str(tmp_path / "run"))
    assert result.exit_code == 1
    assert "cases.jsonl:3: not valid JSON" in result.output
    assert "cases.jsonl:5: split: " in result.output
    assert "'tset'" in result.output
    assert not (tmp_path / "run").exists()


def test_a_broken_incumbent_stops_before_any_work(small_folder: Path, tmp_path: Path) -> None:
    said = tmp_path / "today.jsonl"
    said.write_text('{"case_id": "nobody", "output": {}}\n', encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "stepladder",
        "report",
        "--data",
        str(small_folder),
        "--out",
        str(tmp_path / "run"),
        "--incumbent",
        str(said),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "today.jsonl: none of its 1 ids is one of the 5 cases; expected ids of cases.jsonl\n"
    assert not (tmp_path / "run").exists()


def test_a_file_as_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("precious", encoding="utf-8")
    assert "is a file; expected a folder" in report("--out", str(tmp_path / "run")).output
    assert (tmp_path / "run").read_text(encoding="utf-8") == "precious"


def test_check_names_data_and_folder() -> None:
    data, out = batch.check(batch.Options(limit=3, seed=1))
    assert data == SHARED
    assert out == SHARED.parents[1] / "results" / "support-embedded-limit3-seed1"
    with pytest.raises(ModelError):
        batch.check(batch.Options(model="nobody:x"))
    with pytest.raises(ParameterError):
        batch.check(batch.Options(parameters={"lmit": 3}))


def test_render_without_a_run_is_said(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["render", str(tmp_path)])
    assert result.exit_code == 1
    assert "run make report first" in result.output


def test_a_stopped_notebook_says_why_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-the-test")
    told: list[str] = []
    with pytest.raises(batch.NotebookError) as caught:
        batch.run(batch.Options(model="openai:none", out=str(tmp_path / "run"), limit=1), told.append)
    assert "01_prompt stopped: ModelError: model openai:none: no server answers" in str(caught.value)
    assert (tmp_path / "run" / "01_prompt.failed.ipynb").exists()
    assert not (tmp_path / "run" / "01_prompt").exists()
    assert [line.split()[0] for line in told] == ["00_brief"]
    for path in (tmp_path / "run").rglob("*"):
        assert not path.is_file() or b"sk-secret" not in path.read_bytes()


def right_answer(messages: list[dict[str, str]]) -> dict[str, object]:
    """An object of the shared schema; the passages it cites are those it was given."""
    passages = json.loads(messages[-1]["content"]).get("passages") or []
    fields = {"intent": "product_advice", "urgency": "normal", "sentiment": "neutral", "order_id": None, "days_waiting": None}
    answer = passages[0]["text"].split(". ")[0] if passages else None
    return fields | {"next_step": "answer_only", "answer": answer, "sources": [passages[0]["doc_id"]] if passages else []}


def test_the_whole_ladder_runs_against_a_server(small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With two cases of each split: CLIMB=all, so that all rungs run; 03 is a row of the embedded model."""
    with FakeServer(right_answer) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-the-test")
        out = batch.run(
            batch.Options(data=str(small_folder), model="openai:fake", out=str(tmp_path / "run"), limit=2, climb="all"),
            tell=lambda line: None,
        )
        assert server.requests
        assert not server.problems
    bases = {}
    for name in ("01_prompt", "02_rag", "03_fine_tune", "04_hybrid"):
        rows = (out / name / "scores.csv").read_text(encoding="utf-8").splitlines()[1:]
        bases |= {row.split(",")[0]: row.split(",")[1].strip('"') for row in rows if "nearest" not in row}
    assert bases["prompt"] == bases["rag"] == bases["hybrid"] == "openai:fake"
    assert bases["fine_tune"] == "embedded"
    lines = runs.verdict_lines(out)
    assert lines[0].startswith("Ship: prompt because gate 1 is undecided")
    said = [json.loads(line) for line in (out / "04_hybrid" / "predictions.jsonl").read_text(encoding="utf-8").split("\n") if line]
    assert all(row["output"]["sources"] == [row["passages"][0]["doc_id"]] for row in said), "the server answers from what was retrieved"
    for path in out.rglob("*"):
        assert not path.is_file() or b"sk-secret" not in path.read_bytes()


def test_a_priced_model_stops_at_the_gate(small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gate 1 is undecided with two cases, so nobody pays for RAG; what was not run is said."""
    told: list[str] = []
    with FakeServer(right_answer) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        out = batch.run(batch.Options(data=str(small_folder), model="openai:fake", out=str(tmp_path / "run"), limit=2), told.append)
    assert [line.split()[0].rstrip(":") for line in told] == list(runs.STEPS)
    assert [line.split(":")[0] for line in told if "did not open" in line] == ["02_rag", "03_fine_tune", "04_hybrid"]
    missing = json.loads((out / "06_decision" / "run.json").read_text(encoding="utf-8"))["not_measured"]
    assert missing["02_rag"] == "02_rag has not been run"


def test_documents_and_questions_alone_are_enough(tmp_path: Path) -> None:
    """No schema, brief, train or dev: facts are measured, behaviour and tuning are not, and the report says so.

    What runs today is a row of its own, here one that knows a single answer.
    """
    document = {"title": "Fees", "url": "", "kind": "page", "status": "published", "updated_at": "2026-01-01"}
    documents = [{"doc_id": f"fee-{n}", "text": f"Plan {n} costs ${n}0 a year."} | document for n in range(1, 4)]
    cases = [{"case_id": f"q{n}", "split": "test", "text": f"How much is plan {n} a year?"} for n in range(1, 4)]
    gold = [{"case_id": f"q{n}", "output": {"answer": [f"${n}0"]}, "evidence": [{"doc_id": f"fee-{n}"}]} for n in range(1, 4)]
    folder = tmp_path / "data"
    folder.mkdir()
    for name, rows in {"documents": documents, "cases": cases, "gold": gold}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    said = tmp_path / "today.jsonl"
    said.write_text('{"case_id": "q2", "output": {"answer": "It is $20 a year"}}\n', encoding="utf-8")
    options = batch.Options(data=str(folder), out=str(tmp_path / "run"), parameters={"incumbent": str(said)})
    out = batch.run(options, tell=lambda line: None)
    today = pd.read_csv(out / "summary.csv").set_index("rung").loc["incumbent"]
    assert today["resolved"] == pytest.approx(1 / 3)
    lines = runs.verdict_lines(out)
    assert lines[0].startswith("Ship: prompt because gate 1 is undecided")
    assert "fine-tune not measured. Behaviour: RAG not measured" in lines[1]
    missing = json.loads((out / "06_decision" / "run.json").read_text(encoding="utf-8"))["not_measured"]
    assert "fine_tune" in " ".join(missing)
    assert "Behaviour fields right: not measured." in (out / "report.md").read_text(encoding="utf-8")


def test_a_kill_leaves_nothing_half_written(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "stepladder", "report", "--out", str(out), "--limit", "2"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"COLUMNS": "80"})
    deadline = time.monotonic() + 120
    while not (out / ".00_brief.ipynb").exists() and not (out / "00_brief").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "the same command goes on" in said
    assert "Traceback" not in said
    whole = [path.name for path in out.iterdir() if not path.name.startswith(".")]
    assert set(whole) <= {"00_brief"}
    assert all((out / name / "run.json").exists() for name in whole)
