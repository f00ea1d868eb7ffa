"""Answers read in evidence: the best over all passages and questions, in its sentence, with its document; a fake reader finds the spans."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepladder.cache import Cache
from stepladder.encoder import DIMENSIONS, Encoder
from stepladder.models import evidence
from stepladder.models.embedded import EmbeddedModel
from stepladder.models.evidence import CERTAIN, COMPANY_PARAGRAPHS, SIGNS, Finding, candidates, find_answer, learned_weights
from stepladder.records import Example, Passage, Prompt
from table_reader import TableReader


class DialEncoder(Encoder):
    """Puts a text at an angle of its own: texts whose angles differ by little are near. Others stand at right angles to all of these."""

    def __init__(self, cache: Cache, angles: Mapping[str, float] = {}) -> None:
        super().__init__(cache, "fp32")
        self.angles = angles

    def _embed(self, texts: list[str]) -> np.ndarray:
        rows = np.zeros((len(texts), DIMENSIONS))
        for i, text in enumerate(texts):
            angle = self.angles.get(text)
            rows[i, :3] = (0, 0, 1) if angle is None else (math.cos(angle), math.sin(angle), 0)
        return rows


@pytest.fixture
def encoder(tmp_path: Path) -> Encoder:
    return DialEncoder(Cache(tmp_path))


def passage(doc_id: str, text: str, title: str = "") -> Passage:
    return Passage(f"{doc_id}#1", doc_id, title, "", "policy", text, 0, len(text))


def near(cosine: float) -> float:
    """The angle of a text that is as near as that to a text at 0."""
    return math.acos(cosine)


LONG = "How long do I have to return it?"
COST = "What does postage cost?"
RETURNS = passage("returns", "Returns are free. Goods may come back within 45 days, unused. Sale goods may not.", "Returns")
POSTAGE = passage("postage", "Postage is £4.50. Express costs £8.95.", "Postage")
HELP = passage("help", "- Ask the desk within 45 days\n- Express costs £9.95, ordered by 14:00\nWe are glad to help.")


@pytest.fixture(autouse=True)
def certain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader's score alone decides: confidence one half at a score of 2."""
    weigh(monkeypatch, (0.0, 0.0, 0.0, 0.5), -1.0)


def weigh(monkeypatch: pytest.MonkeyPatch, weights: Sequence[float], bias: float) -> None:
    monkeypatch.setattr(evidence, "learned_weights", lambda: (np.array(weights), bias))


# --- the best answer


@pytest.mark.parametrize("passages", list(itertools.permutations([RETURNS, POSTAGE, HELP])), ids=range(6))
def test_the_best_score_over_all_passages_wins(encoder: Encoder, certain: None, passages: Sequence[Passage]) -> None:
    reader = TableReader({("", "£4.50"): 3.0, ("", "45 days, unused"): 4.0, ("", "14:00"): 2.0})
    found = find_answer(reader, encoder, LONG, LONG, passages)
    assert found == Finding("45 days, unused", "Goods may come back within 45 days, unused.", "returns", 1 / (1 + math.exp(-1.0)))


def test_of_equals_the_first_is_taken(encoder: Encoder, certain: None) -> None:
    reader = TableReader({("", "45 days"): 1.0})
    assert [getattr(find_answer(reader, encoder, LONG, LONG, some), "doc_id", "") for some in ([RETURNS, HELP], [HELP, RETURNS])] == [
        "returns",
        "help",
    ]


@pytest.mark.parametrize(
    ("span", "sentence"),
    [
        ("Returns are free", "Returns are free."),
        ("free. Goods", "Returns are free."),  # a span over two sentences: the one in which it starts
        ("Goods", "Goods may come back within 45 days, unused."),
        ("unused.", "Goods may come back within 45 days, unused."),
        ("not.", "Sale goods may not."),
    ],
)
def test_the_sentence_around_the_span_is_the_answer(encoder: Encoder, span: str, sentence: str) -> None:
    found = find_answer(TableReader({("", span): 1.0}), encoder, LONG, LONG, [POSTAGE, RETURNS])
    assert found is not None
    assert (found.span, found.sentence, found.doc_id) == (span, sentence, "returns")


