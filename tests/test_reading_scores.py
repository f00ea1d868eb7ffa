"""Scores of a reader: SQuAD's definitions, abstaining by hand, and answers that search has to find first."""

from __future__ import annotations

import json
import math
import re
import string
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stepladder.cache import Cache
from stepladder.encoder import DIMENSIONS, Encoder
from stepladder.encoder.pairs import Reading
from stepladder.records import UserError
from stepladder.search import SearchSettings
from stepladder.tuning import reading_scores
from stepladder.tuning.reading_scores import (
    Asked,
    asked_of,
    at_threshold,
    best_threshold,
    exact_match,
    held_out_scores,
    normalise,
    questions_of,
    read_alone,
    read_retrieved,
    reciprocal_ranks,
    squad_f1,
)
from stepladder.tuning.reading_sets import Row
from table_reader import TableReader

# --- exact match and F1


def squad_tokens(text: str) -> list[str]:
    """`normalize_answer` of SQuAD's evaluation script, and a split."""
    bare = "".join(character for character in text.lower() if character not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", bare).split()


def squad_exact_and_f1(answer: str, gold: str) -> tuple[float, float]:
    """`compute_exact` and `compute_f1` of the script, the common tokens counted off one by one."""
    said, right = squad_tokens(answer), squad_tokens(gold)
    if not said or not right:
        return float(said == right), float(said == right)
    left = list(right)
    for token in said:
        if token in left:
            left.remove(token)
    common = len(right) - len(left)
    precision, recall = common / len(said), common / len(right)
    return float(said == right), 2 * precision * recall / (precision + recall) if common else 0.0


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("The Battle, of Hastings!", ["battle", "of", "hastings"]),
        ("an apple a day, THE best", ["apple", "day", "best"]),
        ("theatre, Anna and area", ["theatre", "anna", "and", "area"]),  # no articles inside words
        ("U.S.A.", ["usa"]),
        ("well-known", ["wellknown"]),
        ("$5.50, 10%", ["550", "10"]),
        ("£5.50", ["£550"]),  # the script knows ASCII's punctuation alone
        ("“Grüße” – naïve, İ", ["“grüße”", "–", "naïve", "i̇"]),
        ("日本。", ["日本。"]),
        ("a-the", ["athe"]),
        ("  two \n\t spaces  ", ["two", "spaces"]),
        ("a. The!", []),
        ("", []),
        ("...", []),
    ],
)
def test_tokens_are_those_of_the_script(text: str, tokens: list[str]) -> None:
    assert normalise(text) == tokens == squad_tokens(text)


@pytest.mark.parametrize(
    ("answer", "gold", "exact", "f1"),
    [
        ("the 45 days", "45 days.", 1, 1),
        ("within 45 days", "45 days", 0, 0.8),  # precision 2/3, recall 1
        ("45", "45 days", 0, 2 / 3),
        ("a tent", "tents", 0, 0),
        ("new new york", "new york new york", 0, 6 / 7),  # new, new, york: a multiset
        ("york york york", "york", 0, 0.5),
        ("York, New", "new york", 0, 1),
        ("", "", 1, 1),
        ("", "45 days", 0, 0),
        ("45 days", "", 0, 0),
        ("the", "", 1, 1),  # nothing is left of it
        ("Grüße aus Köln", "grüße", 0, 0.5),
        ("“tent”", "tent", 0, 0),
        ("Dr. A. Smith's", "dr smiths", 1, 1),
    ],
)
def test_exact_match_and_f1_of_one_answer(answer: str, gold: str, exact: float, f1: float) -> None:
    assert squad_exact_and_f1(answer, gold) == (exact, pytest.approx(f1))
    assert (exact_match(answer, [gold]), squad_f1(answer, [gold])) == (exact, pytest.approx(f1))
    assert squad_f1(gold, [answer]) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("answer", "accepted", "exact", "f1"),
    [
        ("45 days", ["a month", "45", "45 days", "days"], 1, 1),
        ("45 days", ["a month", "45"], 0, 2 / 3),
        ("45 days", [], 0, 0),
        ("", [], 1, 1),
        ("The.", [], 1, 1),
        ("", ["45 days"], 0, 0),
    ],
)
def test_the_best_of_the_accepted_answers_counts(answer: str, accepted: list[str], exact: float, f1: float) -> None:
    assert (exact_match(answer, accepted), squad_f1(answer, accepted)) == (exact, pytest.approx(f1))


