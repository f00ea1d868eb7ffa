"""Kind squad: questions on paragraphs, in the JSON of SQuAD 1.1 and 2.0 (Rajpurkar et al. 2016, 2018) and its likes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stepladder.importers.documents import Documents, safe_id
from stepladder.importers.draft import Collected, Draft
from stepladder.importers.options import Options
from stepladder.importers.reading import json_document, named_apart, source_files
from stepladder.importers.report import Place, Report, short
from stepladder.records import Document, Evidence, UserError

_SENTENCE_END = re.compile(r"(?<![.!?])[.!?]++[\"'”’)\]]*+\s++(?=[\"'“‘(\[]*[A-Z0-9])|\n\s*\n")


def collect_squad(sources: Sequence[Path], options: Options, report: Report) -> Collected:
    """Each paragraph as a document, each question as a case. Raises UserError where a file has another shape.

    Splits keep articles whole, so a seeded split of few articles has shares that are only near those asked for.
    """
    collected = Collected()
    documents = Documents(report, options.date)
    for path, name in named_apart(source_files(sources, (".json",), report)).items():
        document = json_document(path)
        articles = document.get("data") if isinstance(document, dict) else None
        if not isinstance(articles, list):
            raise UserError(f"{path}: found no list under the key 'data'; expected SQuAD JSON: data, paragraphs, context, qas")
        for number, article in enumerate(articles, start=1):
            _article(article, number, Place(name, f"data[{number - 1}]"), documents, collected, report)
    collected.documents = documents.documents
    return collected


def _article(article: Any, number: int, place: Place, documents: Documents, collected: Collected, report: Report) -> None:
    title = article.get("title") if isinstance(article, dict) else None
    title = title.strip() if isinstance(title, str) and title.strip() else f"Article {number}"
    for i, paragraph in enumerate(_list(article, "paragraphs", place, report), start=1):
        where = Place(place.file, f"{place.line}.paragraphs[{i - 1}]")
        context = paragraph.get("context") if isinstance(paragraph, dict) else None
        if not isinstance(context, str):
            report.leave_out(where, "no context", "expected the text of the paragraph; its questions are left out")
            continue
        own = f"{place}: {where.line}"
        wanted = f"{safe_id(title.lower()) or 'article'}-{i}"
        doc_id = documents.add(where, Document(own, title, "", "paragraph", "published", documents.date, context), wanted)
        for j, question in enumerate(_list(paragraph, "qas", where, report)):
            collected.rows += 1
            asked = Place(place.file, f"{where.line}.qas[{j}]")
            if doc_id is None:
                report.leave_out(asked, "its paragraph is left out")
            elif case := _case(question, asked, doc_id, context, f"{place.file} {place.line}", report):
                collected.cases.append(case)


def _list(holder: Any, key: str, place: Place, report: Report) -> list[Any]:
    found = holder.get(key) if isinstance(holder, dict) else None
    if isinstance(found, list):
        return found
    report.leave_out(place, f"no list of {key}", f"found {short(repr(found), 40)}, expected a list")
    return []


def _case(row: Any, place: Place, doc_id: str, context: str, group: str, report: Report) -> Draft | None:
    """The case of one question, or None where it cannot be used: then it is listed.

    group_id is the paragraph: its questions succeed and fail together.
    """
    text = row.get("question") if isinstance(row, dict) else None
    if not isinstance(text, str) or not text.strip():
        report.leave_out(place, "no text", f"question: found {short(repr(text), 40)}, expected text")
        return None
    own = row.get("id")
    case_id = str(own).strip() if isinstance(own, str | int) and str(own).strip() else safe_id(place.line)
    if row.get("is_impossible") is True:
        return Draft(place, case_id, text, group, group_id=doc_id, tags=("unanswerable",), output={"answer": None})
    wordings, quotes = _answers(row.get("answers"), place, context, report)
    if not wordings:
        report.leave_out(place, "no answer", "found none in the paragraph, and not is_impossible; expected one of them")
        return None
    evidence = (tuple(Evidence(doc_id, quote) for quote in quotes),)
    return Draft(place, case_id, text, group, group_id=doc_id, output={"answer": wordings}, evidence=evidence)


def _answers(answers: Any, place: Place, context: str, report: Report) -> tuple[list[str], list[str]]:
    """(distinct wordings, distinct sentences that hold them): where answers stand in several sentences, each will do."""
    wordings: dict[str, None] = {}
    quotes: dict[str, None] = {}
    for answer in answers if isinstance(answers, list) else []:
        wording = answer.get("text") if isinstance(answer, dict) else None
        if not isinstance(wording, str) or not wording.strip():
            report.say(place, "label left out", "answer without text", f"found {short(repr(answer), 60)}")
            continue
        said = answer.get("answer_start")
        said = said + len(wording) - len(wording.lstrip()) if isinstance(said, int) else -1
        wording = wording.strip()
        start = _find(wording, said, context)
        if start is None:
            what = f"found {short(repr(wording), 80)}, expected its exact words in the paragraph"
            report.say(place, "label left out", "answer that does not stand in the paragraph", what)
            continue
        if start != said:
            what = f"found {short(repr(wording), 60)} at {start}, expected it at {said}"
            report.say(place, "kept", "answer beside its offset: the nearest place is taken", what)
        wordings[wording] = None
        quotes[sentence_at(context, start, start + len(wording))] = None
    return list(wordings), list(quotes)


def _find(wording: str, said: int, context: str) -> int | None:
    """Where an answer stands: the place nearest to where it is said to, which is off by a few characters in some sets."""
    if context.startswith(wording, said) and said >= 0:
        return said
    starts = [match.start() for match in re.finditer(f"(?={re.escape(wording)})", context)]
    return min(starts, key=lambda start: abs(start - said), default=None)


def sentence_at(text: str, start: int, end: int) -> str:
    """The sentence around text[start:end], or all the sentences that it touches, as it stands in the text.

    A full stop with a capital or a digit behind it ends a sentence, so an abbreviation may cut one short; never
    within text[start:end].

    >>> sentence_at("One. Two is it. Three.", 5, 8)
    'Two is it.'
    """
    left, right = 0, len(text)
    for mark in _breaks(text):
        if mark <= start:
            left = mark
        elif mark >= end:
            right = mark
            break
    return text[left:right].strip()


def _breaks(text: str) -> Iterator[int]:
    return (match.end() for match in _SENTENCE_END.finditer(text))
