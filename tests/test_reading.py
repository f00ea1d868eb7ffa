"""Training the embedded reader: rows whose answers are literal, a loss that falls, a training that goes on where it stopped."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from stepladder.cache import Cache
from stepladder.encoder import load_network
from stepladder.encoder.pairs import PairNetwork, PairReader, Window, best_spans, padded, windows
from stepladder.records import UserError
from stepladder.tuning import reading
from stepladder.tuning.reading import ReadingSettings, save_reader, train_reader
from stepladder.tuning.reading_sets import (
    DESK_DEV,
    DESK_HELD_OUT,
    SQUAD_DEV,
    SQUAD_HELD_OUT,
    Row,
    bitext,
    covid_qa,
    desk,
    hard_negatives,
    nlupp,
    policyqa,
    qed,
    squad,
    swapped_negatives,
)

DATASETS = os.environ.get("STEPLADDER_DATASETS", "")
DESK = Path(__file__).parents[1] / "data" / "reading" / "desk.jsonl"


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return path


def asked(question: str, answers: Sequence[tuple[str, int]], **more: Any) -> dict[str, Any]:
    return {"question": question, "answers": [{"text": t, "answer_start": s} for t, s in answers], **more}


def articles(**paragraphs: Sequence[tuple[str, list[dict[str, Any]]]]) -> dict[str, Any]:
    """The shape of SQuAD: articles by title, each of paragraphs with their questions."""
    return {"data": [{"title": t, "paragraphs": [{"context": c, "qas": q} for c, q in some]} for t, some in paragraphs.items()]}


def answers(rows: Sequence[Row]) -> list[str]:
    return [row.answer for row in rows]


# --- a row


def test_a_row_with_an_answer_fits_and_one_without_says_nothing() -> None:
    row = Row("desk", "How long?", "", "Within 30 days.", (7, 14))
    assert (row.answer, row.fits) == ("30 days", True)
    assert (Row("desk", "Why?", "", "Within 30 days.", None).answer, Row("desk", "Why?", "", "Within 30 days.", None).fits) == ("", None)
    assert Row("desk", "Why?", "", "Within 30 days.", None, fits=False).fits is False


# --- the sets

FEES = "Postage is £4.50. Collection is free."


def test_squad(tmp_path: Path) -> None:
    questions = [
        asked(" What is\npostage? ", [("£4.50", 11), ("Postage", 0)], is_impossible=False),
        asked("What is the tax?", [], is_impossible=True, plausible_answers=[{"text": "£4.50", "answer_start": 11}]),
    ]
    path = write(tmp_path / "dev.json", articles(Postal_fees=[(FEES, questions)], Norway=[(FEES, questions[:1])]))
    assert squad(path, lambda title: title == "Postal_fees") == [
        Row("squad", "What is postage?", "Postal fees", FEES, (11, 16), True),
        Row("squad", "What is the tax?", "Postal fees", FEES, None, None),
    ]
    assert [row.title for row in squad(path)] == ["Postal fees", "Postal fees", "Norway"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([(" £4.50", 10)], "£4.50"),
        ([("£4.50. ", 11)], "£4.50."),
        ([(" £4.50. ", 10)], "£4.50."),
        ([("£4.50", 12), ("free", 32)], "free"),  # the first stands elsewhere
        ([("£4.50", 900), ("£9", 11)], None),
        ([("  ", 7)], None),
        ([("", 0)], None),
    ],
)
def test_white_space_around_an_answer_and_offsets_that_do_not_match_are_dropped(
    tmp_path: Path, given: list[tuple[str, int]], expected: str | None
) -> None:
    """A question of which no answer stands where it says is left out: it is not one without an answer."""
    path = write(tmp_path / "dev.json", articles(Fees=[(FEES, [asked("What?", given)])]))
    assert answers(squad(path)) == ([expected] if expected else [])


def test_policyqa(tmp_path: Path) -> None:
    texts = {"First Party|||Purpose": "We use your address to send parcels.", "Retention|||Period": "We keep it for a year."}
    found = {"First Party|||Purpose": ("to send parcels", 20), "Retention|||Period": ("a year", 15)}
    shop = [(texts[t], [asked(f"About {t}, {i}?", [found[t]], type=t) for i in range(10)]) for t in texts]
    path = write(
        tmp_path / "dev.json", articles(shop=shop, club=[("We ask first.", [asked("Asked?", [("ask first", 3)], type="Choice|||x")])])
    )
    rows = policyqa(path, seed=0)
    right, wrong = [r for r in rows if r.span], [r for r in rows if not r.span]
    assert answers(right) == ["to send parcels"] * 10 + ["a year"] * 10 + ["ask first"]
    assert 0 < len(wrong) < 20
    for row in wrong:  # of the same policy, of another practice
        assert row.fits is False
        assert row.passage == texts["Retention|||Period" if "Purpose" in row.question else "First Party|||Purpose"]
    assert policyqa(path, seed=0) == rows
    assert policyqa(path, seed=1) != rows


def test_a_policy_of_one_practice_has_no_wrong_passage(tmp_path: Path) -> None:
    some = [asked(f"Why, {i}?", [("parcels", 3)], type=f"Use|||{i}") for i in range(20)]
    path = write(tmp_path / "dev.json", articles(shop=[("To parcels.", some), ("We parcels.", some)]))
    assert all(row.span for row in policyqa(path, seed=0))


def test_qed(tmp_path: Path) -> None:
    text = "The prize went to Wilhelm Röntgen , of Germany , in 1901 ."

    def line(question: str, found: list[list[str]]) -> str:
        spans = [[{"start": text.index(s), "end": text.index(s) + len(s), "string": s} for s in one] for one in found]
        return json.dumps({"question_text": question, "title_text": "Prizes", "paragraph_text": text, "original_nq_answers": spans})

    lines = [
        line("who got the prize", [["Wilhelm Röntgen , of Germany"], ["Wilhelm Röntgen"], ["prize", "1901"]]),
        line("which and when", [["prize", "1901"]]),  # an answer in two pieces is none for a span
    ]
    (tmp_path / "qed.jsonlines").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert qed(tmp_path / "qed.jsonlines") == [Row("qed", "who got the prize", "Prizes", text, (18, 33), True)]
    assert text[18:33] == "Wilhelm Röntgen"


def test_covid_qa(tmp_path: Path) -> None:
    sentences = [f"Study {i} of the bats found {100 + i} viruses in the caves of region {i}." for i in range(60)]
    text = " ".join(sentences)
    other = "Bats sleep by day."
    questions = [
        asked("How many in region 40?", [(" 140 viruses", text.index(" 140 viruses"))]),
        asked("What stands elsewhere?", [("140 viruses", 5)]),
        asked("What takes three lines?", [(text[:200], 0)]),
    ]
    long, short = (text, questions), (other, [asked("When?", [("by day", 11)])])
    path = write(tmp_path / "covid.json", articles(bats=[long], sleep=[short]))
    right, wrong, alone = covid_qa(path, seed=0)
    assert (right.answer, right.fits, right.question) == ("140 viruses", True, "How many in region 40?")
    assert (wrong.question, wrong.span, wrong.fits) == ("How many in region 40?", None, False)
    assert right.passage != wrong.passage
    for row in (right, wrong):
        assert row.passage in text
        assert len(row.passage) <= 1100
        assert (row.passage[:5], row.passage[-1]) == ("Study", ".")  # whole sentences
    assert (alone.passage, alone.answer) == (other, "by day")  # an article of one stretch has no other


@pytest.mark.parametrize("seed", range(4))
def test_nlupp(tmp_path: Path, seed: int) -> None:
    slots = {"date": {"description": "what is the date?"}, "number": {"description": "how many?"}, "name": {"description": "who?"}}
    write(tmp_path / "ontology.json", {"intents": {}, "slots": slots})
    messages = [
        {
            "text": "two nights from 4 April",
            "slots": {"number": {"text": "two", "span": [0, 3]}, "date": {"text": "4 April", "span": [16, 23]}},
        },
        {"text": "hello", "intents": ["greet"]},
    ]
    write(tmp_path / "hotels" / "fold0.json", messages)
    write(tmp_path / "banking" / "fold3.json", [{"text": "it is 6, old style", "slots": {"style": {"text": "old", "span": [9, 12]}}}])
    bank, *hotel = nlupp(tmp_path, seed)
    assert (bank.passage, bank.span) == ("it is 6, old style", None)  # its slot is not in the ontology
    text = "two nights from 4 April"
    assert hotel == [
        Row("nlupp", "how many?", "", text, (0, 3), True),
        Row("nlupp", "what is the date?", "", text, (16, 23), True),
        Row("nlupp", "who?", "", text, None, None),  # the one slot that the message does not hold
    ]


def csv_of(*rows: str) -> str:
    return "\n".join(["instruction,entity_type,entity_value,start_offset,end_offset", *rows]) + "\n"


def test_bitext(tmp_path: Path) -> None:
    rows = [
        "cancel order 1135,order_id,1135,13,17",
        "cancel order 0024,order_id,24,13,17",  # the label has lost its zeros
        "cancel order 77,order_id,77,12,14",  # beside it
        '"to Leeds, please",delivery_city,Leeds,3,8',
        "hello,,,,",
    ]
    (tmp_path / "bitext.csv").write_text(csv_of(*rows), encoding="utf-8")
    assert bitext(tmp_path / "bitext.csv", seed=0) == [
        Row("bitext", "What is the order id?", "", "cancel order 1135", (13, 17), True),
        Row("bitext", "What is the delivery city?", "", "cancel order 1135", None, None),
        Row("bitext", "What is the delivery city?", "", "to Leeds, please", (3, 8), True),
        Row("bitext", "What is the order id?", "", "to Leeds, please", None, None),
    ]


def test_a_label_that_ends_behind_the_message_gives_no_such_span(tmp_path: Path) -> None:
    rows = ["cancel order 1135,order_id,1135,13,19", '"to Leeds, please",delivery_city,Leeds,3,8']
    (tmp_path / "bitext.csv").write_text(csv_of(*rows), encoding="utf-8")
    found = bitext(tmp_path / "bitext.csv", seed=0)
    assert [row.answer for row in found if row.span and row.span[1] <= len(row.passage)][-1] == "Leeds"
    assert all(row.span[1] <= len(row.passage) for row in found if row.span)  # or no token would be found for it


def test_desk(tmp_path: Path) -> None:
    page = {
        "sector": "parcel carrier",
        "title": "Fees",
        "text": FEES,
        "questions": [
            {"q": "What do I pay?", "answer": "£4.50", "kind": "plain"},
            {"q": "tax", "answer": None, "kind": "keyword"},
        ],
    }
    path = write(tmp_path / "desk.jsonl", page)
    assert desk(path) == [
        Row("desk/parcel carrier", "What do I pay?", "Fees", FEES, (11, 16), True),
        Row("desk/parcel carrier", "tax", "Fees", FEES, None, None),
    ]


def test_pages_of_some_sectors_alone(tmp_path: Path) -> None:
    pages = [
        {"sector": sector, "title": title, "text": FEES, "questions": [{"q": "How much?", "answer": "£4.50", "kind": "plain"}]}
        for sector, title in (("airline", "Bags"), ("parcel carrier", "Fees"), ("airline", "Seats"))
    ]
    path = tmp_path / "desk.jsonl"
    path.write_text("".join(json.dumps(page) + "\n" for page in pages), encoding="utf-8")
    assert [row.title for row in desk(path)] == ["Bags", "Fees", "Seats"]
    found = desk(path, lambda sector: sector == "airline")
    assert [(row.source, row.title) for row in found] == [("desk/airline", "Bags"), ("desk/airline", "Seats")]
    assert desk(path, lambda sector: sector == "air") == []


def test_our_own_pages_are_whole() -> None:
    rows = desk(DESK)
    assert (len(rows), sum(row.span is None for row in rows), len({row.passage for row in rows})) == (5265, 1755, 585)
    assert all(row.passage.count(row.answer) == 1 and row.answer == row.answer.strip() for row in rows if row.span)
    assert all(row.question.strip() and row.title.strip() for row in rows)


# --- wrong passages that look right

TENTS = [f"The {c} tent weighs {i + 10} kg and is {c} all over." for i, c in enumerate(("red", "green", "blue", "white", "black", "grey"))]
CHEESE = [f"Cheese number {i} ripens in cellar {i} of the dairy." for i in range(6)]


def rows_of(texts: Sequence[str], question: str, source: str, pieces: Sequence[str]) -> list[Row]:
    return [Row(source, question, "", t, (t.index(p), t.index(p) + len(p))) for t, p in zip(texts, pieces, strict=True)]


POOL = rows_of(TENTS, "What does the tent weigh?", "desk/camping", [f"{i + 10} kg" for i in range(6)])
POOL += rows_of(CHEESE, "Where does the cheese ripen?", "desk/dairy", [f"cellar {i}" for i in range(6)])


def test_a_hard_negative_is_like_the_answer_but_does_not_hold_it() -> None:
    found = hard_negatives(POOL, share=1.0, seed=0)
    assert [row.question for row in found] == [row.question for row in POOL]
    for row, wrong in zip(POOL, found, strict=True):
        assert (wrong.span, wrong.fits, wrong.source) == (None, False, row.source)
        assert wrong.passage in (TENTS if row.passage in TENTS else CHEESE)  # the best that BM25 finds
        assert wrong.passage != row.passage


def test_a_hard_negative_never_holds_the_answer() -> None:
    decoys = [Row("desk/camping", "Why?", "", text.upper(), None) for text in TENTS[:5]]  # the same words in capitals
    [only] = hard_negatives([POOL[0], *decoys], share=1.0, seed=0)
    assert only.passage in [decoy.passage for decoy in decoys[1:]]
    same = [Row("desk/camping", "Why?", "", f"Tent {i} weighs 10 KG.", None) for i in range(8)]
    assert hard_negatives([POOL[0], *same], share=1.0, seed=0) == []


def test_the_share_of_hard_negatives_is_drawn_by_seed() -> None:
    assert hard_negatives(POOL, share=0.0, seed=0) == []
    half = hard_negatives(POOL, share=0.5, seed=0)
    assert 0 < len(half) < len(POOL)
    assert hard_negatives(POOL, share=0.5, seed=0) == half
    assert hard_negatives(POOL, share=0.5, seed=1) != half


def test_rows_without_an_answer_and_tiny_sets_have_no_hard_negatives() -> None:
    assert hard_negatives([], share=1.0, seed=0) == []
    assert hard_negatives(POOL[:4], share=1.0, seed=0) == []  # fewer than five passages
    assert hard_negatives([Row("desk", "Why?", "", text, None) for text in TENTS], share=1.0, seed=0) == []


@pytest.mark.parametrize("question", ["", "the of is", "\0", "שלום"])
def test_a_question_without_a_word_to_search_for_gets_some_other_passage(question: str) -> None:
    [wrong] = hard_negatives(
        [Row("desk/camping", question, "", TENTS[0], (21, 26)), *(Row("desk/camping", "", "", t, None) for t in TENTS)], 1.0, 0
    )
    assert wrong.passage in TENTS[1:]


# --- a name or a number exchanged

TRAMS = "Trams from Kelby to Orley take 40 minutes, and those from Marsh take 25."
BUSES = "The bus to Thirsk leaves at 9, that to Orley takes 25 minutes and a night bus takes 55."
TRAINS = "The train from Poole to Ware takes 12 minutes."
OTHERS = [Row("squad", "When?", "Network", BUSES, None), Row("squad", "How long?", "Railways", TRAINS, None)]  # they lend their names


def about_trams(question: str, answer: str) -> Row:
    return Row("squad", question, "Network", TRAMS, (TRAMS.index(answer), TRAMS.index(answer) + len(answer)))


def swapped(*rows: Row) -> set[str]:
    """The questions that any of three hundred seeds makes."""
    return {made.question for seed in range(300) for made in swapped_negatives(rows, 1.0, seed)}


WHICH = about_trams("Which tram takes 40 minutes?", "Kelby")


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        (
            "How long does it take from Kelby to Orley?",
            "40 minutes",
            {
                "How long does it take from Marsh to Orley?",  # of the same passage
                "How long does it take from Kelby to Marsh?",
                "How long does it take from Thirsk to Orley?",  # of the other of its title; never of another title
                "How long does it take from Kelby to Thirsk?",
            },
        ),
        ("Where does the tram from Kelby go?", "Orley", {"Where does the tram from Marsh go?", "Where does the tram from Thirsk go?"}),
        ("Which tram takes 40 minutes?", "Kelby", {"Which tram takes 9 minutes?", "Which tram takes 55 minutes?"}),  # 25 stands there
        (
            "Is it 40 or 9 minutes to Orley?",
            "40",
            {"Is it 55 or 9 minutes to Orley?", "Is it 40 or 55 minutes to Orley?"}
            | {f"Is it 40 or 9 minutes to {name}?" for name in ("Kelby", "Marsh", "Thirsk")},
        ),
    ],
    ids=["two names", "never the answer", "a number", "never what the question holds"],
)
def test_one_name_or_number_of_the_question_is_exchanged(question: str, answer: str, expected: set[str]) -> None:
    assert swapped(about_trams(question, answer), *OTHERS) == expected


def test_without_another_passage_of_the_title_a_name_is_of_the_same_and_a_number_of_none() -> None:
    row = about_trams("How long does it take from Kelby?", "40 minutes")
    assert swapped(row) == {"How long does it take from Orley?", "How long does it take from Marsh?"}
    assert swapped(WHICH, OTHERS[1]) == set()


@pytest.mark.parametrize(
    "row",
    [
        replace(WHICH, span=None, fits=None),
        replace(WHICH, span=None, fits=False),
        about_trams("How long does it take?", "40 minutes"),
        about_trams("Kelby: how long?", "40 minutes"),  # a capital at the start tells no name
        about_trams("", "40 minutes"),
        about_trams("Is it to Kelby, Orley, Marsh or Thirsk?", "Kelby"),  # nothing is left to take
    ],
    ids=["no answer", "a wrong passage", "no name", "a first word", "empty", "all names"],
)
def test_rows_without_an_answer_or_a_name_are_not_exchanged(row: Row) -> None:
    assert swapped(row, *OTHERS) == set()
    assert swapped_negatives([], 1.0, 0) == []


def test_an_exchanged_question_has_no_answer_and_nobody_says_whether_it_fits() -> None:
    """The passage is still about the matter."""
    assert WHICH.fits
    [made] = swapped_negatives([WHICH, *OTHERS], 1.0, 0)
    assert (made.span, made.fits, made.answer) == (None, None, "")
    assert made.question != WHICH.question
    assert replace(made, question=WHICH.question, span=WHICH.span, fits=WHICH.fits) == WHICH


def test_the_share_of_exchanged_questions_is_drawn_by_seed() -> None:
    rows = [replace(WHICH, question=f"On day {i}, which tram takes 40 minutes?") for i in range(100, 140)] + OTHERS
    assert swapped_negatives(rows, 0.0, 0) == []
    assert len(swapped_negatives(rows, 1.0, 0)) == 40
    half = swapped_negatives(rows, 0.5, 0)
    assert 5 < len(half) < 35
    assert swapped_negatives(rows, 0.5, 0) == half
    assert swapped_negatives(rows, 0.5, 1) != half


# --- the real sets


def test_the_articles_that_are_held_out() -> None:
    assert SQUAD_HELD_OUT == ("Normans", "Warsaw", "Harvard_University", "Force")
    assert not set(SQUAD_DEV) & set(SQUAD_HELD_OUT)


def test_the_organisations_that_are_held_out() -> None:
    sectors = {row.source.removeprefix("desk/") for row in desk(DESK)}
    assert DESK_DEV
    assert DESK_HELD_OUT
    assert {*DESK_DEV, *DESK_HELD_OUT} <= sectors
    assert not set(DESK_DEV) & set(DESK_HELD_OUT)


@pytest.mark.skipif(not DATASETS, reason="STEPLADDER_DATASETS is not set to the folder of the public data sets")
def test_the_public_sets_load_with_literal_spans_and_without_what_is_held_out() -> None:
    root = Path(DATASETS)
    file = root / "squad2_dev_half" / "dev-v2.0.json"
    sets = {
        "squad": squad(file, lambda title: title not in SQUAD_HELD_OUT + SQUAD_DEV),
        "policyqa": policyqa(root / "policyqa" / "dev.json", 0),
        "qed": qed(root / "qed" / "qed-dev.jsonlines"),
        "covid_qa": covid_qa(root / "covid_qa" / "200423_covidQA.json", 0),
        "nlupp": nlupp(root / "nlupp", 0),
        "bitext": bitext(root / "bitext" / "bitext_customer_support.csv", 0),
    }
    assert all(len(rows) > 1000 for rows in sets.values()), {name: len(rows) for name, rows in sets.items()}
    held_out = squad(file, lambda title: title in SQUAD_HELD_OUT)
    assert {row.title for row in held_out} == {title.replace("_", " ") for title in SQUAD_HELD_OUT}
    titles, passages = {row.title for row in held_out}, {row.passage for row in held_out}
    wrong = []
    for name, rows in sets.items():
        assert {row.source for row in rows} == {name}
        wrong += [(name, row.question) for row in rows if row.span and not 0 <= row.span[0] < row.span[1] <= len(row.passage)]
        wrong += [(name, row.question) for row in rows if row.span and row.answer != row.answer.strip()]
        wrong += [(name, row.title) for row in rows if row.title in titles or row.passage in passages]
    assert wrong == []


# --- the training

COLOURS = ["red", "green", "blue", "white"]
ROWS = [Row("squad", f"What colour is tent {i}?", "", f"Tent {i} is {c}.", (10, 10 + len(c))) for i, c in enumerate(COLOURS)]
ROWS += [Row("qed", f"what does peg {i} cost", "", f"Peg {i} costs £{i + 2} today.", (12, 14)) for i in range(4)]
ROWS += [Row("desk/x", f"Where is rope {i}?", "Ropes", f"Rope {i} is sold out.", None, fits=False) for i in range(4)]
SETTINGS = ReadingSettings(  # six rows in a batch, so four steps; a share of dropout that is not the one of the published encoder
    epochs=2, learning_rate=3e-4, dropout=0.05, batch_tokens=192, chatter=0, keywords=0
)


@dataclass
class Looks:
    """Counts the looks at the network; stops the training at one of them."""

    stop_at: int = 0
    seen: int = 0

    def __call__(self, network: PairNetwork) -> None:
        self.seen += 1
        if self.seen == self.stop_at:
            raise KeyboardInterrupt


@dataclass
class Trained:
    network: PairNetwork
    folder: Path
    looks: Looks = field(default_factory=Looks)


def train(folder: Path, looks: Looks) -> PairNetwork:
    return train_reader(lambda epoch: ROWS if epoch == 0 else ROWS[::-1], SETTINGS, [], folder, seed=0, evaluate=looks)


def mean_loss(network: PairNetwork) -> float:
    """Cross-entropy of the gold tokens and of the fit, row by row, as the paper says: without an answer both ends are [CLS]."""
    losses = []
    for row in ROWS:
        [window] = windows(row.question, row.passage)
        gold = window.token_span(*row.span) if row.span else (0, 0)
        assert gold is not None
        with torch.inference_mode():
            spans, fit = network.eval()(*padded([window]))
            ends = functional.cross_entropy(spans[0].T, torch.tensor(gold))
            losses.append(float(ends + functional.binary_cross_entropy_with_logits(fit, torch.tensor([float(bool(row.fits))]))))
    return float(np.mean(losses))


def assert_same_weights(one: PairNetwork, two: PairNetwork) -> None:
    state = two.state_dict()
    assert [name for name, tensor in one.state_dict().items() if not torch.equal(tensor, state[name])] == []


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder, looks = tmp_path_factory.mktemp("checkpoint"), Looks()
    return Trained(train(folder, looks), folder, looks)


def test_training_lowers_the_loss(trained: Trained) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        before = mean_loss(PairNetwork())
    after = mean_loss(trained.network)
    assert after < 0.8 * before
    assert not trained.network.training


def test_word_vectors_stay_as_published_and_all_else_is_trained(trained: Trained) -> None:
    published, _ = load_network()
    before = published.state_dict()
    changed = {name for name, tensor in trained.network.encoder.state_dict().items() if not torch.equal(tensor, before[name])}
    assert set(before) - changed == {"embeddings.word_embeddings.weight"}


def test_all_but_attention_drops_out_as_set(trained: Trained) -> None:
    shares = {name: m.p for name, m in trained.network.named_modules() if isinstance(m, torch.nn.Dropout)}
    of_attention = {name for name in shares if name.endswith(".attention.self.dropout")}
    assert len(of_attention) == 6  # one for each layer
    assert {shares[name] for name in of_attention} == {0.0}
    assert {shares[name] for name in set(shares) - of_attention} == {SETTINGS.dropout}


@pytest.mark.parametrize(
    ("part", "warmup", "share"),
    [
        (0.0, 0.06, 0.0),
        (0.03, 0.06, 0.5),
        (0.06, 0.06, 1.0),  # the end of the warm-up
        (0.53, 0.06, 0.5),
        (1.0, 0.06, 0.0),
        (0.1, 0.2, 0.5),
        (0.2, 0.2, 1.0),
        (0.8, 0.2, 0.25),
    ],
)
def test_the_learning_rate_goes_up_and_down_in_straight_lines(part: float, warmup: float, share: float) -> None:
    assert reading.linear_rate(part, warmup) == pytest.approx(share)


def test_the_learning_rate_never_leaves_its_range() -> None:
    shares = [reading.linear_rate(i / 1000, 0.06) for i in range(1001)]
    assert (min(shares), max(shares)) == (0.0, pytest.approx(1.0))
    assert shares[:61] == sorted(shares[:61])
    assert shares[60:] == sorted(shares[60:], reverse=True)


def test_an_interrupted_training_goes_on_and_ends_with_the_same_weights(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Looks(stop_at=1), Looks()
    with monkeypatch.context() as at_once:
        at_once.setattr(reading, "CHECKPOINT_SECONDS", 0)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, first)
    (tmp_path / "99.safetensors").write_bytes(b"half a file")  # as if killed while the next checkpoint was being written
    (tmp_path / "step.json.part").write_text("{")
    again = train(tmp_path, second)
    assert (first.seen, second.seen) == (1, trained.looks.seen - 1)
    assert_same_weights(again, trained.network)
    assert [path.suffix for path in sorted(tmp_path.iterdir())] == [".safetensors", ".json"]  # one checkpoint is kept


def test_the_checkpoint_of_another_training_is_not_gone_on_from(trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(trained.folder, tmp_path / "checkpoint")
    for settings, rows in ((replace(SETTINGS, learning_rate=1e-4), ROWS), (SETTINGS, ROWS[:6])):
        with pytest.raises(UserError, match="found the checkpoint of a training with other settings or rows"):
            train_reader(lambda epoch, rows=rows: rows, settings, [], tmp_path / "checkpoint")  # type: ignore[misc]


def test_two_trainings_are_the_same(trained: Trained, tmp_path: Path) -> None:
    assert_same_weights(train(tmp_path, Looks()), trained.network)


def test_a_finished_training_is_not_done_again(trained: Trained) -> None:
    looks = Looks()
    assert_same_weights(train(trained.folder, looks), trained.network)
    assert looks.seen == 0


def test_some_questions_are_asked_as_customers_ask_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def recorded(question: str, passage: str) -> list[Window]:
        seen.append(question)
        return windows(question, passage)

    monkeypatch.setattr(reading, "windows", recorded)
    rows = [*ROWS, Row("nlupp", "what is the date of the stay?", "", "from 4 April", (5, 12))] * 3
    settings = ReadingSettings(epochs=1, batch_tokens=160, chatter=0.5, keywords=0.5)
    with pytest.raises(KeyboardInterrupt):
        train_reader(lambda epoch: rows, settings, ["My card is lost.", "Hi!"], tmp_path, evaluate=Looks(stop_at=1))
    assert len(seen) == len(rows)
    assert {"My card is lost. What colour is tent 0?", "Hi! What colour is tent 0?", "colour tent 0"} >= {q for q in seen if "tent 0" in q}
    assert any(q.startswith(("My card is lost. ", "Hi! ")) for q in seen)
    assert any(q in ("rope 0", "peg 1 cost", "colour tent 2") for q in seen)
    assert seen.count("what is the date of the stay?") == 3  # the questions of a form are asked as they are


# --- what is shipped


def test_what_is_saved_reads_as_what_was_trained(trained: Trained, tmp_path: Path) -> None:
    path = tmp_path / "reader.safetensors"
    save_reader(trained.network, path)
    assert not any("word_embeddings" in name for name in load_file(path))
    assert path.stat().st_size < 25_000_000
    row = ROWS[0]
    [found] = PairReader(Cache(tmp_path), path, "fp32").read([(row.question, row.passage)])
    [window] = windows(row.question, row.passage)
    with torch.inference_mode():
        spans, fit = trained.network(*padded([window]))
    [(_, best)] = best_spans(spans[0, : len(window.ids)].numpy(), window, [(0, len(row.passage))])
    assert (found.best.start, found.best.end) == (best.start, best.end)
    np.testing.assert_allclose((found.best.score, found.fit), (best.score, float(fit[0])), atol=0.02)  # it was halved in precision
