"""The reader tuned on train's own quotes: its last layer learns, what lies below stays, the shipped network is not touched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from stepladder import tuning
from stepladder.cache import Cache
from stepladder.encoder.pairs import WEIGHTS, PairNetwork, PairReader, padded, trained_network, windows
from stepladder.records import Case, Evidence, Gold, Passage
from stepladder.tuning import reading_head
from stepladder.tuning.reading import Item, loss_of
from stepladder.tuning.reading_head import Lesson, tune_reader
from tiny_model import save_random_reader

CHANGES = ("encoder.encoder.layer.5.", "encoder.pooler.", "span.", "pair.")


def passage(doc_id: str, text: str, title: str = "") -> Passage:
    return Passage(f"{doc_id}#1", doc_id, title, "", "policy", text, 0, len(text))


LATER = "They must be unused, clean and in their box, with the label that came in the parcel."  # so long that it is a batch of its own
RETURNS = passage("returns", f"Returns are free. Goods may come back within 45 days. {LATER}", "Returns")
POSTAGE = passage("postage", "Postage is £4.50, and free from £60.")
BOOTS = passage("boots", "Clean boots with a soft brush.", "Boot care")
LONG, COST, AXES = "How long may I keep it?", "Hello. What is the postage?", "Do you sell ice axes?"
LESSONS = [
    Lesson(LONG, (BOOTS, RETURNS), ("Goods may come back within 45 days.",), ("six weeks", "45 days")),
    Lesson(COST, (POSTAGE, BOOTS), ("Postage is £4.50, and free from £60.",), ("£4.50",)),
    Lesson(AXES, (BOOTS,), (), ()),
]
RIGHT = [  # what these lessons say, by hand: what is asked, the text that is read, the answer in it
    (LONG, "Boot care\n" + BOOTS.text, ""),
    (LONG, "Returns\n" + RETURNS.text, "45 days"),
    ("What is the postage?", POSTAGE.text, "£4.50"),
    ("What is the postage?", "Boot care\n" + BOOTS.text, ""),
    (AXES, "Boot care\n" + BOOTS.text, ""),
]


@pytest.fixture(autouse=True, scope="module")
def _one_arithmetic() -> Iterator[None]:
    """What bf16 is worth here need not be measured."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("stepladder.encoder.vectors.has_bf16", lambda: False)
        patched.setattr(reading_head, "has_bf16", lambda: False)
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_reader(tmp_path_factory.mktemp("weights") / "reader.safetensors")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def base(weights: Path, cache: Cache) -> PairReader:
    return PairReader(cache, weights, "fp32")


@pytest.fixture(scope="module")
def changes(base: PairReader) -> dict[str, torch.Tensor]:
    return tune_reader(base, LESSONS, seed=0)


def changed(base: PairReader, changes: dict[str, torch.Tensor], key: str = "tuned") -> PairReader:
    return PairReader(base.cache, base.weights, "fp32", changes, key)


def mean_loss(network: PairNetwork) -> float:
    """Of both ends of the answer ([CLS] where there is none) and of the fit, pair by pair through the whole network."""
    losses = []
    for question, text, answer in RIGHT:
        [window] = windows(question, text)
        gold = window.token_span(text.index(answer), text.index(answer) + len(answer)) if answer else (0, 0)
        assert gold is not None
        with torch.inference_mode():
            spans, fit = network(*padded([window]))
            ends = functional.cross_entropy(spans[0].T, torch.tensor(gold))
            losses.append(float(ends + functional.binary_cross_entropy_with_logits(fit, torch.tensor([float(bool(answer))]))))
    return float(np.mean(losses))


# --- learning


def test_lessons_lower_the_loss_on_themselves(base: PairReader, changes: dict[str, torch.Tensor]) -> None:
    assert mean_loss(changed(base, changes).network) < 0.9 * mean_loss(base.network)


