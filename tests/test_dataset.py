"""Reading a folder: what is fine, what is said, and that nothing but a DatasetError ever comes out."""

from __future__ import annotations

import json
import os
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepladder.dataset import MAX_LINE_BYTES, Dataset, DatasetError, Update, gold_context, load
from stepladder.dataset.reader import ANSWER_SCHEMA
from stepladder.records import Case, Document, Evidence

DATASETS = os.environ.get("STEPLADDER_DATASETS", "")

CASES: list[Any] = [
    {"case_id": "c1", "split": "test", "text": "How long may I return it?"},
    {"case_id": "c2", "split": "train", "text": "Where is #4521?", "tags": ["messy"], "group_id": "g1"},
    {"case_id": "c3", "split": "dev", "messages": [{"role": "customer", "text": "Hi"}, {"role": "agent", "text": "Yes?"}]},
]
RETURNS = {
    "doc_id": "returns", "title": "Returns", "url": "https://x.example/returns", "kind": "policy", "status": "published",
    "updated_at": "2026-03-16", "text": "Intro.\n\nReturns are free\nfor 45 days.\n\nStoves stay.",
}  # fmt: skip
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "intent": {"enum": ["return", "order"]},
        "days": {"type": ["integer", "null"], "minimum": 0},
        "weight": {"type": ["number", "null"]},
        "answer": {"type": ["string", "null"]},
        "sources": {"type": "array"},
    },
}
GOLD: list[Any] = [
    {
        "case_id": "c1",
        "output": {"intent": "return", "answer": ["45 days"]},
        "evidence": [{"doc_id": "returns", "quote": "free for 45 days"}],
    },
    {"case_id": "c2", "output": {"intent": "order", "answer": None}},
    {"case_id": "c3", "output": {}},
]


def lines(rows: list[Any]) -> bytes:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode()


def folder(path: Path, **files: Any) -> Path:
    """A dataset folder with cases.jsonl and what is named: cases, gold, documents, updates, schema, brief, company."""
    names = {"cases": "cases.jsonl", "gold": "gold.jsonl", "documents": "documents.jsonl", "updates": "updates.jsonl"}
    names |= {"schema": "schema.json", "brief": "brief.yaml", "company": "company.md"}
    for key, content in ({"cases": CASES} | files).items():
        if isinstance(content, list):
            content = lines(content)
        elif isinstance(content, dict):
            content = json.dumps(content).encode()
        (path / names[key]).write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def problems(path: Path, **files: Any) -> list[str]:
    with pytest.raises(DatasetError) as caught:
        load(folder(path, **files))
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def only_problem(path: Path, **files: Any) -> str:
    found = problems(path, **files)
    assert len(found) == 1, found
    return found[0]


# What is fine


def test_a_whole_folder(tmp_path: Path) -> None:
    updates = [{"op": "upsert", **RETURNS, "text": "Now 60 days."}]
    dataset = load(
        folder(tmp_path, gold=GOLD, documents=[RETURNS], updates=updates, schema=SCHEMA, brief="margin: 0.1\n", company="We sell.")
    )
    assert dataset.documents == (Document(**RETURNS),)
    assert dataset.updates == (Update("returns", Document(**(RETURNS | {"text": "Now 60 days."}))),)
    assert dataset.cases("train") == [Case("c2", "train", "Where is #4521?", ("messy",), "g1")]
    assert dataset.cases("dev")[0].text == "Customer: Hi\nAgent: Yes?"
    assert dataset.gold["c1"].evidence == ((Evidence("returns", "free for 45 days"),),)
    assert dataset.gold["c2"].output["answer"] is None
    assert "answer" not in dataset.gold["c3"].output
    assert (dataset.brief.margin, dataset.brief.success.target) == (0.1, 0.8)
    assert (dataset.company, dataset.schema, dataset.lacks) == ("We sell.", SCHEMA, {})
    assert dataset.name == tmp_path.name


