"""The answer to what a message asks, read out of passages and company text by the embedded reader."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from stepladder.encoder import Encoder, sentence_spans
from stepladder.encoder.pairs import WEIGHTS, PairReader, Span
from stepladder.encoder.vectors import legible
from stepladder.records import Passage

SIGNS = ("sentence to question", "sentence to message", "passage to message", "span over no answer")
"""What tells an answer: three cosines, and how far the reader's logit of the best span in the sentence is above that of no answer."""

CERTAIN = 12.0  # the reader's score counts up to here, on either side
COMPANY_PARAGRAPHS = 3  # so many of the company text are read, the nearest to the question


@dataclass(frozen=True)
class Finding:
    """An answer: the span, the sentence around it, the document it stands in, and the probability that it is right."""

    span: str
    sentence: str
    doc_id: str
    confidence: float = 0.0


def find_answer(
    reader: PairReader, encoder: Encoder, message: str, question: str, passages: Sequence[Passage], company: str = ""
) -> Finding | None:
    """The sentence of the passages and the nearest company paragraphs that most likely answers the question of a message.

    How likely is a logistic function of SIGNS. None where nothing is asked or there is nothing to read.
    """
    found, signs = candidates(reader, encoder, message, question, passages, company)
    if not found:
        return None
    weights, bias = learned_weights()
    scores = signs @ weights + bias
    best = int(np.argmax(scores))
    return replace(found[best], confidence=1 / (1 + math.exp(-max(-50.0, min(50.0, float(scores[best]))))))


def candidates(
    reader: PairReader, encoder: Encoder, message: str, question: str, passages: Sequence[Passage], company: str = ""
) -> tuple[list[Finding], np.ndarray]:
    """(sentences that may be the answer, their SIGNS (n, 4)), without titles and headings.

    Each passage is read by itself; the score of a span over no answer has one scale over all passages
    (Clark and Gardner 2018).
    """
    texts = [(p.headed, p.title, p.doc_id) for p in passages]
    texts += [(paragraph, "", "") for paragraph in _nearest_paragraphs(encoder, question, company)]
    texts = [(legible(text), title, doc_id) for text, title, doc_id in texts if text.strip()]
    if not question or not texts:
        return [], np.zeros((0, len(SIGNS)))
    readings = reader.read([(question, text) for text, *_ in texts])
    found: list[Finding] = []
    spans: list[float] = []
    near: list[tuple[str, str, str]] = []  # what is compared with the question, and twice with the message
    for (text, title, doc_id), reading in zip(texts, readings, strict=True):
        for start, end in sentence_spans(text):
            if text[start] == "#" or start < len(title):
                continue
            inside = [span for span in reading.spans if start <= span.start < end]
            best = max(inside, key=lambda span: span.score, default=Span(start, start, -CERTAIN))
            sentence = as_answer(text[start:end])
            found.append(Finding(text[best.start : best.end], sentence, doc_id))
            spans.append(max(-CERTAIN, min(CERTAIN, best.score)))
            near.append((sentence, f"{title}: {sentence}" if title else sentence, text if doc_id else ""))
    if not found:
        return [], np.zeros((0, len(SIGNS)))
    plain, titled, around = (encoder.encode(some) for some in zip(*near, strict=True))
    asked, whole = encoder.encode([question, message])
    to_passage = np.where([bool(text) for *_, text in near], around @ whole, 0.0)
    return found, np.column_stack([plain @ asked, titled @ whole, to_passage, spans])


def as_answer(sentence: str) -> str:
    """A sentence or line without the dash of a list.

    >>> as_answer("- Express costs £9.95"), as_answer("-5 °C")
    ('Express costs £9.95', '-5 °C')
    """
    return re.sub(r"^[-*•]\s+", "", sentence)


def _nearest_paragraphs(encoder: Encoder, question: str, company: str) -> list[str]:
    paragraphs = ["\n".join(line for line in p.splitlines() if not line.startswith("#")) for p in company.split("\n\n")]
    paragraphs = [p for p in paragraphs if p.strip()]
    if not paragraphs or not question:
        return []
    near = encoder.encode(paragraphs) @ encoder.encode([question])[0]
    return [paragraphs[i] for i in np.argsort(-near, kind="stable")[:COMPANY_PARAGRAPHS]]


@lru_cache(maxsize=1)
def learned_weights(card: Path = WEIGHTS.with_suffix(".json")) -> tuple[np.ndarray, float]:
    """(weights of SIGNS (4,), bias): the logistic function from signs to the probability that a sentence is the answer."""
    about = json.loads(card.read_text(encoding="utf-8"))["answer"]
    return np.array([about["weights"][name] for name in SIGNS]), float(about["bias"])
