"""From a prediction and its gold to numbers, one case at a time."""

from __future__ import annotations

import ir_measures
import pytest

from stepladder.records import Evidence, Gold, Output, Passage, Prediction
from stepladder.scoring import (
    CAUSES,
    cause,
    citation_scores,
    evidence_recall,
    field_correct,
    holds,
    retrieval_scores,
    score_case,
    score_output,
    scores_table,
)


def passage(doc_id: str, text: str = "") -> Passage:
    return Passage(f"{doc_id}#0", doc_id, "Title", "", "policy", text, 0, len(text))


def predicted(output: Output | None, *passages: Passage) -> Prediction:
    return Prediction("c1", output, "raw", passages)


RETURNS = passage("returns", "Returns are free\nfor 45 days.")
GOLD = Gold(
    "c1", {"intent": "return", "days": None, "answer": ["45 days"]}, ((Evidence("returns", "free for 45 days"),),), rejected=("60 days",)
)
RIGHT: Output = {"intent": "return", "days": None, "answer": "45 days", "sources": ["returns"]}
MUST = ["intent", "days", "answer"]


@pytest.mark.parametrize(
    ("value", "gold", "right"),
    [
        ("return", "return", True),
        (" Return ", "return", True),
        ("returns", "return", False),
        (None, None, True),
        ("", None, False),
        ("null", None, False),
        (0, None, False),
        (None, "return", False),
        (3, 3, True),
        (3.0, 3, True),
        (4, 3, False),
        (float("nan"), 3, False),
        ("3", 3, True),
        (3, "3", True),
        (True, True, True),
        (False, True, False),
        (1, True, False),
        ("true", True, False),
        (True, 1, False),
        (0, False, False),
        (["a", "b"], ["b", "a"], True),
        (["a"], ["b", "a"], False),
        (["a", "a"], ["a"], True),
        ([], [], True),
        ("a", ["a"], False),
        (None, [], False),
        ({"x": 1}, "return", False),
        (["return"], "return", False),
    ],
)
def test_field_correct(value: object, gold: object, right: bool) -> None:
    assert field_correct(value, gold) is right


def test_all_right() -> None:
    scores = score_output(predicted(RIGHT), GOLD, MUST)
    assert scores == {
        "valid_output": 1, "intent_correct": 1, "days_correct": 1, "abstained": 0, "answer_correct": 1, "fact_correct": 1,
        "answer_f1": 1, "answer_rouge_l": 1, "answer_tokens": 2, "said_rejected": 0, "behaviour_correct": 1,
        "required_correct": 1, "resolved": 1,
    }  # fmt: skip


def test_resolved_needs_all_that_must_and_gold_label() -> None:
    scores = score_output(predicted(RIGHT | {"days": 3}), GOLD, MUST)
    assert (scores["days_correct"], scores["behaviour_correct"], scores["resolved"]) == (0, 0.5, 0)
    assert scores["required_correct"] == pytest.approx(2 / 3)
    assert score_output(predicted(RIGHT | {"days": 3}), GOLD, ["intent", "answer", "urgency"])["resolved"] == 1


def test_an_invented_value_where_null_is_right_is_an_error_and_an_absent_key_is_null() -> None:
    assert score_output(predicted(RIGHT | {"days": 0}), GOLD, MUST)["days_correct"] == 0
    assert score_output(predicted({"intent": "return"}), GOLD, MUST)["days_correct"] == 1


def test_unlabelled_fields_are_not_scored() -> None:
    scores = score_output(predicted(RIGHT), Gold("c1", {"intent": "return"}), MUST)
    assert set(scores) == {"valid_output", "intent_correct", "behaviour_correct", "required_correct", "resolved"}
    assert score_output(predicted(RIGHT), Gold("c1", {}), MUST) == {"valid_output": 1}
    assert "resolved" not in score_output(predicted(RIGHT), Gold("c1", {"intent": "return"}), ["answer"])


def test_a_failed_prediction_scores_zero_also_where_null_and_abstaining_are_right() -> None:
    gold = Gold("c1", {"intent": "return", "days": None, "answer": None})
    scores = score_output(predicted(None), gold, MUST)
    assert set(scores.values()) == {0}
    assert scores["abstention_correct"] == scores["abstained"] == scores["resolved"] == 0