def test_what_a_folder_lacks_is_reported_with_its_reason(tmp_path: Path) -> None:
    dataset = load(folder(tmp_path, cases=CASES[:1]))
    assert set(dataset.lacks) == {"documents.jsonl", "updates.jsonl", "gold.jsonl", "schema.json", "brief.yaml", "train", "dev"}
    assert "retrieval is not measured" in dataset.lacks["documents.jsonl"]
    assert "nothing is scored" in dataset.lacks["gold.jsonl"]
    assert "tuned rungs are not measured" in dataset.lacks["train"]
    assert "defaults are used" in dataset.lacks["dev"]
    assert (dataset.documents, dataset.gold, dataset.company) == ((), {}, "")
    assert dataset.schema == ANSWER_SCHEMA
    assert dataset.must == ["answer"]
    assert dataset.behaviour_fields == []


def test_empty_documents_and_missing_gold_rows_are_lacks(tmp_path: Path) -> None:
    dataset = load(folder(tmp_path, documents=b"\n\n", schema=SCHEMA, gold=[GOLD[1]]))
    assert "documents.jsonl is empty" in dataset.lacks["documents.jsonl"]
    assert dataset.lacks["gold"] == "2 of 3 cases have no gold and are not scored, c1 among them"


def test_bom_crlf_and_blank_lines_are_fine(tmp_path: Path) -> None:
    plain, windows = tmp_path / "plain", tmp_path / "windows"
    plain.mkdir()
    windows.mkdir()
    bom = b"\xef\xbb\xbf"
    files: dict[str, bytes] = {
        "cases": lines(CASES),
        "gold": lines(GOLD),
        "documents": lines([RETURNS]),
        "schema": json.dumps(SCHEMA).encode(),
    }
    files |= {"brief": b"margin: 0.1\n", "company": "Café.\n".encode()}
    a = load(folder(plain, **files))
    b = load(folder(windows, **{k: bom + v.replace(b"\n", b"\r\n\r\n" if k in ("cases", "gold") else b"\r\n") for k, v in files.items()}))
    assert (b.all_cases, b.gold, b.documents, b.schema, b.brief) == (a.all_cases, a.gold, a.documents, a.schema, a.brief)
    assert b.company.strip() == "Café."


def test_a_last_line_without_a_newline_is_read(tmp_path: Path) -> None:
    assert len(load(folder(tmp_path, cases=lines(CASES).rstrip(b"\n"))).all_cases) == 3


def test_messages_in_any_script(tmp_path: Path) -> None:
    text = "Müde 😀 𝕏 \u2028 مرحبا \u0000"
    assert load(folder(tmp_path, cases=[CASES[0] | {"text": text}])).all_cases[0].text == text


def test_alternatives_documents_without_quote_and_white_space(tmp_path: Path) -> None:
    evidence = [[{"doc_id": "returns", "quote": "RETURNS  are\nfree"}, {"doc_id": "other"}], {"doc_id": "other"}]
    rows = [GOLD[0] | {"evidence": evidence}]
    gold = load(folder(tmp_path, gold=rows, documents=[RETURNS, RETURNS | {"doc_id": "other"}], schema=SCHEMA)).gold["c1"]
    assert gold.evidence == ((Evidence("returns", "RETURNS  are\nfree"), Evidence("other")), (Evidence("other"),))


def test_content_hash_changes_with_any_file_and_not_with_the_place(tmp_path: Path) -> None:
    hashes = []
    for i, files in enumerate([{}, {}, {"brief": "margin: 0.1"}, {"company": "x"}, {"schema": SCHEMA}, {"cases": CASES[:1]}]):
        (tmp_path / str(i)).mkdir()
        hashes.append(load(folder(tmp_path / str(i), **files)).content_hash)
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 5


# What is said


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder; expected a dataset folder"):
        load(tmp_path / "absent")