def test_an_accepted_answer_of_which_nothing_is_left_does_not_count() -> None:
    assert (exact_match("", ["A", "grade A plus"]), squad_f1("", ["A", "grade A plus"])) == (0, 0)


# --- abstaining

YES, NO = True, False


def table(*rows: tuple[bool, float, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["answerable", "score", "exact", "f1"])


FOUR = table((YES, 5.0, 1.0, 1.0), (YES, 1.0, 0.0, 0.4), (YES, -3.0, 1.0, 1.0), (NO, 2.0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("threshold", "exact", "f1", "abstained", "exact_of_all", "f1_of_all"),
    [
        (-4.0, 2 / 3, 2.4 / 3, 0.0, 2 / 4, 2.4 / 4),  # everything is said
        (-3.0, 1 / 3, 1.4 / 3, 0.0, 1 / 4, 1.4 / 4),  # a score on the threshold is not above it
        (1.5, 1 / 3, 1 / 3, 0.0, 1 / 4, 1 / 4),
        (2.0, 1 / 3, 1 / 3, 1.0, 2 / 4, 2 / 4),
        (9.0, 0.0, 0.0, 1.0, 1 / 4, 1 / 4),  # nothing is said
    ],
)
def test_withheld_answers_are_right_where_there_is_none(
    threshold: float, exact: float, f1: float, abstained: float, exact_of_all: float, f1_of_all: float
) -> None:
    expected = [4.0, exact, f1, abstained, exact_of_all, f1_of_all]
    found = at_threshold(FOUR, threshold)
    assert list(found) == ["questions", "exact, answerable", "F1, answerable", "right abstentions", "exact", "F1"]
    assert list(found.values()) == pytest.approx(expected)


def test_without_unanswerable_questions_no_abstention_is_right() -> None:
    found = at_threshold(FOUR.iloc[:3], 0.0)
    assert math.isnan(found["right abstentions"])
    assert found["F1"] == found["F1, answerable"] == pytest.approx(1.4 / 3)


def test_the_best_threshold_parts_the_answered_from_the_others() -> None:
    right = [(YES, score, 1.0, 1.0) for score in (3.0, 4.0, 5.0, 6.0)]
    wrong = [(NO, score, 0.0, 0.0) for score in (-5.0, -1.0, 0.5, 1.0)]
    found = best_threshold(table(*right, *wrong))
    assert 1.0 <= found < 3.0
    assert at_threshold(table(*right, *wrong), found)["F1"] == 1.0


def test_the_best_threshold_weighs_what_is_lost() -> None:
    """One wrong span stands above three right ones: to withhold it would cost more than it brings."""
    rows = [
        (NO, -2.0, 0.0, 0.0),
        (NO, -1.0, 0.0, 0.0),
        (YES, 1.0, 1.0, 1.0),
        (YES, 2.0, 0.0, 0.6),
        (YES, 3.0, 1.0, 1.0),
        (NO, 4.0, 0.0, 0.0),
    ]
    found = best_threshold(table(*rows))
    assert -1.0 <= found < 1.0
    assert at_threshold(table(*rows), found)["F1"] == pytest.approx((2 + 2.6) / 6)


def test_where_nothing_has_an_answer_nothing_is_said() -> None:
    assert best_threshold(table(*((NO, float(score), 0.0, 0.0) for score in range(5)))) == 4.0


def test_where_everything_is_right_everything_is_said() -> None:
    rows = table(*((YES, float(score), 1.0, 1.0) for score in range(4)))
    assert at_threshold(rows, best_threshold(rows))["F1"] == 1.0


# --- reading, alone and behind a search


class AxesEncoder(Encoder):
    """A text lies on the axis of the first of the words that it holds; the cosine with another axis is 0.5, so search drops none."""

    WORDS = ("Normandy", "Warsaw", "river")

    def _embed(self, texts: list[str]) -> np.ndarray:
        rows = np.zeros((len(texts), DIMENSIONS))
        rows[:, 0] = 1
        for i, text in enumerate(texts):
            rows[i, 1 + next((k for k, word in enumerate(self.WORDS) if word in text), len(self.WORDS))] = 1
        return rows / np.sqrt(2)


@pytest.fixture
def encoder(tmp_path: Path) -> Encoder:
    return AxesEncoder(Cache(tmp_path), "fp32")


NORMANDY = "The Normans lived in Normandy. They came from Denmark, Iceland and Norway."
WARSAW = "Warsaw is the capital of Poland. Its name is Warszawa. It has 18 districts."
CAME, NAMED, MAYOR = "From where did the Normandy people come?", "What is Warsaw called?", "Who is the mayor of Warsaw?"
ASKED = [
    Asked(CAME, "Normans", NORMANDY, ("Denmark, Iceland and Norway", "Denmark")),
    Asked(NAMED, "Warsaw", WARSAW, ("Warszawa",)),
    Asked(MAYOR, "Warsaw", WARSAW, ()),
]
SPANS = {(CAME, "from Denmark, Iceland"): 3.0, (NAMED, "Warszawa"): 2.0, (MAYOR, "Poland"): 1.0, (MAYOR, "Normandy"): 0.5}


def test_each_question_is_read_in_its_own_passage() -> None:
    reader = TableReader(SPANS)
    found = read_alone(reader, ASKED)
    assert reader.given == [(CAME, NORMANDY), (NAMED, WARSAW), (MAYOR, WARSAW)]
    assert found.columns.tolist() == ["answerable", "score", "exact", "f1"]
    assert found["answerable"].tolist() == [True, True, False]
    assert found["score"].tolist() == [3.0, 2.0, 1.0]
    assert found["exact"].tolist() == [0.0, 1.0, 0.0]
    assert found["f1"].tolist() == pytest.approx([4 / 7, 1.0, 0.0])  # two of three against two of four


def test_a_span_is_never_right_where_there_is_no_answer() -> None:
    """Not even one of which nothing is left."""
    found = read_alone(TableReader({(MAYOR, "the"): 1.0}), ASKED[2:])
    assert found.iloc[0].tolist() == [False, 1.0, 0.0, 0.0]


def test_each_question_is_read_in_what_search_finds(encoder: Encoder) -> None:
    reader = TableReader(SPANS)
    found = read_retrieved(reader, encoder, ASKED, k=1)
    assert reader.given == [(CAME, "Normans\n" + NORMANDY), (NAMED, "Warsaw\n" + WARSAW), (MAYOR, "Warsaw\n" + WARSAW)]
    assert found.columns.tolist() == ["answerable", "score", "found", "sentence holds the answer"]
    assert found["answerable"].tolist() == [True, True, False]
    assert found["score"].tolist() == [3.0, 2.0, 1.0]
    assert found["found"].tolist() == [True, True, False]
    assert found["sentence holds the answer"].tolist() == [True, True, False]


def test_the_best_span_of_all_that_is_found_is_taken(encoder: Encoder) -> None:
    """Its sentence alone counts: that of the best span for the first question is not the one with the answer."""
    reader = TableReader(SPANS | {(CAME, "Normans lived"): 5.0, (NAMED, "Norway"): 4.0})
    found = read_retrieved(reader, encoder, ASKED)
    assert len(reader.given) == 6  # both passages for each of the questions
    assert found["score"].tolist() == [5.0, 4.0, 1.0]
    assert found["found"].tolist() == [True, True, False]
    assert found["sentence holds the answer"].tolist() == [False, False, False]


def test_a_passage_is_found_only_where_the_piece_with_the_answer_is(encoder: Encoder) -> None:
    """Twenty tokens a piece: the question is nearest to the first, and the answer stands in the last."""
    long = "Normandy lies by the sea. " * 6 + "The people came from Denmark."
    [asked] = [Asked(CAME, "", long, ("Denmark",))]
    settings = SearchSettings(method="dense", max_tokens=20)
    one, all_ = (read_retrieved(TableReader({(CAME, "Denmark"): 3.0}), encoder, [asked], k, settings) for k in (1, 5))
    assert (one.iloc[0].tolist(), all_.iloc[0].tolist()) == ([True, -9.0, False, False], [True, 3.0, True, True])


def test_the_sentence_holds_the_answer_as_whole_words(encoder: Encoder) -> None:
    asked = Asked("How many rivers has Warsaw?", "Warsaw", WARSAW, ("8",))
    found = read_retrieved(TableReader({(asked.question, "18 districts"): 1.0}), encoder, [asked])
    assert found["sentence holds the answer"].tolist() == [False]


def test_a_question_for_which_search_finds_nothing_is_a_row_too(encoder: Encoder) -> None:
    found = read_retrieved(TableReader(SPANS), encoder, ASKED, settings=SearchSettings(method="dense", min_score=1.1))
    assert found["found"].tolist() == [False, False, False]


# --- what is held out


class Fits(TableReader):
    """A passage fits a question where a table says so."""

    def _best(self, question: str, text: str) -> Reading:
        return Reading((), fit=self.table.get((question, text), 0.0))


def test_the_rank_of_each_questions_own_passage(encoder: Encoder) -> None:
    """Search puts the passage about Normandy before that about Warsaw or behind it; the pair head says the opposite for the second."""
    reader = Fits({(NAMED, "Normans\n" + NORMANDY): 1.0, (CAME, "Normans\n" + NORMANDY): 1.0})
    ranks = reciprocal_ranks(reader, encoder, ASKED)
    assert ranks.columns.tolist() == ["as found", "reranked"]
    assert ranks.to_numpy().tolist() == [[1.0, 1.0], [1.0, 0.5]]  # the third has no answer, so no passage is its own
    assert reciprocal_ranks(reader, encoder, ASKED, k=1).to_numpy().tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_a_passage_that_is_not_found_has_no_rank(encoder: Encoder) -> None:
    """The river is near to neither; with one piece to be found, its own passage is not it."""
    asked = [*ASKED, Asked(NAMED, "Rhine", "A river of long ago.", ("river",))]
    assert reciprocal_ranks(Fits({}), encoder, asked, k=1).iloc[-1].tolist() == [0.0, 0.0]


def squad_file(path: Path, **articles: Sequence[tuple[str, Sequence[tuple[str, Sequence[str]]]]]) -> None:
    """The shape of SQuAD: articles by title, each of passages with their questions and answers."""
    data = [
        {
            "title": title,
            "paragraphs": [
                {"context": text, "qas": [{"question": q, "answers": [{"text": a, "answer_start": 0} for a in some]} for q, some in qas]}
                for text, qas in passages
            ],
        }
        for title, passages in articles.items()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"data": data}, ensure_ascii=False), encoding="utf-8")


