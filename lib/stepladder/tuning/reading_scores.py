"""How well the embedded reader reads: exact match and F1 as SQuAD defines them, right abstentions, and answers found by search."""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from stepladder.cache import Cache
from stepladder.encoder import Encoder, sentence_spans
from stepladder.encoder.pairs import WEIGHTS, PairReader
from stepladder.records import Document, Evidence, UserError
from stepladder.scoring import retrieval_scores
from stepladder.search import SearchIndex, SearchSettings
from stepladder.search.rerank import EmbeddedReranker
from stepladder.tuning.reading_sets import DESK_HELD_OUT, SQUAD_HELD_OUT, Row, desk

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class Asked:
    """A question of a reading set with all its accepted answers; none: it has no answer in its passage."""

    question: str
    title: str
    passage: str
    answers: tuple[str, ...]


def questions_of(path: Path, titles: Callable[[str], bool] = lambda title: True) -> list[Asked]:
    """The questions of a file in SQuAD's format."""
    return [
        Asked(
            question=" ".join(qa["question"].split()),
            title=article["title"].replace("_", " "),
            passage=paragraph["context"],
            answers=tuple(answer["text"] for answer in qa["answers"]),
        )
        for article in json.loads(path.read_text(encoding="utf-8"))["data"]
        if titles(article["title"])
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    ]


def normalise(text: str) -> list[str]:
    """Tokens as SQuAD's script makes them: lower case, no punctuation, no articles (Rajpurkar et al. 2018).

    >>> normalise("The Battle, of Hastings!")
    ['battle', 'of', 'hastings']
    """
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def exact_match(answer: str, accepted: Sequence[str]) -> float:
    """Is the answer one of the accepted, normalised? Without accepted ones only an empty answer is right."""
    return float(any(normalise(answer) == normalise(a) for a in _counted(accepted)))


def squad_f1(answer: str, accepted: Sequence[str]) -> float:
    """The best multiset token F1 over the accepted answers; without accepted ones only an empty answer is right."""
    return max(_f1(normalise(answer), normalise(a)) for a in _counted(accepted))


def _counted(accepted: Sequence[str]) -> list[str]:
    """The accepted answers that are not empty once normalised, as SQuAD's script keeps them; none: only an empty one is right."""
    return [a for a in accepted if normalise(a)] or [""]


def _f1(a: list[str], b: list[str]) -> float:
    if not a or not b:
        return float(a == b)
    return 2 * sum((Counter(a) & Counter(b)).values()) / (len(a) + len(b))


def read_alone(reader: PairReader, asked: Sequence[Asked]) -> pd.DataFrame:
    """One row per question, its own passage given: `score` of the span over no answer, `exact` and `f1` of the span, `answerable`."""
    readings = reader.read([(a.question, a.passage) for a in asked])
    rows = []
    for a, reading in zip(asked, readings, strict=True):
        span = a.passage[reading.best.start : reading.best.end]
        right = (exact_match(span, a.answers), squad_f1(span, a.answers)) if a.answers else (0.0, 0.0)
        rows.append((bool(a.answers), reading.best.score, *right))
    return pd.DataFrame(rows, columns=["answerable", "score", "exact", "f1"])


def at_threshold(read: pd.DataFrame, threshold: float) -> dict[str, float]:
    """Scores when every span whose score is not above the threshold is withheld; a withheld answer scores 0 where there was one."""
    said = read["score"] > threshold
    yes, no = read["answerable"], ~read["answerable"]
    exact, f1 = (np.where(yes, read[name] * said, ~said).mean() for name in ("exact", "f1"))
    return {
        "questions": float(len(read)),
        "exact, answerable": float((read["exact"] * said)[yes].mean()),
        "F1, answerable": float((read["f1"] * said)[yes].mean()),
        "right abstentions": float((~said)[no].mean()) if no.any() else float("nan"),
        "exact": float(exact),
        "F1": float(f1),
    }


def best_threshold(read: pd.DataFrame) -> float:
    """The threshold with the best F1 over all questions; to be found on other questions than those that are scored."""
    limits = [float(read["score"].min()) - 1, *np.unique(np.quantile(read["score"], np.linspace(0, 1, 201)))]
    return float(max(limits, key=lambda limit: at_threshold(read, limit)["F1"]))


