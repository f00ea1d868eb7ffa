"""From the signs of a sentence to the probability that it is the answer: weights learned from labelled cases, and their calibration."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from tqdm import tqdm

from stepladder.answers import answer_correct
from stepladder.dataset import Dataset
from stepladder.encoder import Encoder
from stepladder.encoder.pairs import PairReader
from stepladder.encoder.questions import asked
from stepladder.models.evidence import CERTAIN, SIGNS, candidates
from stepladder.records import Split
from stepladder.search import SearchIndex

N_PASSAGES = 5


def sentences_read(folder: Dataset, split: Split, reader: PairReader, encoder: Encoder) -> pd.DataFrame:
    """A row for each sentence that may answer a case of the split: `case_id`, `answerable`, `right` and the SIGNS.

    The passages are those that the default search finds. A case in which nothing is to be read has one row that is not right.
    """
    index = SearchIndex(folder.documents, encoder)
    cases = [c for c in folder.cases(split) if c.case_id in folder.gold and "answer" in folder.gold[c.case_id].output]
    parts = []
    for case in tqdm(cases, desc=f"reading {split}", leave=False):
        gold = folder.gold[case.case_id]
        accepted = gold.output["answer"]
        passages = index.search(case.text, k=N_PASSAGES)
        found, signs = candidates(reader, encoder, case.text, asked(case.text), passages, folder.company)
        part = pd.DataFrame(signs if found else [[0.0, 0.0, 0.0, -CERTAIN]], columns=list(SIGNS))
        right = [answer_correct(f.sentence, accepted, gold.rejected) is True for f in found]
        parts.append(part.assign(case_id=case.case_id, answerable=accepted is not None, right=right or False))
    return pd.concat(parts, ignore_index=True)


def fit(rows: pd.DataFrame, signs: tuple[str, ...] = SIGNS) -> tuple[dict[str, float], float]:
    """(weight of each sign, bias): a logistic regression that ranks sentences, scaled so that the best of each case is calibrated.

    Without the second step a probability would say how often one sentence of many is right (Platt 1999). Signs that are left
    out weigh nothing.
    """
    scale = rows[list(signs)].std()
    scale = scale.where(scale > 1e-9, 1.0)
    ranked = LogisticRegression().fit((rows[list(signs)] / scale).to_numpy(), rows["right"])
    weights = dict.fromkeys(SIGNS, 0.0) | dict(zip(signs, (ranked.coef_[0] / scale).tolist(), strict=True))
    best = best_of_cases(rows, weights, 0.0)
    scores = np.asarray(np.log(best["confidence"] / (1 - best["confidence"])))
    curve = LogisticRegression(C=np.inf).fit(scores[:, None], best["right"])
    slope = float(curve.coef_[0, 0])
    return {name: slope * weight for name, weight in weights.items()}, float(curve.intercept_[0])


def best_of_cases(rows: pd.DataFrame, weights: dict[str, float], bias: float) -> pd.DataFrame:
    """The best sentence of each case: `answerable`, `right` and `confidence`, by `case_id`."""
    scores = rows[list(SIGNS)] @ pd.Series(weights) + bias
    best = rows.loc[scores.groupby(rows["case_id"], sort=False).idxmax()].set_index("case_id")
    confidence = 1 / (1 + np.exp(-scores.groupby(rows["case_id"], sort=False).max().clip(-30, 30)))
    return best[["answerable", "right"]].assign(confidence=confidence)


def answered(best: pd.DataFrame, threshold: float) -> dict[str, float]:
    """Shares of cases: facts right, right abstentions, and either, when what is less sure than the threshold is withheld."""
    said = best["confidence"] >= threshold
    yes = best["answerable"]
    right = np.where(yes, best["right"] & said, ~said)
    return {"facts right": float(right[yes].mean()), "right abstentions": float(right[~yes].mean()), "all": float(right.mean())}


def reliability(confidence: np.ndarray, right: np.ndarray, n_bins: int = 10) -> tuple[pd.DataFrame, float]:
    """(mean confidence and share right of bins of equal size, expected calibration error (Guo et al. 2017))."""
    bins = [some for some in np.array_split(np.argsort(confidence, kind="stable"), n_bins) if len(some)]
    rows = [(confidence[some].mean(), right[some].mean(), len(some)) for some in bins]
    table = pd.DataFrame(rows, columns=["confidence", "right", "cases"])
    return table, float(((table["confidence"] - table["right"]).abs() * table["cases"]).sum() / len(confidence))