def test_no_cases_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"cases\.jsonl: no such file; expected one case per line"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"case_id": oops}', ["cases.jsonl:2: not valid JSON", "expected one JSON object per line"]),
        ('{"case_id": "c9", "split": "test"', ["cases.jsonl:2: not valid JSON"]),
        ("[1, 2]", ["cases.jsonl:2: found a JSON list, expected an object"]),
        ("null", ["cases.jsonl:2: found a JSON NoneType, expected an object"]),
        ({"case_id": "c9", "text": "Hi"}, ["cases.jsonl:2: split: missing field; add it"]),
        ({"case_id": "c9", "split": "tset", "text": "Hi"}, ["cases.jsonl:2: split: ", "'train', 'dev' or 'test'", "found 'tset'"]),
        (
            {"case_id": "c9", "split": "test", "text": "Hi", "answer": "45"},
            ["cases.jsonl:2: answer: unknown field; expected one of", "case_id"],
        ),
        ({"case_id": 9, "split": "test", "text": "Hi"}, ["cases.jsonl:2: case_id: ", "valid string", "found 9"]),
        ({"case_id": "", "split": "test", "text": "Hi"}, ["cases.jsonl:2: case_id: ", "at least 1 character"]),
        ({"case_id": "c1", "split": "test", "text": "Hi"}, ["cases.jsonl:2: case_id: duplicate id 'c1', first seen in line 1"]),
        ({"case_id": "c9", "split": "test"}, ["cases.jsonl:2: text: expected either text or messages; found neither"]),
        ({"case_id": "c9", "split": "test", "text": " \n"}, ["cases.jsonl:2: text: empty message; expected what the customer wrote"]),
        ({"case_id": "c9", "split": "test", "messages": []}, ["cases.jsonl:2: text: empty message"]),
        ({"case_id": "c9", "split": "test", "text": "Hi", "tags": "messy"}, ["cases.jsonl:2: tags: ", "valid array", "found 'messy'"]),
        (
            {"case_id": "c9", "split": "test", "text": "Hi", "messages": [{"role": "agent", "text": "x"}]},
            ["cases.jsonl:2: text: expected either text or messages; found both"],
        ),
        (
            {"case_id": "c9", "split": "test", "messages": [{"role": "bot", "text": "x"}]},
            ["cases.jsonl:2: messages.0.role: ", "'customer' or 'agent'", "found 'bot'"],
        ),
        ({"case_id": "c9", "split": "test", "text": float("nan")}, ["cases.jsonl:2: text: ", "found nan"]),
        ('{"case_id": "c9", "split": "test", "text": "\\ud800"}', ["cases.jsonl:2: row: Invalid JSON"]),
        ('{"case_id": "c9", "split": "test", "text": ' + "[" * 100_000 + "}", ["cases.jsonl:2: not valid JSON", "recursion"]),
        ('{"case_id": "c9", "split": "test", "text": ' + "[" * 500 + "]" * 500 + "}", ["cases.jsonl:2: ", "recursion"]),
        ('{"case_id": "c9", "split": "test", "text": ' + "9" * 5000 + "}", ["cases.jsonl:2: not valid JSON", "digits"]),
    ],
    ids=lambda v: None if isinstance(v, list) else str(v)[:45],
)
def test_a_wrong_case_names_file_line_and_field(tmp_path: Path, row: Any, said: list[str]) -> None:
    problem = only_problem(tmp_path, cases=[CASES[0], row])
    assert all(words in problem for words in said), problem


def test_an_empty_text_beside_messages_is_both(tmp_path: Path) -> None:
    row = {"case_id": "c9", "split": "test", "text": "", "messages": [{"role": "agent", "text": "x"}]}
    assert "found both" in only_problem(tmp_path, cases=[CASES[0], row])


