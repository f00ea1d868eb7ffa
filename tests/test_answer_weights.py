"""From signs to a probability: weights that made the data are found again, the best sentence of a case is calibrated, rows are literal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from statsmodels.discrete.discrete_model import Logit

from stepladder.cache import Cache
from stepladder.dataset import Brief, Dataset
from stepladder.encoder import DIMENSIONS, Encoder
from stepladder.models.evidence import CERTAIN, SIGNS
from stepladder.records import Case, Document, Gold
from stepladder.tuning.answer_weights import answered, best_of_cases, fit, reliability, sentences_read
from table_reader import NOTHING, TableReader

YES, NO = True, False
SPAN = SIGNS[3]

# --- learning the weights

WEIGHTS, BIAS = np.array([3.0, 2.0, 1.0, 0.5]), -3.0


def drawn(n: int, seed: int = 0) -> pd.DataFrame:
    """Cases of one sentence each, which is right as often as the logistic function of its signs says."""
    random = np.random.default_rng(seed)
    signs = np.column_stack([random.random((n, 3)), random.uniform(-CERTAIN, CERTAIN, n)])
    right = random.random(n) < 1 / (1 + np.exp(-(signs @ WEIGHTS + BIAS)))
    return pd.DataFrame(signs, columns=list(SIGNS)).assign(case_id=np.arange(n), answerable=True, right=right)


def most_likely(rows: pd.DataFrame, signs: Sequence[str]) -> np.ndarray:
    """(bias, weights of the signs) of maximum likelihood, as statsmodels finds them by Newton's method."""
    known = np.column_stack([np.ones(len(rows)), rows[list(signs)]])
    return np.asarray(Logit(rows["right"].to_numpy(dtype=float), known).fit(disp=0).params)


def test_the_weights_that_made_the_data_are_found() -> None:
    weights, bias = fit(drawn(40_000))
    assert list(weights) == list(SIGNS)
    assert [weights[name] for name in SIGNS[:3]] == pytest.approx(WEIGHTS[:3].tolist(), abs=0.35)
    assert weights[SPAN] == pytest.approx(WEIGHTS[3], rel=0.06)
    assert bias == pytest.approx(BIAS, abs=0.35)


@pytest.mark.parametrize("signs", [SIGNS, SIGNS[2:], SIGNS[::2], (SPAN,)], ids=["all", "the last two", "every second", "one"])
def test_the_weights_are_those_of_maximum_likelihood(signs: tuple[str, ...]) -> None:
    """The first regression holds weights back a little, the second lets them go."""
    rows = drawn(20_000)
    weights, bias = fit(rows, signs)
    np.testing.assert_allclose([bias, *(weights[name] for name in signs)], most_likely(rows, signs), rtol=0.02, atol=0.03)


@pytest.mark.parametrize("signs", [SIGNS[:3], SIGNS[1:], (SPAN,)])
def test_signs_that_are_left_out_weigh_nothing(signs: tuple[str, ...]) -> None:
    weights, _ = fit(drawn(500), signs)
    assert list(weights) == list(SIGNS)
    assert {name for name, weight in weights.items() if weight == 0} == set(SIGNS) - set(signs)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 0.7])
def test_a_sign_that_is_the_same_everywhere_does_no_harm(value: float) -> None:
    rows = drawn(2000).assign(**{SIGNS[2]: value})
    with_it, without = fit(rows), fit(rows, (SIGNS[0], SIGNS[1], SPAN))
    for name in (SIGNS[0], SIGNS[1], SPAN):
        assert with_it[0][name] == pytest.approx(without[0][name], rel=0.02, abs=0.05)
    sure, expected = (best_of_cases(rows, *found)["confidence"] for found in (with_it, without))
    np.testing.assert_allclose(sure, expected, atol=0.02)