def test_abstaining() -> None:
    gold = Gold("c1", {"answer": None})
    right = score_output(predicted({"answer": None}), gold, ["answer"])
    assert right == {"valid_output": 1, "abstained": 1, "answer_correct": 1, "abstention_correct": 1, "required_correct": 1, "resolved": 1}
    assert score_output(predicted({"answer": "45 days"}), gold, ["answer"])["abstention_correct"] == 0
    missed = score_output(predicted({"answer": " "}), GOLD, MUST)
    assert (missed["abstained"], missed["fact_correct"], missed["answer_f1"], missed["answer_tokens"]) == (1, 0, 0, 0)


@pytest.mark.parametrize("answer", [45, ["45 days"], {"text": "45 days"}, True])
def test_an_answer_that_is_no_text_counts_as_none(answer: object) -> None:
    scores = score_output(predicted({"answer": answer}), GOLD, MUST)
    assert (scores["fact_correct"], scores["abstained"]) == (0, 1)


def test_a_rejected_wording_is_told() -> None:
    scores = score_output(predicted(RIGHT | {"answer": "45 days, not sixty days"}), GOLD, MUST)
    assert (scores["said_rejected"], scores["answer_correct"], scores["resolved"]) == (1, 0, 0)


def test_a_long_answer_is_scored_and_neither_right_nor_wrong() -> None:
    long = "we repay the full price once all of the goods have safely come back into our own warehouse"
    gold = Gold("c1", {"intent": "return", "answer": [long]})
    scores = score_output(predicted(RIGHT | {"answer": long}), gold, MUST)
    assert scores["answer_f1"] == scores["answer_rouge_l"] == 1
    assert "answer_correct" not in scores
    assert "fact_correct" not in scores
    assert (scores["required_correct"], scores["resolved"]) == (1, 1)


def test_holds_and_evidence_recall() -> None:
    assert holds(RETURNS, "returns", "FREE  for 45")
    assert holds(RETURNS, "returns", None)
    assert not holds(RETURNS, "returns", "60 days")
    assert not holds(RETURNS, "other", None)
    needed = ((Evidence("returns", "free for 45 days"), Evidence("other")), (Evidence("warranty", "6 months"),))
    assert evidence_recall([RETURNS], needed) == 0.5
    assert evidence_recall([passage("other")], needed) == 0.5
    assert evidence_recall([RETURNS, passage("warranty", "For 6 months.")], needed) == 1
    assert evidence_recall([], needed) == 0


@pytest.mark.parametrize(
    ("ranked", "relevant"),
    [
        (["a", "b", "c"], ["a"]),
        (["a", "b", "c"], ["c", "x"]),
        (["a", "a", "b", "c", "d", "e", "f"], ["f", "a"]),
        (["b", "a", "c", "d", "e", "f", "g"], ["e", "f", "g"]),
        (["a"], ["x"]),
    ],
)
def test_retrieval_scores_are_those_of_ir_measures_without_alternatives(ranked: list[str], relevant: list[str]) -> None:
    scores = retrieval_scores([passage(d) for d in ranked], tuple((Evidence(d),) for d in relevant))
    docs = list(dict.fromkeys(ranked))
    run = [ir_measures.ScoredDoc("q", doc, float(len(docs) - i)) for i, doc in enumerate(docs)]
    measures = {"recall_at_1": ir_measures.R @ 1, "recall_at_5": ir_measures.R @ 5, "hit_at_1": ir_measures.Success @ 1}
    measures |= {"hit_at_5": ir_measures.Success @ 5, "mrr": ir_measures.RR, "ndcg_at_10": ir_measures.nDCG @ 10}
    expected = ir_measures.calc_aggregate(measures.values(), [ir_measures.Qrel("q", d, 1) for d in relevant], run)
    assert {name: scores[name] for name in measures} == pytest.approx({name: expected[m] for name, m in measures.items()})


def test_one_alternative_is_enough_for_recall() -> None:
    scores = retrieval_scores([passage("b")], ((Evidence("a"), Evidence("b")),))
    assert (scores["recall_at_1"], scores["evidence_recall"]) == (1, 1)


