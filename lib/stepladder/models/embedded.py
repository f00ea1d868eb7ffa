"""The embedded model: a sentence encoder that chooses, points and abstains. It cannot write prose.

It fills a schema field by field. Enum values are chosen by similarity to their descriptions and to given examples;
identifiers, numbers and durations are read out of the message; the answer is read in the evidence by a trained head, or null.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from stepladder.encoder import Encoder, sentences
from stepladder.encoder.pairs import PairReader
from stepladder.encoder.questions import asked, questions
from stepladder.models.evidence import find_answer
from stepladder.models.spans import candidate_spans, window
from stepladder.records import Completion, Example, Output, Prompt

TEMPERATURE = 0.05
DESCRIPTION_COUNT = 3  # a value's description weighs as much as this many examples
SIGN_WEIGHT = 0.05  # of the log odds that the signs of a message give a value
PASSAGE_WEIGHT = 0.4
SEVERAL_WITHIN = 0.05
SPAN_MIN_SCORE = 0.2
PATTERN_MIN_SCORE = 0.1  # a pattern already tells an identifier from other words
SPAN_CUE = 0.1  # for each word of the field's name beside a span
SAME_MIDDLE, SAME_SLOPE = 0.7, 10.0  # how near an example must be for its answer to be repeated


class EmbeddedModel:
    """Zero-shot and few-shot. One pass over the texts of a prompt; every vector comes through the cache."""

    name = "embedded"
    workers = 1

    def __init__(self, encoder: Encoder | None = None, reader: PairReader | None = None) -> None:
        self.encoder = encoder or Encoder()
        self.reader = reader or PairReader(self.encoder.cache)
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
        """(the sentence that holds the answer, its document), or (None, []) below the threshold.

        A message that asks nothing gets no answer.
        """
        text, doc_id, sure = self.best_answer(prompt, asked(prompt.message))
        if text is None or sure < prompt.abstain_below:
            return None, []
        return text, [doc_id] if doc_id else []

    def best_answer(self, prompt: Prompt, question: str) -> tuple[str | None, str, float]:
        """(answer, doc_id, confidence in 0..1): what is read in the passages and the company text, or an example's answer."""
        best: tuple[str | None, str, float] = (None, "", 0.0)
        if found := find_answer(self.reader, self.encoder, prompt.message, question, prompt.passages or (), prompt.brief):
            best = found.sentence, found.doc_id, found.confidence
        answered = [e for e in prompt.examples if e.output.get("answer")] if question else []
        if answered:
            same = self.encoder.encode([e.text for e in answered]) @ self.encoder.encode([prompt.message])[0]
            nearest = answered[int(np.argmax(same))]
            sure = float(1 / (1 + np.exp(-SAME_SLOPE * (same.max() - SAME_MIDDLE))))
            if sure > best[2]:
                best = nearest.output["answer"], (nearest.output.get("sources") or [""])[0], sure
        return best

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
            found = self.encoder.encode([p.headed for p in prompt.passages]).mean(axis=0)
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


@lru_cache(maxsize=4096)
def _asks(message: str) -> bool:
    return bool(questions(message))


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


def _softmax(x: np.ndarray) -> np.ndarray:
    e: np.ndarray = np.exp(x - x.max())
    return np.asarray(e / e.sum())
