"""Is an answer right? Words, quantities and negations compared, as far as a rule can tell."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

LONG_ANSWER_TOKENS = 12
F1_ENOUGH = 0.8

_NEGATIONS = {"not", "no", "never", "cannot", "without", "neither", "nor", "none", "nothing", "nobody"}
_SMALL = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_SMALL += " seventeen eighteen nineteen"
_NUMBER_WORDS = {word: value for value, word in enumerate(_SMALL.split())}
_NUMBER_WORDS |= dict(zip(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], range(20, 100, 10), strict=True))
_UNITS: dict[str, tuple[float, str]] = {  # word -> (factor, canonical unit)
    "day": (1, "day"), "week": (7, "day"), "fortnight": (14, "day"), "hour": (1, "hour"), "hr": (1, "hour"),
    "h": (1, "hour"), "minute": (1, "minute"), "min": (1, "minute"), "second": (1, "second"), "sec": (1, "second"),
    "month": (1, "month"), "year": (12, "month"),
    "£": (1, "gbp"), "gbp": (1, "gbp"), "pound": (1, "gbp"), "€": (1, "eur"), "eur": (1, "eur"), "euro": (1, "eur"),
    "$": (1, "usd"), "usd": (1, "usd"), "dollar": (1, "usd"), "%": (1, "percent"), "percent": (1, "percent"),
    "kg": (1000, "gram"), "kilogram": (1000, "gram"), "kilo": (1000, "gram"), "g": (1, "gram"), "gram": (1, "gram"),
    "l": (1000, "ml"), "litre": (1000, "ml"), "liter": (1000, "ml"), "ml": (1, "ml"), "millilitre": (1, "ml"),
    "km": (1_000_000, "mm"), "m": (1000, "mm"), "metre": (1000, "mm"), "meter": (1000, "mm"), "cm": (10, "mm"),
    "centimetre": (10, "mm"), "mm": (1, "mm"), "millimetre": (1, "mm"),
    "°c": (1, "degree"), "°": (1, "degree"), "degree": (1, "degree"), "c": (1, "degree"),
}  # fmt: skip
_CANONICAL = {unit for _, unit in _UNITS.values()}
_TOKEN = re.compile(
    r"[£€$%]|°c?|(?<![\w.)])[-−–]?\d+(?:,\d{3})+(?:\.\d+)?|(?<![\w.)])[-−–]?\d+(?:\.\d+)?|\d+(?:\.\d+)?"
    r"|[^\W\d_]+(?:['’][^\W\d_]+)?|[.;:!?,\n–-]"
)
_CLAUSE_END = set(".;:!?,\n")


def tokens(text: str) -> list[str]:
    """Words as SQuAD's script normalises them (lower case, no punctuation, no articles), with quantities made comparable.

    Numbers are read first, so that "£4.50" is not "450": a number and its unit become two tokens in canonical units.

    >>> tokens("The label costs £3.95.")
    ['label', 'costs', '3.95', 'gbp']
    >>> tokens("within two weeks") == tokens("within 14 days")
    True
    """
    return [token for token, _ in _tokens_with_clause(text)]


def _tokens_with_clause(text: str) -> list[tuple[str, int]]:
    """(token, number of the clause it stands in), in order."""
    text = re.sub(r"\bper cent\b", "percent", text.lower())
    text = re.sub(r"\bno (?:more|longer|later) than\b", "at most", re.sub(r"\bno (?:less|fewer|earlier|sooner) than\b", "at least", text))
    text = re.sub(r"\bcannot\b|\bcan['’]t\b", "can not", re.sub(r"\bwon['’]t\b", "will not", text))
    text = re.sub(r"(?<=\w)n['’]t\b", " not", text)
    text = re.sub(r"\bminus (?=\d)", "-", re.sub(r"(?<=\d)\s?[–-]\s?(?=[£€$]?\d)", " to ", text))
    raw = [re.sub(r"^[−–](?=\d)", "-", token) for token in _TOKEN.findall(text)]
    out: list[tuple[str, int]] = []
    clause = 0
    i = 0
    while i < len(raw):
        token = raw[i]
        if token in _CLAUSE_END or token in "–-":
            clause += token in _CLAUSE_END
        elif token in "£€$" and i + 1 < len(raw) and _is_number(raw[i + 1]):
            out += [(_number(raw[i + 1]), clause), (_UNITS[token][1], clause)]
            i += 1
        elif _is_number(token) or _words_as_number(raw, i):
            value, i = (float(token.replace(",", "")), i) if _is_number(token) else _words_as_number(raw, i) or (0.0, i)
            unit_at = i + 1
            while unit_at < len(raw) and raw[unit_at] in "-–":
                unit_at += 1
            factor, unit = _UNITS.get(_singular(raw[unit_at]), (1.0, "")) if unit_at < len(raw) else (1.0, "")
            ahead = raw[unit_at + 1] if unit_at + 1 < len(raw) else ""
            if unit and (raw[unit_at] not in "£€$" or not _is_number(ahead)):  # a currency sign belongs to the number behind it, if any
                out += [(_number(str(value * factor)), clause), (unit, clause)]
                i = unit_at
            else:
                out.append((_number(str(value)), clause))
        elif token not in {"a", "an", "the"}:
            out.append((_singular(token) if _singular(token) in {"day", "hour"} else token, clause))
        i += 1
    return out


def _words_as_number(raw: Sequence[str], i: int) -> tuple[float, int] | None:
    """(value, index of its last word) of "forty-five", "one hundred and five", "minus five"; None where no number begins."""
    sign, first = (-1.0, i + 1) if raw[i] == "minus" else (1.0, i)
    total, current, last = 0, 0, None
    for j in range(first, len(raw)):
        word = raw[j]
        value = _NUMBER_WORDS.get(word, -1)
        after_tens = current % 10 == 0 and current % 100 >= 20 and 0 < value < 10
        if value >= 0 and (last is None or (current % 100 == 0 and value > 0) or after_tens):
            current, last = current + value, j
        elif word == "hundred" and current < 100:
            current, last = (current or 1) * 100, j
        elif word == "thousand" and current < 1000:
            total, current, last = total + (current or 1) * 1000, 0, j
        elif not (last is not None and (word == "-" or (word == "and" and (current or total) and current % 100 == 0))):
            break
    return None if last is None else (sign * (total + current), last)


def _singular(word: str) -> str:
    return word[:-1] if word.endswith("s") and len(word) > 2 else word


def _number(text: str) -> str:
    return f"{float(text.replace(',', '')):.10g}"


def occurrences(needle: Sequence[str], hay: Sequence[str]) -> list[tuple[int, int]]:
    """Where `needle` stands in `hay` as whole tokens, and is not the upper end of a range ("3 to 5 days" is not "5 days")."""
    spans = []
    for i in range(len(hay) - len(needle) + 1):
        if list(hay[i : i + len(needle)]) == list(needle) and not _end_of_range(hay, i, i + len(needle)):
            spans.append((i, i + len(needle)))
    return spans


def _end_of_range(hay: Sequence[str], start: int, end: int) -> bool:
    """Is hay[start:end] one end of "3 to 5 days", "£3 to £5", "between 3 and 5 days"?"""
    if not _is_number(hay[start]):
        return False
    other = start - (3 if start >= 3 and hay[start - 2] in _CANONICAL else 2)  # where the lower number would stand
    if other >= 0 and _is_number(hay[other]):
        between = hay[start - 1] == "and" and other > 0 and hay[other - 1] == "between"
        if hay[start - 1] == "to" or between or (hay[start - 1] == "or" and other == start - 2):
            return True
    links = {"to", "and"} if start > 0 and hay[start - 1] == "between" else {"to"}
    return end + 1 < len(hay) and hay[end] in links and _is_number(hay[end + 1])


def _is_number(token: str) -> bool:
    return token.lstrip("-")[:1].isdigit()


def token_f1(answer: str, accepted: str) -> float:
    """Multiset token F1, as in SQuAD's script (Rajpurkar et al. 2016), on `tokens`. Two empty texts agree."""
    a, b = Counter(tokens(answer)), Counter(tokens(accepted))
    common = sum((a & b).values())
    if not a or not b:
        return float(a == b)
    return 2 * common / (sum(a.values()) + sum(b.values()))


