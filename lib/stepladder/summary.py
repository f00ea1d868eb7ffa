"""The table that every rung stands in, with the same columns for each."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from stepladder.comparison import Difference, Interval, mean_interval, paired_difference
from stepladder.dataset import Prices
from stepladder.decision import RUNGS

FLOORS = ("incumbent", "majority", "tfidf")
BOUNDS = ("empty_context", "gold_context")
ORDER = (*FLOORS, "empty_context", *RUNGS, "gold_context")
QUALITIES = {"resolved": "resolved", "facts": "fact_correct", "behaviour": "behaviour_correct"}


class Scores:
    """The long scores of a run, asked for by rung. Bounds and floors are rungs here too."""

    def __init__(self, scores: pd.DataFrame, clusters: Mapping[str, str], seed: int = 0) -> None:
        self.long = scores
        self.clusters = clusters
        self.seed = seed

    def bases(self, rung: str) -> list[str]:
        """Base models that have this rung, in the order of the file."""
        return list(dict.fromkeys(self.long.loc[self.long["rung"] == rung, "base"]))

    def of(self, rung: str, metric: str, base: str | None = None) -> pd.Series | None:
        """One metric of a rung, indexed by case_id; None where it was not measured. Without a base, the only one.

        A floor has no base model, so it is found whichever is asked for.
        """
        rows = self.long[(self.long["rung"] == rung) & (self.long["metric"] == metric)]
        if base is not None and rung not in FLOORS:
            rows = rows[rows["base"] == base]
        return None if rows.empty else rows.set_index("case_id")["value"].astype(float)

    def mean(self, rung: str, metric: str, base: str | None = None) -> Interval | None:
        scores = self.of(rung, metric, base)
        return None if scores is None else mean_interval(scores, self.clusters, self.seed)

    def difference(self, lower: str, upper: str, metric: str, base: str | None = None) -> Difference | None:
        """`upper` minus `lower` on the same cases; None where one of them was not measured."""
        a, b = self.of(lower, metric, base), self.of(upper, metric, base)
        return None if a is None or b is None else paired_difference(a, b, self.clusters, self.seed)


def summary_table(scores: Scores, timing: pd.DataFrame, prices: Prices) -> pd.DataFrame:
    """One row per rung and base model, floors and bounds among them.

    The difference is on `resolved`, to the next lower rung of the same base model. Prices are in dollars: tokens as the
    server counts them, and for models that run here the seconds of computing.
    """
    rows = []
    for rung in ORDER:
        for base in scores.bases(rung):
            below = next((r for r in reversed(RUNGS[: RUNGS.index(rung)]) if base in scores.bases(r)), None) if rung in RUNGS else None
            row: dict[str, object] = {"rung": rung, "base": base}
            for name, metric in QUALITIES.items():
                row |= _columns(name, scores.mean(rung, metric, base))
            row["n_cases"] = row.pop("resolved_n")
            row["difference_to"] = below
            difference = scores.difference(below, rung, "resolved", base) if below else None
            row |= _columns("difference", difference) | {"won": None, "lost": None, "tied": None}
            if difference:
                row |= {"won": difference.won, "lost": difference.lost, "tied": difference.tied}
            row |= _cost(scores, timing, prices, rung, base)
            rows.append({k: v for k, v in row.items() if not k.endswith("_n")})
    return pd.DataFrame(rows)


def _columns(name: str, interval: Interval | None) -> dict[str, object]:
    if interval is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None, f"{name}_n": None}
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high, f"{name}_n": interval.n_cases}


def _cost(scores: Scores, timing: pd.DataFrame, prices: Prices, rung: str, base: str) -> dict[str, object]:
    mine = timing[timing["rung"] == rung] if "," not in base else timing.iloc[:0]  # of a variant no seconds are noted
    seconds = mine.loc[mine["kind"] == "case", "seconds"]
    training = mine.loc[mine["kind"] == "train", "seconds"]
    n_in, n_out = (scores.of(rung, name, base) for name in ("tokens_in", "tokens_out"))
    tokens = [0.0 if n is None else float(n.mean()) for n in (n_in, n_out)]
    price = 1000 * (tokens[0] * prices.input_per_million + tokens[1] * prices.output_per_million) / 1e6
    if base.startswith(("embedded", "hf:")) and len(seconds):
        price += 1000 * float(seconds.mean()) / 3600 * prices.compute_per_hour
    return {
        "seconds_p50": seconds.quantile(0.5) if len(seconds) else None,
        "seconds_p95": seconds.quantile(0.95) if len(seconds) else None,
        "tokens_in": tokens[0],
        "tokens_out": tokens[1],
        "price_per_1000": price if len(seconds) else None,
        "training_seconds": float(training.sum()) if len(training) else None,
    }
