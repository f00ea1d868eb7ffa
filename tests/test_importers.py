"""Importing: what each kind of source becomes, what is said of rows that cannot be used, and that nothing is half-written."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import tracemalloc
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any

import pypdf
import pytest
import yaml
from click.testing import CliRunner, Result

from stepladder import dataset
from stepladder.cli import main
from stepladder.dataset import MAX_LINE_BYTES, Dataset
from stepladder.importers import KINDS, Options, import_data, parse_pair, parse_shares, writer
from stepladder.importers.csv_rows import read_csv, sniff
from stepladder.importers.draft import Draft
from stepladder.importers.fields import is_label_like, kind_of, spec_of
from stepladder.importers.json_rows import is_json_lines, read_json_rows
from stepladder.importers.pages import html_text, pdf_text
from stepladder.importers.reading import strict_json
from stepladder.importers.report import Place, Report
from stepladder.importers.settle import unique_ids
from stepladder.importers.spans import entity_of
from stepladder.importers.splits import limited, seeded, without_copies
from stepladder.importers.squad import sentence_at
from stepladder.records import Evidence, Split, UserError

DATASETS = os.environ.get("STEPLADDER_DATASETS", "")
real = pytest.mark.skipif(not DATASETS, reason="STEPLADDER_DATASETS is not set to the folder of the public data sets")


class Imported:
    """An import that succeeded: the dataset, what was told, and the report by line."""

    def __init__(self, dest: Path, told: list[str]) -> None:
        self.dest = dest
        self.told = "\n".join(told)
        with (dest / "import_report.csv").open(encoding="utf-8", newline="") as stream:
            self.report = list(csv.DictReader(stream))

    @cached_property
    def data(self) -> Dataset:
        return dataset.load(self.dest)

    @property
    def reasons(self) -> dict[str, int]:
        return dict(Counter(row["reason"] for row in self.report))

    def outputs(self) -> dict[str, Any]:
        """text -> labels."""
        data = self.data
        return {case.text: data.gold[case.case_id].output for case in data.all_cases if case.case_id in data.gold}

    def splits(self) -> dict[str, int]:
        return dict(Counter(case.split for case in self.data.all_cases))


def imported(kind: str, source: Path | list[Path], dest: Path, **options: Any) -> Imported:
    told: list[str] = []
    import_data(kind, source if isinstance(source, list) else [source], dest, Options(**options), told.append)
    return Imported(dest, told)


def refused(kind: str, source: Path, tmp_path: Path, **options: Any) -> str:
    """What is said of an import that fails; it must leave nothing behind."""
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(UserError) as caught:
        imported(kind, source, out / "dest", **options)
    assert list(out.iterdir()) == []
    return str(caught.value)


def said_or_done(kind: str, source: Path, dest: Path) -> str:
    """What is said of an import that fails, or nothing: anything but a UserError comes through."""
    try:
        imported(kind, source, dest)
    except UserError as error:
        return str(error)
    return ""


def put(path: Path, content: Any) -> Path:
    """Write text, bytes, rows as JSON Lines (a list), or one JSON value (a dict)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, list):
        content = "".join(json.dumps(row) + "\n" for row in content)
    elif isinstance(content, dict):
        content = json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def csv_text(*rows: list[Any]) -> str:
    stream = io.StringIO()
    csv.writer(stream).writerows(rows)
    return stream.getvalue()