def test_the_best_of_each_case_is_calibrated_though_most_sentences_are_wrong() -> None:
    """Four sentences a case, in six cases of ten one of them right, whose score is higher by two on average."""
    n, random = 6000, np.random.default_rng(0)
    right = np.zeros((n, 4), dtype=bool)
    right[: n * 6 // 10, 0] = True
    scores = random.normal(size=right.shape) + 2 * right
    rows = pd.DataFrame(0.0, index=range(4 * n), columns=list(SIGNS)).assign(
        **{SPAN: scores.ravel()}, case_id=np.repeat(np.arange(n), 4), answerable=np.repeat(right.any(axis=1), 4), right=right.ravel()
    )
    best = best_of_cases(rows, *fit(rows))
    assert len(best) == n
    assert best["confidence"].mean() == pytest.approx(best["right"].mean(), abs=1e-3)
    assert reliability(best["confidence"].to_numpy(), best["right"].to_numpy())[1] < 0.05


def test_where_no_sentence_is_right_there_is_nothing_to_learn() -> None:
    with pytest.raises(ValueError, match="at least 2 classes"):
        fit(drawn(50).assign(right=False))


# --- the best sentence of a case


def table(*rows: tuple[str, bool, bool, float, float]) -> pd.DataFrame:
    """Sentences by case: answerable, right, the cosine with the question, and the reader's score; the other signs are 0.2."""
    made = pd.DataFrame(rows, columns=["case_id", "answerable", "right", SIGNS[0], SPAN])
    return made.assign(**{SIGNS[1]: 0.2, SIGNS[2]: 0.2})


ROWS = table(
    ("b", YES, False, 0.9, 1.0),
    ("a", NO, False, 0.1, 2.0),
    ("b", YES, True, 0.2, 3.0),
    ("a", NO, False, 0.8, -5.0),
    ("b", YES, False, 0.0, -12.0),
)


@pytest.mark.parametrize(
    ("to_question", "span", "right", "scores"),
    [
        (0.0, 1.0, [True, False], [3.0, 2.0]),
        (10.0, 1.0, [False, False], [10.0, 3.0]),  # the reader likes one sentence, the cosine another
        (10.0, 0.0, [False, False], [9.0, 8.0]),
        (0.0, 0.0, [False, False], [0.0, 0.0]),  # of equals the first
        (0.0, -1.0, [False, False], [12.0, 5.0]),
    ],
)
def test_the_best_sentence_of_each_case_is_taken(to_question: float, span: float, right: list[bool], scores: list[float]) -> None:
    best = best_of_cases(ROWS, dict(zip(SIGNS, (to_question, 0.0, 0.0, span), strict=True)), -2.0)
    assert best.columns.tolist() == ["answerable", "right", "confidence"]
    assert best.index.tolist() == ["b", "a"]  # as they are met
    assert best["answerable"].tolist() == [True, False]
    assert best["right"].tolist() == right
    np.testing.assert_allclose(best["confidence"], [1 / (1 + np.exp(2 - score)) for score in scores])


def test_all_signs_and_the_bias_count() -> None:
    weights = dict(zip(SIGNS, (1.0, 10.0, 5.0, 0.5), strict=True))
    best = best_of_cases(ROWS, weights, -4.0)  # 0.2 + 2 + 1 + 1.5 - 4, and 0.1 + 2 + 1 + 1 - 4
    np.testing.assert_allclose(best["confidence"], [1 / (1 + np.exp(-0.7)), 1 / (1 + np.exp(-0.1))])


@pytest.mark.parametrize("bias", [-1e6, 1e6])
def test_no_confidence_is_nought_or_one(bias: float) -> None:
    """Or its odds would have no logarithm."""
    sure = best_of_cases(ROWS, dict.fromkeys(SIGNS, 1.0), bias)["confidence"]
    assert ((sure > 0) & (sure < 1)).all()
    assert sure.tolist() == pytest.approx([float(bias > 0)] * 2, abs=1e-12)


# --- abstaining

BEST = pd.DataFrame(
    [(YES, True, 0.9), (YES, False, 0.8), (YES, True, 0.4), (NO, False, 0.6)], columns=["answerable", "right", "confidence"]
)


@pytest.mark.parametrize(
    ("threshold", "facts", "abstained", "of_all"),
    [
        (0.0, 2 / 3, 0.0, 2 / 4),  # everything is said
        (0.4, 2 / 3, 0.0, 2 / 4),  # what is as sure as the threshold is said
        (0.5, 1 / 3, 0.0, 1 / 4),
        (0.6, 1 / 3, 0.0, 1 / 4),
        (0.7, 1 / 3, 1.0, 2 / 4),
        (0.85, 1 / 3, 1.0, 2 / 4),  # a wrong answer that is withheld is still not the fact
        (1.0, 0.0, 1.0, 1 / 4),  # nothing is said
    ],
)
def test_withheld_answers_are_right_where_there_is_none(threshold: float, facts: float, abstained: float, of_all: float) -> None:
    expected = {"facts right": facts, "right abstentions": abstained, "all": of_all}
    assert answered(BEST, threshold) == pytest.approx(expected)


# --- calibration


def curve(scores: np.ndarray, slope: float, middle: float) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-slope * (scores - middle))))


def test_what_is_calibrated_has_hardly_an_error_and_what_is_displaced_has_one() -> None:
    random = np.random.default_rng(0)
    scores = random.uniform(-8, 8, 20_000)
    sure = curve(scores, 0.5, 2.0)
    right = random.random(20_000) < sure
    bins, error = reliability(sure, right)
    assert error < 0.02
    assert bins["cases"].tolist() == [2000] * 10
    assert (np.diff(bins["confidence"]) > 0).all()
    np.testing.assert_allclose(bins["right"], bins["confidence"], atol=0.05)
    assert reliability(curve(scores, 0.5, -2.0), right)[1] > 0.2


def test_nine_tenths_sure_and_half_right_is_an_error_of_four_tenths() -> None:
    bins, error = reliability(np.full(40, 0.9), np.arange(40) % 2 == 1)
    assert error == pytest.approx(0.4)
    assert bins["confidence"].tolist() == pytest.approx([0.9] * 10)
    assert bins["right"].tolist() == [0.5] * 10


