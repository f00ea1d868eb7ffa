"""The floors that every table carries, on literal rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stepladder.floors import incumbent, majority, tfidf
from stepladder.records import Case, CaseError, Gold, UserError

SCHEMA: dict[str, Any] = {
    "properties": {
        "intent": {"enum": ["return", "order", "care"]},
        "days": {"type": ["integer", "null"]},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
        "answer": {"type": ["string", "null"]},
        "sources": {"type": "array"},
    }
}
ROWS = [
    ("how do I send back my boots", {"intent": "return", "days": None, "tags": ["a"], "answer": ["45 days"]}),
    ("I want to send back a tent", {"intent": "return", "days": 3, "tags": ["a"], "answer": ["45 days"]}),
    ("send back the wrong size", {"intent": "return", "days": None, "tags": ["b"], "answer": ["45 days"]}),
    ("where is my parcel now", {"intent": "order", "days": 3, "answer": None}),
    ("my parcel has not come", {"intent": "order", "days": 3}),
]
CASES = [Case(f"c{i}", "train", text) for i, (text, _) in enumerate(ROWS)]
GOLD = {f"c{i}": Gold(f"c{i}", output) for i, (_, output) in enumerate(ROWS)}
ASKED = Case("t1", "test", "has the parcel come")


def test_majority_says_the_same_for_every_case() -> None:
    answer = majority(CASES, GOLD, SCHEMA)
    expected = {"intent": "return", "days": 3, "tags": ["a"], "answer": None, "sources": []}
    assert answer(ASKED).output == expected
    assert answer(CASES[0]).output == expected
    assert answer(ASKED).case_id == "t1"
    assert json.loads(answer(ASKED).text) == expected


def test_majority_takes_the_first_seen_of_a_tie() -> None:
    tied = {"c0": GOLD["c0"], "c3": GOLD["c3"]}
    found = majority(CASES, tied, SCHEMA)(ASKED).output
    assert found is not None
    assert (found["intent"], found["days"]) == ("return", None)


def test_majority_without_train_is_null_everywhere() -> None:
    nothing = {"intent": None, "days": None, "tags": None, "answer": None, "sources": []}
    assert majority([], {}, SCHEMA)(ASKED).output == nothing
    assert majority(CASES, {}, SCHEMA)(ASKED).output == nothing


def test_majority_gives_each_case_an_output_of_its_own() -> None:
    answer = majority(CASES, GOLD, SCHEMA)
    first = answer(ASKED).output
    assert first is not None
    first["intent"] = "changed"
    second = answer(ASKED).output
    assert second is not None
    assert second["intent"] == "return"


def test_tfidf_reads_the_words_for_enums_and_takes_the_majority_for_the_rest() -> None:
    answer = tfidf(CASES, GOLD, SCHEMA)
    found = answer(ASKED).output
    assert found == {"intent": "order", "days": 3, "tags": ["a"], "answer": None, "sources": []}
    back = answer(Case("t2", "test", "please let me send back this")).output
    assert back is not None
    assert back["intent"] == "return"
    json.dumps(found)  # plain values, none of numpy's


def test_tfidf_repeats_itself() -> None:
    texts = [Case(f"t{i}", "test", text) for i, text in enumerate(["", "parcel", "send", "parcel send back", "zzz", "🙂"])]
    a, b = tfidf(CASES, GOLD, SCHEMA, seed=1), tfidf(CASES, GOLD, SCHEMA, seed=1)
    assert [a(case) for case in texts] == [b(case) for case in texts]


def test_tfidf_with_one_value_only_is_the_majority() -> None:
    gold = {k: GOLD[k] for k in ("c0", "c1")}
    assert tfidf(CASES, gold, SCHEMA)(ASKED).output == majority(CASES, gold, SCHEMA)(ASKED).output


def test_tfidf_leaves_out_rows_where_the_field_is_unlabelled_or_null() -> None:
    gold = GOLD | {"c0": Gold("c0", {"days": 1}), "c1": Gold("c1", {"intent": None})}
    found = tfidf(CASES, gold, SCHEMA)(Case("t2", "test", "send back the size")).output
    assert found is not None
    assert found["intent"] == "return"


def test_tfidf_of_numbers_and_truths_gives_plain_values() -> None:
    schema = {"properties": {"stars": {"enum": [1, 2]}, "urgent": {"enum": [True, False]}}}
    gold = {f"c{i}": Gold(f"c{i}", {"stars": 1 if i < 3 else 2, "urgent": i < 3}) for i in range(5)}
    found = tfidf(CASES, gold, schema)(ASKED)
    assert found.output == {"stars": 2, "urgent": False}
    assert json.loads(found.text) == found.output
    assert type(found.output["stars"]) is int


@pytest.mark.parametrize("cases", [[], CASES])
def test_tfidf_without_labelled_cases_is_refused(cases: list[Case]) -> None:
    with pytest.raises(ValueError, match="no labelled train cases; expected at least one"):
        tfidf(cases, {}, SCHEMA)


def test_the_incumbent_says_what_its_file_says(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(
        '\ufeff{"case_id": "t1", "output": {"intent": "order"}, "rung": "x"}\n\n{"case_id": "t2", "output": null}\n', encoding="utf-8"
    )
    answer = incumbent(path, [ASKED])
    assert answer(ASKED).output == {"intent": "order"}
    for case_id in ("t2", "t3"):
        with pytest.raises(CaseError, match="no object for this case"):
            answer(Case(case_id, "test", "?"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"case_id": "t1"}', r"mine.jsonl:1: KeyError\('output'\); expected an object with case_id and output"),
        ("[1]", "mine.jsonl:1: TypeError"),
        ("{", "mine.jsonl:1: JSONDecodeError"),
        ('{"case_id": "t1", "output": {}}\n' * 2, "mine.jsonl:2: case_id: 't1' stands twice"),
        ('{"case_id": "t9", "output": {}}', "none of its 1 ids is one of the 1 cases"),
    ],
)
def test_a_broken_incumbent_is_said(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=said):
        incumbent(path, [ASKED])


def test_an_incumbent_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"INCUMBENT: .*no\.jsonl"):
        incumbent(tmp_path / "no.jsonl", [ASKED])