def rows_of(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """What the CSV reader yields and what it lists."""
    report = Report()
    rows = [row for _, row in read_csv(path, path.name, report)]
    return rows, [f"{entry.place}: {entry.reason}: {entry.what}" for entry in report.entries]


# csv_rows


def test_csv_with_bom_crlf_quotes_and_quoted_newlines(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", b'\xef\xbb\xbftext,label\r\n"One, ""two""\r\nthree",x\r\n\r\n\xc3\xa9, y \r\n')
    assert rows_of(path) == ([{"text": 'One, "two"\r\nthree', "label": "x"}, {"text": "é", "label": " y "}], [])


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_the_delimiter_of_the_header_decides(tmp_path: Path, mark: str) -> None:
    path = put(tmp_path / "a.csv", f'text{mark}label\n"a{mark}b"{mark}x\nWhat; then, is | this{mark}y\n'.replace(f"then{mark}", "then,"))
    assert sniff(path) == mark
    content = f"text{mark}label\n" + "".join(f'"commas, ; and | {i}"{mark}x\n' for i in range(5))
    assert sniff(put(tmp_path / "b.csv", content)) == mark


def test_csv_rows_that_break_the_rules_are_listed_and_the_others_read(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", 'a,b\n1,2\n3\n4,5,6\n"x"y,7\n8,9\n10,"unclosed\n11,12\n')
    rows, said = rows_of(path)
    assert [row["a"] for row in rows] == ["1", "8"]
    assert said[:2] == ["a.csv:3: wrong number of cells: found 1, expected 2", "a.csv:4: wrong number of cells: found 3, expected 2"]
    assert said[2].startswith("a.csv:5: not readable as CSV: ")
    assert said[3].startswith("a.csv:7-8: not readable as CSV: unexpected end of data")


def test_an_unclosed_quote_does_not_swallow_the_rest(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", 'a,b\n1,"open\n' + "2,some words\n" * 20_000)
    rows, said = rows_of(path)
    assert len(rows) > 9_000
    assert said[0].startswith("a.csv:2-")
    assert "field larger than field limit" in said[0]


def test_columns_without_or_with_the_same_name(tmp_path: Path) -> None:
    report = Report()
    path = put(tmp_path / "a.csv", "text,,text\na,b,c\n")
    assert [row for _, row in read_csv(path, "a.csv", report)] == [{"text": "a", "column 2": "b", "text (3)": "c"}]
    assert report.notes == ["a.csv: column 2 has no name; called 'column 2'", "a.csv: column 3 has the name of another; called 'text (3)'"]


def test_a_lone_carriage_return_ends_a_line(tmp_path: Path) -> None:
    assert rows_of(put(tmp_path / "a.csv", "a,b\r1,2\r3,4"))[0] == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("text,label\ncaf\u00e9,x\n".encode("cp1252"), "a.csv:2: found byte 0xe9 that is not UTF-8; expected UTF-8; save it as UTF-8"),
        ("text,label\nx,y\n".encode("utf-16"), "found UTF-16, expected UTF-8; save it as UTF-8 (in Excel: CSV UTF-8), or: iconv -f UTF-16"),
        ('"text,label\nx', "the header cannot be read"),
    ],
)
def test_csv_that_cannot_be_read_at_all(tmp_path: Path, content: Any, said: str) -> None:
    assert said in refused("csv", put(tmp_path / "a.csv", content), tmp_path)


def test_a_csv_line_of_5_mb_is_listed_and_memory_stays_bounded(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", "a,b\n1,2\n" + "x" * 5_000_000 + ',"9"\n3,4\n')
    tracemalloc.start()
    try:
        rows, said = rows_of(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [row["a"] for row in rows] == ["1", "3"]
    assert said == ["a.csv:3: not readable as CSV: line longer than 1,000,000 bytes; expected quoting as in RFC 4180"]
    assert peak < 4 * MAX_LINE_BYTES


def test_csv_rows_stream(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", "a,b\n" + "some words,more\n" * 50_000)
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_csv(path, "a.csv", Report())) == 50_000
        assert tracemalloc.get_traced_memory()[1] < 400_000
    finally:
        tracemalloc.stop()


@real
def test_csv_spectrum() -> None:
    """max-mapper's csv-spectrum: all 12 pairs."""
    folder = Path(DATASETS) / "csv-spectrum"
    files = sorted((folder / "csvs").iterdir())
    assert len(files) == 12
    for file in files:
        meant = json.loads((folder / "json" / f"{file.stem}.json").read_text(encoding="utf-8"))
        rows, said = rows_of(file)
        if file.stem == "location_coordinates":  # its JSON is one object, with another number: a slip of the set
            meant = [meant | {"Contact Phone Number": "2095257564"}]
        assert (file.stem, rows, said) == (file.stem, meant, [])


# json_rows


def json_rows(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    report = Report()
    rows = [row for _, row in read_json_rows(path, path.name, report)]
    return rows, [f"{entry.place}: {entry.reason}: {entry.what}" for entry in report.entries]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ('{"a": 1}\n\n{"a": {"b": {"c": 2}}, "d": [1]}\n', [{"a": 1}, {"a.b.c": 2, "d": [1]}]),
        ('{"a": 1}', [{"a": 1}]),
        ('\ufeff[\n {"a": 1},\n {"a": 2}\n]', [{"a": 1}, {"a": 2}]),
        ('[["Hi", "x"], ["Ho", "y"]]', [{"0": "Hi", "1": "x"}, {"0": "Ho", "1": "y"}]),
        ('["Hi", "x"]\n["Ho", "y"]\n', [{"0": "Hi", "1": "x"}, {"0": "Ho", "1": "y"}]),
        ('{"train": [["Hi", "x"]], "test": [{"t": "Ho"}]}', [{"part": "train", "0": "Hi", "1": "x"}, {"part": "test", "t": "Ho"}]),
        ('{"data": [{"part": 1}]}', [{"part": 1, "part of the file": "data"}]),
        ("", []),
    ],
)
def test_json_of_three_shapes(tmp_path: Path, content: str, rows: list[dict[str, Any]]) -> None:
    assert json_rows(put(tmp_path / "a.json", content)) == (rows, [])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "not valid JSON"),
        ('"text"', "found a JSON str, expected an object or an array"),
        ("null", "found a JSON NoneType"),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": 1e999}', "1e999 is beyond the range of numbers"),
        ('{"a": ' + "1" * 5000 + "}", "not valid JSON"),
        ('{"a": 1, "a": 2}', "key 'a' stands twice in one object"),
        ('{"a.b": 1, "a": {"b": 2}}', "two values for column 'a.b'"),
        ('{"a": "\\ud800"}', "half a surrogate pair"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 900 + "1" + "}" * 900, "nested too deeply"),
        ('{"a": "\x00"}', "not valid JSON"),
        ("{'a': 1}", "not valid JSON"),
    ],
)
def test_a_nasty_line_of_json_is_listed(tmp_path: Path, line: str, said: str) -> None:
    rows, found = json_rows(put(tmp_path / "a.jsonl", f'{{"a": 1}}\n{line}\n{{"a": 3}}\n'))
    assert rows == [{"a": 1}, {"a": 3}]
    assert found[0].startswith("a.jsonl:2: ")
    assert said in found[0]


def test_a_broken_or_huge_first_line_does_not_hide_that_lines_are_rows(tmp_path: Path) -> None:
    for first in ('{"a": 1,}', '{"a": "' + "x" * 2_000_000 + '"}'):
        path = put(tmp_path / "a.jsonl", f'{first}\n{{"a": 2}}\n{{"a": 3}}\n')
        assert is_json_lines(path)
        rows, said = json_rows(path)
        assert rows == [{"a": 2}, {"a": 3}]
        assert said[0].startswith("a.jsonl:1: ")


def test_what_is_no_array_in_an_object_of_arrays_is_said(tmp_path: Path) -> None:
    rows, said = json_rows(put(tmp_path / "a.json", '{"version": "1", "data": [{"a": 1}, 7]}'))
    assert rows == [{"part": "data", "a": 1}]
    assert said[0] == "a.json:version: not read, because it is no array of rows: '1'"
    assert said[1].startswith("a.json:data[1]: no row: found a JSON int")


def test_a_surrogate_pair_is_a_character() -> None:
    assert strict_json('"\\ud83d\\ude00 \\\\ud800"') == "😀 \\ud800"


@real
def test_json_of_all_sorts_is_imported_or_refused(tmp_path: Path) -> None:
    """JSONTestSuite (Seriot): test_dataset.py puts the same files where a dataset's own files stand."""
    files = sorted((Path(DATASETS) / "jsontestsuite" / "test_parsing").iterdir())
    assert len(files) == 318
    for number, file in enumerate(files):
        said = said_or_done("jsonl", file, tmp_path / "one" / str(number))
        assert not said or "expected" in said, (file.name, said)
    assert all((folder / "cases.jsonl").exists() for folder in (tmp_path / "one").iterdir())


# fields and columns


@pytest.mark.parametrize(
    ("values", "textual", "kind"),
    [
        ([True, None], False, "boolean"), (["true", "False", ""], True, "boolean"), (["true"], False, "string"),
        ([1, 2], False, "integer"), (["1", "-2"], True, "integer"), (["01"], True, "string"), (["1"], False, "string"),
        ([1, 2.5], False, "number"), (["1", "2.5"], True, "number"), (["1", "two"], True, "string"), ([True, 1], False, "other"),
        ([["a"], []], False, "list"), (['["a"]', "[]"], True, "list"), (["[a]"], True, "string"), ([[1, 2]], False, "span"),
        ([[{}]], False, "other"), (["a", 1], False, "other"), ([None, " "], False, "empty"),
    ],
)  # fmt: skip
def test_kinds_of_values(values: list[Any], textual: bool, kind: str) -> None:
    assert kind_of(values, textual) == kind


def test_descriptions_are_the_words_of_names_and_nothing_invented() -> None:
    spec = spec_of("main_intent", "string", ["card_arrival", "cancelOrder"], closed=True)
    described = {"cancelOrder": "cancel Order", "card_arrival": "card arrival"}
    assert spec == {"description": "main intent", "enum": ["cancelOrder", "card_arrival"], "x-enum-descriptions": described}