NORMANS = (NORMANDY, [(CAME, ["Denmark, Iceland and Norway", "Denmark"])])
OF_WARSAW = (WARSAW, [(NAMED, ["Warszawa"]), (MAYOR, [])])


def test_questions_keep_all_their_answers(tmp_path: Path) -> None:
    squad_file(
        tmp_path / "dev.json", Old_Warsaw=[(WARSAW, [(" What is\nWarsaw called? ", ["Warszawa", "Warsaw"]), (MAYOR, [])])], Fees=[NORMANS]
    )
    assert questions_of(tmp_path / "dev.json", lambda title: title == "Old_Warsaw") == [
        Asked(NAMED, "Old Warsaw", WARSAW, ("Warszawa", "Warsaw")),
        Asked(MAYOR, "Old Warsaw", WARSAW, ()),
    ]
    assert [asked.title for asked in questions_of(tmp_path / "dev.json")] == ["Old Warsaw", "Old Warsaw", "Fees"]


def test_rows_of_a_reading_set_are_asked_under_their_title() -> None:
    rows = [
        Row("desk/airline", "How heavy may a bag be?", "Bags", "One bag of 10 kg is free.", (11, 16)),
        Row("desk/airline", "How large may it be?", "Bags", "One bag of 10 kg is free.", None),
        Row("desk/airline", "And mine?", "Bags", "One bag of 10 kg is free.", None, fits=False),
    ]
    text = "Bags\nOne bag of 10 kg is free."
    assert asked_of(rows) == [
        Asked("How heavy may a bag be?", "Bags", text, ("10 kg",)),
        Asked("How large may it be?", "Bags", text, ()),
        Asked("And mine?", "Bags", text, ()),
    ]
    assert asked_of([]) == []