def read_retrieved(
    reader: PairReader, encoder: Encoder, asked: Sequence[Asked], k: int = 5, settings: SearchSettings = SearchSettings()
) -> pd.DataFrame:
    """One row per question, over all passages of the set: is a piece of its passage with the answer among the k that were `found`,
    and does the sentence of the best span hold the answer?"""
    index, own = _searchable(asked, encoder, settings)
    rows = []
    for a, doc_id in zip(asked, own, strict=True):
        found = index.search(a.question, k=k)
        readings = reader.read([(a.question, p.headed) for p in found])
        best = max(range(len(found)), key=lambda i: readings[i].best.score, default=None)
        among = any(p.doc_id == doc_id and _holds(p.text, a.answers) for p in found)
        right, score = False, -np.inf
        if best is not None:
            text, span = found[best].headed, readings[best].best
            score, right = span.score, any(_holds(text[s:e], a.answers) for s, e in sentence_spans(text) if s <= span.start < e)
        rows.append((bool(a.answers), score, among, right))
    return pd.DataFrame(rows, columns=["answerable", "score", "found", "sentence holds the answer"])


def reciprocal_ranks(reader: PairReader, encoder: Encoder, asked: Sequence[Asked], k: int = 10) -> pd.DataFrame:
    """One row per answerable question, over all passages of the set: one over the rank of its own passage among those of the k pieces
    that search finds, 0 where it is not there, `as found` and as the pair head has `reranked` them."""
    index, own = _searchable(asked, encoder, SearchSettings())
    rerank = EmbeddedReranker(reader)
    rows = []
    for a, doc_id in zip(asked, own, strict=True):
        if a.answers:
            found = index.search(a.question, k=k)
            order = np.argsort(-rerank(a.question, found), kind="stable")
            own_passage = ((Evidence(doc_id),),)
            rows.append([retrieval_scores(some, own_passage)["mrr"] for some in (found, [found[i] for i in order])])
    return pd.DataFrame(rows, columns=["as found", "reranked"])


def _searchable(asked: Sequence[Asked], encoder: Encoder, settings: SearchSettings) -> tuple[SearchIndex, list[str]]:
    """(an index of all passages, the document of each question)."""
    numbers = {passage: str(i) for i, passage in enumerate(dict.fromkeys((a.title, a.passage) for a in asked))}
    documents = [Document(number, title, "", "", "published", "", text) for (title, text), number in numbers.items()]
    return SearchIndex(documents, encoder, settings), [numbers[a.title, a.passage] for a in asked]


def _holds(text: str, answers: Sequence[str]) -> bool:
    """Does one of the answers stand in the text, as whole tokens?"""
    return any(f" {' '.join(normalise(answer))} " in f" {' '.join(normalise(text))} " for answer in answers if normalise(answer))


def policy_questions(folder: Path) -> list[Asked]:
    """PolicyQA's test questions, less those on passages that its dev set, which teaches, has too."""
    known = {asked.passage for asked in questions_of(folder / "dev.json")}
    return [asked for asked in questions_of(folder / "test.json") if asked.passage not in known]


def asked_of(rows: Sequence[Row]) -> list[Asked]:
    """Rows of a reading set as questions, each passage under its title."""
    return [Asked(r.question, r.title, f"{r.title}\n{r.passage}", (r.answer,) if r.span else ()) for r in rows]


def held_out_scores(public: Path, pages: Path) -> list[str]:
    """The scores of the shipped reader as lines of text; `pages` is data/reading/desk.jsonl. Raises UserError where a set is missing."""
    squad, policies = public / "squad2_dev_half" / "dev-v2.0.json", public / "policyqa"
    for path in (squad, policies / "dev.json", policies / "test.json", pages):
        if not path.is_file():
            raise UserError(f"found no {path}, expected the sets that notebooks/appendix/README.md names")
    card = json.loads(WEIGHTS.with_suffix(".json").read_text(encoding="utf-8"))
    cache = Cache()
    reader, held_out = PairReader(cache), questions_of(squad, lambda title: title in SQUAD_HELD_OUT)
    lines = [f"{reader.name}, abstaining below {card['threshold']:.2f}"]
    sets = {"SQuAD, four held-out articles": held_out, "PolicyQA test": policy_questions(policies)}
    sets["Help pages, two held-out organisations"] = asked_of(desk(pages, lambda sector: sector in DESK_HELD_OUT))
    for name, asked in sets.items():
        scores = at_threshold(read_alone(reader, asked), card["threshold"])
        lines.append(f"{name}: " + ", ".join(f"{w} {v:,.3f}".removesuffix(".000") for w, v in scores.items() if v == v))
    encoder = Encoder(cache)
    for name, asked in sets.items():
        if name != "PolicyQA test":  # its questions are generic and name no policy: nothing tells which passage is meant
            ranks = reciprocal_ranks(reader, encoder, asked).mean()
            lines.append(f"{name}: mean reciprocal rank {ranks['as found']:.3f} as found, {ranks['reranked']:.3f} reranked")
    retrieved = read_retrieved(reader, encoder, held_out)
    right = retrieved.loc[retrieved["answerable"], "sentence holds the answer"].mean()
    return [*lines, f"Searching all paragraphs of the four articles, the sentence holds the answer for {right:.3f} of the answerable"]