def test_label_like_is_few_short_values_each_often() -> None:
    assert is_label_like(["a", "b"] * 3)
    assert not is_label_like(["a"] * 9)
    assert not is_label_like(["a", "b", "c", "d", "e"] * 2)
    assert not is_label_like([str(i) for i in range(201)] * 3)
    assert not is_label_like(["a" * 101, "b"] * 3)


TABLE = [
    {"note": "x", "message": f"Message number {i}", "team": "ab"[i % 2], "urgent": i % 3 == 0, "stars": i % 5,
     "topics": ["t1", "t2"][: i % 3], "score": 0.5, "reply": "Dear customer, " * 9, "row": i, "when": {"day": i % 7}} for i in range(30)
]  # fmt: skip


def test_roles_are_guessed_and_told(tmp_path: Path) -> None:
    found = imported("jsonl", put(tmp_path / "a.jsonl", TABLE), tmp_path / "dest")
    assert list(found.data.schema["properties"]) == ["team", "urgent", "stars", "topics", "when_day"]
    assert found.outputs()["Message number 4"] == {"team": "a", "urgent": False, "stars": 4, "topics": ["t1"], "when_day": 4}
    told = {line.split()[0]: line for line in found.told.splitlines() if line.startswith("  ")}
    assert "its name" in told["message"]
    for column, why in {
        "note": "one value only", "score": "fractions", "row": "another number in every row",
        "reply": "no answer unless you say so: --answer 'reply'",
    }.items():  # fmt: skip
        assert "ignored" in told[column]
        assert why in told[column]
    assert "to fill in: descriptions in schema.json" in found.told


def test_what_options_name_goes_before_any_guess(tmp_path: Path) -> None:
    rows: list[list[Any]] = [["q", "message", "ref", "part", "who", "kind", "tags", "reply"]]
    for i in range(9):
        part = ["training", "valid", "test"][i % 3]
        rows.append([f"What is {i}?", "-", f"r{i}", part, f"u{i // 3}", f"k{i}", "b;a; b" if i else "", "Yes." if i else ""])
    content = csv_text(*rows)
    source = put(tmp_path / "a.csv", content)
    options: dict[str, Any] = {"text": "q", "id": "ref", "split": "part", "group": "who", "answer": "reply", "fields": (("kind", "kind"),)}
    found = imported("csv", source, tmp_path / "dest", **options, lists=(("topics", "tags"),), drop_ignored=True)
    assert found.data.gold["r1"].output == {"kind": "k1", "topics": ["b", "a"], "answer": ["Yes."]}
    assert found.data.gold["r0"].output == {"kind": "k0"}
    assert found.splits() == {"train": 3, "dev": 3, "test": 3}
    assert found.data.all_cases[0].group_id == "u0"
    assert "3 groups stand in more than one split" in found.told
    assert found.data.schema["properties"]["answer"]
    assert "sources" not in found.data.schema["properties"]


def test_a_null_answer_means_abstain_and_an_absent_one_is_unlabelled(tmp_path: Path) -> None:
    rows = [{"text": "a", "answer": None}, {"text": "b"}, {"text": "c", "answer": ["x", "y"]}, {"text": "d", "answer": 7}]
    found = imported("jsonl", put(tmp_path / "a.jsonl", rows), tmp_path / "dest", answer="answer")
    assert found.outputs() == {"a": {"answer": None}, "c": {"answer": ["x", "y"]}}
    assert found.reasons == {"no answer in words": 1}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"text": "nope"}, "--text: found no column 'nope'; expected one of ['text', 'mixed', 'pairs']"),
        ({"fields": (("x", "nope"),)}, "--field x: found no column 'nope'"),
        ({"fields": (("answer", "text"),)}, "--field: found the name 'answer'; expected letters, digits and _"),
        ({"fields": (("a b", "text"),)}, "--field: found the name 'a b'"),
        ({"fields": (("a", "text"),), "lists": (("a", "text"),)}, "the name 'a' is given twice"),
        ({"fields": (("x", "mixed"),)}, "--field x: found values of several types or lists of objects in column 'mixed'"),
        ({"lists": (("x", "pairs"),)}, "--list x: found span values in column 'pairs'; expected lists of text"),
        ({"split": "pairs"}, "found no row that can be used among 6 (row left out: 6 x no split (first: a.jsonl:1))"),
        ({"shares": (0.5, 0.5, 0.0)}, "--shares: found (0.5, 0.5, 0.0); expected train, dev and test, together 1"),
        ({"shares": (float("nan"), 0.5, 0.5)}, "--shares: found"),
        ({"updated_at": "31.1.2026"}, "--updated-at: found '31.1.2026'; expected a date"),
        ({"evidence": "text"}, "--evidence: names documents, and there are none"),
        ({"documents": "no/such"}, "no/such: no such file or folder"),
    ],
)
def test_options_that_cannot_be(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    rows = [{"text": f"Hi {i}", "mixed": [1, "a"][i % 2], "pairs": [1, 2]} for i in range(6)]
    assert said in refused("jsonl", put(tmp_path / "a.jsonl", rows), tmp_path, **options)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("csv", "jsonl")])
def test_options_of_tables_belong_to_tables(tmp_path: Path, kind: str) -> None:
    said = refused(kind, tmp_path, tmp_path, text="t", fields=(("a", "b"),))
    assert said == f"--text, --field: kind {kind} has no columns to choose; expected kind csv or jsonl"


def test_too_few_texts_is_the_wrong_column(tmp_path: Path) -> None:
    rows = [{"text": "Hi" if i < 6 else "", "other": "words"} for i in range(10)]
    said = refused("jsonl", put(tmp_path / "a.jsonl", rows), tmp_path)
    assert said.startswith("found a text in 6 of 10 rows, in column 'text'; expected one in more than 60%; name the column: --text COL")


