"""Two rankings of the same passages into one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RRF_K = 60  # Cormack, Clarke and Buettcher 2009


def reciprocal_rank_fusion(rankings: Sequence[Sequence[int]]) -> list[int]:
    """Ids by the sum of 1 / (60 + rank) over the rankings (Cormack et al. 2009); ties keep the order of first sight.

    >>> reciprocal_rank_fusion([[1, 2, 3], [3, 1]])
    [1, 3, 2]
    """
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, start=1):
            scores[item] = scores.get(item, 0.0) + 1 / (RRF_K + rank)
    return sorted(scores, key=lambda item: -scores[item])


def convex_sum(cosines: np.ndarray, lexical: np.ndarray, dense_weight: float) -> np.ndarray:
    """`dense_weight` times the cosine plus the rest times the BM25 score, each scaled to 0..1 (Bruch et al. 2023).

    The lower end is the least that a score can be, -1 and 0, and the upper the best that was found for this query.
    """
    dense = (cosines + 1) / max(1e-9, float(cosines.max(initial=-1)) + 1)
    words = lexical / max(1e-9, float(lexical.max(initial=0)))
    return np.asarray(dense_weight * dense + (1 - dense_weight) * words)