def test_only_the_last_layer_and_the_heads_change(base: PairReader, changes: dict[str, torch.Tensor]) -> None:
    before = dict(base.network.named_parameters())
    assert set(changes) == {name for name in before if name.startswith(CHANGES)}
    assert [name for name, tensor in changes.items() if torch.equal(tensor, before[name])] == []
    assert {(tensor.dtype, tensor.requires_grad) for tensor in changes.values()} == {(torch.float32, False)}


def test_the_reader_that_was_tuned_stays_as_it_was(base: PairReader, changes: dict[str, torch.Tensor]) -> None:
    state = base.network.state_dict()
    assert [name for name, tensor in load_file(base.weights).items() if not torch.equal(tensor, state[name])] == []
    assert base.network is trained_network(base.weights, "fp32")
    assert not base.network.training


def test_the_same_seed_gives_the_same_weights_and_another_gives_others(base: PairReader, changes: dict[str, torch.Tensor]) -> None:
    again, other = tune_reader(base, LESSONS, seed=0), tune_reader(base, LESSONS, seed=3)
    assert [name for name, tensor in changes.items() if not torch.equal(tensor, again[name])] == []
    assert not torch.equal(changes["span.weight"], other["span.weight"])


@pytest.mark.parametrize(
    "lessons",
    [
        [],
        [LESSONS[2]],
        [replace(LESSONS[0], quotes=())],
        [replace(LESSONS[0], quotes=("Goods may come back in 45 days.",))],  # other words
        [replace(LESSONS[0], answers=())],  # a quote alone is no answer
        [replace(LESSONS[0], passages=(BOOTS, POSTAGE))],
        [replace(LESSONS[0], passages=())],
    ],
    ids=["none", "unanswerable", "no quote", "a quote in other words", "no wording", "other passages", "no passages"],
)
def test_without_a_literal_quote_nothing_is_learned(base: PairReader, lessons: Sequence[Lesson]) -> None:
    assert tune_reader(base, lessons, seed=0) == {}