def test_no_column_of_text_and_too_many_columns(tmp_path: Path) -> None:
    assert "found no column of text among ['a']" in refused("jsonl", put(tmp_path / "a.jsonl", [{"a": 1}] * 3), tmp_path / "one")
    rows = [{f"k{i}": "x"} for i in range(1001)]
    assert "found more than 1,000 columns" in refused("jsonl", put(tmp_path / "b.jsonl", rows), tmp_path / "two")


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path) -> None:
    """Two empty places, for tests that import twice."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()


def test_rows_without_text_are_listed_by_line(tmp_path: Path) -> None:
    found = imported("csv", put(tmp_path / "a.csv", "text,label\nHi,x\n  ,x\nHo,y\nHe\n"), tmp_path / "dest")
    listed = [(row["file"], row["line"], row["effect"], row["reason"]) for row in found.report]
    assert sorted(listed) == [("a.csv", "3", "row left out", "no text"), ("a.csv", "5", "row left out", "wrong number of cells")]
    assert "read 4 rows, used 2" in found.told


def test_a_text_too_long_for_a_line_is_listed(tmp_path: Path) -> None:
    rows = [{"text": "Hi"}, {"text": "Ho"}, {"text": "x" * (MAX_LINE_BYTES - 100)}]
    found = imported("jsonl", put(tmp_path / "a.jsonl", rows), tmp_path / "dest")
    assert found.reasons == {"too long": 1}


def test_text_is_data_and_steers_nothing(tmp_path: Path) -> None:
    rows = [{"text": text, "label": "=HYPERLINK(1)"} for text in ("../../etc/passwd", "{{7*7}}", "\x1b[31m\u202e", "a\x00b", "x\u2028y")]
    source = put(tmp_path / "a.json", {"=cmd()": [*rows, 5], "\x1b[2J": 1})
    found = imported("jsonl", source, tmp_path / "dest")
    assert {case.text for case in found.data.all_cases} == {row["text"] for row in rows}
    assert "\x1b" not in found.told
    assert [row["line"] for row in found.report if row["reason"] == "no row"] == ["'=cmd()[5]"]


# spans

ENTITY_ROWS = [
    ["text", "entity_type", "entity_value", "start_offset", "end_offset"],
    ["order 4521 please", "order_id", "4521", 6, 10],
    ["order 0042 please", "order_id", "42", 6, 10],
    ["order 4521 again", "order_id", "9999", 6, 10],
    ["a gold account", "plan", "Gold", 2, 6],
    ["my silver plan", "plan", "silver", "", ""],
    ["nothing of it", "plan", "bronze", "x", 4],
    ["hello", "", "", "", ""],
    ["bare", "", "bare", 0, 4],
    ["typed", "plan", "", "", ""],
]


def test_entities_are_checked_against_their_offsets(tmp_path: Path) -> None:
    found = imported("csv", put(tmp_path / "a.csv", csv_text(*ENTITY_ROWS)), tmp_path / "dest")
    outputs = found.outputs()
    assert outputs["order 4521 please"] == {"order_id": "4521", "plan": None}
    assert outputs["order 0042 please"] == {"plan": None}
    assert outputs["my silver plan"] == {"order_id": None, "plan": "silver"}
    assert outputs["hello"] == {"order_id": None, "plan": None}
    assert "bare" not in outputs
    assert found.data.schema["properties"]["plan"] == {"description": "plan", "type": ["string", "null"]}
    assert {row["line"]: f"{row['reason']}: {row['what']}" for row in found.report} == {
        "3": "leading zeros lost: order_id: found '0042' at 6 to 10, expected '42'",
        "4": "entity is not what stands at its offsets: order_id: found '4521' at 6 to 10, expected '9999'",
        "5": "differs in case only: plan: found 'gold' at 2 to 6, expected 'Gold'",
        "7": "no usable offsets, and the entity does not stand in the text: plan: found no offsets for 'bronze', expected it in the text",
        "9": "entity without a type: entity_value: found 'bare', expected a type",
        "10": "entity without a value: plan: found nothing in entity_value, expected the words of the text",
    }
    assert "label left out: 1 x leading zeros lost" in found.told


def test_an_entity_that_is_asked_for_takes_its_own_type_alone(tmp_path: Path) -> None:
    source = put(tmp_path / "a.csv", csv_text(*ENTITY_ROWS))
    found = imported("csv", source, tmp_path / "dest", entities=(("order_id", "entity_value"),))
    assert found.outputs()["order 4521 please"] == {"order_id": "4521"}
    assert found.outputs()["my silver plan"] == {"order_id": None}


@pytest.mark.parametrize(
    ("column", "columns", "offsets"),
    [
        ("slots.date.text", ["slots.date.text", "slots.date.span"], ("", "", "slots.date.span")),
        ("city", ["city", "city_start", "city_end"], ("city_start", "city_end", "")),
        ("city_value", ["city_value", "city_start_offset", "city_end_offset"], ("city_start_offset", "city_end_offset", "")),
        ("entity", ["entity", "start", "end"], ("start", "end", "")),
    ],
)
def test_offsets_are_found_by_the_names_of_columns(column: str, columns: list[str], offsets: tuple[str, str, str]) -> None:
    entity = entity_of(column, columns)
    assert entity is not None
    assert (entity.start, entity.end, entity.span) == offsets
    assert entity_of("text", [*columns, "text"]) is None


# splits


def draft(number: int, **changes: Any) -> Draft:
    return Draft(**({"place": Place("f", str(number)), "case_id": f"c{number}", "text": f"t{number}", "group": f"g{number}"} | changes))


def test_seeded_splits_have_their_shares_keep_groups_and_forget_the_order() -> None:
    cases = [draft(i, group=f"g{i // 3}") for i in range(300)]
    found = {case.case_id: case.split for case in seeded(cases, (0.6, 0.1, 0.3), 0)}
    assert Counter(found.values()) == {"train": 180, "dev": 30, "test": 90}
    assert all(len({found[f"c{3 * g + i}"] for i in range(3)}) == 1 for g in range(100))
    assert {case.case_id: case.split for case in seeded(cases[::-1], (0.6, 0.1, 0.3), 0)} == found
    assert {case.case_id: case.split for case in seeded(cases, (0.6, 0.1, 0.3), 1)} != found


@pytest.mark.parametrize(("groups", "filled"), [(1, {"test"}), (2, {"test", "train"}), (3, {"test", "train", "dev"})])
@pytest.mark.parametrize("seed", range(5))
def test_few_groups_leave_test_never_empty(groups: int, filled: set[Split], seed: int) -> None:
    cases = [draft(i, group=str(i % groups)) for i in range(30)]
    assert {case.split for case in seeded(cases, (0.6, 0.1, 0.3), seed)} == filled


def test_a_copy_stays_in_test_then_in_dev() -> None:
    cases = [
        draft(1, text="Hi  there", split="train", output={"a": 1}), draft(2, text="hi there", split="test", output={"a": 1}),
        draft(3, text="Ho", split="dev"), draft(4, text="Ho", split="train", output={"a": 2}), draft(5, text="Ho", split="dev"),
    ]  # fmt: skip
    report = Report()
    assert [case.case_id for case in without_copies(cases, report)] == ["c2", "c3", "c5"]
    assert [entry.reason for entry in report.entries] == [
        "text of train stands in test too, with the same label",
        "text of train stands in dev too, with another label",
    ]
    assert report.entries[0].what == "as f:2, but for case and spaces: Hi there"


def test_limits_are_seeded_and_in_order() -> None:
    cases = [draft(i, split=("train", "test")[i % 2]) for i in range(40)]
    few = limited(cases, 5, 0)
    assert Counter(case.split for case in few) == {"train": 5, "test": 5}
    assert [case for case in cases if case in few] == few
    assert limited(cases[::-1], 5, 0)[::-1] == few
    assert limited(cases, 5, 1) != few
    assert limited(cases, 0, 0) == cases


def test_rows_that_share_a_text_never_straddle_a_seeded_split(tmp_path: Path) -> None:
    rows = [{"text": f"Hi {i // 2}".upper() if i % 2 else f"hi  {i // 2}"} for i in range(60)]
    found = imported("jsonl", put(tmp_path / "a.jsonl", rows), tmp_path / "dest")
    where: dict[str, set[str]] = {}
    for case in found.data.all_cases:
        where.setdefault(" ".join(case.text.lower().split()), set()).add(case.split)
    assert len(where) == 30
    assert all(len(splits) == 1 for splits in where.values())


def test_files_named_after_splits_are_the_splits(tmp_path: Path) -> None:
    source = tmp_path / "source"
    put(source / "train.csv", "text,label\nA,x\nB,y\n")
    put(source / "my-test.csv", "text,label\nb,y\nC,x\n")
    put(source / "notes.md", "x")
    found = imported("csv", source, tmp_path / "dest")
    assert found.splits() == {"train": 1, "test": 2}
    assert [(row["file"], row["line"]) for row in found.report] == [("train.csv", "3")]
    assert "source: not read, other kind of file: notes.md" in found.told
    assert imported("csv", source, tmp_path / "seeded", split="none").splits().keys() >= {"train", "test"}
    several = imported("csv", [source / "train.csv", source / "my-test.csv"], tmp_path / "several")
    assert several.splits() == found.splits()


def test_a_split_without_test_is_not_taken_unless_asked_for(tmp_path: Path) -> None:
    source = put(tmp_path / "a.csv", "text,split\n" + "".join(f"Hi {i},{'train' if i % 4 else 'dev'}\n" for i in range(40)))
    found = imported("csv", source, tmp_path / "dest")
    assert found.splits()["test"] == 12
    assert "names of splits, not taken, because test is not among them" in found.told
    assert "the test split is empty (found {" in refused("csv", source, tmp_path / "one", split="split")


# settle and writer


def test_ids_that_stand_twice_are_numbered_and_listed() -> None:
    report = Report()
    cases = [draft(1, case_id=name) for name in ("a", "a", "a-2", "a")]
    assert [case.case_id for case in unique_ids(cases, report)] == ["a", "a-3", "a-2", "a-4"]
    assert [entry.what for entry in report.entries] == ["'a' is now 'a-3'", "'a' is now 'a-4'"]


def test_a_destination_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    source = put(tmp_path / "a.jsonl", TABLE)
    mine = put(tmp_path / "dest" / "mine.txt", "keep")
    for dest in (mine.parent, mine):
        with pytest.raises(UserError, match="is there already and not an empty folder"):
            imported("jsonl", source, dest)
    assert mine.read_text() == "keep"
    (tmp_path / "empty").mkdir()
    assert imported("jsonl", source, tmp_path / "empty").data.all_cases
    assert imported("jsonl", source, tmp_path / "new" / "deeper").data.all_cases


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_what_stops_an_import_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def stop(*_: Any) -> str:
        raise error

    source = put(tmp_path / "a.jsonl", TABLE)
    monkeypatch.setattr(writer, "brief", stop)
    (tmp_path / "out").mkdir()
    with pytest.raises((KeyboardInterrupt, UserError)):
        imported("jsonl", source, tmp_path / "out" / "dest")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_brief_loads_as_it_stands_and_marks_what_is_open(tmp_path: Path) -> None:
    found = imported("jsonl", put(tmp_path / "a.jsonl", TABLE), tmp_path / "dest")
    text = (found.dest / "brief.yaml").read_text(encoding="utf-8")
    brief = yaml.safe_load(text)
    assert brief["success"]["must"] == ["team", "urgent", "stars", "topics", "when_day"]
    assert brief["data_audit"]["examples"] == found.splits()["train"]
    assert all(f"# {number}. " in text for number in range(1, 6))
    assert all("# OPEN" in line for line in text.splitlines() if line.split(":")[0] in ("margin", "update_frequency", "monthly_cases"))


def test_the_same_import_gives_the_same_bytes(tmp_path: Path) -> None:
    source = put(tmp_path / "a.jsonl", TABLE)
    one, two = (imported("jsonl", source, tmp_path / name / "dest", limit=4, seed=3).dest for name in ("one", "two"))
    assert {p.name: p.read_bytes() for p in one.iterdir()} == {p.name: p.read_bytes() for p in two.iterdir()}


# squad


def squad(*articles: dict[str, Any]) -> dict[str, Any]:
    return {"version": "v2.0", "data": list(articles)}


def article(title: str, context: str, *qas: dict[str, Any]) -> dict[str, Any]:
    return {"title": title, "paragraphs": [{"context": context, "qas": list(qas)}]}


CONTEXT = "Tea is hot. It grew in Assam and in Kent. Dr. No drank 3.5 cups! Then he left."


def test_questions_become_cases_with_the_sentence_as_evidence(tmp_path: Path) -> None:
    answers = [{"text": "Assam", "answer_start": 23}, {"text": "Assam", "answer_start": 23}, {"text": "Tea", "answer_start": 0}]
    first = article("Tea / Time", CONTEXT, {"id": "q1", "question": "Where?", "answers": answers, "is_impossible": False},
        {"id": "q2", "question": "Why?", "answers": [], "is_impossible": True})  # fmt: skip
    second = article("Tea/Time", "It is late.", {"id": "q1", "question": "When?", "answers": [{"text": "late", "answer_start": 6}]})
    found = imported("squad", put(tmp_path / "a.json", squad(first, second)), tmp_path / "dest", updated_at="2026-01-31")
    data = found.data
    assert [(d.doc_id, d.title, d.kind, d.updated_at) for d in data.documents] == [
        ("tea-time-1", "Tea / Time", "paragraph", "2026-01-31"), ("tea-time-1-2", "Tea/Time", "paragraph", "2026-01-31"),
    ]  # fmt: skip
    assert data.gold["q1"].output == {"answer": ["Assam", "Tea"]}
    both = (Evidence("tea-time-1", "It grew in Assam and in Kent."), Evidence("tea-time-1", "Tea is hot."))
    assert data.gold["q1"].evidence == (both,)
    assert (data.gold["q2"].output, data.gold["q2"].evidence) == ({"answer": None}, ())
    assert data.gold["q1-2"].evidence == ((Evidence("tea-time-1-2", "It is late."),),)
    assert found.reasons == {"id of a document made safe or unique": 1, "id that another row has": 1}
    splits = {case.case_id: case.split for case in data.all_cases}
    assert splits["q1"] == splits["q2"] != splits["q1-2"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"id": "x", "question": " ", "is_impossible": True}, "no text"),
        ({"id": "x", "question": "Q?", "answers": []}, "no answer"),
        ({"id": "x", "question": "Q?", "answers": [{"text": "coffee", "answer_start": 3}]}, "no answer"),
        ({"id": "x", "question": "Q?", "answers": "Tea"}, "no answer"),
        (["Q?"], "no text"),
    ],
)
def test_questions_that_cannot_be_used_are_listed(tmp_path: Path, row: Any, reason: str) -> None:
    good = {"question": "Q?", "answers": [{"text": " is hot", "answer_start": 3}]}
    found = imported("squad", put(tmp_path / "a.json", squad(article("T", CONTEXT, good, row))), tmp_path / "dest")
    listed = [entry for entry in found.report if entry["effect"] == "row left out"]
    assert [(entry["line"], entry["reason"]) for entry in listed] == [("data[0].paragraphs[0].qas[1]", reason)]
    assert [case.case_id for case in found.data.all_cases] == ["data-0-.paragraphs-0-.qas-0"]


def test_an_answer_beside_its_offset_is_taken_at_the_nearest_place(tmp_path: Path) -> None:
    def asked(wording: str, start: int) -> Imported:
        row = {"id": "x", "question": "Q?", "answers": [{"text": wording, "answer_start": start}]}
        name = wording.strip()
        return imported("squad", put(tmp_path / f"{name}.json", squad(article("T", CONTEXT, row))), tmp_path / name)

    assert asked(" Assam ", 22).report == []
    moved = asked("in", 34)
    assert [entry["what"] for entry in moved.report] == ["found 'in' at 33, expected it at 34"]
    assert moved.data.gold["x"].output == {"answer": ["in"]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "found no list under the key 'data'; expected SQuAD JSON"),
        ('{"data": 1}', "found no list under the key 'data'"),
        ('{"data": []}', "found no row that can be used among 0"),
        ('{"data": [{"paragraphs": [{"qas": []}]}, 5]}', "no context (first: a.json:data[0].paragraphs[0])"),
        ('{"data":\n [}', "a.json:2: not valid JSON (Expecting value"),
    ],
)
def test_what_is_no_squad(tmp_path: Path, content: str, said: str) -> None:
    assert said in refused("squad", put(tmp_path / "a.json", content), tmp_path)


def test_sentences() -> None:
    assert sentence_at(CONTEXT, 55, 58) == "No drank 3.5 cups!"
    assert sentence_at(CONTEXT, 4, 20) == "Tea is hot. It grew in Assam and in Kent."
    assert sentence_at("no end", 0, 2) == "no end"
    assert sentence_at("Title\n\nThe text.", 8, 10) == "The text."


# beir


def beir(folder: Path, **qrels: str) -> Path:
    documents = [{"_id": "d/1", "title": "One", "text": "First."}, {"_id": "d2", "title": "Two", "text": ""}, {"_id": "d3", "text": ""}]
    put(folder / "corpus.jsonl", documents)
    put(folder / "queries.jsonl", [{"_id": f"q{i}", "text": f"Query {i}", "metadata": {}} for i in range(4)])
    for name, content in qrels.items():
        put(folder / "qrels" / f"{name}.tsv", content)
    return folder


def test_judged_documents_are_alternatives(tmp_path: Path) -> None:
    test = "query-id\tcorpus-id\tscore\nq0\td/1\t2\nq0\td2\t1\nq0\td9\t1\nq1\td2\t0\nq7\td2\t1\noops\n"
    found = imported("beir", beir(tmp_path / "set", test=test, train="q2\td2\t1\n"), tmp_path / "dest")
    data = found.data
    assert data.gold["q0"].evidence == ((Evidence("d-1"), Evidence("d2")),)
    assert data.gold["q0"].output == {}
    assert found.splits() == {"test": 1, "train": 1}
    assert [d.text for d in data.documents] == ["First.", "Two"]
    assert list(data.schema["properties"]) == ["answer", "sources"]
    assert found.reasons == {
        "id of a document made safe or unique": 1, "no text": 1, "unknown document": 1, "unknown query": 1, "not a judgement": 1,
        "no document judged above 0": 1, "not judged": 1,
    }  # fmt: skip


def test_a_query_of_two_splits_stays_in_test_with_its_id(tmp_path: Path) -> None:
    found = imported("beir", beir(tmp_path / "set", dev="q0\td2\t1\n", test="q0\td2\t1\n", train="q0\td/1\t1\n"), tmp_path / "dest")
    assert [(case.case_id, case.split) for case in found.data.all_cases] == [("q0", "test")]
    assert found.reasons["text of dev stands in test too, with the same label"] == 1
    assert found.reasons["text of train stands in test too, with another label"] == 1


def test_one_file_of_judgements_is_split_by_seed(tmp_path: Path) -> None:
    test = "".join(f"q{i}\td2\t1\n" for i in range(4))
    assert imported("beir", beir(tmp_path / "set", test=test), tmp_path / "dest").splits().keys() >= {"train", "test"}


def test_what_a_beir_folder_lacks_is_said(tmp_path: Path) -> None:
    assert "qrels: not there; expected a BEIR folder" in refused("beir", beir(tmp_path / "set"), tmp_path / "one")
    (tmp_path / "set" / "qrels").mkdir()
    assert "found no .tsv file" in refused("beir", tmp_path / "set", tmp_path / "two")


# chat


def chat(*contents: Any, system: str = "We sell tea.") -> dict[str, Any]:
    turns = [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]
    return {"messages": [{"role": "system", "content": system}, *turns]}


def test_the_last_turn_is_gold_and_the_rest_the_case(tmp_path: Path) -> None:
    rows: list[Any] = []
    for i in range(10):
        wanted = {"intent": "ab"[i % 2], "days": i or None, "tags": ["x"][: i % 2], "ok": True, "answer": "Yes", "x": {"y": 1}}
        rows.append(chat(f"Message {i}", json.dumps(wanted)))
    rows += [chat("Hi", "Yes?", [{"type": "text", "text": "Where?"}], "In Kent.", system="Other."), chat("Hi", "Hello.")]
    found = imported("chat", put(tmp_path / "a.jsonl", rows), tmp_path / "dest")
    data = found.data
    assert found.outputs()["Message 1"] == {"intent": "b", "days": 1, "tags": ["x"], "ok": True, "x_y": 1, "answer": ["Yes"]}
    assert found.outputs()["Message 0"]["days"] is None
    properties = data.schema["properties"]
    assert properties["intent"]["enum"] == ["a", "b"]
    assert properties["days"]["type"] == ["integer", "null"]
    assert data.company == "We sell tea.\n"
    assert "1 conversations have another system text than most" in found.told
    talk = next(case for case in data.all_cases if "Where?" in case.text)
    assert talk.text == "Customer: Hi\nAgent: Yes?\nCustomer: Where?"
    assert data.gold[talk.case_id].output == {"answer": ["In Kent."]}
    assert talk.split == next(case.split for case in data.all_cases if case.text == "Hi")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "x"}, "found the keys ['prompt'], expected messages"),
        ({"messages": []}, "expected a user turn and then a last assistant turn"),
        (chat("Hi"), "expected a user turn and then a last assistant turn"),
        (chat("Hi", " "), "expected a user turn and then a last assistant turn"),
        (chat("Hi", None), "expected role user, assistant or system, and content of text"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "expected role user"),
        ({"messages": ["Hi", "Ho"]}, "expected role user"),
    ],
)
def test_what_is_no_conversation_is_listed(tmp_path: Path, row: Any, said: str) -> None:
    found = imported("chat", put(tmp_path / "a.jsonl", [row, chat("Hi", "Ho")]), tmp_path / "dest")
    assert [entry["line"] for entry in found.report] == ["1"]
    assert said in found.report[0]["what"]


# pages and documents


def pdf(text: str) -> bytes:
    """A PDF of one page by hand; its table of objects is left to the reader to mend."""
    stream = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET".encode()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%b\nendstream" % (len(stream), stream), b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]  # fmt: skip
    content, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        places.append(len(content))
        content += b"%d 0 obj%b endobj\n" % (number, body)
    table = b"xref\n0 6\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
    return content + table + b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % len(content)


def encrypted(content: bytes) -> bytes:
    copy = pypdf.PdfWriter(clone_from=io.BytesIO(content))
    copy.encrypt("secret", algorithm="RC4-128")
    stream = io.BytesIO()
    copy.write(stream)
    return stream.getvalue()


def test_a_folder_of_pages(tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    put(pages / "help" / "returns.md", "```\n# no\n```\n# Returns & refunds #\n\n45 days.")
    put(pages / "help" / "returns.html", "<title>T</title><h2>Returns</h2><p>45\n days</p><script>alert(1)</script>")
    put(pages / "Fees!.txt", b"\xef\xbb\xbfNone.\r\n")
    put(pages / "guide.pdf", pdf("Boil the water"))
    put(pages / "rows.json", '[{"id": "a/../b", "title": "A", "content": "Text."}, {"id": "c"}]')
    put(pages / "secret.pdf", encrypted(pdf("no")))
    put(pages / "broken.pdf", b"%PDF-1.4 oops")
    put(pages / "scan.pdf", pdf(""))
    put(pages / "empty.md", " \n")
    put(pages / "latin.txt", "café".encode("cp1252"))
    put(pages / "bad.json", "{")
    put(pages / "logo.png", b"x")
    put(pages / ".git" / "config", "x")
    put(pages / ".hidden.md", "x")
    put(tmp_path / "outside.md", "secret")
    (pages / "link.md").symlink_to(tmp_path / "outside.md")
    (pages / "round").symlink_to(pages)
    (pages / "inside.md").symlink_to(pages / "help" / "returns.md")
    os.mkfifo(pages / "pipe.md")
    os.utime(pages / "Fees!.txt", (86_400, 86_400))
    found = imported("folder", pages, tmp_path / "dest")
    rows = {row["doc_id"]: row for row in map(json.loads, (found.dest / "documents.jsonl").read_text(encoding="utf-8").splitlines())}
    assert {doc_id: (row["title"], row["kind"], row["text"]) for doc_id, row in rows.items()} == {
        "Fees": ("Fees!", "page", "None.\n"),
        "guide": ("guide", "page", "Boil the water"),
        "help-returns": ("Returns", "help", "## Returns\n\n45 days"),
        "help-returns-2": ("Returns & refunds", "help", "```\n# no\n```\n# Returns & refunds #\n\n45 days."),
        "inside": ("Returns & refunds", "page", rows["help-returns-2"]["text"]),
        "a-..-b": ("A", "document", "Text."),
    }
    assert rows["Fees"]["updated_at"] == "1970-01-02"
    listed = {row["file"]: f"{row['reason']}: {row['what']}" for row in found.report if row["effect"] != "kept"}
    for file, why in {
        "secret.pdf": "encrypted", "broken.pdf": "not a readable PDF", "scan.pdf": "found no text, perhaps a scan", "empty.md": "no text",
        "latin.txt": "not UTF-8", "bad.json": "not valid JSON", "logo.png": "kind of file that is not read: .png", ".git": "hidden folder",
        ".hidden.md": "hidden file", "link.md": "link out of the folder", "round": "link to a folder", "pipe.md": "no regular file",
        "rows.json": "expected doc_id or id, title, and text or content",
    }.items():  # fmt: skip
        assert why in listed.pop(file)
    assert listed == {}
    assert (found.dest / "cases.jsonl").read_bytes() == b""
    assert "cases.jsonl and gold.jsonl, which are empty" in found.told


def test_a_page_of_html_becomes_text() -> None:
    page = (
        b"<html><head><title>Our  site</title><style>p{}</style></head><body><nav><ul><li>Home<li><p>Help</p></ul></nav><h1>Fees</h1>"
        b"<p>A <b>fee</b>\nof 3&nbsp;%<br>each</p><table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>"
        b"<pre>x\n  y</pre><!-- no --><noscript>no</noscript><svg><text>no</text></svg></body></html>"
    )
    title, text = html_text(page)
    assert title == "Fees"
    assert "# Fees\n\nA fee of 3 %\neach" in text
    assert "a | b |\n\n1 | 2 |" in text
    assert "x\n" in text
    assert "no" not in text
    assert html_text(b"<title>Only\n this</title><p>x")[0] == "Only this"
    assert html_text('<meta charset="iso-8859-1"><p>café'.encode("latin-1")) == ("", "café")
    assert html_text(b"<div>" * 20_000 + b"deep")[1] == "deep"


def test_a_pdf_that_breaks_the_parser_is_a_user_error(tmp_path: Path) -> None:
    whole = pdf("Boil the water")
    for cut in range(0, len(whole), 40):
        path = put(tmp_path / "a.pdf", whole[:cut] + b"\xff<<[" + whole[cut + 4 :])
        with contextlib.suppress(UserError):
            assert isinstance(pdf_text(path), str)


def test_evidence_names_documents_of_a_folder_or_a_file(tmp_path: Path) -> None:
    documents = put(tmp_path / "d.jsonl", [
        {"doc_id": "a b", "title": "A", "url": "https://x", "kind": "faq", "status": "draft", "updated_at": "2026-01-31", "text": "T"},
        {"id": 7, "content": "U", "colour": "red"}, {"doc_id": "a b", "text": "again"}, {"doc_id": "c", "text": "x", "status": "live"},
    ])  # fmt: skip
    content = 'text,docs\nOne?,a b; 7\nTwo?,7;nope\nThree?,\nFour?,"[""7""]"\n'
    found = imported("csv", put(tmp_path / "a.csv", content), tmp_path / "dest", documents=str(documents), evidence="docs")
    evidence = {case.text: found.data.gold[case.case_id].evidence for case in found.data.all_cases if case.case_id in found.data.gold}
    assert evidence == {"One?": ((Evidence("a-b"),), (Evidence("7"),)), "Four?": ((Evidence("7"),),)}
    assert [d.kind for d in found.data.documents] == ["faq", "document"]
    assert found.reasons == {
        "id of a document made safe or unique": 1, "an id that another document has": 1, "status or date that cannot be": 1,
        "unknown document": 1,
    }  # fmt: skip
    assert "d.jsonl: keys not used: colour" in found.told


def test_no_documents_is_an_error(tmp_path: Path) -> None:
    assert "found no document (it is empty)" in refused("folder", tmp_path / "two", tmp_path / "one")
    put(tmp_path / "two" / "a.png", b"x")
    assert "found no document (file left out: 1 x kind of file" in refused("folder", tmp_path / "two", tmp_path / "two")


# options and the command


def command(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["import", *map(str, arguments)])


def test_the_command_takes_several_files_and_every_option(tmp_path: Path) -> None:
    one, two = put(tmp_path / "train.jsonl", TABLE[:20]), put(tmp_path / "test.jsonl", TABLE[20:])
    result = command("jsonl", one, two, tmp_path / "dest", "--field", "mood=team", "--drop-ignored", "--limit", "5", "--seed", "2")
    assert result.exit_code == 0, result.output
    assert "cases: train 5, dev 0, test 5" in result.output
    assert list(dataset.load(tmp_path / "dest").schema["properties"]) == ["mood"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--limit", "few"], "LIMIT: found 'few'; expected a whole number"),
        (["--shares", "1,2"], "--shares: found '1,2'; expected three numbers"),
        (["--field", "team"], "--field: found 'team'; expected NAME=COL"),
        (["--text", "nope"], "--text: found no column 'nope'"),
    ],
)
def test_a_bad_option_is_said_in_a_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    result = command("jsonl", put(tmp_path / "a.jsonl", TABLE), tmp_path / "dest", *arguments)
    assert result.exit_code == 1
    assert said in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "dest").exists()


def test_sources_that_are_not_there_or_too_many(tmp_path: Path) -> None:
    assert "no such file or folder; expected the data to import" in command("csv", tmp_path / "no.csv", tmp_path / "dest").output
    assert "found no file ending in .csv, .tsv" in command("csv", tmp_path / "one", tmp_path / "dest").output
    assert "found 2 sources; expected one folder" in command("beir", tmp_path / "one", tmp_path / "two", tmp_path / "dest").output


def test_pairs_and_shares() -> None:
    assert parse_pair("--field", "a=b=c") == ("a", "b=c")
    assert parse_shares(".6,.1,.3") == (0.6, 0.1, 0.3)


# Real data


@real
def test_squad_half(tmp_path: Path) -> None:
    found = imported("squad", Path(DATASETS) / "squad2_dev_half", tmp_path / "dest")
    data = found.data
    texts = {document.doc_id: document.text for document in data.documents}
    unanswerable = [row for row in data.gold.values() if row.output["answer"] is None]
    assert (len(data.all_cases), len(unanswerable), len(texts), found.report) == (6078, 3168, 646, [])
    for row in data.gold.values():
        for evidence in (e for item in row.evidence for e in item):
            assert evidence.quote is not None
            assert evidence.quote in texts[evidence.doc_id]
            assert len(evidence.quote) > 2
        assert all(any(wording in str(e.quote) for e in row.evidence[0]) for wording in row.output["answer"] or ())
    articles: dict[str, set[str]] = {}
    for case in data.all_cases:
        articles.setdefault(str(case.group_id).rpartition("-")[0], set()).add(case.split)
    assert len(articles) == 16
    assert all(len(splits) == 1 for splits in articles.values())


@real
def test_banking77(tmp_path: Path) -> None:
    found = imported("csv", Path(DATASETS) / "banking77", tmp_path / "dest")
    copies = [row for row in found.report if row["reason"].startswith("text of train stands in test too")]
    assert "read 13,083 rows" in found.told  # 10,003 and 3,080
    # six texts stand in both but for white space at their ends; a seventh differs within
    assert (len(copies), sum("but for case and spaces" in row["what"] for row in copies)) == (7, 1)
    assert found.splits() == {"train": 10_003 - 7, "test": 3080}
    assert len(found.data.schema["properties"]["category"]["enum"]) == 77
    assert found.data.schema["properties"]["category"]["x-enum-descriptions"]["card_arrival"] == "card arrival"


@real
def test_clinc150(tmp_path: Path) -> None:
    found = imported("jsonl", Path(DATASETS) / "clinc150" / "data_full.json", tmp_path / "dest", fields=(("intent", "1"),))
    outputs = Counter((case.split, found.data.gold[case.case_id].output["intent"] == "oos") for case in found.data.all_cases)
    assert outputs[("test", True)] == 1000
    assert outputs[("test", False)] == 4500
    assert outputs[("dev", True)] == outputs[("train", True)] == 100
    assert len(found.data.schema["properties"]["intent"]["enum"]) == 151
    assert sum(row["reason"].endswith("with another label") for row in found.report) == 4


@real
def test_nlupp(tmp_path: Path) -> None:
    folder = Path(DATASETS) / "nlupp"
    found = imported("jsonl", [folder / "banking", folder / "hotels"], tmp_path / "dest")
    properties = found.data.schema["properties"]
    assert len(found.data.all_cases) == 2310
    assert len(properties["intents"]["items"]["enum"]) == 62
    assert len(properties) == 18
    assert found.report == []
    text = "ok, I can make it between 9 05 in the morning and 25 to 7 p.m. any day next week"
    wanted = {"time_from": "9 05 in the morning", "time_to": "25 to 7 p.m.", "date_period": "next week", "date": None}
    assert found.outputs()[text].items() >= wanted.items()


@real
def test_bitext(tmp_path: Path) -> None:
    found = imported("csv", Path(DATASETS) / "bitext", tmp_path / "dest")
    assert len(found.data.all_cases) == 4514
    entities = set(found.data.schema["properties"]) - {"intent", "category"}
    assert len(entities) == 7
    right = sum(row.output.get(name) is not None for row in found.data.gold.values() for name in entities)
    assert (right, sum(found.reasons.values())) == (1095, 1686 - 1095)
    assert found.reasons["leading zeros lost"] == 184
    assert "label left out: 184 x leading zeros lost" in found.told
    assert "response" in found.told


@real
def test_tau2_banking(tmp_path: Path) -> None:
    folder = Path(DATASETS) / "tau2_banking"
    options = {"documents": str(folder / "documents"), "evidence": "required_documents"}
    found = imported("jsonl", folder / "tasks_first60.json", tmp_path / "dest", **options)
    assert (len(found.data.documents), len(found.data.all_cases)) == (698, 60)
    assert sum(bool(row.evidence) for row in found.data.gold.values()) == 60
    assert sum(found.splits().values()) == 60
    assert list(found.data.schema["properties"]) == ["answer", "sources"]


@real
@pytest.mark.parametrize(("name", "cases", "documents"), [("policyqa", 7961, 1074), ("covid_qa", 1380, 98)])
def test_likes_of_squad(tmp_path: Path, name: str, cases: int, documents: int) -> None:
    found = imported("squad", Path(DATASETS) / name, tmp_path / "dest", limit=50)
    assert f"read {cases:,} rows, used 150" in found.told
    assert len(found.data.documents) == documents