def page(sector: str, title: str, text: str, *questions: tuple[str, str | None]) -> str:
    """A line of the help pages."""
    asked = [{"q": question, "answer": answer, "kind": "plain"} for question, answer in questions]
    return json.dumps({"sector": sector, "title": title, "text": text, "questions": asked}) + "\n"


HEAVY, LARGE, PULSE, COST = "How heavy may a bag be?", "How large may it be?", "How fast is a cat's pulse?", "What does a parcel cost?"
PAGES = [
    page("airline", "Bags", "One bag of 10 kg is free.", (HEAVY, "10 kg"), (LARGE, None)),
    page("parcel carrier", "Prices", "A parcel costs £4.50.", (COST, "£4.50")),
    page("veterinary practice", "Cats", "Their heart beats 200 times a minute.", (PULSE, "200 times a minute")),
]


@pytest.mark.parametrize("missing", ["squad2_dev_half/dev-v2.0.json", "policyqa/dev.json", "policyqa/test.json", "desk.jsonl"])
def test_a_missing_set_is_named(tmp_path: Path, missing: str) -> None:
    for name in ("squad2_dev_half/dev-v2.0.json", "policyqa/dev.json", "policyqa/test.json"):
        squad_file(tmp_path / name, Normans=[NORMANS])
    (tmp_path / "desk.jsonl").write_text("".join(PAGES), encoding="utf-8")
    (tmp_path / missing).unlink()
    with pytest.raises(UserError, match=r"expected the sets that notebooks/appendix/README\.md names") as caught:
        held_out_scores(tmp_path, tmp_path / "desk.jsonl")
    assert f"found no {tmp_path / missing}, " in str(caught.value)


