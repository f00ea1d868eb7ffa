"""Identifiers, numbers and durations that stand in a message, with their values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

_WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_WORDS += ["thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
_TENS = {word: 10 * i for i, word in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], start=2)}
NUMBER_WORDS = {word: i for i, word in enumerate(_WORDS, start=1)} | {"a": 1, "an": 1, "couple": 2, "a couple of": 2} | _TENS
HOURS = {"hour": 1, "day": 24, "week": 24 * 7, "fortnight": 24 * 14, "month": 24 * 30, "year": 24 * 365}
_COUNT = rf"\d+(?:[.,]\d+)?|(?:{'|'.join(_TENS)})[- ](?:{'|'.join(_WORDS[:9])})|" + "|".join(sorted(NUMBER_WORDS, key=len, reverse=True))
_DURATION = re.compile(
    rf"\b(?P<count>{_COUNT})(?:\s+|-)?(?:(?:whole|full|long|entire|solid|good|working|business|calendar|more)\s+)?"
    r"(?P<unit>hour|day|week|fortnight|month|year)s?\b|\b(?P<since>since yesterday)\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"(?<![\w.,£€$#-])-?\d+(?:[.,]\d+)?(?![\w]|[.,]\d)")


@dataclass(frozen=True)
class Span:
    """Characters `start` to `end` of a message, and the value they stand for."""

    start: int
    end: int
    value: Any


def candidate_spans(message: str, name: str, spec: dict[str, Any]) -> list[Span] | None:
    """All spans of a message that could fill a field, by the field's JSON Schema; None where it is no field of this kind.

    A string with a `pattern` takes whole words of that pattern; a number whose name holds a unit of time
    ("days_waiting") takes durations, converted ("2 weeks" -> 14); any other number takes bare numbers.
    """
    types = spec.get("type", "")
    types = [types] if isinstance(types, str) else list(types)
    if "string" in types and "pattern" in spec:
        return list(_by_pattern(message, spec["pattern"]))
    if not {"integer", "number"} & set(types):
        return None
    whole = "number" not in types
    unit = next((unit for unit in HOURS if re.search(rf"{unit}s?(?:_|$)", name)), None)
    spans = list(_durations(message, HOURS[unit]) if unit else _numbers(message))
    if whole:
        spans = [Span(s.start, s.end, int(s.value)) for s in spans if float(s.value).is_integer()]
    return spans


@lru_cache(maxsize=4096)
def _by_pattern(message: str, pattern: str) -> tuple[Span, ...]:
    core = pattern.removeprefix("^").removesuffix("$")
    apart = r"(?<!\d{3} )", r"(?! \d{3})"  # groups of digits with spaces between them are a telephone number
    found = re.finditer(rf"(?<![\w.,£€$+-]){apart[0]}(?:{core})(?![\w]|[.,:/-]\d){apart[1]}", message)
    return tuple(Span(m.start(), m.end(), m.group()) for m in found)


@lru_cache(maxsize=4096)
def _durations(message: str, hours_per_unit: float) -> tuple[Span, ...]:
    spans = []
    for m in _DURATION.finditer(message):
        hours = 24.0 if m["since"] else _count(m["count"]) * HOURS[m["unit"].lower()]
        spans.append(Span(m.start(), m.end(), hours / hours_per_unit))
    return tuple(spans)


@lru_cache(maxsize=4096)
def _numbers(message: str) -> tuple[Span, ...]:
    return tuple(Span(m.start(), m.end(), _count(m.group())) for m in _NUMBER.finditer(message))


def _count(text: str) -> float:
    """
    >>> _count("twenty-six"), _count("a couple of"), _count("2,5")
    (26.0, 2.0, 2.5)
    """
    word = text.lower()
    if word in NUMBER_WORDS:
        return float(NUMBER_WORDS[word])
    ten, _, one = word.replace(" ", "-").partition("-")
    return float(_TENS[ten] + NUMBER_WORDS[one]) if ten and one else float(word.replace(",", "."))


def window(message: str, span: Span, before: int = 7, after: int = 3) -> str:
    """The words around a span, the span included: what tells an order number from a telephone number."""
    left = message[: span.start].split()[-before:]
    right = message[span.end :].split()[:after]
    return " ".join([*left, message[span.start : span.end], *right])