def test_every_problem_is_found_at_once(tmp_path: Path) -> None:
    found = problems(tmp_path, cases=["oops", CASES[0], CASES[0]], brief="margin: 2", schema="{", documents=[{"doc_id": "d"}])
    assert [p.split(": ")[0] for p in found if not p.startswith("documents")] == [
        "schema.json:1",
        "brief.yaml",
        "cases.jsonl:1",
        "cases.jsonl:3",
    ]
    assert sum(p.startswith("documents.jsonl:1: ") and "missing field" in p for p in found) == 6


def test_invalid_utf8_is_told_by_line(tmp_path: Path) -> None:
    problem = only_problem(tmp_path, cases=lines(CASES[:1]) + b'{"case_id": "c9", "split": "test", "text": "caf\xe9"}\n')
    assert problem.startswith("cases.jsonl:2: not valid JSON in UTF-8")


def test_utf16_is_told(tmp_path: Path) -> None:
    assert problems(tmp_path, cases=lines(CASES).decode().encode("utf-16"))[0].startswith("cases.jsonl:1: not valid JSON in UTF-8")


@pytest.mark.parametrize("rows", [[], CASES[1:], ["", ""]])
def test_an_empty_test_split_is_an_error(tmp_path: Path, rows: list[Any]) -> None:
    problem = only_problem(tmp_path, cases=rows)
    assert problem.startswith("cases.jsonl: split: the test split is empty (found {")
    assert 'expected at least one case with split "test"' in problem