def test_the_scores_are_lines_of_text(tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three questions that are held out, one of an article that is not, one about privacy, and four about help pages, one not held out."""
    squad_file(tmp_path / "squad2_dev_half" / "dev-v2.0.json", Normans=[NORMANS], Warsaw=[OF_WARSAW], Rhine=[("A river.", [("Why?", [])])])
    taught = ("We never sell it.", [("Do you sell it?", ["never"])])  # its passage is in both sets
    squad_file(tmp_path / "policyqa" / "dev.json", shop=[taught])
    squad_file(tmp_path / "policyqa" / "test.json", shop=[("We keep it for a year.", [("How long?", ["a year"])]), taught])
    (tmp_path / "desk.jsonl").write_text("".join(PAGES), encoding="utf-8")
    (tmp_path / "reader.json").write_text('{"threshold": 1.0}', encoding="utf-8")
    reader = TableReader(SPANS | {("How long?", "for a year"): 4.0, (HEAVY, "10 kg"): 3.0, (PULSE, "200 times"): 2.0, (COST, "A"): 3.0})
    monkeypatch.setattr(reading_scores, "WEIGHTS", tmp_path / "reader.safetensors")
    monkeypatch.setattr(reading_scores, "PairReader", lambda cache: reader)
    monkeypatch.setattr(reading_scores, "Encoder", lambda cache: encoder)
    name, squad, policies, pages, *ranks, retrieved = held_out_scores(tmp_path, tmp_path / "desk.jsonl")
    assert name == "table, abstaining below 1.00"
    assert squad.endswith(
        ": questions 3, exact, answerable 0.500, F1, answerable 0.786, right abstentions 1, exact 0.667, F1 0.857"
    )  # F1 of 4/7, 1, and an abstention
    assert policies.startswith("PolicyQA test: questions 1, exact, answerable 0, F1, answerable 0.667, ")  # "a" does not count
    assert pages == (  # two of the three tokens of "200 times a minute" that count: F1 of 4/5; 1; and an abstention
        "Help pages, two held-out organisations: questions 3, exact, answerable 0.500, F1, answerable 0.900, "
        "right abstentions 1, exact 0.667, F1 0.933"
    )
    assert (HEAVY, "Bags\nOne bag of 10 kg is free.") in reader.given
    assert COST not in [question for question, _ in reader.given]
    assert ranks == [
        "SQuAD, four held-out articles: mean reciprocal rank 1.000 as found, 1.000 reranked",
        "Help pages, two held-out organisations: mean reciprocal rank 1.000 as found, 1.000 reranked",
    ]
    assert "holds the answer for 1.000 of the answerable" in retrieved
