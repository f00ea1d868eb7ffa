"""Intervals and tests against scipy and statsmodels; power against Connor's formula."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from stepladder.comparison import (
    Difference,
    Interval,
    UnequalCasesError,
    cases_needed,
    choose,
    clusters_of,
    mean_interval,
    more_cases,
    paired_difference,
    simplest_good_enough,
    smallest_difference,
)
from stepladder.records import Case, Evidence, Gold


def series(values: Sequence[float]) -> pd.Series:
    return pd.Series([float(v) for v in values], index=[f"c{i}" for i in range(len(values))])


def drawn(n: int, share: float, seed: int) -> pd.Series:
    return series(list(np.random.default_rng(seed).random(n) < share))


# Clusters


def test_clusters_are_group_then_first_document_then_case() -> None:
    cases = [Case("c1", "test", "", group_id="g"), Case("c2", "test", "", group_id="g"), *(Case(f"c{i}", "test", "") for i in (3, 4, 5, 6))]
    gold = {
        "c1": Gold("c1", {}, ((Evidence("returns"),),)),
        "c3": Gold("c3", {}, ((Evidence("returns"), Evidence("other")), (Evidence("x"),))),
        "c4": Gold("c4", {}, ((Evidence("returns", "45 days"),),)),
        "c5": Gold("c5", {}),
    }
    clusters = clusters_of(cases, gold)
    assert clusters["c1"] == clusters["c2"] == "group:g"
    assert clusters["c3"] == clusters["c4"] == "document:returns"
    assert (clusters["c5"], clusters["c6"]) == ("case:c5", "case:c6")


# Intervals


@pytest.mark.parametrize(("n", "share"), [(40, 0.3), (200, 0.8)])
def test_mean_interval_is_scipys_bootstrap_where_every_case_is_a_cluster(n: int, share: float) -> None:
    scores = drawn(n, share, seed=n)
    found = mean_interval(scores, {}, seed=0)
    expected = stats.bootstrap((scores.to_numpy(),), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1))
    assert found.mean == scores.mean()
    assert found.n_cases == n
    assert found.low == pytest.approx(expected.confidence_interval.low, abs=1.5 / n + 0.005)
    assert found.high == pytest.approx(expected.confidence_interval.high, abs=1.5 / n + 0.005)


def test_clusters_of_equal_cases_are_as_wide_as_their_number_says() -> None:
    few = drawn(30, 0.5, seed=1)
    copies = pd.Series(np.repeat(few.to_numpy(), 10), index=[f"c{i}" for i in range(300)])
    clustered = mean_interval(copies, {f"c{i}": f"k{i // 10}" for i in range(300)}, seed=0)
    singletons = mean_interval(few, {}, seed=0)
    naive = mean_interval(copies, {}, seed=0)
    assert clustered.high - clustered.low == pytest.approx(singletons.high - singletons.low, abs=0.04)
    assert naive.high - naive.low < 0.5 * (clustered.high - clustered.low)


def test_clusters_of_unequal_size_weigh_by_their_cases() -> None:
    scores = series([1, 1, 1, 1, 1, 1, 0, 0])
    interval = mean_interval(scores, {f"c{i}": "big" for i in range(6)}, seed=0)
    assert interval.mean == 0.75
    assert (interval.low, interval.high) == (0, 1)  # all small, or all big


@pytest.mark.parametrize("n", [1, 2, 20, 300])
def test_all_equal_gives_the_exact_binomial_bound(n: int) -> None:
    low, _ = proportion_confint(n, n, alpha=0.05, method="beta")
    _, high = proportion_confint(0, n, alpha=0.05, method="beta")
    right, wrong = mean_interval(series([1] * n), {}), mean_interval(series([0] * n), {})
    assert (right.low, right.high) == (pytest.approx(low), 1)
    assert (wrong.low, wrong.high) == (0, pytest.approx(high))


def test_the_exact_bound_counts_clusters_and_not_cases() -> None:
    low, _ = proportion_confint(2, 2, alpha=0.05, method="beta")
    clusters = {f"c{i}": f"k{i % 2}" for i in range(100)}
    assert mean_interval(series([1] * 100), clusters).low == pytest.approx(low)
    assert mean_interval(series([1, 0] * 50), dict.fromkeys(clusters, "one")).low == pytest.approx(0)  # one cluster tells nothing


@pytest.mark.parametrize("value", [2 / 3, 0.1, 0.7])
def test_all_equal_shares_in_clusters_of_several_sizes_are_all_equal(value: float) -> None:
    clusters = {f"c{i}": str([0, 1, 1, 2, 2, 2, 3, 3, 3, 3, 4, 5][i]) for i in range(12)}
    interval = mean_interval(series([value] * 12), clusters)
    assert interval.high - interval.low > 0.1


def test_one_seed_gives_one_interval() -> None:
    scores = drawn(30, 0.4, seed=0)
    assert mean_interval(scores, {}, seed=3) == mean_interval(scores, {}, seed=3)
    assert mean_interval(scores, {}, seed=3).mean == mean_interval(scores, {}, seed=4).mean


def test_an_interval_does_not_depend_on_the_order_of_the_rows() -> None:
    scores = drawn(30, 0.4, seed=0)
    assert mean_interval(scores, {}, seed=3) == mean_interval(scores[::-1], {}, seed=3)


def test_no_cases() -> None:
    interval = mean_interval(series([]), {})
    assert interval.n_cases == 0
    assert all(map(math.isnan, (interval.mean, interval.low, interval.high)))


def test_text() -> None:
    assert str(Interval(0.614, 0.55, 0.66, 300)) == "0.61 [0.55, 0.66]"
    assert str(Difference(0.31, -0.25, 0.37, 300)) == "+0.31 [-0.25, +0.37]"


# Differences


def test_paired_difference_is_scipys_bootstrap_of_the_differences() -> None:
    a, b = drawn(150, 0.4, seed=1), drawn(150, 0.7, seed=2)
    found = paired_difference(a, b, {}, seed=0)
    expected = stats.bootstrap(((b - a).to_numpy(),), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1))
    assert found.mean == pytest.approx(b.mean() - a.mean())
    assert found.low == pytest.approx(expected.confidence_interval.low, abs=0.02)
    assert found.high == pytest.approx(expected.confidence_interval.high, abs=0.02)


def test_won_lost_tied_and_mcnemar_of_statsmodels() -> None:
    a = series([1] * 5 + [0] * 9 + [1] * 2 + [0] * 4)
    b = series([1] * 5 + [1] * 9 + [0] * 2 + [0] * 4)
    found = paired_difference(a, b, {})
    assert (found.won, found.lost, found.tied, found.n_cases) == (9, 2, 9, 20)
    assert found.p_mcnemar == pytest.approx(mcnemar([[5, 2], [9, 4]], exact=True).pvalue)
    assert found.p_mcnemar == pytest.approx(stats.binomtest(2, 11).pvalue)
    assert paired_difference(b, a, {}).p_mcnemar == pytest.approx(found.p_mcnemar)


def test_mcnemar_takes_only_1_for_right() -> None:
    found = paired_difference(series([0.5] * 8), series([0.75] * 8), {})
    assert (found.won, found.p_mcnemar) == (8, 1.0)


def test_the_same_scores_twice_prove_little_with_few_cases() -> None:
    scores = drawn(10, 0.5, seed=0)
    found = paired_difference(scores, scores, {})
    reach = 1 - proportion_confint(10, 10, alpha=0.05, method="beta")[0]
    assert (found.mean, found.low, found.high) == (0, pytest.approx(-reach), pytest.approx(reach))
    assert (found.tied, found.p_mcnemar) == (10, 1.0)


def test_rows_are_paired_by_id_and_not_by_place() -> None:
    a, b = drawn(40, 0.4, seed=1), drawn(40, 0.7, seed=2)
    shuffled = b.sample(frac=1, random_state=0)
    assert paired_difference(a, shuffled, {}, seed=0) == paired_difference(a, b, {}, seed=0)


def test_unequal_ids_are_refused_and_named() -> None:
    a, b = series([1, 0, 1]), series([1, 0, 1]).rename({"c2": "c9"})
    with pytest.raises(
        UnequalCasesError, match=r"1 only in the first \['c2'\], 1 only in the second \['c9'\]; run both notebooks"
    ) as caught:
        paired_difference(a, b, {})
    assert "same data, split and limit" in str(caught.value)
    with pytest.raises(UnequalCasesError, match="1 only in the first"):
        paired_difference(a, a.iloc[:2], {})
    with pytest.raises(UnequalCasesError):
        paired_difference(series([]), a, {})


@pytest.mark.parametrize("twice", ["first", "second", "both"])
def test_an_id_that_stands_twice_is_refused(twice: str) -> None:
    once, double = series([1, 0]), pd.concat([series([1, 0]), series([0, 0])])
    with pytest.raises(UnequalCasesError):
        paired_difference(once if twice == "second" else double, once if twice == "first" else double, {})


# How many cases


def test_more_cases_follows_the_square_root() -> None:
    assert more_cases(Interval(0.7, 0.6, 0.8, 100), 0.75) == pytest.approx(300, abs=1)  # reach .10, distance .05: four times as many
    assert more_cases(Interval(0.7, 0.6, 0.72, 100), 0.65) == pytest.approx(300, abs=1)  # the side towards the threshold counts
    assert more_cases(Interval(0.7, 0.68, 0.8, 100), 0.75) == pytest.approx(300, abs=1)
    assert more_cases(Interval(0.7, 0.6, 0.8, 100), 0.9) == 1
    assert more_cases(Interval(0.7, 0.6, 0.8, 100), 0.7) is None
    assert more_cases(Interval(0.7, 0.6, 0.8, 100), 0.7099) is None
    assert more_cases(Interval(math.nan, math.nan, math.nan, 0), 0.8) is None


def test_connors_formula() -> None:
    assert cases_needed(0.05, 0.20) == 626
    assert cases_needed(-0.05, 0.20) == 626
    p10, p01 = 0.125, 0.075  # the same, from the two discordant cells
    z_a, z_b = 1.959963985, 0.841621234
    n = (z_a * math.sqrt(p10 + p01) + z_b * math.sqrt(p10 + p01 - (p10 - p01) ** 2)) ** 2 / (p10 - p01) ** 2
    assert math.ceil(n) == 626


def test_cases_needed_has_about_its_power() -> None:
    n = cases_needed(0.10, 0.30)
    draw = np.random.default_rng(0)
    cells = draw.multinomial(n, [0.20, 0.10, 0.70], size=4000)
    b, c = cells[:, 0], cells[:, 1]
    found = (b - c) ** 2 / (b + c) > stats.chi2.ppf(0.95, 1)
    assert found.mean() == pytest.approx(0.80, abs=0.03)


@pytest.mark.parametrize(("difference", "discordant"), [(0, 0.2), (0.3, 0.2), (0.1, 1.2), (0.1, 0), (math.nan, 0.2)])
def test_cases_needed_refuses_what_cannot_be(difference: float, discordant: float) -> None:
    with pytest.raises(ValueError, match="expected 0 < difference <= discordant <= 1"):
        cases_needed(difference, discordant)


def test_smallest_difference_inverts_cases_needed() -> None:
    found = smallest_difference(626, 0.20)
    assert found == pytest.approx(0.05, abs=1e-4)
    assert found is not None
    assert cases_needed(found, 0.20) <= 626 < cases_needed(found - 1e-3, 0.20)
    assert smallest_difference(5, 0.20) is None
    assert smallest_difference(0, 0.20) is None


# Choosing


def test_the_simplest_within_one_standard_error_of_the_best() -> None:
    plain, better, best = series([1, 0] * 10), series([0, 0] + [1] * 18), series([1, 1, 0] + [1] * 17)
    assert simplest_good_enough([plain, better, best]) == 1  # the gap of better to best is .05, its standard error .09
    assert simplest_good_enough([plain, best, better]) == 1
    assert simplest_good_enough([best, better]) == 0
    assert simplest_good_enough([series([1]), series([1])]) == 0
    assert simplest_good_enough([series([0]), series([1])]) == 1


def long_scores(**metrics: Sequence[float]) -> pd.DataFrame:
    rows = [("rung", "b", f"c{i}", metric, float(v)) for metric, values in metrics.items() for i, v in enumerate(values)]
    return pd.DataFrame(rows, columns=["rung", "base", "case_id", "metric", "value"])


def test_choose_takes_the_best_threshold_of_each_name_then_the_simplest_name() -> None:
    tried = {
        ("plain", 0.5): long_scores(required_correct=[0.0] * 10, resolved=[0.0] * 10),
        ("plain", 0.4): long_scores(required_correct=[0.0] * 2 + [1.0] * 8, resolved=[0.0] * 10),
        ("careful", 0.5): long_scores(required_correct=[1.0] * 9 + [0.0], resolved=[1.0] * 10),
    }
    chosen, table = choose(tried)
    assert chosen == ("plain", 0.4)
    assert list(table["chosen"]) == ["", "chosen", ""]
    assert list(table.columns) == ["configuration", "abstain_below", "required_correct", "resolved", "chosen"]
    assert list(table["required_correct"]) == [0, 0.8, 0.9]


def test_choose_takes_a_later_name_that_is_clearly_better() -> None:
    tried = {("plain", 0.5): long_scores(required_correct=[0.0] * 10), ("careful", 0.5): long_scores(required_correct=[1.0] * 9 + [0.0])}
    assert choose(tried)[0] == ("careful", 0.5)


def test_choose_without_scores_takes_the_first() -> None:
    chosen, table = choose({("plain", 0.5): long_scores(), ("careful", 0.5): long_scores(resolved=[1.0])})
    assert chosen == ("plain", 0.5)
    assert list(table["chosen"]) == ["chosen", ""]