def test_a_line_of_5_mb_stops_the_reader_and_memory_stays_bounded(tmp_path: Path) -> None:
    huge = b'{"case_id": "c9", "split": "test", "text": "' + b"x" * 5_000_000 + b'"}\n'
    folder(tmp_path, cases=lines(CASES[:1]) + huge + b"broken, but never reached\n" * 3)
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError) as caught:
            load(tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.problems == ["cases.jsonl:2: line longer than 1,000,000 bytes; expected one JSON object per line; split it"]
    assert peak < 3 * MAX_LINE_BYTES


def test_a_line_of_just_the_limit_is_read(tmp_path: Path) -> None:
    bare = json.dumps(CASES[0] | {"text": ""})
    row = json.dumps(CASES[0] | {"text": "x" * (MAX_LINE_BYTES - len(bare) - 1)})
    assert len(load(folder(tmp_path, cases=[row])).all_cases) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"case_id": "c7"}, "gold.jsonl:1: case_id: unknown case 'c7'; expected an id of cases.jsonl"),
        (
            {"evidence": [{"doc_id": "retruns"}]},
            "gold.jsonl:1: evidence.0.doc_id: unknown document 'retruns'; expected an id of documents.jsonl",
        ),
        (
            {"evidence": [{"doc_id": "returns", "quote": "free for 60 days"}]},
            "gold.jsonl:1: evidence.0.quote: 'free for 60 days' does not stand",
        ),
        ({"evidence": [{"doc_id": "returns"}, [{"doc_id": "no"}]]}, "gold.jsonl:1: evidence.1.doc_id: unknown document 'no'"),
        (
            {"output": {"intnet": "return"}},
            "gold.jsonl:1: output.intnet: unknown field; expected one of ['intent', 'days', 'weight', 'answer']",
        ),
        ({"output": {"sources": ["returns"]}}, "gold.jsonl:1: output.sources: unknown field"),
        (
            {"output": {"intent": "retrun"}},
            "gold.jsonl:1: output.intent: 'retrun' is not one of ['return', 'order']; expected what schema.json",
        ),
        ({"output": {"days": -1}}, "gold.jsonl:1: output.days: -1 is less than the minimum of 0"),
        ({"output": {"days": 1.5}}, "gold.jsonl:1: output.days: 1.5 is not"),
        ({"output": {"days": float("nan")}}, "gold.jsonl:1: output.days: nan is not"),
        ({"output": {"answer": "45 days"}}, "gold.jsonl:1: output.answer: expected a list of accepted wordings or null; found '45 days'"),
        ({"output": {"answer": []}}, "gold.jsonl:1: output.answer: expected a list of accepted wordings"),
        ({"output": {"answer": [" "]}}, "gold.jsonl:1: output.answer: expected a list of accepted wordings"),
        ({"output": None}, "gold.jsonl:1: output: Input should be"),
        ({"output_after_update": {"answer": "60 days"}}, "gold.jsonl:1: output_after_update.answer: expected a list"),
        (
            {"evidence_after_update": [{"doc_id": "returns", "quote": "45 days"}]},
            "gold.jsonl:1: evidence_after_update.0.quote: '45 days' does not",
        ),
        ({"rejected": "30 days"}, "gold.jsonl:1: rejected: Input should be a valid array"),
        ({"anwser": 1}, "gold.jsonl:1: anwser: unknown field"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_wrong_gold_row_names_file_line_and_field(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    updates = [{"op": "upsert", **RETURNS, "text": "Now 60 days."}]
    problem = only_problem(tmp_path, gold=[GOLD[0] | change], documents=[RETURNS], schema=SCHEMA, updates=updates)
    assert said in problem


def test_duplicate_gold_and_documents(tmp_path: Path) -> None:
    found = problems(tmp_path, gold=[GOLD[1], GOLD[1]], documents=[RETURNS, RETURNS], schema=SCHEMA)
    assert found[0].startswith("documents.jsonl:2: doc_id: duplicate id 'returns', first seen in line 1")
    assert found[1].startswith("gold.jsonl:2: case_id: duplicate id 'c2', first seen in line 1")


def test_evidence_of_the_day_after_is_not_in_a_deleted_document(tmp_path: Path) -> None:
    gold = [GOLD[0] | {"evidence_after_update": [{"doc_id": "returns"}]}]
    problem = only_problem(tmp_path, gold=gold, documents=[RETURNS], schema=SCHEMA, updates=[{"op": "delete", "doc_id": "returns"}])
    assert "evidence_after_update.0.doc_id: unknown document 'returns'" in problem


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"status": "live"}, "documents.jsonl:1: status: Input should be 'published', 'draft' or 'archived'; found 'live'"),
        ({"updated_at": "16/3/2026"}, "documents.jsonl:1: updated_at: "),
        ({"text": ""}, "documents.jsonl:1: text: "),
        ({"author": "me"}, "documents.jsonl:1: author: unknown field; expected one of ['doc_id'"),
        ({"title": None}, "documents.jsonl:1: title: Input should be a valid string; found None"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_wrong_document_names_file_line_and_field(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    assert only_problem(tmp_path, documents=[RETURNS | change]).startswith(said)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"op": "replace", "doc_id": "returns"}, "updates.jsonl:1: op: expected 'upsert' or 'delete'; found 'replace'"),
        ({"doc_id": "returns"}, "updates.jsonl:1: op: expected 'upsert' or 'delete'; found None"),
        ({"op": ["delete"], "doc_id": "returns"}, "updates.jsonl:1: op: expected 'upsert' or 'delete'"),
        (
            {"op": "delete", "doc_id": "retruns"},
            "updates.jsonl:1: doc_id: deletes unknown document 'retruns'; expected an id of documents.jsonl",
        ),
        ({"op": "delete"}, "updates.jsonl:1: doc_id: missing field; add it"),
        ({"op": "delete", "doc_id": "returns", "text": "x"}, "updates.jsonl:1: text: unknown field"),
        ({"op": "upsert", **{k: v for k, v in RETURNS.items() if k != "text"}}, "updates.jsonl:1: text: missing field; add it"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_wrong_update_names_file_line_and_field(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    assert only_problem(tmp_path, documents=[RETURNS], updates=[row]).startswith(said)


@pytest.mark.parametrize(
    ("brief", "said"),
    [
        ("success: {must: [intnet]}", "brief.yaml: success: unknown field 'intnet'; expected one of ['intent', 'days'"),
        ("success: {field_targets: {intnet: 0.9}}", "brief.yaml: success: unknown field 'intnet'"),
        ("targt: 0.8", "brief.yaml: targt: unknown field; expected one of ['success'"),
        ("success: {targt: 0.8}", "brief.yaml: success.targt: unknown field; remove it; found 0.8"),
        ("success: {target: 80}", "brief.yaml: success.target: Input should be less than or equal to 1; found 80"),
        ("success: {target: eighty}", "brief.yaml: success.target: Input should be a valid number; found 'eighty'"),
        ("margin: 0", "brief.yaml: margin: Input should be greater than 0"),
        ("margin: .nan", "brief.yaml: margin: "),
        (
            "update_frequency: hourly",
            "brief.yaml: update_frequency: Input should be 'never', 'monthly', 'weekly' or 'daily'; found 'hourly'",
        ),
        ("monthly_cases: -1", "brief.yaml: monthly_cases: "),
        ("prices: {input_per_million: -0.1}", "brief.yaml: prices.input_per_million: "),
        ("sources_required: maybe", "brief.yaml: sources_required: "),
        ("margin: 0.1\n  oops: [", "brief.yaml:2: not valid YAML"),
        ("a:\n\t- b", "brief.yaml:2: not valid YAML"),
        ("", "brief.yaml: found NoneType, expected the five questions as keys"),
        ("- margin", "brief.yaml: found list, expected the five questions as keys"),
        (b"margin: \xff", "brief.yaml: not valid YAML ('utf-8' codec"),
        (b"margin: \x00", "brief.yaml: not valid YAML"),
        ("margin: !!python/object/apply:os.getcwd []", "brief.yaml:1: not valid YAML"),
    ],
)
def test_a_wrong_brief(tmp_path: Path, brief: str | bytes, said: str) -> None:
    assert only_problem(tmp_path, brief=brief, schema=SCHEMA).startswith(said)


@pytest.mark.parametrize(
    "brief", ["margin: 2026-01-01", "margin: !!set {a, b}", "margin: !!binary aGk=", "&a\nmargin: *a", "margin: " + "[" * 1000]
)
def test_what_yaml_knows_and_json_does_not_is_a_dataset_error(tmp_path: Path, brief: str) -> None:
    assert only_problem(tmp_path, brief=brief).startswith("brief.yaml")


@pytest.mark.parametrize(
    "brief", ["latency_budget_seconds_p95: .inf", "success: {field_targets: {intent: .nan}}", "success: {field_targets: {intent: 90}}"]
)
def test_targets_are_finite_shares(tmp_path: Path, brief: str) -> None:
    assert only_problem(tmp_path, brief=brief, schema=SCHEMA).startswith("brief.yaml: ")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_gold_numbers_are_finite(tmp_path: Path, value: str) -> None:
    row = '{"case_id": "c1", "output": {"weight": ' + value + "}}"
    assert only_problem(tmp_path, gold=[row], schema=SCHEMA).startswith("gold.jsonl:1: ")


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ('{"properties":\n oops}', "schema.json:2: not valid JSON in UTF-8"),
        (b"\xff", "schema.json: not valid JSON in UTF-8"),
        ("[]", "schema.json: [] is not of type"),
        ("true", "schema.json: properties: missing; expected a JSON Schema"),
        ("{}", "schema.json: properties: missing"),
        ('{"properties": {}}', "schema.json: properties: missing"),
        ('{"properties": {"x": true}}', "schema.json: properties: missing"),
        ('{"properties": {"x": {"type": "strang"}}}', "schema.json: properties.x.type: 'strang' is not valid"),
        ('{"properties": {"x": {"type": "string", "pattern": "["}}}', "schema.json: properties.x.pattern: '[' is not a 'regex'"),
    ],
)
def test_a_wrong_schema(tmp_path: Path, schema: str | bytes, said: str) -> None:
    assert only_problem(tmp_path, schema=schema).startswith(said)