def test_a_title_and_a_heading_are_no_answer(encoder: Encoder) -> None:
    """They are read, as what stands below is about them, but they tell nothing new."""
    page = passage("hours", "# 9 to 17\nCall us then.", "Open 9 to 17, Monday to Friday")
    reader = TableReader({("", "9 to 17"): 9.0, ("", "Call us"): 1.0})
    found = find_answer(reader, encoder, "When?", "When are you open?", [page])
    assert reader.given == [("When are you open?", f"{page.title}\n{page.text}")]
    assert found is not None
    assert (found.sentence, found.doc_id) == ("Call us then.", "hours")
    assert find_answer(reader, encoder, "When?", "When are you open?", [passage("bare", "", page.title)]) is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("- Express costs £9.95, ordered by 14:00", "Express costs £9.95, ordered by 14:00"),
        ("Prices\n  - Express costs £9.95 - or less", "Express costs £9.95 - or less"),
        ("Express costs £9.95 -", "Express costs £9.95 -"),
    ],
)
def test_the_dash_of_a_list_is_no_part_of_the_answer(encoder: Encoder, text: str, sentence: str) -> None:
    found = find_answer(TableReader({("", "£9.95"): 1.0}), encoder, COST, COST, [passage("d", text)])
    assert found is not None
    assert (found.sentence, found.span) == (sentence, "£9.95")


def test_a_minus_is_part_of_the_answer(encoder: Encoder) -> None:
    found = find_answer(
        TableReader({("", "-5 °C"): 1.0}), encoder, "How cold?", "How cold?", [passage("bag", "Comfort\n-5 °C without a liner")]
    )
    assert found is not None
    assert found.sentence == "-5 °C without a liner"


@pytest.mark.parametrize(
    ("question", "passages", "company"),
    [
        ("", [RETURNS], "We sell boots."),
        (LONG, [], ""),
        (LONG, [], "# Us\n\n## More of us"),
        (LONG, [], " \n\n\t\n\n"),
        ("", [], ""),
    ],
    ids=["nothing asked", "no text", "headings alone", "blank text", "nothing"],
)
def test_nothing_to_ask_or_to_read_is_no_answer(encoder: Encoder, question: str, passages: list[Passage], company: str) -> None:
    reader = TableReader({("", "45 days"): 1.0})
    assert find_answer(reader, encoder, LONG, question, passages, company) is None
    assert reader.given == []


def test_a_poor_answer_is_still_given_with_its_confidence(encoder: Encoder, certain: None) -> None:
    """Whether it is said, who asks decides."""
    found = find_answer(TableReader({}), encoder, LONG, LONG, [POSTAGE])
    assert found is not None
    assert found.confidence == pytest.approx(1 / (1 + math.exp(0.5 * CERTAIN + 1)))


# --- the company text

PARAGRAPHS = ["We sell boots.", "We are in Harrowdale.", "We open at 9:00.", "Returns: 45 days.", "Call us."]
COMPANY = "# About us\n\nWe sell boots.\n\nWe are in Harrowdale.\n\n## Hours\n\nWe open at 9:00.\n\n \n\nReturns: 45 days.\n\nCall us."


def test_the_nearest_company_paragraphs_are_read_without_headings(tmp_path: Path) -> None:
    angles = {
        LONG: 0.0,
        PARAGRAPHS[4]: 0.1,
        PARAGRAPHS[1]: 0.2,
        PARAGRAPHS[3]: -0.3,
        PARAGRAPHS[0]: 0.4,
        "# About us": 0.0,
        "## Hours": 0.0,
    }
    reader = TableReader({("", "45 days"): 1.0})
    found = find_answer(reader, DialEncoder(Cache(tmp_path), angles), LONG, LONG, [POSTAGE], COMPANY)
    assert COMPANY_PARAGRAPHS == 3
    assert [text for _, text in reader.given] == ["Postage\n" + POSTAGE.text, "Call us.", "We are in Harrowdale.", "Returns: 45 days."]
    assert found is not None
    assert (found.sentence, found.doc_id) == ("Returns: 45 days.", "")  # the company text is no document


def test_a_short_company_text_is_read_whole(encoder: Encoder) -> None:
    reader = TableReader({})
    find_answer(reader, encoder, LONG, LONG, [], "# Us\n\nWe sell boots.\n\nCall us.")
    assert [text for _, text in reader.given] == ["We sell boots.", "Call us."]


def test_text_right_below_a_heading_is_read(encoder: Encoder) -> None:
    found = find_answer(TableReader({("", "45 days"): 1.0}), encoder, LONG, LONG, [], "# Returns\nGoods may come back within 45 days.")
    assert found is not None
    assert found.sentence == "Goods may come back within 45 days."


# --- the signs


