"""The sentence that best supports an answer, by vectors alone: what the embedded model does where no trained reader is at hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stepladder.encoder import Encoder, sentences
from stepladder.models.evidence import Finding, as_answer
from stepladder.records import Passage

READING = (0.4, 0.3, 0.4)  # sentence to question, sentence to message, passage to message
SUPPORT_MIDDLE, SUPPORT_SLOPE = 0.4, 10.0


def best_supported(encoder: Encoder, message: str, asked: Sequence[str], passages: Sequence[Passage], company: str = "") -> Finding | None:
    """The sentence that is near a question, in a passage that is near the message; None where there is nothing to read.

    The logistic scale is Platt's (1999): one half is where answering is as likely to be right as abstaining.
    """
    candidates: list[tuple[str, Passage | None]] = [(s, p) for p in passages for s in sentences(p.text) if not s.startswith("#")]
    candidates += [(s, None) for s in sentences(company) if not s.startswith("#")]
    if not asked or not candidates:
        return None
    whole = encoder.encode([message])[0]
    plain = encoder.encode([as_answer(text) for text, _ in candidates])
    titled = encoder.encode([f"{p.title}: {as_answer(text)}" if p else as_answer(text) for text, p in candidates])
    around = encoder.encode([f"{p.title}: {p.text}" if p else "" for _, p in candidates])
    near_passage = np.where([p is not None for _, p in candidates], around @ whole, 0.0)
    near_question = (plain @ encoder.encode(asked).T).max(axis=1)
    score = READING[0] * near_question + READING[1] * (titled @ whole) + READING[2] * near_passage
    best = int(np.argmax(score))
    text, passage = candidates[best]
    sure = float(1 / (1 + np.exp(-SUPPORT_SLOPE * (score[best] - SUPPORT_MIDDLE))))
    return Finding(as_answer(text), as_answer(text), passage.doc_id if passage else "", sure)