@pytest.mark.parametrize(
    "schema", ["[" * 100_000, '{"properties": {"x": ' + '{"not": ' * 300 + "{}" + "}" * 300 + "}}"], ids=["broken", "whole"]
)
def test_a_deep_schema_is_a_dataset_error(tmp_path: Path, schema: str) -> None:
    assert only_problem(tmp_path, schema=schema).startswith("schema.json")


@pytest.mark.parametrize("ref", ["#/nowhere", "other.json", "#"])
def test_a_reference_that_leads_nowhere_is_a_dataset_error(tmp_path: Path, ref: str) -> None:
    schema = {"properties": {"x": {"$ref": ref}}}
    assert problems(tmp_path, schema=schema, gold=[{"case_id": "c1", "output": {"x": "a"}}])


def test_company_text_that_is_not_utf8_is_a_dataset_error(tmp_path: Path) -> None:
    assert only_problem(tmp_path, company="Café".encode("cp1252")).startswith("company.md")


@pytest.mark.parametrize("name", ["cases.jsonl", "gold.jsonl", "company.md"])
def test_a_folder_where_a_file_should_be_is_a_dataset_error(tmp_path: Path, name: str) -> None:
    folder(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).mkdir()
    with pytest.raises(DatasetError, match=name):
        load(tmp_path)