def test_the_signs_of_each_sentence(tmp_path: Path) -> None:
    message = f"My boots leak. {LONG}"
    first, second = "Returns are free.", "Goods may come back within 45 days, unused."
    angles = {LONG: 0.0, message: 0.5, first: near(0.3), second: near(0.9), f"Returns: {second}": 0.5, RETURNS.headed: 1.5}
    reader = TableReader({("", "45 days"): 4.0})
    found, signs = candidates(reader, DialEncoder(Cache(tmp_path), angles), message, LONG, [RETURNS])
    assert [(f.span, f.sentence, f.doc_id) for f in found] == [
        ("", first, "returns"),
        ("45 days", second, "returns"),
        ("", "Sale goods may not.", "returns"),
    ]
    about = math.cos(1.0)  # of the passage and the message
    expected = [[0.3, 0.0, about, -CERTAIN], [0.9, 1.0, about, 4.0], [0.0, 0.0, about, -CERTAIN]]
    np.testing.assert_allclose(signs, expected, atol=1e-3)
    assert signs.shape[1] == len(SIGNS)


def test_a_sentence_of_the_company_text_is_not_near_by_its_passage(tmp_path: Path) -> None:
    angles = {LONG: 0.0, "Returns: 45 days.": 0.0}
    _, signs = candidates(TableReader({("", "45 days"): 4.0}), DialEncoder(Cache(tmp_path), angles), LONG, LONG, [], "Returns: 45 days.")
    np.testing.assert_allclose(signs, [[1.0, 1.0, 0.0, 4.0]], atol=1e-3)


@pytest.mark.parametrize(("score", "counted"), [(4.0, 4.0), (40.0, CERTAIN), (-40.0, -CERTAIN), (math.inf, CERTAIN)])
def test_a_score_counts_within_bounds(encoder: Encoder, score: float, counted: float) -> None:
    _, signs = candidates(TableReader({("", "£4.50"): score}), encoder, COST, COST, [passage("d", "It is £4.50.")])
    assert signs[0, 3] == counted


