"""Notebook parameters, and results that are written whole or not at all."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stepladder import runs
from stepladder.cache import Cache
from stepladder.decision import Gate
from stepladder.records import Case, CaseError, Passage, Prediction, UserError
from stepladder.runs import (
    ParameterError,
    Step,
    StepResult,
    check_parameters,
    injected_names,
    read_step,
    run_name,
    start,
    sweep,
    verdict_lines,
)

GOOD: dict[str, Any] = {"data": "", "model": "embedded", "out": "", "split": "dev", "seed": 0, "limit": 0, "thorough": False}
CASES = [Case(f"c{i}", "dev", f"Message {i}") for i in range(8)]


def step(path: Path, name: str = "01_prompt", **changes: Any) -> Step:
    fields: dict[str, Any] = {"model": "embedded", "split": "dev", "seed": 0, "limit": 0, "thorough": False} | changes
    return Step(name=name, data=path / "data", out=path / "out", cache=Cache(path / "cache"), **fields)


def echo(case: Case) -> Prediction:
    passages = (Passage("d#0", "d", "T", "", "policy", "text", 0, 4, score=0.123456789),)
    return Prediction(case.case_id, {"answer": f"£4.50 – {case.text}"}, "raw", passages, tokens_in=3)


def scores_of(value: float, case_id: str = "c0") -> pd.DataFrame:
    return pd.DataFrame([("prompt", "embedded", case_id, "resolved", value)], columns=runs.SCORE_COLUMNS)


# Parameters


def test_good_parameters_come_back_in_order() -> None:
    found = check_parameters(dict(reversed(GOOD.items())) | {"share": 1, "names": "a"}, {"share": float, "names": str})
    assert list(found) == [*GOOD, "share", "names"]
    assert found["share"] == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"limt": 3}, "unknown parameter limt; expected some of data, model, out, split, seed, limit, thorough"),
        ({"limt": 3, "sed": 1}, "unknown parameter limt, sed"),
        ({"limit": "3"}, "parameter limit: found '3', a str; expected a int"),
        ({"limit": 3.0}, "parameter limit: found 3.0, a float; expected a int"),
        ({"limit": True}, "parameter limit: found True, a bool; expected a int"),
        ({"thorough": 1}, "parameter thorough: found 1, a int; expected a bool"),
        ({"thorough": "False"}, "parameter thorough: found 'False', a str; expected a bool"),
        ({"data": None}, "parameter data: found None, a NoneType; expected a str"),
        ({"data": Path("x")}, "expected a str"),
        ({"model": 3}, "parameter model: found 3, a int; expected a str"),
        ({"split": "train"}, "parameter split: found 'train'; expected dev or test"),
        ({"limit": -1}, "found a negative number; expected 0 or more"),
        ({"seed": -1}, "found a negative number"),
    ],
)
def test_wrong_parameters(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterError) as caught:
        check_parameters(GOOD | change)
    assert said in str(caught.value)
    assert isinstance(caught.value, UserError)


def test_a_missing_parameter_and_ones_own() -> None:
    with pytest.raises(ParameterError, match="parameter seed is missing; expected it in the cell tagged parameters, as int"):
        check_parameters({k: v for k, v in GOOD.items() if k != "seed"})
    with pytest.raises(ParameterError, match="parameter share is missing"):
        check_parameters(GOOD, {"share": float})
    with pytest.raises(ParameterError, match="parameter share: found True"):
        check_parameters(GOOD | {"share": True}, {"share": float})


@pytest.mark.parametrize(
    ("cells", "names"),
    [
        (["seed: int = 0  # help\nlimit: int = 0"], {"seed", "limit"}),
        (["# Parameters\nlimt = 3\nseed = 1"], {"limt", "seed"}),
        (["  # Parameters\nlimt = 3"], {"limt"}),
        (["# Parameters\nlimt = ", "seed: int = 0"], {"seed"}),  # no Python
        (["seed: int = 0\nlimt = 3"], {"seed", "limt"}),  # mistyped in the parameters cell
        (["x = 1\ny = 2"], set()),
        (["seed: int = 0\nprint(seed)\nx = 1"], {"seed"}),  # not a cell of parameters alone
        (["%matplotlib inline", "seed: int = 0", "!ls"], {"seed"}),
        (["def f():\n    seed: int = 0"], set()),
        (["self.x: int = 0\na[0]: int = 1\na[1] = 2"], set()),
        (["bad: int = 0", "step = runs.start('01', globals())", "seed: int = 0"], {"seed"}),
        (["x\0y = 1"], set()),
        ([""], set()),
        ([], set()),
    ],
)
def test_injected_names(cells: list[str], names: set[str]) -> None:
    assert injected_names(cells) == names


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("support", "embedded", 0, 0, "test"), "support-embedded"),
        (("support", "embedded", 0, 0, "dev"), "support-embedded-dev"),
        (("support", "embedded", 20, 7, "test"), "support-embedded-limit20-seed7"),
        (("my data/ü", "hf:org/model.v2", 0, 0, "test"), "my-data-ü-hf-org-model.v2"),
        (("..", "embedded", 0, 0, "test"), "embedded"),
        (("../../etc", "x", 0, 0, "test"), "etc-x"),
        (("", "", 0, 0, "test"), "run"),
    ],
)
def test_run_name(arguments: tuple[str, str, int, int, str], name: str) -> None:
    found = run_name(*arguments)
    assert found.lstrip("./-") == found
    assert found == name


def test_start_takes_the_parameters_of_the_notebook(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STEPLADDER_CACHE", str(tmp_path / "cache"))
    names = GOOD | {
        "data": str(tmp_path / "mine"),
        "out": str(tmp_path / "out"),
        "k": 5,
        "pd": pd,
        "In": ["# Parameters\nseed = 3", "start"],
    }
    found = start("02_rag", names | {"seed": 3}, k=int)
    assert (found.name, found.data, found.out) == ("02_rag", tmp_path / "mine", tmp_path / "out")
    assert (found.seed, found.own, found.cache.folder) == (3, {"k": 5}, tmp_path / "cache")


def test_start_names_the_run_after_data_and_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STEPLADDER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(runs, "checkout", lambda: None)
    monkeypatch.chdir(tmp_path)
    found = start("02_rag", GOOD | {"data": str(tmp_path / "mine"), "limit": 5})
    assert found.out == tmp_path / "results" / "mine-embedded-limit5-dev"
    with pytest.raises(ParameterError, match="parameter data is empty and there is no checkout"):
        start("02_rag", GOOD)


def test_start_without_data_takes_the_shared_dataset_from_any_working_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STEPLADDER_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    found = start("02_rag", GOOD)
    assert (found.data / "cases.jsonl").exists()
    assert found.out == found.data.parents[1] / "results" / "support-embedded-dev"
    assert not found.out.is_relative_to(tmp_path)


@pytest.mark.parametrize("cell", ["# Parameters\nlimt = 3", "seed: int = 0\nlimt: int = 3", "seed: int = 0\nlimt = 3"])
def test_start_refuses_a_misspelt_parameter_in_a_cell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cell: str) -> None:
    monkeypatch.setenv("STEPLADDER_CACHE", str(tmp_path))
    with pytest.raises(ParameterError, match="unknown parameter limt"):
        start("01_prompt", GOOD | {"limt": 3, "In": ["", cell, "step = runs.start('01_prompt', globals())"]})


def test_start_refuses_a_parameter_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="parameter model is missing"):
        start("01_prompt", {k: v for k, v in GOOD.items() if k != "model"})


# Answering


def test_one_prediction_per_case_in_order_with_several_workers(tmp_path: Path) -> None:
    threads = set()

    def slow_first(case: Case) -> Prediction:
        threads.add(threading.get_ident())
        time.sleep(0.02 * (8 - int(case.case_id[1:])) / 8)
        return echo(case)

    found = step(tmp_path).answer_all("prompt", CASES, slow_first, workers=4)
    assert [p.case_id for p in found] == [c.case_id for c in CASES]
    assert len(threads) > 1
    assert threading.get_ident() not in threads


def test_one_worker_answers_in_this_thread(tmp_path: Path) -> None:
    threads = set()
    step(tmp_path).answer_all("prompt", CASES, lambda c: threads.add(threading.get_ident()) or echo(c))  # type: ignore[func-returns-value]
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("workers", [1, 3])
def test_a_case_that_cannot_be_answered_is_a_failed_prediction(tmp_path: Path, workers: int) -> None:
    def some(case: Case) -> Prediction:
        if case.case_id == "c2":
            raise CaseError("too long")
        return echo(case)

    mine = step(tmp_path)
    found = mine.answer_all("prompt", CASES, some, workers=workers)
    assert found[2] == Prediction("c2", None, "", error="too long")
    assert [p.output is None for p in found].count(True) == 1
    assert len(mine.timing()) == 8


@pytest.mark.parametrize("workers", [1, 3])
def test_any_other_error_stops_the_step(tmp_path: Path, workers: int) -> None:
    def broken(case: Case) -> Prediction:
        raise KeyError("a bug")

    mine = step(tmp_path)
    with pytest.raises(KeyError, match="a bug"):
        mine.answer_all("prompt", CASES, broken, workers=workers)
    assert mine.timing().empty


def test_no_cases(tmp_path: Path) -> None:
    mine = step(tmp_path)
    assert mine.answer_all("prompt", [], echo) == []
    assert list(mine.timing().columns) == runs.TIMING_COLUMNS


def test_seconds_that_a_cached_part_once_took_are_added_and_marked(tmp_path: Path) -> None:
    mine = step(tmp_path)
    mine.cache.put("answers", "c1", b"x", seconds=100.0)

    def cached(case: Case) -> Prediction:
        mine.cache.get("answers", case.case_id)
        return echo(case)

    mine.cache.get("answers", "c1")  # what was read before does not count for a case
    mine.answer_all("prompt", CASES[:3], cached)
    mine.note_seconds("rag", "index", 7.0)
    timing = mine.timing()
    assert list(timing["cached"]) == [False, True, False, False]
    assert timing["seconds"][1] >= 100 > timing["seconds"][0]
    assert timing.iloc[3].tolist() == ["rag", "index", "", 7.0, False]


def test_warming_up_is_not_timed(tmp_path: Path) -> None:
    mine = step(tmp_path)
    mine.answer_all("prompt", CASES, echo, time_it=False)
    assert mine.timing().empty


# Writing and reading


def finished(mine: Step, **changes: Any) -> Path:
    predictions = {"prompt": mine.answer_all("prompt", CASES, echo)}
    gates = [Gate(1, "Is it?", "yes", "it is")]
    return mine.finish("hash", **({"predictions": predictions, "scores": scores_of(1.0), "choice": {"k": 5}, "gates": gates} | changes))


def test_a_table_of_nothing_is_no_table(tmp_path: Path) -> None:
    mine = step(tmp_path)
    finished(mine, tables={"choose": pd.DataFrame(), "none_found": pd.DataFrame(columns=["k"])})
    found, _ = read_step(mine, "01_prompt", "hash")
    assert found is not None
    assert found.table("choose") is None
    empty = found.table("none_found")
    assert empty is not None
    assert list(empty.columns) == ["k"]


def test_a_step_comes_back_as_it_was_written(tmp_path: Path) -> None:
    table = pd.DataFrame({"k": [1, 2], "share": [0.25, 1 / 3]})
    mine = step(tmp_path)
    folder = finished(mine, tables={"sweep": table}, not_measured={"rag": "no documents"}, extra={"verdict_lines": ["a", "b"]})
    assert folder == tmp_path / "out" / "01_prompt"
    found, why = read_step(mine, "01_prompt", "hash")
    assert found is not None
    assert why == ""
    assert found.choice == {"k": 5}
    pd.testing.assert_frame_equal(found.scores, scores_of(1.0))
    sweep_table = found.table("sweep")
    assert sweep_table is not None
    pd.testing.assert_frame_equal(sweep_table, table)
    assert found.table("absent") is None
    assert list(found.timing["kind"]) == ["case"] * 8
    assert [p["case_id"] for p in found.predictions] == [c.case_id for c in CASES]
    first = found.predictions[0]
    assert first["output"] == {"answer": "£4.50 – Message 0"}
    assert first["passages"] == [{"passage_id": "d#0", "doc_id": "d", "score": 0.123457}]
    assert found.about["gates"][0]["answer"] == "yes"
    assert found.about["not_measured"] == {"rag": "no documents"}
    assert found.about["packages"]["stepladder"] != "not installed"


def test_what_a_step_did_not_write_is_empty(tmp_path: Path) -> None:
    found = StepResult(step(tmp_path).finish("hash"), {})
    assert (found.choice, found.predictions, found.table("x")) == ({}, [], None)
    assert list(found.scores.columns) == runs.SCORE_COLUMNS
    assert list(StepResult(tmp_path, {}).timing.columns) == runs.TIMING_COLUMNS


def test_two_runs_are_byte_identical(tmp_path: Path) -> None:
    texts = []
    for name, workers in (("a", 1), ("b", 4)):
        mine = step(tmp_path / name)
        folder = mine.finish("hash", {"prompt": mine.answer_all("prompt", CASES, echo, workers)}, scores_of(1 / 3))
        texts.append([(folder / file).read_bytes() for file in ("predictions.jsonl", "scores.csv")])
    assert texts[0] == texts[1]
    assert texts[0][0].endswith(b"}\n")
    assert b"\r" not in texts[0][0] + texts[0][1]
    assert "£".encode() in texts[0][0]


def test_ids_that_look_like_numbers_stay_text(tmp_path: Path) -> None:
    finished(step(tmp_path), scores=scores_of(1.0, "007"))
    assert list(StepResult(tmp_path / "out" / "01_prompt", {}).scores["case_id"]) == ["007"]


@pytest.mark.parametrize("case_id", ["NA", "null", "None", "nan"])
def test_ids_that_look_like_nothing_stay_text(tmp_path: Path, case_id: str) -> None:
    mine = step(tmp_path)
    mine.answer_all("prompt", [Case(case_id, "dev", "Hi")], echo)
    found = StepResult(mine.finish("hash", scores=scores_of(1.0, case_id)), {})
    assert list(found.scores["case_id"]) == list(found.timing["case_id"]) == [case_id]


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\x0c", "\x1e"])
def test_a_prediction_may_hold_any_line_separator(tmp_path: Path, character: str) -> None:
    prediction = Prediction("c0", {"answer": f"a{character}b"}, "raw")
    found = StepResult(step(tmp_path).finish("hash", {"prompt": [prediction]}), {})
    assert found.predictions[0]["output"] == {"answer": f"a{character}b"}


def test_a_prediction_may_hold_half_a_character(tmp_path: Path) -> None:
    prediction = Prediction("c0", {"answer": "a\ud83d"}, '{"answer": "a\\ud83d"}')
    found = StepResult(step(tmp_path).finish("hash", {"prompt": [prediction]}), {})
    assert found.predictions[0]["case_id"] == "c0"
    assert len(found.predictions) == 1


class Unwritable(pd.DataFrame):
    def to_csv(self, *args: Any, **kwargs: Any) -> None:
        raise OSError("no space left on device")


@pytest.mark.parametrize(
    "breaks",
    [
        lambda mine: mine.finish("new", {}, scores_of(0.0), tables={"t": Unwritable({"k": [1]})}),
        lambda mine: mine.finish("new", {"prompt": [Prediction("c0", {"answer": object()}, "")]}, scores_of(0.0)),
        lambda mine: mine.finish("new", {}, scores_of(0.0).drop(columns="value")),
        lambda mine: mine.finish("new", {}, scores_of(0.0), choice={"k": object()}),
        lambda mine: mine.finish("new", {}, scores_of(0.0), gates=[{"number": 1}]),
        lambda mine: mine.finish("new", {}, scores_of(0.0), extra={"x": object()}),
    ],
    ids=["table", "prediction", "scores", "choice", "gates", "extra"],
)
@pytest.mark.parametrize("before", [True, False], ids=["over an old result", "first"])
def test_a_failing_write_leaves_the_old_result_and_nothing_else(tmp_path: Path, breaks: Callable[[Step], Path], before: bool) -> None:
    mine = step(tmp_path)
    old = finished(mine) if before else tmp_path / "out" / "01_prompt"
    files = {p: p.read_bytes() for p in old.rglob("*") if p.is_file()}
    with pytest.raises((OSError, TypeError, KeyError)):
        breaks(mine)
    assert {p: p.read_bytes() for p in old.rglob("*") if p.is_file()} == files
    assert [p.name for p in (tmp_path / "out").iterdir()] == (["01_prompt"] if before else [])


def test_a_second_write_replaces_the_whole_folder(tmp_path: Path) -> None:
    mine = step(tmp_path)
    finished(mine, tables={"sweep": pd.DataFrame({"k": [1]})})
    folder = finished(mine, choice=None)
    assert not (folder / "choice.json").exists()
    assert list((folder / "tables").iterdir()) == []
    assert [p.name for p in folder.parent.iterdir()] == ["01_prompt"]


def test_test_is_counted_each_time_it_is_scored_and_dev_is_not(tmp_path: Path) -> None:
    counts = []
    for _ in range(2):
        folder = finished(step(tmp_path, split="test"))
        counts.append(json.loads((folder / "run.json").read_text())["test_scored"])
    assert counts == [1, 2]
    assert "test_scored" not in json.loads((finished(step(tmp_path)) / "run.json").read_text())
    unscored = finished(step(tmp_path, split="test"), scores=None)
    assert "test_scored" not in json.loads((unscored / "run.json").read_text())


# Reading another step


def test_an_absent_step_is_said(tmp_path: Path) -> None:
    assert read_step(step(tmp_path), "02_rag", "hash") == (None, "02_rag has not been run")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "hf:x"}, "another model"),
        ({"split": "test"}, "another split"),
        ({"seed": 1}, "another seed"),
        ({"limit": 5}, "another limit"),
        ({"seed": 1, "limit": 5}, "another limit, seed"),
    ],
)
def test_a_step_of_another_run_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    finished(step(tmp_path))
    found, why = read_step(step(tmp_path, "02_rag", **change), "01_prompt", "hash")
    assert found is None
    assert why == f"01_prompt was run with {said}; run it again"


def test_a_step_of_other_data_is_refused(tmp_path: Path) -> None:
    finished(step(tmp_path))
    found, why = read_step(step(tmp_path), "01_prompt", "other hash")
    assert found is None
    assert "another data_hash" in why


def test_thoroughness_alone_is_the_same_run(tmp_path: Path) -> None:
    finished(step(tmp_path))
    assert read_step(step(tmp_path, "02_rag", thorough=True), "01_prompt", "hash")[0] is not None


def test_verdict_lines(tmp_path: Path) -> None:
    mine = step(tmp_path, "06_decision")
    finished(mine, extra={"verdict_lines": ["Ship the prompt.", "It is at target."]})
    assert verdict_lines(mine.out) == ["Ship the prompt.", "It is at target."]


def test_sweep_removes_what_a_killed_run_left_and_nothing_else(tmp_path: Path) -> None:
    for name in (".01_prompt-abc", ".old-02_rag", "01_prompt", ".git"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    (tmp_path / ".03_fine_tune.ipynb").write_text("{}")
    sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".git", "01_prompt"]
    sweep(tmp_path / "absent")