# What a dataset tells


def test_must_and_behaviour_fields(tmp_path: Path) -> None:
    dataset = load(folder(tmp_path, schema=SCHEMA))
    assert dataset.must == ["intent", "days", "weight", "answer"]
    assert dataset.behaviour_fields == ["intent", "days", "weight"]
    assert load(folder(tmp_path, schema=SCHEMA, brief="success: {must: [intent]}")).must == ["intent"]


def test_limited_takes_the_same_ids_whatever_the_order(tmp_path: Path) -> None:
    rows = [{"case_id": f"c{i}", "split": ("train", "dev", "test")[i % 3], "text": "Hi"} for i in range(30)]
    one = load(folder(tmp_path, cases=rows))
    few = one.limited(4)
    assert [len(few.cases(s)) for s in ("train", "dev", "test")] == [4, 4, 4]
    assert [c.case_id for c in few.all_cases] == [c.case_id for c in one.all_cases if c in few.all_cases]
    other = load(folder(tmp_path, cases=rows[::-1])).limited(4)
    assert {c.case_id for c in other.all_cases} == {c.case_id for c in few.all_cases}
    assert {c.case_id for c in one.limited(2).all_cases} < {c.case_id for c in few.all_cases}
    assert one.limited(0) is one
    assert one.limited(99).all_cases == one.all_cases


def test_after_update_changes_documents_and_gold_and_no_case(tmp_path: Path) -> None:
    gold = [
        GOLD[0] | {"output_after_update": {"answer": ["60 days"]}, "evidence_after_update": [{"doc_id": "returns", "quote": "60 days"}]},
        GOLD[1],
        {"case_id": "c3", "output": {"intent": "order"}, "output_after_update": {"intent": "return"}},
    ]
    updates = [
        {"op": "upsert", **RETURNS, "text": "Now 60 days."},
        {"op": "delete", "doc_id": "old"},
        {"op": "upsert", **RETURNS, "doc_id": "new"},
    ]
    dataset = load(folder(tmp_path, gold=gold, documents=[RETURNS, RETURNS | {"doc_id": "old"}], updates=updates, schema=SCHEMA))
    later = dataset.after_update()
    assert [(d.doc_id, d.text[:3]) for d in later.documents] == [("returns", "Now"), ("new", "Int")]
    assert later.gold["c1"].output["answer"] == ["60 days"]
    assert later.all_cases == dataset.all_cases
    assert dataset.changed_ids() == {"c1"}
    assert [d.doc_id for d in dataset.documents] == ["returns", "old"]


def test_gold_of_leaves_out_cases_without_gold(tmp_path: Path) -> None:
    dataset = load(folder(tmp_path, gold=[GOLD[1]], schema=SCHEMA))
    assert list(dataset.gold_of(list(dataset.all_cases))) == ["c2"]


