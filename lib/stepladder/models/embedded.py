"""The embedded model: a sentence encoder that chooses, points and abstains. It cannot write prose.

It fills a schema field by field. Enum values are chosen by similarity to their descriptions and to given examples;
identifiers, numbers and durations are read out of the message; the answer is the best-supported sentence of the
evidence, or null.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from stepladder.encoder import Encoder, sentences
from stepladder.models.spans import candidate_spans, window
from stepladder.records import Completion, Example, Output, Passage, Prompt

TEMPERATURE = 0.05
DESCRIPTION_COUNT = 3  # a value's description weighs as much as this many examples
SIGN_WEIGHT = 0.05  # of the log odds that the signs of a message give a value
PASSAGE_WEIGHT = 0.4
SEVERAL_WITHIN = 0.05
SPAN_MIN_SCORE = 0.2
PATTERN_MIN_SCORE = 0.1  # a pattern already tells an identifier from other words
SPAN_CUE = 0.1  # for each word of the field's name beside a span
READING = (0.4, 0.3, 0.4)  # sentence to question, sentence to message, passage to message
SUPPORT_MIDDLE, SUPPORT_SLOPE = 0.4, 10.0
SAME_QUESTION = 0.3  # how much nearer than a passage an example must be for its answer to be repeated

_WHO = r"(?:i|you|we|it|they|he|she|the|this|that|these|those|there|my|your|our|any|anyone|someone)\b"
_DO = r"(?:is|are|was|do|does|did|can|could|may|might|will|would|should|shall|have|has|am)"
_AFTER = r"\b(?:and|but|so|also|or|oh|then|now|thing|ps)\s+"
_QUESTION = re.compile(
    rf"\?|(?:^|[,:;(–—-]\s*|{_AFTER}){_DO}\s+{_WHO}"
    rf"|\b(?:wh(?:at|en|ere|ich|y|o)|how)\s+(?:[\w-]+\s+){{0,2}}{_DO}\s+{_WHO}"
    rf"|(?:^|[:;(]\s*|{_AFTER})(?:wh(?:ich|ose|y|ether|o)\b|how\s+(?:much|many|long|often|far|big|small|heavy)\b"
    r"|what(?:'s)?\s+(?:about|if|is|are|\w+\s+(?:is|are)))"
    r"|\b(?:wonder\w*|curious|tell\s+me|let\s+me\s+know|remind\s+me|(?:like|need|wants?)\s+to\s+know|(?:no|any)\s+idea|quote)\b"
    r"|\b(?:know|ask(?:s|ed)?|sure|idea)\s+(?:\w+\s+)?(?:if|whether|how|what|when|where|which|who)\b",
    re.IGNORECASE,
)
_AGENT_TURN = re.compile(r"^Agent: .*?(?=^Customer: |\Z)", re.MULTILINE | re.DOTALL)


class EmbeddedModel:
    """Zero-shot and few-shot. One pass over the texts of a prompt; every vector comes through the cache."""

    name = "embedded"
    workers = 1

    def __init__(self, encoder: Encoder | None = None) -> None:
        self.encoder = encoder or Encoder()
        self._seen: tuple[Prompt, np.ndarray, np.ndarray] | None = None  # the fields of one prompt share its vectors

    def complete(self, prompts: Sequence[Prompt]) -> list[Completion]:
        return [Completion(json.dumps(self.fill(prompt), ensure_ascii=False)) for prompt in prompts]

    def fill(self, prompt: Prompt) -> Output:
        """One object with every field of the schema."""
        output: Output = {}
        for name, spec in prompt.schema.get("properties", {}).items():
            if name == "answer":
                output["answer"], output["sources"] = self.read(prompt)
            elif name != "sources":
                output[name] = self.field(prompt, name, spec)
        return {name: output[name] for name in prompt.schema.get("properties", {}) if name in output}

    def field(self, prompt: Prompt, name: str, spec: dict[str, Any]) -> Any:
        """The value of one behaviour field."""
        if "enum" in spec:
            values, scores = self.choices(prompt, name, spec)
            return values[int(np.argmax(scores))]
        items = spec.get("items", {})
        if "enum" in items:
            values, scores = self.choices(prompt, name, items | {"description": spec.get("description", "")})
            return [v for v, s in zip(values, scores, strict=True) if s >= max(scores) - SEVERAL_WITHIN]
        if spec.get("type") == "boolean":
            yes_no = {"x-enum-descriptions": {"true": spec.get("description", name), "false": f"not: {spec.get('description', name)}"}}
            values, scores = self.choices(prompt, name, {"enum": [True, False]} | yes_no)
            return values[int(np.argmax(scores))]
        return self.point(prompt, name, spec)

    def choices(self, prompt: Prompt, name: str, spec: dict[str, Any]) -> tuple[list[Any], np.ndarray]:
        """(values, probabilities): nearness of the message to a prototype of each value, and the signs it shows.

        A prototype is the mean of the examples of a value (Snell et al. 2017) and of its description. All are centred:
        what every message or description has in common must not decide (after Zhao et al. 2021).
        """
        values = list(spec["enum"])
        described = spec.get("x-enum-descriptions", {})
        prototypes = self.encoder.encode([described.get(_key(v), _words(v)) for v in values])
        prototypes = DESCRIPTION_COUNT * _unit(prototypes - prototypes.mean(axis=0))
        message, shown = self._centred(prompt)
        known = [(e, vector) for e, vector in zip(prompt.examples, shown, strict=True) if name in e.output]
        belongs = np.array([[float(_has(e.output[name], v)) for v in values] for e, _ in known])
        if known:
            prototypes = prototypes + belongs.T @ np.stack([vector for _, vector in known])
        scores = _unit(prototypes) @ message
        if known:
            scores = scores + SIGN_WEIGHT * _log_odds(_signs(prompt.message, prompt.schema), [e for e, _ in known], belongs, prompt.schema)
        return values, _softmax(scores / TEMPERATURE)

    def point(self, prompt: Prompt, name: str, spec: dict[str, Any]) -> Any:
        """The span whose surroundings are most like the field's description and its examples; null where none is."""
        spans = candidate_spans(prompt.message, name, spec)
        empty = None if "null" in spec.get("type", "") or "pattern" in spec or spans is not None else ""
        if not spans:
            return empty
        around = [window(prompt.message, span) for span in spans]
        about = self.encoder.encode([f"{_words(name)}: {spec.get('description', '')}"])[0] + self._learned(prompt, name, spec)
        cues = [sum(cue in text.lower() for cue in _stems(name)) for text in around]
        scores = self.encoder.encode(around) @ about + SPAN_CUE * np.array(cues)
        best = int(np.argmax(scores))
        return spans[best].value if scores[best] >= (PATTERN_MIN_SCORE if "pattern" in spec else SPAN_MIN_SCORE) else empty

    def _learned(self, prompt: Prompt, name: str, spec: dict[str, Any]) -> Any:
        """What the surroundings of right spans have and those of wrong ones lack, by the examples; 0 where they do not tell."""
        sides: tuple[list[str], list[str]] = ([], [])
        for example in prompt.examples:
            for span in (candidate_spans(example.text, name, spec) or []) if name in example.output else []:
                sides[span.value == example.output[name]].append(window(example.text, span))
        wrong, right = sides
        return self.encoder.encode(right).mean(axis=0) - self.encoder.encode(wrong).mean(axis=0) if wrong and right else 0.0

    def read(self, prompt: Prompt) -> tuple[str | None, list[str]]:
        """(the sentence that best supports an answer, its document), or (None, []) below the threshold.

        A message that asks nothing gets no answer.
        """
        text, doc_id, support = self.best_sentence(prompt, questions(prompt.message))
        if text is None or support < prompt.abstain_below:
            return None, []
        return text, [doc_id] if doc_id else []

    def best_sentence(self, prompt: Prompt, asked: Sequence[str]) -> tuple[str | None, str, float]:
        """(sentence, doc_id, support in 0..1) of the best evidence: passages, company text, answers of the examples."""
        candidates = _evidence(prompt)
        if not asked or not candidates:
            return None, "", 0.0
        support = self.support(prompt.message, asked, candidates)
        answered = [e for e in prompt.examples if e.output.get("answer")]
        if answered:
            same = self.encoder.encode([e.text for e in answered]) @ self.encoder.encode([prompt.message])[0]
            support = np.concatenate([support, _logistic(same - SAME_QUESTION)])
            candidates += [(e.output["answer"], None, (e.output.get("sources") or [""])[0]) for e in answered]
        best = int(np.argmax(support))
        text, _, doc_id = candidates[best]
        return text, doc_id, float(support[best])

    def support(self, message: str, asked: Sequence[str], candidates: Sequence[tuple[str, Passage | None, str]]) -> np.ndarray:
        """How well each candidate supports an answer, (n,) in 0..1: it is near a question, and its passage is near the message.

        The logistic scale is Platt's (1999): one half is where answering is as likely to be right as abstaining.
        """
        whole = self.encoder.encode([message])[0]
        plain = self.encoder.encode([text for text, _, _ in candidates])
        titled = self.encoder.encode([f"{p.title}: {text}" if p else text for text, p, _ in candidates])
        passages = self.encoder.encode([f"{p.title}: {p.text}" if p else "" for _, p, _ in candidates])
        near_passage = np.where([p is not None for _, p, _ in candidates], passages @ whole, 0.0)
        near_question = (plain @ self.question_vectors(asked).T).max(axis=1)
        return _logistic(READING[0] * near_question + READING[1] * (titled @ whole) + READING[2] * near_passage)

    def question_vectors(self, asked: Sequence[str]) -> np.ndarray:
        """Vectors of the questions, (n, 384)."""
        return self.encoder.encode(asked)

    def _centred(self, prompt: Prompt) -> tuple[np.ndarray, np.ndarray]:
        """(message, examples) less what messages have in common; the message leans towards what its passages are about."""
        if self._seen and self._seen[0] is prompt:
            return self._seen[1:]
        message, *shown = self._reading_vectors([prompt.message, *(e.text for e in prompt.examples)])
        brief = self.encoder.encode([s for s in sentences(prompt.brief) if not s.startswith("#")])
        usual = brief.mean(axis=0) if len(brief) else np.zeros_like(message)
        centre = np.mean(shown, axis=0) if len(shown) > 1 else usual
        vector = _unit(message - centre)
        if prompt.passages:
            found = self.encoder.encode([f"{p.title}: {p.text}" for p in prompt.passages]).mean(axis=0)
            vector = _unit(vector + PASSAGE_WEIGHT * _unit(found - usual))
        examples = _unit(np.array(shown) - centre) if shown else np.zeros((0, len(message)))
        self._seen = prompt, vector, examples
        return vector, examples

    def _reading_vectors(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Each message as a whole plus the mean of its sentences: the encoder cuts the first where it is long."""
        parts = [sentences(text) or [text] for text in texts]
        ends = np.cumsum([len(some) for some in parts])
        vectors = self.encoder.encode([*texts, *(s for some in parts for s in some)])
        means = [some.mean(axis=0) for some in np.split(vectors[len(texts) :], ends[:-1])]
        return [_unit(whole + _unit(mean)) for whole, mean in zip(vectors, means, strict=False)]


def questions(message: str) -> list[str]:
    """The sentences of a message that ask something; in a conversation, those of the customer.

    >>> questions("Parcel came today. Really nice! Do you sell spare poles")
    ['Do you sell spare poles']
    """
    return [s for s in sentences(_AGENT_TURN.sub("", message)) if _QUESTION.search(s)]


@lru_cache(maxsize=4096)
def _asks(message: str) -> bool:
    return bool(questions(message))


def _evidence(prompt: Prompt) -> list[tuple[str, Passage | None, str]]:
    """(sentence, passage, doc_id) of all that may be quoted."""
    found: list[tuple[str, Passage | None, str]] = [(s, p, p.doc_id) for p in prompt.passages or () for s in passage_sentences(p)]
    return found + [(s.lstrip("- "), None, "") for s in sentences(prompt.brief) if not s.startswith("#")]


def passage_sentences(passage: Passage) -> list[str]:
    """The sentences of a passage that could be an answer: no headings."""
    return [s.lstrip("- ") for s in sentences(passage.text) if not s.startswith("#")]


def _signs(message: str, schema: dict[str, Any]) -> list[bool]:
    """What can be seen without understanding: does the message ask, and which identifiers and numbers does it hold?"""
    spans = [candidate_spans(message, name, spec) for name, spec in schema["properties"].items() if "enum" not in spec]
    return [_asks(message), *(bool(found) for found in spans if found is not None)]


def _log_odds(signs: Sequence[bool], examples: Sequence[Example], belongs: np.ndarray, schema: dict[str, Any]) -> np.ndarray:
    """Naive Bayes with add-one smoothing: log share of each value plus log likelihood ratio of the signs, (n_values,)."""
    share = (belongs.sum(axis=0) + 1) / (len(belongs) + belongs.shape[1])
    odds: np.ndarray = np.log(share)
    seen = np.array([_signs(e.text, schema) for e in examples]).reshape(len(examples), -1)
    for i, sign in enumerate(signs):
        same = belongs[seen[:, i] == sign]
        odds = odds + np.log((same.sum(axis=0) + share) / (len(same) + 1)) - np.log(share)
    return odds


def _has(value: Any, wanted: Any) -> bool:
    return wanted in value if isinstance(value, list) else value == wanted


def _key(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _words(value: Any) -> str:
    return str(value).replace("_", " ")


def _stems(name: str) -> list[str]:
    """
    >>> _stems("days_waiting")
    ['days', 'wait']
    """
    return [word[:4].lower() for word in _words(name).split() if len(word) > 3]


def _unit(x: np.ndarray) -> np.ndarray:
    lengths: np.ndarray = np.linalg.norm(x, axis=-1, keepdims=True)
    return np.asarray(x / np.maximum(lengths, 1e-9))


def _logistic(score: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-SUPPORT_SLOPE * (score - SUPPORT_MIDDLE))))


def _softmax(x: np.ndarray) -> np.ndarray:
    e: np.ndarray = np.exp(x - x.max())
    return np.asarray(e / e.sum())
