"""The table that every rung stands in: literal scores in, literal columns out."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pytest

from stepladder.comparison import UnequalCasesError, mean_interval, paired_difference
from stepladder.dataset import Prices
from stepladder.runs import SCORE_COLUMNS, TIMING_COLUMNS
from stepladder.summary import Scores, summary_table

IDS = [f"c{i}" for i in range(4)]
NO_TIMING = pd.DataFrame(columns=TIMING_COLUMNS)


def rows(rung: str, metric: str, values: Sequence[float], base: str = "embedded") -> list[tuple[str, str, str, str, float]]:
    return [(rung, base, case_id, metric, value) for case_id, value in zip(IDS, values, strict=False)]


def scores(*parts: list[tuple[str, str, str, str, float]]) -> Scores:
    return Scores(pd.DataFrame([row for part in parts for row in part], columns=SCORE_COLUMNS), {})


def timing(*parts: tuple[str, str, float]) -> pd.DataFrame:
    return pd.DataFrame([(rung, kind, "c", seconds, False) for rung, kind, seconds in parts], columns=TIMING_COLUMNS)


PROMPT = rows("prompt", "resolved", [1, 0, 0, 0])
RAG = rows("rag", "resolved", [0, 1, 1, 1])


def row_of(table: pd.DataFrame, rung: str) -> pd.Series:
    found = table[table["rung"] == rung]
    assert len(found) == 1
    return found.iloc[0]


# Asking for scores


def test_scores_by_rung_and_metric() -> None:
    mine = scores(PROMPT, RAG, rows("rag", "fact_correct", [1, 1]))
    found = mine.of("rag", "fact_correct")
    assert found is not None
    assert found.to_dict() == {"c0": 1.0, "c1": 1.0}
    assert mine.of("hybrid", "resolved") is None
    assert mine.of("rag", "resolved", "hf:x") is None
    assert mine.mean("hybrid", "resolved") is None
    assert mine.difference("prompt", "hybrid", "resolved") is None
    assert mine.difference("hybrid", "prompt", "resolved") is None


def test_bases_in_the_order_of_the_file() -> None:
    mine = scores(rows("rag", "resolved", [1], "z"), rows("rag", "resolved", [1], "a"), rows("rag", "fact_correct", [1], "z"))
    assert mine.bases("rag") == ["z", "a"]
    assert mine.bases("prompt") == []


def test_means_and_differences_are_those_of_comparison() -> None:
    mine = scores(PROMPT, RAG)
    prompt, rag = mine.of("prompt", "resolved"), mine.of("rag", "resolved")
    assert prompt is not None
    assert rag is not None
    assert mine.mean("rag", "resolved") == mean_interval(rag, {})
    assert mine.difference("prompt", "rag", "resolved") == paired_difference(prompt, rag, {})


def test_clusters_reach_the_intervals() -> None:
    long = pd.DataFrame(PROMPT, columns=SCORE_COLUMNS)
    found = Scores(long, dict.fromkeys(IDS, "one")).mean("prompt", "resolved")
    assert found is not None
    assert (found.low, found.high) == (0, 1)


def test_rungs_scored_on_other_cases_are_refused() -> None:
    mine = scores(PROMPT, RAG[:3])
    with pytest.raises(UnequalCasesError):
        mine.difference("prompt", "rag", "resolved")


# The table


def test_one_row_per_rung_in_the_order_of_the_ladder() -> None:
    names = ["hybrid", "gold_context", "tfidf", "prompt", "empty_context", "majority", "fine_tune", "rag", "something_else"]
    table = summary_table(scores(*(rows(name, "resolved", [1, 0, 0, 1]) for name in names)), NO_TIMING, Prices())
    order = ["majority", "tfidf", "empty_context", "prompt", "rag", "fine_tune", "hybrid", "gold_context"]
    assert list(table["rung"]) == order
    below = [None, None, None, None, "prompt", "rag", "fine_tune", None]
    assert [None if pd.isna(value) else value for value in table["difference_to"]] == below


def test_quality_difference_and_counts() -> None:
    table = summary_table(
        scores(PROMPT, RAG, rows("rag", "fact_correct", [1, 0]), rows("rag", "behaviour_correct", [0.5] * 4)), NO_TIMING, Prices()
    )
    rag = row_of(table, "rag")
    assert (rag["resolved"], rag["facts"], rag["behaviour"], rag["n_cases"]) == (0.75, 0.5, 0.5, 4)
    assert rag["resolved_low"] < 0.75 < rag["resolved_high"]
    assert (rag["difference_to"], rag["difference"], rag["won"], rag["lost"], rag["tied"]) == ("prompt", 0.5, 3, 1, 0)
    prompt = row_of(table, "prompt")
    assert pd.isna(prompt["facts"])
    assert pd.isna(prompt["difference"])
    assert pd.isna(prompt["won"])


def test_the_same_columns_for_every_rung_and_quality_comes_first() -> None:
    a = summary_table(scores(PROMPT), NO_TIMING, Prices())
    b = summary_table(scores(PROMPT, RAG, rows("rag", "fact_correct", [1])), timing(("rag", "case", 1.0)), Prices())
    assert list(a.columns) == list(b.columns)
    assert list(a.columns) == [
        "rung", "base", "resolved", "resolved_low", "resolved_high", "facts", "facts_low", "facts_high",
        "behaviour", "behaviour_low", "behaviour_high", "n_cases", "difference_to", "difference", "difference_low", "difference_high",
        "won", "lost", "tied", "seconds_p50", "seconds_p95", "tokens_in", "tokens_out", "price_per_1000", "training_seconds",
    ]  # fmt: skip


def test_a_rung_that_is_missing_is_stepped_over() -> None:
    table = summary_table(scores(PROMPT, rows("hybrid", "resolved", [1, 1, 1, 1])), NO_TIMING, Prices())
    assert row_of(table, "hybrid")["difference_to"] == "prompt"
    assert row_of(table, "hybrid")["won"] == 3


def test_bases_are_rows_of_their_own_and_never_compared_with_each_other() -> None:
    small = rows("fine_tune", "resolved", [1, 1, 1, 1], "embedded")
    table = summary_table(scores(rows("prompt", "resolved", [0, 0, 0, 0], "openai:x"), PROMPT, small), NO_TIMING, Prices())
    assert list(zip(table["rung"], table["base"], strict=True)) == [
        ("prompt", "openai:x"),
        ("prompt", "embedded"),
        ("fine_tune", "embedded"),
    ]
    assert row_of(table, "fine_tune")["difference"] == 0.75
    alone = summary_table(scores(rows("prompt", "resolved", [0] * 4, "openai:x"), small), NO_TIMING, Prices())
    assert pd.isna(row_of(alone, "fine_tune")["difference_to"])


def test_no_scores_give_an_empty_table() -> None:
    assert summary_table(scores(), NO_TIMING, Prices()).empty


# Seconds and prices


def test_seconds_of_cases_and_of_training() -> None:
    parts = [("rag", "case", s) for s in (1.0, 2.0, 3.0)] + [
        ("rag", "index", 50.0),
        ("rag", "train", 40.0),
        ("rag", "train", 2.0),
        ("prompt", "case", 9.0),
    ]
    table = summary_table(scores(PROMPT, RAG), timing(*parts), Prices())
    rag, prompt = row_of(table, "rag"), row_of(table, "prompt")
    assert (rag["seconds_p50"], rag["seconds_p95"], rag["training_seconds"]) == (2.0, pytest.approx(2.9), 42.0)
    assert prompt["seconds_p50"] == 9.0
    assert pd.isna(prompt["training_seconds"])


PRICES = Prices(input_per_million=2.0, output_per_million=10.0, compute_per_hour=3.6)


def priced(base: str) -> pd.Series:
    parts = [rows("rag", "resolved", [1, 0], base), rows("rag", "tokens_in", [900, 1100], base), rows("rag", "tokens_out", [50, 150], base)]
    return row_of(summary_table(scores(*parts), timing(("rag", "case", 1.0), ("rag", "case", 3.0)), PRICES), "rag")


def test_a_server_costs_its_tokens() -> None:
    row = priced("openai:x")
    assert (row["tokens_in"], row["tokens_out"]) == (1000, 100)
    assert row["price_per_1000"] == pytest.approx(1000 * (1000 * 2 + 100 * 10) / 1e6)


@pytest.mark.parametrize("base", ["embedded", "hf:org/model"])
def test_a_model_that_runs_here_costs_its_seconds_too(base: str) -> None:
    assert priced(base)["price_per_1000"] == pytest.approx(3.0 + 1000 * 2.0 / 3600 * 3.6)


def test_without_timing_there_is_no_price() -> None:
    row = row_of(summary_table(scores(PROMPT), NO_TIMING, PRICES), "prompt")
    assert pd.isna(row["price_per_1000"])
    assert pd.isna(row["seconds_p50"])