def test_bins_of_unlike_size_are_weighted() -> None:
    """Five rows in two bins: three of confidence 0.1 that are never right, two of 0.9 of which one is."""
    sure, right = np.array([0.9, 0.1, 0.1, 0.9, 0.1]), np.array([True, False, False, False, False])
    bins, error = reliability(sure, right, n_bins=2)
    assert bins["cases"].tolist() == [3, 2]
    assert bins["right"].tolist() == [0.0, 0.5]
    assert error == pytest.approx((3 * 0.1 + 2 * 0.4) / 5)


def test_fewer_cases_than_bins() -> None:
    bins, error = reliability(np.array([0.5, 0.5]), np.array([True, False]))
    assert (bins["cases"].tolist(), error) == ([1, 1], 0.5)


# --- reading a dataset


class OneWayEncoder(Encoder):
    """All texts point the same way: every cosine is 1."""

    def _embed(self, texts: list[str]) -> np.ndarray:
        rows = np.zeros((len(texts), DIMENSIONS))
        rows[:, 0] = 1
        return rows


@pytest.fixture
def encoder(tmp_path: Path) -> Encoder:
    return OneWayEncoder(Cache(tmp_path), "fp32")


LONG, AXES, THANKS = "How long may I return it?", "Do you sell ice axes?", "Thanks, all is well."
TEXT = "Returns are free. Goods may come back within 45 days. Some say 45 days, some 60 days."
RETURNS = Document("returns", "Returns", "", "policy", "published", "2026-03-16", TEXT)
DRAFT = Document("draft", "Returns", "", "policy", "draft", "2026-03-16", "Goods may come back within 45 days, or more.")
CASES = (
    Case("long", "dev", LONG),
    Case("axes", "dev", AXES),
    Case("thanks", "dev", THANKS),
    Case("no gold", "dev", LONG),
    Case("no answer in gold", "dev", LONG),
    Case("of another split", "train", "How long may I keep it before I return it?"),
)
GOLD = {
    "long": Gold("long", {"answer": ["45 days"]}, rejected=("60 days",)),
    "axes": Gold("axes", {"answer": None}),
    "thanks": Gold("thanks", {"answer": None}),
    "no answer in gold": Gold("no answer in gold", {"intent": "return"}),
    "of another split": Gold("of another split", {"answer": ["45 days"]}),
}


def folder(path: Path, cases: Sequence[Case], gold: Mapping[str, Gold], company: str = "We sell boots.") -> Dataset:
    return Dataset(path, (RETURNS, DRAFT), (), tuple(cases), gold, {}, Brief(), company)


def test_each_sentence_of_each_labelled_case_is_a_row(tmp_path: Path, encoder: Encoder) -> None:
    """The right sentence gives an accepted wording and no rejected one; the last of each four is of the company text."""
    reader = TableReader({("return", "45 days"): 4.0})
    found = sentences_read(folder(tmp_path, CASES, GOLD), "dev", reader, encoder)
    assert reader.given == [(q, text) for q in (LONG, AXES) for text in (f"Returns\n{TEXT}", "We sell boots.")]
    assert found.index.tolist() == list(range(9))
    assert found["case_id"].tolist() == ["long"] * 4 + ["axes"] * 4 + ["thanks"]
    assert found["answerable"].tolist() == [True] * 4 + [False] * 5
    assert found["right"].tolist() == [False, True, False, False] + [False] * 5
    near, company = [1.0, 1.0, 1.0], [1.0, 1.0, 0.0, NOTHING]
    expected = [[*near, -CERTAIN], [*near, 4.0], [*near, -CERTAIN], company]
    expected += [[*near, -CERTAIN]] * 3 + [company, [0.0, 0.0, 0.0, -CERTAIN]]
    np.testing.assert_allclose(found[list(SIGNS)], expected, atol=1e-6)


def test_the_split_that_is_asked_for_is_read(tmp_path: Path, encoder: Encoder) -> None:
    found = sentences_read(folder(tmp_path, CASES, GOLD), "train", TableReader({}), encoder)
    assert set(found["case_id"]) == {"of another split"}


@pytest.mark.parametrize("accepted", [["45 days"], None])
def test_a_case_in_which_nothing_is_asked_has_one_row_that_is_not_right(
    tmp_path: Path, encoder: Encoder, accepted: list[str] | None
) -> None:
    reader = TableReader({("", "45 days"): 4.0})
    gold = {"thanks": Gold("thanks", {"answer": accepted})}
    [row] = sentences_read(folder(tmp_path, CASES, gold), "dev", reader, encoder).to_dict("records")
    nothing = dict.fromkeys(SIGNS, 0.0) | {SPAN: -CERTAIN}
    assert row == nothing | {"case_id": "thanks", "answerable": accepted is not None, "right": False}
    assert reader.given == []


def test_what_no_rule_can_judge_is_not_right(tmp_path: Path, encoder: Encoder) -> None:
    """A wording of more than twelve tokens is too long to compare."""
    wording = "Goods may come back within 45 days if they are unused and still in their box"
    gold = {"long": Gold("long", {"answer": [wording]})}
    found = sentences_read(folder(tmp_path, CASES, gold, company=f"{wording}."), "dev", TableReader({}), encoder)
    assert found["right"].tolist() == [False] * 4
    assert found["answerable"].all()
