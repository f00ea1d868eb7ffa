"""Paired differences on the same cases, intervals that know which cases belong together, and how many cases are enough."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from stepladder.records import Case, Gold, UserError

N_RESAMPLES = 4000
CONFIDENCE = 0.95


class UnequalCasesError(UserError):
    """Two rungs were not scored on the same cases."""


@dataclass(frozen=True)
class Interval:
    """A mean over cases with its 95 % interval."""

    mean: float
    low: float
    high: float
    n_cases: int

    def __str__(self) -> str:
        return f"{_two(self.mean):.2f} [{_two(self.low):.2f}, {_two(self.high):.2f}]"


@dataclass(frozen=True)
class Difference(Interval):
    """b minus a on the same cases; won, lost and tied count cases; p_mcnemar is exact and two-sided."""

    won: int = 0
    lost: int = 0
    tied: int = 0
    p_mcnemar: float = float("nan")

    def __str__(self) -> str:
        return f"{_two(self.mean):+.2f} [{_two(self.low):+.2f}, {_two(self.high):+.2f}]"


def _two(value: float) -> float:
    """Two digits for the eye, and no minus before a zero."""
    return round(value, 2) + 0.0


def clusters_of(cases: Sequence[Case], gold: Mapping[str, Gold]) -> dict[str, str]:
    """case_id -> cluster: the paraphrase group or thread, else the first evidence document, else the case itself.

    Cases of one cluster succeed and fail together, so they are resampled together. The first evidence document is taken
    rather than all of them: joined through every shared policy, most cases would be one cluster.
    """
    clusters = {}
    for case in cases:
        evidence = gold[case.case_id].evidence if case.case_id in gold else ()
        document = f"document:{evidence[0][0].doc_id}" if evidence else f"case:{case.case_id}"
        clusters[case.case_id] = f"group:{case.group_id}" if case.group_id else document
    return clusters


def mean_interval(scores: pd.Series, clusters: Mapping[str, str], seed: int = 0) -> Interval:
    """Mean of scores (index case_id, values 0 to 1) with a percentile bootstrap interval over clusters.

    Where all scores are equal the bootstrap sees no spread; then the exact binomial bound over clusters is used
    (Clopper and Pearson 1934), so that two right cases prove nothing.
    """
    low, high = _bootstrap(scores, clusters, seed)
    mean = float(scores.mean()) if len(scores) else float("nan")
    if high - low < 1e-9:
        reach = _unseen(scores, clusters)
        low, high = max(0.0, mean - reach), min(1.0, mean + reach)
    return Interval(mean, low, high, len(scores))


def paired_difference(a: pd.Series, b: pd.Series, clusters: Mapping[str, str], seed: int = 0) -> Difference:
    """b minus a (each indexed by case_id) with a cluster-bootstrap interval.

    Raises UnequalCasesError where the two were not scored on the same cases. McNemar's exact test is a check beside the
    interval; it takes cases as independent, and only right (1) against wrong (less than 1).
    """
    twice = sorted({*a.index[a.index.duplicated()], *b.index[b.index.duplicated()]})
    if twice:
        raise UnequalCasesError(f"{len(twice)} cases stand twice in the scores of a rung, {twice[0]} among them; name one base model")
    if set(a.index) != set(b.index):
        only_a, only_b = sorted(set(a.index) - set(b.index)), sorted(set(b.index) - set(a.index))
        raise UnequalCasesError(
            f"the two rungs were scored on different cases: {len(only_a)} only in the first {only_a[:3]}, {len(only_b)} only in the "
            f"second {only_b[:3]}; run both notebooks with the same data, split and limit"
        )
    difference = b.loc[a.index] - a
    low, high = _bootstrap(difference, clusters, seed)
    mean = float(difference.mean()) if len(difference) else float("nan")
    if high - low < 1e-9:
        reach = _unseen(difference, clusters)
        low, high = max(-1.0, mean - reach), min(1.0, mean + reach)
    won, lost = int((difference > 1e-12).sum()), int((difference < -1e-12).sum())
    return Difference(mean, low, high, len(difference), won, lost, len(difference) - won - lost, _mcnemar(a, b.loc[a.index]))


def _mcnemar(a: pd.Series, b: pd.Series) -> float:
    right_a, right_b = a >= 1, b >= 1
    table = [
        [int((right_a & right_b).sum()), int((right_a & ~right_b).sum())],
        [int((~right_a & right_b).sum()), int((~right_a & ~right_b).sum())],
    ]
    return float(mcnemar(table, exact=True).pvalue) if table[0][1] + table[1][0] else 1.0


def _bootstrap(scores: pd.Series, clusters: Mapping[str, str], seed: int) -> tuple[float, float]:
    if scores.empty:
        return float("nan"), float("nan")
    grouped = scores.groupby([clusters.get(str(i), str(i)) for i in scores.index], sort=True).agg(["sum", "count"])
    sums, counts = grouped["sum"].to_numpy(dtype=float), grouped["count"].to_numpy(dtype=float)
    picks = np.random.default_rng(seed).integers(0, len(sums), size=(N_RESAMPLES, len(sums)))
    means = sums[picks].sum(axis=1) / counts[picks].sum(axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _unseen(scores: pd.Series, clusters: Mapping[str, str]) -> float:
    """How large a share may differ although none of the clusters does."""
    n = len({clusters.get(str(i), str(i)) for i in scores.index})
    return float(1 - ((1 - CONFIDENCE) / 2) ** (1 / n)) if n else 1.0


def more_cases(interval: Interval, threshold: float) -> int | None:
    """About how many more cases would put the whole interval on one side of a threshold, if the mean stays.

    The width shrinks with the square root of the number of cases. None where the mean is so near to the threshold that
    a hundred times as many would not decide.
    """
    distance = abs(interval.mean - threshold)
    reach = interval.high - interval.mean if interval.mean < threshold else interval.mean - interval.low
    if distance <= 0 or math.isnan(distance) or (reach / distance) ** 2 > 100:
        return None
    return max(1, math.ceil(interval.n_cases * ((reach / distance) ** 2 - 1)))


def cases_needed(difference: float, discordant: float, alpha: float = 0.05, power: float = 0.80) -> int:
    """Pairs needed for McNemar's test to find a difference of two shares (Connor 1987).

    `discordant` is the share of cases on which the two disagree. 5 points at 20 % discordant:

    >>> cases_needed(0.05, 0.20)
    626
    """
    if not 0 < abs(difference) <= discordant <= 1:
        raise ValueError(f"found difference {difference} and discordant {discordant}; expected 0 < difference <= discordant <= 1")
    z_alpha, z_beta = stats.norm.ppf(1 - alpha / 2), stats.norm.ppf(power)
    root = z_alpha * math.sqrt(discordant) + z_beta * math.sqrt(discordant - difference**2)
    return math.ceil((root / difference) ** 2)


def smallest_difference(n_cases: int, discordant: float, alpha: float = 0.05, power: float = 0.80) -> float | None:
    """The smallest difference that `n_cases` pairs can find; None where not even the whole discordant share is found."""
    if n_cases < 1 or cases_needed(discordant, discordant, alpha, power) > n_cases:
        return None
    low, high = 1e-6, discordant
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if cases_needed(middle, discordant, alpha, power) <= n_cases else (middle, high)
    return high


def choose(tried: Mapping[tuple[str, float], pd.DataFrame], metric: str = "required_correct") -> tuple[tuple[str, float], pd.DataFrame]:
    """(the chosen configuration, table of all), from each one's long scores on dev.

    A configuration is a name, simplest first, and a threshold for abstaining. For each name the best threshold is taken,
    then the simplest name within one standard error of the best. The measure is the share of required fields that are
    right, because `resolved` alone is too coarse for so few cases. Without scores the first is taken.
    """
    series = {key: long[long["metric"] == metric].set_index("case_id")["value"] for key, long in tried.items()}
    best: dict[str, tuple[str, float]] = {}
    for key, values in series.items():
        if len(values) and (key[0] not in best or values.mean() > series[best[key[0]]].mean()):
            best[key[0]] = key
    names = list(best)
    chosen = best[names[simplest_good_enough([series[best[n]] for n in names])]] if names else next(iter(tried))
    rows = []
    for key, long in tried.items():
        means = long.groupby("metric")["value"].mean()
        shown = {m: float(means[m]) for m in (metric, "resolved", "fact_correct", "abstention_correct", "behaviour_correct") if m in means}
        rows.append({"configuration": key[0], "abstain_below": key[1], **shown, "chosen": "chosen" if key == chosen else ""})
    return chosen, pd.DataFrame(rows)


def simplest_good_enough(scores: Sequence[pd.Series]) -> int:
    """Index of the first (simplest) configuration within one standard error of the best, over the same cases.

    The standard error is that of the paired difference to the best (Breiman et al. 1984, made paired).
    """
    means = [float(s.mean()) for s in scores]
    best = int(np.argmax(means))
    for i, s in enumerate(scores):
        gap = scores[best] - s.loc[scores[best].index]
        error = float(gap.std(ddof=1) / math.sqrt(len(gap))) if len(gap) > 1 else 0.0
        if i == best or float(gap.mean()) <= error:
            return i
    return best
