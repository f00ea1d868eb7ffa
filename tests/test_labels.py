"""The blind sheet: drawn, written, read back, and held against gold. Kappa beside scikit-learn's own definition by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from stepladder import dataset, labels
from stepladder.labels import SheetError

SCHEMA = {
    "type": "object",
    "properties": {
        "intent": {"enum": ["return", "order"]},
        "days": {"type": ["integer", "null"], "minimum": 0},
        "marks": {"type": "array", "items": {"enum": ["a", "b"]}},
        "answer": {"type": ["string", "null"]},
        "sources": {"type": "array"},
    },
}
MESSAGES = ["=HYPERLINK(1) back please", "where is it", "return it", "my parcel?", "how long to return", "anything new"]
INTENTS = ["return", "order", "return", "order", "return"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.mkdir()
    cases = [{"case_id": f"c{i}", "split": "test", "text": text} for i, text in enumerate(MESSAGES)]
    gold = [
        {"case_id": f"c{i}", "output": {"intent": v, "days": i or None, "answer": ["45 days"] if i < 2 else None}}
        for i, v in enumerate(INTENTS)
    ]
    (path / "cases.jsonl").write_text("".join(json.dumps(c) + "\n" for c in cases), encoding="utf-8")
    (path / "gold.jsonl").write_text("".join(json.dumps(g) + "\n" for g in gold), encoding="utf-8")
    (path / "schema.json").write_text(json.dumps(SCHEMA), encoding="utf-8")
    return path


def sheet_of(folder: Path, tmp_path: Path, n: int = 6) -> Path:
    loaded = dataset.load(folder)
    path = tmp_path / "sheet.csv"
    labels.write_sheet(loaded, labels.sample(loaded, n), path)
    return path


def filled(path: Path, values: dict[str, dict[str, str]]) -> Path:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.reader(stream))
    names = [name.split(" (")[0] for name in rows[0]]
    for row in rows[1:]:
        for name, value in values.get(row[0], {}).items():
            row[names.index(name)] = value
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return path


def test_the_sheet_is_blind_and_safe_to_open(folder: Path, tmp_path: Path) -> None:
    text = sheet_of(folder, tmp_path).read_text(encoding="utf-8-sig")
    rows = list(csv.reader(text.splitlines()))
    assert rows[0] == [
        "case_id",
        "message",
        "intent (return / order)",
        "days (whole number, - if none)",
        "marks (a / b)",
        "answer (wordings with | between them, - if the documents do not say)",
    ]
    assert all(cell == "" for row in rows[1:] for cell in row[2:]), "no label is told"
    assert "45 days" not in text
    assert [row[1] for row in rows[1:] if row[0] == "c0"] == ["'=HYPERLINK(1) back please"], "no spreadsheet runs a message"


def test_a_sheet_that_exists_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    path = sheet_of(folder, tmp_path)
    with pytest.raises(ValueError, match="exists already"):
        labels.write_sheet(dataset.load(folder), [], path)


def test_the_sample_keeps_the_proportions(folder: Path) -> None:
    loaded = dataset.load(folder)
    picked = labels.sample(loaded, 3)
    assert len({case.case_id for case in picked}) == 3
    known = [INTENTS[int(case.case_id[1:])] for case in picked if case.case_id != "c5"]
    assert len(set(known)) == 2, "both intents are drawn"
    assert labels.sample(loaded, 3) == picked
    assert len(labels.sample(loaded, 99)) == 6
    with pytest.raises(ValueError, match="split dev has no cases"):
        labels.sample(loaded, 3, "dev")


def test_what_was_filled_in_comes_back(folder: Path, tmp_path: Path) -> None:
    path = filled(
        sheet_of(folder, tmp_path),
        {"c1": {"intent": "order", "days": "-", "marks": "a|b", "answer": "45 days | within 45 days"}, "c5": {"days": "3", "answer": "-"}},
    )
    rows = labels.read_sheet(dataset.load(folder), path)
    assert rows["c1"] == {"intent": "order", "days": None, "marks": ["a", "b"], "answer": ["45 days", "within 45 days"]}
    assert rows["c5"] == {"days": 3, "answer": None}
    assert set(rows) == {"c1", "c5"}, "a row of empty cells is no label"


def test_labels_are_kept_where_they_belong_and_gold_is_not_changed(folder: Path, tmp_path: Path) -> None:
    loaded = dataset.load(folder)
    before = (folder / "gold.jsonl").read_text(encoding="utf-8")
    done = labels.keep(loaded, {"c1": {"intent": "return"}, "c5": {"days": 3}})
    assert (done.new, done.second) == (1, 1)
    after = (folder / "gold.jsonl").read_text(encoding="utf-8")
    assert after.startswith(before)
    assert json.loads(after.splitlines()[-1]) == {"case_id": "c5", "output": {"days": 3}}
    assert labels.second_labels(dataset.load(folder)) == {"c1": {"intent": "return"}}


def test_every_problem_of_a_sheet_is_said(folder: Path, tmp_path: Path) -> None:
    path = filled(sheet_of(folder, tmp_path), {"c0": {"intent": "refund"}, "c1": {"days": "-3"}, "c2": {"days": "soon"}})
    with path.open("a", encoding="utf-8") as stream:
        stream.write("c99,x,,,,\nc1,x\nc0,x,order,,,\n")
    with pytest.raises(SheetError) as caught:
        labels.read_sheet(dataset.load(folder), path)
    said = str(caught.value)
    assert "intent: found 'refund'; expected intent (return / order)" in said
    assert "days: found '-3'" in said
    assert "days: found 'soon'" in said
    assert "case_id: found 'c99'" in said
    assert "found 2 cells; expected 6" in said
    assert "'c0' stands twice" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "expected case_id among them"), (b"a,b\n1,2\n", "expected case_id"), (b"case_id,\xff\n", "expected a CSV file in UTF-8")],
)
def test_what_is_no_sheet_is_said(content: bytes, said: str, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_bytes(content)
    with pytest.raises(SheetError, match=said):
        labels.read_sheet(dataset.load(folder), path)


def test_an_empty_sheet_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SheetError, match="no cell is filled in"):
        labels.read_sheet(dataset.load(folder), sheet_of(folder, tmp_path))


def test_agreement_and_kappa(folder: Path) -> None:
    """Intent: four of five agree. By hand: observed .8, expected .6 * .4 + .4 * .6 = .48, kappa .32 / .52."""
    second = {f"c{i}": {"intent": v} for i, v in enumerate(["order", "order", "return", "order", "return"])}
    second["c0"] |= {"answer": ["within 45 days"]}
    second["c1"] |= {"answer": ["ten days"]}
    labels.keep(dataset.load(folder), second)
    loaded = dataset.load(folder)
    table = labels.agreement(loaded).set_index("field")
    assert table.loc["intent", "agreement"] == pytest.approx(0.8)
    assert table.loc["intent", "kappa"] == pytest.approx((0.8 - 0.48) / (1 - 0.48))
    assert table.loc["answer", "agreement"] == pytest.approx(0.5), "the wording is accepted, the wrong number is not"
    assert table.loc["answer", "cases"] == 2, "what the second pass left empty is not held against it"
    assert "all required fields" not in table.index, "days was labelled by the first pass only"
    listed = labels.disagreements(loaded)
    assert set(zip(listed["case_id"], listed["field"], strict=True)) == {("c0", "intent"), ("c1", "answer")}
    assert listed.set_index("field").loc["answer", "second"] == "ten days"


def test_no_second_pass_is_no_agreement(folder: Path) -> None:
    assert labels.agreement(dataset.load(folder)).empty
    assert labels.disagreements(dataset.load(folder)).empty


def test_a_broken_second_pass_is_said(folder: Path) -> None:
    (folder / labels.SECOND).write_text('{"case_id": "c1"}\n', encoding="utf-8")
    with pytest.raises(dataset.DatasetError, match=r"second_labels.jsonl:1: .*output"):
        labels.agreement(dataset.load(folder))


def test_agreement_is_that_before_the_settling(folder: Path) -> None:
    labels.keep(dataset.load(folder), {f"c{i}": {"intent": v} for i, v in enumerate(INTENTS[:4])})
    settled = {"case_id": "c0", "field": "intent", "first": "order", "second": "return", "settled": "return", "why": "it goes back"}
    (folder / labels.SETTLED).write_text(json.dumps(settled) + "\n", encoding="utf-8")
    loaded = dataset.load(folder)
    assert labels.agreement(loaded).set_index("field").loc["intent", "agreement"] == pytest.approx(0.75)
    assert labels.disagreements(loaded)["first"].tolist() == ["order"]
    (folder / labels.SETTLED).write_text('{"case_id": "c0"}\n', encoding="utf-8")
    with pytest.raises(dataset.DatasetError, match=r"settled_labels.jsonl:1: KeyError\('field', 'first'"):
        labels.agreement(loaded)
