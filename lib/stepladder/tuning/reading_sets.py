"""Public reading sets -> rows to train the embedded reader on. Where each is published: notebooks/appendix/README.md."""

from __future__ import annotations

import csv
import json
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bm25s
import Stemmer

from stepladder.encoder import sentence_spans

SQUAD_HELD_OUT = ("Normans", "Warsaw", "Harvard_University", "Force")  # never trained on: the scores of the model card
SQUAD_DEV = ("Steam_engine",)  # chooses settings and the threshold for abstaining
DESK_HELD_OUT = ("airline", "veterinary practice")
DESK_DEV = ("gym chain", "public library")
STRETCH = 1100  # characters of a stretch of a long article, some 220 tokens


@dataclass(frozen=True)
class Row:
    """A question and a passage. `span` are the characters of the answer, or None where the passage does not give it.

    `fits` teaches the pair head: does this passage answer the question? None where nobody said.
    """

    source: str
    question: str
    title: str
    passage: str
    span: tuple[int, int] | None
    fits: bool | None = None

    def __post_init__(self) -> None:
        if self.fits is None and self.span is not None:
            object.__setattr__(self, "fits", True)

    @property
    def answer(self) -> str:
        return self.passage[slice(*self.span)] if self.span else ""


def squad(path: Path, titles: Callable[[str], bool] = lambda title: True) -> list[Row]:
    """SQuAD 2.0 (Rajpurkar et al. 2018) and sets of its shape; the first answer of each question."""
    rows = []
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        title = str(article.get("title", "")).replace("_", " ")
        for paragraph in article["paragraphs"] if titles(article.get("title", "")) else ():
            for question in paragraph["qas"]:
                span = _first_span(question, paragraph["context"])
                if question["answers"] and span is None:
                    continue
                rows.append(Row("squad", " ".join(question["question"].split()), title, paragraph["context"], span))
    return rows


def _first_span(question: dict[str, Any], context: str) -> tuple[int, int] | None:
    for answer in question["answers"]:
        text, start = answer["text"].strip(), answer["answer_start"] + len(answer["text"]) - len(answer["text"].lstrip())
        if text and context[start : start + len(text)] == text:
            return start, start + len(text)
    return None


def policyqa(path: Path, seed: int) -> list[Row]:
    """PolicyQA (Ahmad et al. 2020). Its questions are generic, so a wrong passage is one of the same policy that is of another practice."""
    draw, rows = random.Random(seed), []
    for policy in json.loads(path.read_text(encoding="utf-8"))["data"]:
        kinds = {p["context"]: {q["type"].split("|||")[0] for q in p["qas"]} for p in policy["paragraphs"]}
        for paragraph in policy["paragraphs"]:
            for question in paragraph["qas"]:
                row = Row("policyqa", question["question"], "", paragraph["context"], _first_span(question, paragraph["context"]))
                rows.append(row)
                others = [c for c, found in kinds.items() if question["type"].split("|||")[0] not in found]
                others = [c for c in others if row.answer.lower() not in c.lower()]
                if others and draw.random() < 0.5:
                    rows.append(replace(row, passage=draw.choice(others), span=None, fits=False))
    return rows


def qed(path: Path) -> list[Row]:
    """QED (Lamm et al. 2021): questions of a search engine, with the shortest span of the answer."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        example = json.loads(line)
        spans = [a[0] for a in example["original_nq_answers"] if len(a) == 1]
        if spans:
            best = min(spans, key=lambda a: a["end"] - a["start"])
            rows.append(
                Row("qed", example["question_text"], example["title_text"], example["paragraph_text"], (best["start"], best["end"]))
            )
    return rows


def covid_qa(path: Path, seed: int) -> list[Row]:
    """COVID-QA (Moeller et al. 2020): each question with the stretch of the article that answers it and one that does not."""
    draw, rows = random.Random(seed), []
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            stretches = list(_stretches(paragraph["context"]))
            for question in paragraph["qas"]:
                span = _first_span(question, paragraph["context"])
                holding = [s for s in stretches if span and s[0] <= span[0] and span[1] <= s[1]]
                if not span or not holding or span[1] - span[0] > 160:
                    continue
                start, end = holding[0]
                row = Row("covid_qa", question["question"], "", paragraph["context"][start:end], (span[0] - start, span[1] - start))
                others = [paragraph["context"][a:b] for a, b in stretches if row.answer.lower() not in paragraph["context"][a:b].lower()]
                rows += [row, *(replace(row, passage=text, span=None, fits=False) for text in draw.sample(others, min(1, len(others))))]
    return rows


def _stretches(text: str) -> Iterator[tuple[int, int]]:
    """Whole sentences up to STRETCH characters."""
    start = end = 0
    for a, b in sentence_spans(text):
        if b - start > STRETCH and end > start:
            yield start, end
            start = a
        end = b
    if end > start:
        yield start, end


def nlupp(folder: Path, seed: int) -> list[Row]:
    """NLU++ (Casanueva et al. 2022): the ontology's question of each slot, asked of messages that hold it and of some that do not."""
    draw = random.Random(seed)
    asked = {
        name: slot["description"] for name, slot in json.loads((folder / "ontology.json").read_text(encoding="utf-8"))["slots"].items()
    }
    rows = []
    for path in sorted(folder.glob("*/fold*.json")):
        for example in json.loads(path.read_text(encoding="utf-8")):
            slots = example.get("slots", {})
            for name, slot in slots.items():
                start, end = slot["span"]
                if name in asked and example["text"][start:end]:
                    rows.append(Row("nlupp", asked[name], "", example["text"], (start, end)))
            absent = sorted(set(asked) - set(slots))
            if slots:
                rows.append(Row("nlupp", asked[draw.choice(absent)], "", example["text"], None))
    return rows