def test_what_learns_says_what_the_network_says(base: PairReader, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as nothing is learned: the layers below are computed once, and neither that nor the padding makes a difference."""
    seen: list[tuple[torch.Tensor, torch.Tensor, Sequence[Item]]] = []

    def recorded(spans: torch.Tensor, pair: torch.Tensor, batch: Sequence[Item]) -> torch.Tensor:
        seen.append((spans.detach(), pair.detach(), batch))
        return loss_of(spans, pair, batch)

    monkeypatch.setattr(reading_head, "loss_of", recorded)
    monkeypatch.setattr(reading_head, "LEARNING_RATE", 0.0)
    monkeypatch.setattr(reading_head, "EPOCHS", 1)
    found = tune_reader(base, LESSONS, seed=0)
    assert sorted(len(batch) for _, _, batch in seen) == [1, 4]
    for spans, pair, batch in seen:
        with torch.inference_mode():
            expected = base.network(*padded([window for window, _, _ in batch]))
        np.testing.assert_allclose(spans, expected[0], atol=1e-4)
        np.testing.assert_allclose(pair, expected[1], atol=1e-4)
    before = dict(base.network.named_parameters())
    assert [name for name, tensor in found.items() if not torch.equal(tensor, before[name])] == []


# --- what a lesson says


def test_a_lesson_is_its_passages_with_the_answer_in_one_of_them() -> None:
    found = []
    for window, span, fits in (item for lesson in LESSONS for item in reading_head._items(lesson)):
        index = [(q, text) for q, text, _ in RIGHT if windows(q, text) == [window]]
        text = index[0][1]
        start, end = window.offsets[span[0]][0], window.offsets[span[1]][1]
        found.append((*index[0], text[start:end] if span != (0, 0) else "", fits))
    assert found == [(*right, float(bool(right[2]))) for right in RIGHT]


def test_a_message_that_seems_to_ask_nothing_is_read_whole() -> None:
    [(window, _, _)] = reading_head._items(Lesson("boots wet", (BOOTS,), (), ()))
    assert [window] == windows("boots wet", "Boot care\n" + BOOTS.text)


def test_only_the_window_that_holds_the_answer_teaches_it() -> None:
    filler = "The tent has poles and pegs. " * 60
    text = f"{filler}Goods may come back within 45 days. {filler}"
    items = reading_head._items(Lesson(LONG, (passage("long", text),), ("Goods may come back within 45 days.",), ("45 days",)))
    assert len(items) > 2
    right = [(w, span) for w, span, fits in items if fits]
    assert right
    assert len(right) < len(items)
    assert all(text[w.offsets[span[0]][0] : w.offsets[span[1]][1]] == "45 days" for w, span in right)
    assert all(span == (0, 0) for _, span, fits in items if not fits)


PAGE = "Fees. Postage is £4.50, express £8.95. Postage is free from £60."


@pytest.mark.parametrize(
    ("quotes", "answers", "expected"),
    [
        (("Postage is £4.50, express £8.95.",), ("£8.95",), "£8.95"),
        (("Postage is £4.50, express £8.95.",), ("EXPRESS £8.95", "£8.95"), "express £8.95"),  # the first of the wordings
        (("Postage is £4.50, express £8.95.",), ("nearly nine pounds", "£8.95"), "£8.95"),
        (("Postage is £4.50, express £8.95.",), ("nearly nine pounds",), "Postage is £4.50, express £8.95."),
        (("Postage costs nothing.", "Postage is free from £60."), ("free",), "free"),
        (("Postage is free from £60.", "Postage is £4.50, express £8.95."), ("£8.95",), "Postage is free from £60."),
        (("postage  is free",), ("free",), "free"),  # whatever its white space and case
        (("postage was free",), ("free",), None),
        (("Postage costs nothing.",), ("£4.50",), None),  # the wording stands in the page, but not in the quote
        ((), ("£4.50",), None),
    ],
)
def test_the_wording_inside_the_quote_is_taught_or_else_the_quote(
    quotes: tuple[str, ...], answers: tuple[str, ...], expected: str | None
) -> None:
    span = reading_head._span(PAGE, Lesson("", (), quotes, answers))
    assert (span and PAGE[slice(*span)]) == expected


def test_a_quote_is_found_whatever_its_white_space_and_case() -> None:
    text = "Postage is £4.50.\nGoods may come back\n  within 45 days."
    lesson = Lesson(LONG, (passage("d", text),), ("goods may come back within 45 days.",), ("45 days",))
    [(window, span, fits)] = reading_head._items(lesson)
    assert span == window.token_span(text.index("45"), len(text) - 1)
    assert fits == 1.0


def test_an_answer_without_a_quote_teaches_nothing() -> None:
    """It would teach that the passage that holds it has no answer."""
    assert reading_head._items(Lesson(LONG, (RETURNS, BOOTS), (), ("45 days",))) == []
    assert len(reading_head._items(Lesson(LONG, (RETURNS, BOOTS), (), ()))) == 2


def test_the_wording_is_looked_for_in_the_quote_and_not_before_it() -> None:
    span = reading_head._span(PAGE, Lesson("", (), ("Postage is free from £60.",), ("Postage",)))
    assert span == (PAGE.rindex("Postage"), PAGE.rindex("Postage") + 7)


@pytest.mark.parametrize(("quote", "answer"), [("Within 45 days, 5 for food.", "5"), ("A note is needed: no.", "no")])
def test_a_wording_is_whole_words(quote: str, answer: str) -> None:
    assert reading_head._span(quote, Lesson("", (), (quote,), (answer,))) == (
        quote.rindex(f" {answer}") + 1,
        quote.rindex(f" {answer}") + 1 + len(answer),
    )


def test_the_wording_is_found_behind_any_capital() -> None:
    quote = "İzmir and İstanbul: 30 days."
    start, end = reading_head._span(quote, Lesson("", (), (quote,), ("30 days",))) or (0, 0)
    assert quote[start:end] == "30 days"


# --- a reader with changes

PAIRS = [(LONG, RETURNS.text), ("What is the postage?", POSTAGE.text)]


def test_a_reader_with_changes_reads_otherwise_under_another_name(base: PairReader, changes: dict[str, torch.Tensor]) -> None:
    before = base.read(PAIRS)
    one, other = changed(base, changes, "one"), changed(base, {"pair.bias": base.network.pair.bias.detach() + 7}, "other")
    assert len({base.name, one.name, other.name}) == 3
    assert all(a.best.score != b.best.score for a, b in zip(before, one.read(PAIRS), strict=True))
    for a, b in zip(before, other.read(PAIRS), strict=True):
        assert a.best == b.best
        assert b.fit == pytest.approx(a.fit + 7, abs=1e-4)
    again = PairReader(Cache(base.cache.folder / "another"), base.weights, "fp32")
    assert again.read(PAIRS) == before
    assert again.network is base.network  # loaded once, and not changed by those that copied it


@pytest.mark.parametrize("none", [{}, None])
def test_a_reader_without_changes_is_the_shipped_network(base: PairReader, none: dict[str, torch.Tensor] | None) -> None:
    assert PairReader(base.cache, base.weights, "fp32", none, "key").network is base.network


# --- inside a tuned model

SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": ["string", "null"]}, "sources": {"type": "array", "items": {"type": "string"}}},
}
CASES = [Case("c0", "train", LONG), Case("c1", "train", AXES)]
GOLD = {
    "c0": Gold("c0", {"answer": ["45 days"]}, ((Evidence("returns", "Goods may come back within 45 days."),),)),
    "c1": Gold("c1", {"answer": None}),
}
SMALLEST = tuning.TuningSettings(epochs=1, min_steps=2, batch=2)
GIVEN = {"c0": [RETURNS, BOOTS], "c1": [BOOTS]}


def test_a_model_tuned_with_passages_keeps_and_uses_what_its_reader_learned(cache: Cache) -> None:
    made = tuning.train_or_load(CASES, GOLD, SCHEMA, SMALLEST, GIVEN, cache=cache)
    stored = load_file(cache.folder / "tuned" / made.key / "reader.safetensors")
    assert stored
    assert all(name.startswith(CHANGES) for name in stored)
    state = made.reader.network.state_dict()
    assert [name for name, tensor in stored.items() if not torch.equal(state[name], tensor.to(state[name].dtype))] == []
    shipped = trained_network(WEIGHTS, made.reader.arithmetic)
    assert not torch.equal(shipped.span.weight, state["span.weight"])
    assert made.reader.name == PairReader(cache).name + made.key
    loaded = tuning.load(made.key, cache)
    assert loaded.reader.name == made.reader.name
    assert torch.equal(loaded.reader.network.span.weight, made.reader.network.span.weight)


@pytest.mark.parametrize("what", ["no passages", "no quote"])
def test_a_model_that_learned_no_reading_reads_as_shipped(cache: Cache, what: str) -> None:
    gold = GOLD | {"c0": Gold("c0", GOLD["c0"].output)} if what == "no quote" else GOLD
    made = tuning.train_or_load(CASES, gold, SCHEMA, SMALLEST, GIVEN if what == "no quote" else None, cache=cache)
    assert load_file(cache.folder / "tuned" / made.key / "reader.safetensors") == {}
    assert made.reader.network is trained_network(WEIGHTS, made.reader.arithmetic)


def test_other_shipped_weights_are_another_model(cache: Cache, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tuning.train_or_load(CASES, GOLD, SCHEMA, SMALLEST, GIVEN, cache=cache)
    monkeypatch.setattr(tuning.model, "PairReader", lambda cache, **more: PairReader(cache, weights, **more))
    other = tuning.train_or_load(CASES, GOLD, SCHEMA, SMALLEST, GIVEN, cache=cache)
    assert other.key != made.key
    assert other.reader.weights == weights