def test_retrieval_of_nothing_and_for_nothing() -> None:
    assert set(retrieval_scores([], ((Evidence("a"),),)).values()) == {0}
    assert retrieval_scores([RETURNS], ()) == {}


def test_two_passages_of_one_document_count_as_one_document() -> None:
    assert retrieval_scores([passage("a"), passage("a"), passage("b")], ((Evidence("b"),),))["mrr"] == 0.5


def test_citations() -> None:
    both = predicted(RIGHT | {"sources": ["returns", "warranty"]}, RETURNS, passage("other"))
    assert citation_scores(both, GOLD) == {"cited_retrieved": 0.5, "cited_evidence": 1}
    wrong = predicted(RIGHT | {"sources": ["other"]}, RETURNS, passage("other"))
    assert citation_scores(wrong, GOLD) == {"cited_retrieved": 1, "cited_evidence": 0}
    assert citation_scores(predicted(RIGHT | {"sources": []}, RETURNS), GOLD) == {"cited_retrieved": 0, "cited_evidence": 0}
    assert citation_scores(predicted({"answer": None, "sources": ["returns"]}, RETURNS), GOLD) == {}
    assert citation_scores(predicted(None, RETURNS), GOLD) == {}
    assert citation_scores(predicted(RIGHT, RETURNS), Gold("c1", {"answer": ["45 days"]})) == {"cited_retrieved": 1}
    assert citation_scores(predicted(RIGHT | {"sources": "returns"}, RETURNS), GOLD) == {}


def test_score_case_adds_tokens_and_citations_where_passages_were_given() -> None:
    plain = score_case(Prediction("c1", RIGHT, "", tokens_in=7, tokens_out=2), GOLD, MUST)
    assert (plain["tokens_in"], plain["tokens_out"]) == (7, 2)
    assert "cited_evidence" not in plain
    assert score_case(predicted(RIGHT, RETURNS), GOLD, MUST)["cited_evidence"] == 1


def test_scores_table_is_long_and_leaves_out_cases_without_gold() -> None:
    other = Prediction("c2", RIGHT, "")
    table = scores_table("rag", "embedded", [predicted(RIGHT), other], {"c1": GOLD}, MUST)
    assert list(table.columns) == ["rung", "base", "case_id", "metric", "value"]
    assert set(table["case_id"]) == {"c1"}
    assert table.set_index("metric")["value"].to_dict() == score_case(predicted(RIGHT), GOLD, MUST)
    assert not table.duplicated(["case_id", "metric"]).any()
    assert list(scores_table("rag", "embedded", [], {}, MUST).columns) == list(table.columns)


@pytest.mark.parametrize(
    ("scores", "with_gold", "candidates", "kept", "gold", "expected"),
    [
        ({}, {}, [], [], GOLD, None),
        ({"answer_correct": 1}, {}, [], [], GOLD, "right"),
        ({"answer_correct": 0}, {}, [], [], Gold("c1", {"answer": None}), "should_abstain"),
        ({"answer_correct": 0}, {}, [], [], Gold("c1", {"answer": ["45 days"]}), "not_in_documents"),
        ({"answer_correct": 0}, {"answer_correct": 0}, [RETURNS], [RETURNS], GOLD, "despite_gold"),
        ({"answer_correct": 0}, {}, [RETURNS], [RETURNS], GOLD, "despite_gold"),
        ({"answer_correct": 0}, {"answer_correct": 1}, [], [], GOLD, "not_found"),
        ({"answer_correct": 0}, {"answer_correct": 1}, [RETURNS], [], GOLD, "cut_off"),
        ({"answer_correct": 0}, {"answer_correct": 1}, [RETURNS], [RETURNS], GOLD, "not_used"),
    ],
)
def test_cause(
    scores: dict[str, float], with_gold: dict[str, float], candidates: list[Passage], kept: list[Passage], gold: Gold, expected: str | None
) -> None:
    found = cause(scores, with_gold, candidates, kept, gold)
    assert found == expected
    assert found is None or found in CAUSES