def bitext(path: Path, seed: int) -> list[Row]:
    """Bitext customer support: entities whose label stands where the offsets say; many do not and are left out."""
    draw, rows = random.Random(seed), []
    with path.open(encoding="utf-8", newline="") as file:
        examples = list(csv.DictReader(file))
    kinds = sorted({e["entity_type"] for e in examples if e["entity_type"]})
    for example in examples:
        text, kind = example["instruction"], example["entity_type"]
        span = (int(example["start_offset"]), int(example["end_offset"])) if kind else (0, 0)
        if kind and span[1] <= len(text) and text[slice(*span)] == example["entity_value"]:
            rows.append(Row("bitext", f"What is the {kind.replace('_', ' ')}?", "", text, span))
            other = draw.choice([k for k in kinds if k != kind])
            rows.append(Row("bitext", f"What is the {other.replace('_', ' ')}?", "", text, None))
    return rows


def desk(path: Path, sectors: Callable[[str], bool] = lambda sector: True) -> list[Row]:
    """Our own help pages of invented organisations with the questions of their customers (data/reading)."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        page = json.loads(line)
        for question in page["questions"] if sectors(page["sector"]) else ():
            start = page["text"].index(question["answer"]) if question["answer"] else -1
            span = (start, start + len(question["answer"])) if question["answer"] else None
            rows.append(Row(f"desk/{page['sector']}", question["q"], page["title"], page["text"], span))
    return rows


def hard_negatives(rows: Sequence[Row], share: float, seed: int) -> list[Row]:
    """For a share of the answered rows: the same question with a passage that BM25 takes for good and that does not hold the answer."""
    draw, out = random.Random(seed), []
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.source].append(row)
    stem = Stemmer.Stemmer("english")
    for group in groups.values():
        passages = list(dict.fromkeys((r.title, r.passage) for r in group))
        asked = [r for r in group if r.span and draw.random() < share]
        if len(passages) < 5 or not asked:
            continue
        index = bm25s.BM25()
        index.index(
            bm25s.tokenize([f"{t} {p}" for t, p in passages], stopwords="en", stemmer=stem, show_progress=False), show_progress=False
        )
        words = bm25s.tokenize([r.question for r in asked], stopwords="en", stemmer=stem, show_progress=False, return_ids=False)
        for row, some in zip(asked, words, strict=True):
            scores = index.get_scores(list(some)) if some else [0.0] * len(passages)
            best = sorted(range(len(passages)), key=lambda i: -scores[i])[:6]
            wrong = [passages[i] for i in best if row.answer.lower() not in passages[i][1].lower()]
            if wrong:
                title, passage = draw.choice(wrong[:4])
                out.append(replace(row, title=title, passage=passage, span=None, fits=False))
    return out


_NAME_OR_NUMBER = re.compile(r"(?<=[a-z,] )(?:[A-Z][\w’-]+(?: [A-Z][\w’-]+)*|\d[\d,.]*\d|\d)(?!\w)")


def swapped_negatives(rows: Sequence[Row], share: float, seed: int) -> list[Row]:
    """For a share of the answered rows: the question with one name or number of it exchanged, so that its passage answers it no more.

    It is what the writers of SQuAD 2.0 often did (Rajpurkar et al. 2018, table 1). A name comes from the same passage or from another
    of its title; a number, as a year may have its own answer there, only from another.
    """
    draw, out = random.Random(seed), []
    found: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for row in rows:
        found[row.title].setdefault(row.passage, _NAME_OR_NUMBER.findall(row.passage))
    for row in rows:
        asked = list(_NAME_OR_NUMBER.finditer(row.question))
        if not row.span or not asked or draw.random() >= share:
            continue
        old = draw.choice(asked)
        number = old.group()[0].isdigit()
        here = [] if number else found[row.title][row.passage]
        elsewhere = [name for passage, names in found[row.title].items() if passage != row.passage for name in names]
        elsewhere = [name for name in elsewhere if name not in row.passage]
        known = f"{row.question} {row.answer}"
        fitting = [n for n in draw.choice((here or elsewhere, elsewhere)) if n[0].isdigit() == number and n not in known]
        if fitting:
            question = row.question[: old.start()] + draw.choice(fitting) + row.question[old.end() :]
            out.append(replace(row, question=question, span=None, fits=None))
    return out
