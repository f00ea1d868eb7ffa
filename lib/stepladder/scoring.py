"""Pure functions from a prediction and its gold to numbers, one case at a time. Nothing is rounded here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ir_measures
import pandas as pd

from stepladder.answers import answer_correct, occurrences, rouge_l, token_f1, tokens
from stepladder.records import EvidenceSet, Gold, Output, Passage, Prediction


def field_correct(value: Any, gold: Any) -> bool:
    """Is a behaviour field right? Lists are compared as sets, numbers as numbers, words without case and edges."""
    if isinstance(gold, bool) or isinstance(value, bool) or gold is None or value is None:
        return value is gold
    if isinstance(gold, int | float) and isinstance(value, int | float):
        return abs(value - gold) < 1e-9
    if isinstance(gold, list):
        return isinstance(value, list) and set(map(str, value)) == set(map(str, gold))
    return str(value).strip().casefold() == str(gold).strip().casefold()


def score_output(prediction: Prediction, gold: Gold, must: Sequence[str]) -> dict[str, float]:
    """Scores of the fields that gold labels; a failed prediction is wrong in all of them.

    `resolved`: all of `must` that gold labels are right; `required_correct`: the share of them that is;
    `behaviour_correct`: the share of the labelled fields other than `answer` that is.
    """
    output: Output = prediction.output if prediction.output is not None else {}
    failed = prediction.output is None
    scores: dict[str, float] = {"valid_output": float(not failed)}
    for name, right in gold.output.items():
        if name == "answer":
            continue
        scores[f"{name}_correct"] = float(not failed and field_correct(output.get(name), right))
    if "answer" in gold.output:
        scores |= _score_answer(output.get("answer"), failed, gold)
    behaviour = [scores[f"{name}_correct"] for name in gold.output if name != "answer"]
    if behaviour:
        scores["behaviour_correct"] = sum(behaviour) / len(behaviour)
    required = [scores[f"{name}_correct"] for name in must if f"{name}_correct" in scores]
    if required:
        scores["required_correct"] = sum(required) / len(required)
        scores["resolved"] = float(all(required))
    return scores


def _score_answer(answer: Any, failed: bool, gold: Gold) -> dict[str, float]:
    text = answer if isinstance(answer, str) and answer.strip() else None
    accepted = gold.output["answer"]
    right = False if failed else answer_correct(text, accepted, gold.rejected)
    scores = {"abstained": float(text is None and not failed)}
    if right is not None:
        scores["answer_correct"] = float(right)
        scores["fact_correct" if accepted is not None else "abstention_correct"] = float(right)
    if accepted is not None:
        scores["answer_f1"] = max((token_f1(text or "", wording) for wording in accepted), default=0.0)
        scores["answer_rouge_l"] = max((rouge_l(text or "", wording) for wording in accepted), default=0.0)
        scores["answer_tokens"] = float(len(tokens(text or "")))
        scores["said_rejected"] = float(any(occurrences(tokens(w) or ["\0"], tokens(text or "")) for w in gold.rejected))
    return scores


def holds(passage: Passage, doc_id: str, quote: str | None) -> bool:
    """Does the passage hold the quote, white space aside? Without a quote the document is enough."""
    return passage.doc_id == doc_id and (quote is None or _squeeze(quote) in _squeeze(passage.text))


def _squeeze(text: str) -> str:
    return " ".join(text.split()).casefold()


def evidence_recall(passages: Sequence[Passage], evidence: EvidenceSet) -> float:
    """Share of the needed evidence items of which a passage holds the quote (one alternative is enough)."""
    found = [any(holds(p, e.doc_id, e.quote) for p in passages for e in item) for item in evidence]
    return sum(found) / len(found)


def retrieval_scores(passages: Sequence[Passage], evidence: EvidenceSet) -> dict[str, float]:
    """Retrieval on documents, best passage first: recall_at_1 and _5 over needed items, MRR and nDCG@10 by ir-measures."""
    if not evidence:
        return {}
    docs = list(dict.fromkeys(p.doc_id for p in passages))
    scores = {"evidence_recall": evidence_recall(passages, evidence)}
    for k in (1, 5):
        found = [any(e.doc_id in docs[:k] for e in item) for item in evidence]
        scores[f"recall_at_{k}"] = sum(found) / len(found)
        scores[f"hit_at_{k}"] = float(any(found))
    qrels = {"q": {e.doc_id: 1 for item in evidence for e in item}}
    run = {"q": {doc_id: float(-rank) for rank, doc_id in enumerate(docs)}}
    names: dict[Any, str] = {ir_measures.RR: "mrr", ir_measures.nDCG @ 10: "ndcg_at_10"}
    values = ir_measures.calc_aggregate(list(names), qrels, run) if docs else dict.fromkeys(names, 0.0)
    return scores | {name: float(values[measure]) for measure, name in names.items()}


def citation_scores(prediction: Prediction, gold: Gold) -> dict[str, float]:
    """Of an answered case: does a cited document hold the evidence, and what share of the cited was retrieved?"""
    output = prediction.output or {}
    cited = output.get("sources") or []
    if not output.get("answer") or not isinstance(cited, list):
        return {}
    retrieved = [p for p in prediction.passages if p.doc_id in cited]
    scores = {"cited_retrieved": len({p.doc_id for p in retrieved}) / len(set(map(str, cited))) if cited else 0.0}
    if gold.evidence:
        scores["cited_evidence"] = float(any(holds(p, e.doc_id, e.quote) for p in retrieved for i in gold.evidence for e in i))
    return scores


def score_case(prediction: Prediction, gold: Gold, must: Sequence[str]) -> dict[str, float]:
    """All scores of one prediction; retrieval and citations only where passages were given."""
    scores = score_output(prediction, gold, must)
    scores |= {"tokens_in": float(prediction.tokens_in), "tokens_out": float(prediction.tokens_out)}
    if prediction.passages:
        scores |= citation_scores(prediction, gold)
    return scores


def scores_table(rung: str, base: str, predictions: Sequence[Prediction], gold: Mapping[str, Gold], must: Sequence[str]) -> pd.DataFrame:
    """Long rows `rung, base, case_id, metric, value`; cases without gold have none."""
    rows = [
        (rung, base, p.case_id, metric, value)
        for p in predictions
        if p.case_id in gold
        for metric, value in score_case(p, gold[p.case_id], must).items()
    ]
    return pd.DataFrame(rows, columns=["rung", "base", "case_id", "metric", "value"])


CAUSES = {
    "right": "right",
    "not_in_documents": "the documents do not hold it",
    "despite_gold": "wrong although the gold passages were given (reading or label)",
    "not_found": "right with gold passages, but the passage was not found",
    "cut_off": "right with gold passages, found but cut off",
    "not_used": "right with gold passages, found and kept but not used",
    "should_abstain": "should have abstained",
}


def cause(
    scores: Mapping[str, float], with_gold: Mapping[str, float], candidates: Sequence[Passage], kept: Sequence[Passage], gold: Gold
) -> str | None:
    """Why an answer is wrong, by counterfactual: what the same model says when handed the gold passages.

    None where the answer is not labelled. Over all labelled cases the parts sum to the whole.
    """
    if "answer_correct" not in scores:
        return None
    if scores["answer_correct"] == 1:
        return "right"
    if gold.output["answer"] is None:
        return "should_abstain"
    if not gold.evidence:
        return "not_in_documents"
    if with_gold.get("answer_correct") != 1:
        return "despite_gold"
    if evidence_recall(candidates, gold.evidence) < 1:
        return "not_found"
    return "cut_off" if evidence_recall(kept, gold.evidence) < 1 else "not_used"