def test_gold_context_is_the_paragraph_of_the_quote(tmp_path: Path) -> None:
    evidence = [
        {"doc_id": "returns", "quote": "free for 45 days"},
        [{"doc_id": "returns", "quote": "stoves STAY"}, {"doc_id": "other"}],
        {"doc_id": "other"},
    ]
    documents = [RETURNS, RETURNS | {"doc_id": "other", "text": "All of it.\n\nAnd more."}]
    dataset = load(folder(tmp_path, gold=[GOLD[0] | {"evidence": evidence}], documents=documents, schema=SCHEMA))
    passages = gold_context(dataset, dataset.cases("test")[0])
    assert [p.text for p in passages] == ["Returns are free\nfor 45 days.", "Stoves stay.", "All of it.\n\nAnd more."]
    assert all(p.text == {"returns": RETURNS["text"]}.get(p.doc_id, documents[1]["text"])[p.start : p.end] for p in passages)
    assert gold_context(dataset, dataset.cases("train")[0]) == []


def test_gold_context_gives_one_paragraph_once_and_spans_what_a_quote_spans(tmp_path: Path) -> None:
    evidence = [{"doc_id": "returns", "quote": "Returns are"}, {"doc_id": "returns", "quote": "45 days"}]
    dataset = load(folder(tmp_path, gold=[GOLD[0] | {"evidence": evidence}], documents=[RETURNS], schema=SCHEMA))
    assert [p.text for p in gold_context(dataset, dataset.cases("test")[0])] == ["Returns are free\nfor 45 days."]
    evidence = [{"doc_id": "returns", "quote": "45 days. Stoves"}]
    dataset = load(folder(tmp_path, gold=[GOLD[0] | {"evidence": evidence}], documents=[RETURNS], schema=SCHEMA))
    assert [p.text for p in gold_context(dataset, dataset.cases("test")[0])] == ["Returns are free\nfor 45 days.\n\nStoves stay."]


@pytest.mark.skipif(not DATASETS, reason="STEPLADDER_DATASETS is not set to a folder with jsontestsuite in it")
@pytest.mark.parametrize("name", ["cases.jsonl", "gold.jsonl", "documents.jsonl", "schema.json"])
def test_json_of_all_sorts_gives_a_dataset_or_a_dataset_error(tmp_path: Path, name: str) -> None:
    """JSONTestSuite (Seriot, MIT licence): every file stands in turn as a file of the folder."""
    files = sorted((Path(DATASETS) / "jsontestsuite" / "test_parsing").iterdir())
    assert len(files) > 300
    other: list[str] = []
    folder(tmp_path)
    for file in files:
        (tmp_path / name).write_bytes(file.read_bytes())
        try:
            said = [] if isinstance(load(tmp_path), Dataset) else ["no Dataset"]
        except DatasetError as error:
            said = [problem for problem in error.problems if not problem.startswith((name, "cases.jsonl"))]
        except BaseException as error:
            said = [type(error).__name__]
        other += [f"{file.name}: {what}" for what in said]
    assert other == []


def test_the_shared_dataset_is_whole() -> None:
    root = Path(__file__).parents[1] / "data" / "support"
    dataset = load(root)
    assert dataset.lacks == {}
    assert all(dataset.cases(split) for split in ("train", "dev", "test"))
    assert set(dataset.gold) == {case.case_id for case in dataset.all_cases}
    assert dataset.changed_ids()


def test_evidence_alone_is_no_label(tmp_path: Path) -> None:
    loaded = load(folder(tmp_path))
    bare = {case_id: replace(row, output={}) for case_id, row in loaded.gold.items()}
    assert loaded.labelled("test") == [case for case in loaded.cases("test") if case.case_id in loaded.gold]
    assert replace(loaded, gold=bare).labelled("test") == []