def rouge_l(answer: str, accepted: str) -> float:
    """ROUGE-L F-measure with beta 1 (Lin 2004): longest common subsequence of `tokens`."""
    a, b = tokens(answer), tokens(accepted)
    if not a or not b:
        return float(a == b)
    row = [0] * (len(b) + 1)
    for x in a:
        diagonal = 0
        for j, y in enumerate(b, start=1):
            diagonal, row[j] = row[j], diagonal + 1 if x == y else max(row[j], row[j - 1])
    return 2 * row[-1] / (len(a) + len(b))


def answer_correct(answer: str | None, accepted: Sequence[str] | None, rejected: Iterable[str] = ()) -> bool | None:
    """Is this answer right? None where the accepted wordings are too long to say (see DESIGN: over 12 tokens).

    Abstaining is right where `accepted` is None, and only there. A rejected wording outside the accepted one makes an
    answer wrong. An accepted wording must stand in the answer as whole tokens, in a clause that is negated where the
    wording is; or token F1 is at least .8 and the numbers are the same.

    >>> answer_correct("Returns are free for 45 days.", ["45 days"])
    True
    >>> answer_correct("Stoves can not be returned.", ["can be returned"])
    False
    >>> answer_correct("45 days, or 60 days", ["45 days"], rejected=["60 days"])
    False
    """
    if accepted is None:
        return answer is None or not answer.strip()
    if answer is None or not answer.strip():
        return False
    short = [wording for wording in accepted if len(tokens(wording)) <= LONG_ANSWER_TOKENS]
    pairs = _tokens_with_clause(answer)
    hay = [token for token, _ in pairs]
    matched = [span for wording in short for span in _agreeing_spans(tokens(wording), pairs)]
    for wording in rejected:
        for start, end in occurrences(tokens(wording) or ["\0"], hay):
            if not any(a <= start and end <= b for a, b in matched):
                return False
    if matched or any(_nearly(answer, wording) for wording in short):
        return True
    return False if short else None


def _agreeing_spans(wording: list[str], pairs: list[tuple[str, int]]) -> list[tuple[int, int]]:
    hay = [token for token, _ in pairs]
    quantity_only = all(_is_number(t) or t in {unit for _, unit in _UNITS.values()} for t in wording)
    spans = []
    for start, end in occurrences(wording, hay) if wording else []:
        clauses = {clause for _, clause in pairs[start:end]}
        negated = any(token in _NEGATIONS for token, clause in pairs if clause in clauses)
        if quantity_only or negated == any(token in _NEGATIONS for token in wording):
            spans.append((start, end))
    return spans


def _nearly(answer: str, wording: str) -> bool:
    a, b = tokens(answer), tokens(wording)
    same_numbers = Counter(filter(_is_number, a)) == Counter(filter(_is_number, b))
    same_negation = any(t in _NEGATIONS for t in a) == any(t in _NEGATIONS for t in b)
    return same_numbers and same_negation and token_f1(answer, wording) >= F1_ENOUGH
