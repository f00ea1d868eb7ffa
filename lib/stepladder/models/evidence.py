"""The answer to what a message asks, read out of passages and company text by the embedded reader."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from stepladder.encoder import Encoder, sentence_spans, sentences
from stepladder.encoder.pairs import WEIGHTS, PairReader
from stepladder.records import Passage

COMPANY_PARAGRAPHS = 3  # so many of the company text are read, the nearest to the question

_WHO = r"(?:i|you|we|it|they|he|she|the|this|that|these|those|there|my|your|our|any|anyone|someone)\b"
_DO = r"(?:is|are|was|do|does|did|can|could|may|might|will|would|should|shall|have|has|am)"
_AFTER = r"\b(?:and|but|so|also|or|oh|then|now|thing|ps)\s+"
_QUESTION = re.compile(
    rf"\?|(?:^|[,:;(–—-]\s*|{_AFTER}){_DO}\s+{_WHO}"
    rf"|\b(?:wh(?:at|en|ere|ich|y|o)|how)\s+(?:[\w-]+\s+){{0,2}}{_DO}\s+{_WHO}"
    rf"|(?:^|[,:;(–—-]\s*|{_AFTER})(?:what|when|where|who|how)['’]?s\b|\b(?:do|can|will|could)\s+u\b"
    rf"|(?:^|[:;(]\s*|{_AFTER})(?:wh(?:ich|ose|y|ether|o)\b|how\s+(?:much|many|long|often|far|big|small|heavy)\b"
    r"|what(?:'s)?\s+(?:about|if|is|are|\w+\s+(?:is|are)))"
    r"|\b(?:wonder\w*|curious|tell\s+me|let\s+me\s+know|remind\s+me|(?:like|need|wants?)\s+to\s+know|(?:no|any)\s+idea|quote)\b"
    r"|\b(?:know|ask(?:s|ed)?|sure|idea)\s+(?:\w+\s+)?(?:if|whether|how|what|when|where|which|who)\b",
    re.IGNORECASE,
)
_AGENT_TURN = re.compile(r"^Agent: .*?(?=^Customer: |\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Finding:
    """An answer: the span, the sentence around it, the document it stands in, and how sure the reader is, in 0..1."""

    span: str
    sentence: str
    doc_id: str
    confidence: float


def questions(message: str) -> list[str]:
    """The sentences of a message that ask something; in a conversation, those of the customer.

    >>> questions("Parcel came today. Really nice! Do you sell spare poles")
    ['Do you sell spare poles']
    """
    return [s for s in sentences(_AGENT_TURN.sub("", message)) if _QUESTION.search(s)]


def find_answer(
    reader: PairReader, encoder: Encoder, asked: Sequence[str], passages: Sequence[Passage], company: str = ""
) -> Finding | None:
    """The best answer to one of the questions in the passages and the nearest company paragraphs; None where there is nothing to read.

    Each passage is read by itself; the score of a span over no answer has one scale, so the best over all passages is taken
    (Clark and Gardner 2018), and turned into a probability by the logistic curve that the reader was calibrated with.
    """
    texts = [(f"{p.title}\n{p.text}" if p.title else p.text, p.doc_id) for p in passages]
    texts += [(paragraph, "") for paragraph in _nearest_paragraphs(encoder, asked, company)]
    texts = [(text, doc_id) for text, doc_id in texts if text.strip()]
    if not asked or not texts:
        return None
    pairs = [(question, *text) for question in asked for text in texts]
    readings = reader.read([(question, text) for question, text, _ in pairs])
    best = max(range(len(pairs)), key=lambda i: readings[i].best.score)
    _, text, doc_id = pairs[best]
    found = readings[best].best
    around = next((text[a:b] for a, b in sentence_spans(text) if a <= found.start < b), "")
    return Finding(text[found.start : found.end], as_answer(around), doc_id, confidence(found.score))


def as_answer(sentence: str) -> str:
    """A sentence or line without the dash of a list.

    >>> as_answer("- Express costs £9.95"), as_answer("-5 °C")
    ('Express costs £9.95', '-5 °C')
    """
    return re.sub(r"^[-*•]\s+", "", sentence)


def _nearest_paragraphs(encoder: Encoder, asked: Sequence[str], company: str) -> list[str]:
    paragraphs = ["\n".join(line for line in p.splitlines() if not line.startswith("#")) for p in company.split("\n\n")]
    paragraphs = [p for p in paragraphs if p.strip()]
    if not paragraphs or not asked:
        return []
    near = (encoder.encode(paragraphs) @ encoder.encode(asked).T).max(axis=1)
    return [paragraphs[i] for i in np.argsort(-near, kind="stable")[:COMPANY_PARAGRAPHS]]


def confidence(score: float) -> float:
    """The probability that a span of that score is right, by the curve stored beside the weights (Platt 1999)."""
    slope, middle = _curve()
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, slope * (score - middle)))))


@lru_cache(maxsize=1)
def _curve(card: Path = WEIGHTS.with_suffix(".json")) -> tuple[float, float]:
    about = json.loads(card.read_text(encoding="utf-8"))
    return float(about["slope"]), float(about["middle"])