def test_all_signs_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader likes one sentence, the cosine with the question another."""
    first, second = "Postage is £4.50.", "Express costs £8.95."
    made = DialEncoder(Cache(tmp_path), {COST: 0.0, second: 0.0})
    reader = TableReader({("", "£4.50"): 2.0, ("express", "£8.95"): 0.0})
    for weights, expected in (((0.0, 0.0, 0.0, 1.0), first), ((1.0, 0.0, 0.0, 0.0), second), ((20.0, 0.0, 0.0, 1.0), second)):
        weigh(monkeypatch, weights, 0.0)
        found = find_answer(reader, made, COST, COST, [POSTAGE])
        assert found is not None
        assert found.sentence == expected


# --- confidence


@pytest.mark.parametrize(
    ("weight", "bias", "score", "expected"),
    [
        (2.0, -2.0, 1.0, 0.5),
        (2.0, -2.0, 2.0, 0.880797),  # 1 / (1 + e^-2)
        (2.0, -2.0, 0.0, 0.119203),
        (0.5, 0.0, math.log(81), 0.9),
        (9.0, 1000.0, 12.0, 1.0),
        (9.0, -1000.0, 12.0, 0.0),
    ],
)
def test_confidence_is_the_logistic_function(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch, weight: float, bias: float, score: float, expected: float
) -> None:
    weigh(monkeypatch, (0.0, 0.0, 0.0, weight), bias)
    found = find_answer(TableReader({("", "£4.50"): score}), encoder, COST, COST, [passage("d", "It is £4.50.")])
    assert found is not None
    assert found.confidence == pytest.approx(expected, abs=1e-6)


def test_the_weights_are_read_from_the_file_beside_those_of_the_reader(tmp_path: Path) -> None:
    about = {"answer": {"weights": {name: i + 0.5 for i, name in enumerate(reversed(SIGNS))}, "bias": -3}, "threshold": 1}
    (tmp_path / "reader.json").write_text(json.dumps(about), encoding="utf-8")
    weights, bias = learned_weights.__wrapped__(tmp_path / "reader.json")
    assert (weights.tolist(), bias) == ([3.5, 2.5, 1.5, 0.5], -3.0)


def test_a_span_and_a_near_sentence_speak_for_an_answer() -> None:
    weights, bias = learned_weights()
    assert weights[-1] > 0
    assert weights[:3].sum() > 0
    assert math.isfinite(bias)


# --- the embedded model

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"answer": {"type": ["string", "null"]}, "sources": {"type": "array", "items": {"type": "string"}}},
}
ASKS = f"Hello. {LONG} Thanks!"
OTHER = "How long may I keep it before I send it back?"
TAUGHT = Example(OTHER, {"answer": "Forty-five days.", "sources": ["taught"]})


def model(folder: Path, table: Mapping[tuple[str, str], float], angles: Mapping[str, float] = {}) -> EmbeddedModel:
    return EmbeddedModel(DialEncoder(Cache(folder), angles), TableReader(table))


def fill(made: EmbeddedModel, message: str, **given: Any) -> tuple[str | None, list[str]]:
    [completion] = made.complete([Prompt(message, SCHEMA, **given)])
    output = json.loads(completion.text)
    return output["answer"], output["sources"]


def test_the_questions_of_a_message_are_read_together(tmp_path: Path, certain: None) -> None:
    made = model(tmp_path, {("postage", "£4.50"): 5.0, ("return", "45 days"): 4.0})
    assert fill(made, f"Hi. {LONG} I am not sure. {COST}", passages=(RETURNS, POSTAGE)) == ("Postage is £4.50.", ["postage"])
    assert isinstance(made.reader, TableReader)
    assert made.reader.given == [(f"{LONG} {COST}", p.headed) for p in (RETURNS, POSTAGE)]


@pytest.mark.parametrize(("abstain_below", "said"), [(0.0, True), (0.72, True), (0.74, False), (1.0, False)])
def test_an_answer_is_said_from_the_threshold_on(tmp_path: Path, certain: None, abstain_below: float, said: bool) -> None:
    """A score of 4 is a confidence of 0.731."""
    found = fill(model(tmp_path, {("", "45 days"): 4.0}), ASKS, passages=(RETURNS,), abstain_below=abstain_below)
    assert found == (("Goods may come back within 45 days, unused.", ["returns"]) if said else (None, []))


def test_an_answer_of_the_company_text_has_no_source(tmp_path: Path, certain: None) -> None:
    brief = "# Us\n\nWe sell boots.\n\nReturns: 45 days."
    assert fill(model(tmp_path, {("", "45 days"): 4.0}), ASKS, brief=brief) == ("Returns: 45 days.", [])
    assert fill(model(tmp_path, {("", "45 days"): 4.0}), ASKS, brief=brief, passages=(POSTAGE,)) == ("Returns: 45 days.", [])


def test_a_message_that_asks_nothing_gets_no_answer(tmp_path: Path, certain: None) -> None:
    made = model(tmp_path, {("", "45 days"): 40.0}, {"Thanks, all is well.": 0.0, OTHER: 0.0})
    given: dict[str, Any] = {"passages": (RETURNS,), "brief": COMPANY, "examples": (TAUGHT,), "abstain_below": 0.0}
    assert fill(made, "Thanks, all is well.", **given) == (None, [])


@pytest.mark.parametrize(
    ("cosine", "score", "expected"),
    [
        (1.0, 4.0, ("Forty-five days.", "taught", 0.952574)),  # 1 / (1 + e^-3) against 0.731
        (0.85, 4.0, ("Forty-five days.", "taught", 0.817574)),
        (0.75, 4.0, ("Goods may come back within 45 days, unused.", "returns", 0.731059)),  # 0.622 against it
        (0.0, 4.0, ("Goods may come back within 45 days, unused.", "returns", 0.731059)),
        (1.0, 10.0, ("Goods may come back within 45 days, unused.", "returns", 0.982014)),
        (0.85, 2.0, ("Forty-five days.", "taught", 0.817574)),
    ],
)
def test_the_answer_of_an_example_wins_where_nearly_the_same_was_asked(
    tmp_path: Path, certain: None, cosine: float, score: float, expected: tuple[str, str, float]
) -> None:
    made = model(tmp_path, {("", "45 days"): score}, {ASKS: 0.0, OTHER: near(cosine)})
    *found, sure = made.best_answer(Prompt(ASKS, SCHEMA, examples=(TAUGHT,), passages=(RETURNS,)), LONG)
    assert found == list(expected[:2])
    assert sure == pytest.approx(expected[2], abs=1e-5)


def test_the_nearest_of_the_answered_examples_is_repeated(tmp_path: Path) -> None:
    """Nearer ones that have no answer teach none, and one without sources names none."""
    far, open_, unlabelled = "How long is the rope?", "When may it go back?", "Until when?"
    angles = {ASKS: 0.0, OTHER: near(0.95), far: near(0.8), open_: near(0.99), unlabelled: near(0.98)}
    some = (Example(far, {"answer": "60 m"}), Example(open_, {"answer": None}), Example(unlabelled, {}), TAUGHT)
    made = model(tmp_path, {}, angles)
    assert made.best_answer(Prompt(ASKS, SCHEMA, examples=some), LONG)[:2] == ("Forty-five days.", "taught")
    assert made.best_answer(Prompt(ASKS, SCHEMA, examples=some[:1]), LONG)[:2] == ("60 m", "")
    assert made.best_answer(Prompt(ASKS, SCHEMA, examples=some[1:3]), LONG) == (None, "", 0.0)
    assert made.best_answer(Prompt(ASKS, SCHEMA, examples=some), "") == (None, "", 0.0)
