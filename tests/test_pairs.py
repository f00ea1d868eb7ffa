"""Question and passage read together: windows that lose nothing, spans that are legal, readings computed once."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from stepladder.cache import Cache
from stepladder.encoder import WeightsError, sentence_spans
from stepladder.encoder.pairs import (
    LENGTHS,
    MAX_ANSWER_TOKENS,
    MAX_PAIR_TOKENS,
    MAX_QUESTION_TOKENS,
    STRIDE,
    PairReader,
    Reading,
    Span,
    Window,
    best_spans,
    padded,
    trained_network,
    windows,
)
from stepladder.encoder.vectors import has_bf16
from stepladder.encoder.weights import tokenizer
from tiny_model import save_random_reader

QUESTION = "How long do I have to send it back?"
PASSAGE = "Returns\nGoods may come back within 30 days. Postage is £4.50."
LONG = " ".join(f"Fact {i} is that tent{i} weighs {i} kg." for i in range(60))


class CountingReader(PairReader):
    """Remembers which pairs were computed."""

    def __init__(self, cache: Cache, weights: Path) -> None:
        super().__init__(cache, weights, arithmetic="fp32")
        self.computed: list[tuple[str, str]] = []

    def _read(self, pairs: Sequence[tuple[str, str]]) -> list[Reading]:
        self.computed += pairs
        return super()._read(pairs)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_reader(tmp_path_factory.mktemp("weights") / "reader.safetensors")


@pytest.fixture
def reader(tmp_path: Path, weights: Path) -> CountingReader:
    return CountingReader(Cache(tmp_path), weights)


def passage_part(window: Window) -> list[tuple[int, tuple[int, int]]]:
    """The tokens of the passage in a window, each with its characters."""
    return [(i, o) for i, o in zip(window.ids, window.offsets, strict=True) if o != (-1, -1)]


# --- windows


@pytest.mark.parametrize("passage", [PASSAGE, "", " ", "One", "Grüße, 日本! £4.50"])
def test_a_short_pair_is_one_window_as_bert_sees_pairs(passage: str) -> None:
    [window] = windows(QUESTION, passage)
    both = tokenizer().encode(QUESTION, passage)
    assert (window.ids, window.types) == (both.ids, both.type_ids)


@pytest.mark.parametrize("question", ["", QUESTION, "why " * 300])
@pytest.mark.parametrize("n_words", [1, 150, 240, 253, 254, 600])
def test_a_window_keeps_to_its_size_and_holds_the_question(question: str, n_words: int) -> None:
    asked = tokenizer().encode(question, add_special_tokens=False).ids[:MAX_QUESTION_TOKENS]
    made = windows(question, "peg " * n_words)
    for window in made:
        assert len(window.ids) == len(window.types) == len(window.offsets) <= MAX_PAIR_TOKENS
        assert window.ids[1 : 1 + len(asked)] == asked
        assert window.types == [0] * (len(asked) + 2) + [1] * (len(window.ids) - len(asked) - 2)
    assert (len(made) == 1) is (n_words <= MAX_PAIR_TOKENS - len(asked) - 3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1200), st.integers(0, 120))
def test_windows_overlap_and_lose_no_token(n_words: int, n_asked: int) -> None:
    passage = " ".join("abcdefgh"[i % 8] for i in range(n_words))
    first, *others = [passage_part(w) for w in windows("why " * n_asked, passage)]
    read = list(first)
    for part in others:
        assert read[-STRIDE:] == part[:STRIDE]
        assert len(part) > STRIDE  # or the window would bring nothing new
        read += part[STRIDE:]
    whole = tokenizer().encode(passage, add_special_tokens=False)
    assert read == list(zip(whole.ids, whole.offsets, strict=True))


@pytest.mark.parametrize("passage", [PASSAGE, "Grüße für 日本 🧗 naïve", "a\u0301 e\u0301te\u0301", "\n\n  Padded.  ", LONG])
def test_offsets_are_characters_of_the_passage(passage: str) -> None:
    for window in windows(QUESTION, passage):
        for i, (start, end) in passage_part(window):
            token = tokenizer().id_to_token(i).removeprefix("##")
            plain = "".join(c for c in unicodedata.normalize("NFD", passage[start:end].lower()) if not unicodedata.combining(c))
            assert token in (plain, "[UNK]")


def test_characters_are_found_as_tokens() -> None:
    [window] = windows(QUESTION, PASSAGE)
    start = PASSAGE.index("30 days")
    first, last = window.token_span(start, start + len("30 days")) or (0, 0)
    assert tokenizer().decode(window.ids[first : last + 1]) == "30 days"
    assert (window.offsets[first][0], window.offsets[last][1]) == (start, start + 7)


@pytest.mark.parametrize(("start", "end"), [(0, 7), (len(PASSAGE) - 5, len(PASSAGE)), (0, len(PASSAGE)), (len(PASSAGE) - 1, len(PASSAGE))])
def test_the_ends_of_a_passage_are_found(start: int, end: int) -> None:
    [window] = windows(QUESTION, PASSAGE)
    first, last = window.token_span(start, end) or (0, 0)
    assert (window.offsets[first][0], window.offsets[last][1]) == (start, end)
    assert first > window.ids.index(tokenizer().token_to_id("[SEP]"))


@pytest.mark.parametrize(
    ("start", "end"),
    [(7, 8), (len(PASSAGE), len(PASSAGE) + 3), (PASSAGE.index("£"), len(PASSAGE) + 2), (-1, -1), (20, 10), (0, 0)],
    ids=["a line break", "behind the end", "over the end", "nowhere", "end before start", "nothing"],
)
def test_what_is_no_span_of_tokens_is_not_found(start: int, end: int) -> None:
    [window] = windows(QUESTION, PASSAGE)
    assert window.token_span(start, end) is None


def test_a_span_is_found_only_in_the_windows_that_hold_it() -> None:
    made = windows(QUESTION, LONG)
    assert len(made) > 2
    start = LONG.index("tent1 ")
    assert [w.token_span(start, start + 5) is not None for w in made] == [True] + [False] * (len(made) - 1)
    assert all(w.token_span(0, len(LONG)) is None for w in made)


# --- the best span, by hand

OFFSETS = [(-1, -1), (-1, -1), (-1, -1), (0, 2), (3, 5), (6, 9), (-1, -1)]  # [CLS] why [SEP] three words [SEP]
HAND = Window([101, 2339, 102, 1, 2, 3, 102], [0, 0, 0, 1, 1, 1, 1], OFFSETS)


def best_span(found: np.ndarray, window: Window) -> tuple[int, int, float]:
    """The best span where the whole passage is one sentence."""
    spans = [span for _, span in best_spans(found, window, [(0, 10**6)])]
    return (spans[0].start, spans[0].end, spans[0].score) if spans else (0, 0, -1e4)


def logits(start: Sequence[float], end: Sequence[float]) -> np.ndarray:
    return np.array([start, end], dtype=np.float32).T


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ([1, 0, 0, 4, 0, 0, 0], [1, 0, 0, 0, 3, 0, 0], (0, 5, 5.0)),  # the first two words: 4 + 3 against 1 + 1
        ([1, 0, 0, 0, 0, 4, 0], [1, 0, 0, 0, 0, 3, 0], (6, 9, 5.0)),  # one word
        ([6, 0, 0, 0, 4, 0, 0], [5, 0, 0, 0, 0, 3, 0], (3, 9, -4.0)),  # no answer is better, and by how much
        ([0, 0, 0, 1, 0, 9, 0], [0, 0, 0, 8, 0, 2, 0], (6, 9, 11.0)),  # 9 + 8 would end before it starts
        ([0, 0, 0, 5, 0, 6, 0], [0, 0, 0, 7, 0, 2, 0], (0, 2, 12.0)),
        ([0, 9, 9, 1, 0, 0, 9], [0, 9, 9, 0, 1, 0, 9], (0, 5, 2.0)),  # neither the question nor a mark is an answer
        ([9, 0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 1, 0, 9], (0, 5, -7.0)),  # nor is half of a null
    ],
)
def test_the_best_span_by_hand(start: list[float], end: list[float], expected: tuple[int, int, float]) -> None:
    assert best_span(logits(start, end), HAND) == expected


@pytest.mark.parametrize(("distance", "expected"), [(MAX_ANSWER_TOKENS - 1, 17.0), (MAX_ANSWER_TOKENS, 9.0)])
def test_an_answer_is_not_longer_than_the_limit(distance: int, expected: float) -> None:
    n = 40
    window = Window([101, 102, *range(n), 102], [0, 0] + [1] * (n + 1), [(-1, -1)] * 2 + [(i, i + 1) for i in range(n)] + [(-1, -1)])
    start, end = np.zeros(n + 3), np.zeros(n + 3)
    start[5], end[5 + distance] = 9, 8
    first, last, score = best_span(logits(start.tolist(), end.tolist()), window)
    assert (first, score) == (3, expected)  # too long: the start alone, with an end that says nothing
    assert last - first <= MAX_ANSWER_TOKENS


def test_each_sentence_has_its_own_best_span() -> None:
    found = list(best_spans(logits([1, 0, 0, 4, 0, 2, 0], [1, 0, 0, 3, 0, 2, 0]), HAND, [(0, 5), (6, 9), (50, 60)]))
    assert [(number, span.start, span.end, span.score) for number, span in found] == [(0, 0, 2, 5.0), (1, 6, 9, 2.0)]


def test_a_passage_without_a_token_has_no_span() -> None:
    assert best_span(logits([1, 2, 3, 4], [1, 2, 3, 4]), Window([101, 1, 102, 102], [0, 0, 0, 1], [(-1, -1)] * 4)) == (0, 0, -1e4)


# --- the network


def test_a_batch_is_padded_to_a_known_shape() -> None:
    some = [windows(QUESTION, text)[0] for text in ("One.", PASSAGE, "Two words.")] * 3
    ids, types, mask = padded(some)
    assert ids.shape == types.shape == mask.shape == (12, next(n for n in LENGTHS if n >= len(some[1].ids)))
    assert mask.sum(dim=1).tolist() == [*(len(w.ids) for w in some), 1, 1, 1]  # a row that only fills the shape is not all padding
    for row, window in enumerate(some):
        n = len(window.ids)
        assert (ids[row, :n].tolist(), types[row, :n].tolist()) == (window.ids, window.types)


def test_only_the_passage_and_the_null_can_be_an_answer(weights: Path) -> None:
    some = [windows(QUESTION, text)[0] for text in ("One.", PASSAGE)]
    with torch.inference_mode():
        spans, fits = trained_network(weights, "fp32")(*padded(some))
    assert fits.shape == (2,)
    for row, window in enumerate(some):
        possible = [0, *(i for i, t in enumerate(window.types) if t == 1)]
        said = (spans[row] > -1e3).all(dim=1)
        assert said.nonzero()[:, 0].tolist() == possible
        assert (spans[row][~said] == -1e4).all()


def test_what_is_saved_is_what_is_read(weights: Path) -> None:
    network = trained_network(weights, "fp32")
    state = network.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in load_file(weights).items())
    assert not network.training
    assert trained_network(weights, "fp32") is network  # loaded once


# --- the reader


def test_what_was_read_is_not_read_again(tmp_path: Path, weights: Path) -> None:
    first = CountingReader(Cache(tmp_path), weights)
    readings = first.read([(QUESTION, PASSAGE), ("Why?", PASSAGE)])
    second = CountingReader(Cache(tmp_path), weights)
    assert second.read([(QUESTION, PASSAGE), ("Why?", PASSAGE)]) == readings
    assert (first.computed, second.computed) == ([(QUESTION, PASSAGE), ("Why?", PASSAGE)], [])
    again = second.read([("Why?", PASSAGE), ("Why?", "Because."), (QUESTION, PASSAGE)])
    assert second.computed == [("Why?", "Because.")]
    assert (again[2], again[0]) == tuple(readings)


def test_a_pair_that_stands_twice_is_read_once(reader: CountingReader) -> None:
    found = reader.read([("b", PASSAGE), ("a", PASSAGE), ("b", PASSAGE), (PASSAGE, "b")])
    assert reader.computed == [("b", PASSAGE), ("a", PASSAGE), (PASSAGE, "b")]
    assert found[0] == found[2]
    assert len({reading.fit for reading in found}) == 3


def test_nothing_to_read_is_no_reading(reader: CountingReader) -> None:
    assert (reader.read([]), reader.computed) == ([], [])


def test_a_batch_reads_as_each_pair_alone_in_the_order_of_the_pairs(tmp_path: Path, weights: Path) -> None:
    texts = ["One.", LONG, PASSAGE, "", "A passage of middle length about tents, poles and pegs in the rain.", "Two words."]
    pairs = [(question, text) for text in texts for question in ("Why?", QUESTION)]
    together = CountingReader(Cache(tmp_path / "together"), weights).read(pairs)
    alone = CountingReader(Cache(tmp_path / "alone"), weights)
    for pair, reading in zip(pairs, together, strict=True):
        [by_itself] = alone.read([pair])
        assert [(s.start, s.end) for s in reading.spans] == [(s.start, s.end) for s in by_itself.spans]
        np.testing.assert_allclose((reading.best.score, reading.fit), (by_itself.best.score, by_itself.fit), atol=1e-4)


def test_a_reading_of_a_long_passage_takes_the_best_of_its_windows(reader: CountingReader, weights: Path) -> None:
    [reading] = reader.read([(QUESTION, LONG)])
    spans, fits = dict[int, Span](), []
    for window in windows(QUESTION, LONG):
        with torch.inference_mode():
            found, fit = trained_network(weights, "fp32")(*padded([window]))
        fits.append(float(fit[0]))
        for number, span in best_spans(found[0, : len(window.ids)].numpy(), window, sentence_spans(LONG)):
            spans[number] = max(span, spans.get(number, span), key=lambda one: one.score)
    assert len(spans) == 60
    expected = sorted(spans.values(), key=lambda span: -span.score)
    assert {(s.start, s.end) for s in reading.spans} == {(s.start, s.end) for s in expected}
    np.testing.assert_allclose([s.score for s in reading.spans], [s.score for s in expected], atol=1e-4)
    np.testing.assert_allclose(reading.fit, max(fits), atol=1e-4)


def test_each_sentence_has_a_span_of_its_own_and_the_best_comes_first(reader: CountingReader) -> None:
    [reading] = reader.read([(QUESTION, PASSAGE)])
    found = sorted((s.start, s.end) for s in reading.spans)
    held = [[left <= s < e <= right for s, e in found] for left, right in sentence_spans(PASSAGE)]
    assert held == [[True, False, False], [False, True, False], [False, False, True]]
    scores = [s.score for s in reading.spans]
    assert scores == sorted(scores, reverse=True)
    assert reading.best == reading.spans[0]


@pytest.mark.parametrize("passage", ["", " \n"])
def test_an_empty_passage_holds_no_answer(reader: CountingReader, passage: str) -> None:
    [reading] = reader.read([(QUESTION, passage)])
    assert (reading.spans, reading.best) == ((), Span(0, 0, -1e4))
    assert np.isfinite(reading.fit)


@pytest.mark.parametrize(
    "question", ["", "\0", "\ud800 alone", "why " * 50_000, "שלום"], ids=["empty", "nul", "surrogate", "long", "hebrew"]
)
def test_any_question_is_read(reader: CountingReader, question: str) -> None:
    [reading] = reader.read([(question, PASSAGE)])
    assert 0 <= reading.best.start < reading.best.end <= len(PASSAGE)
    assert np.isfinite([reading.best.score, reading.fit]).all()


@pytest.mark.parametrize(
    "passage",
    ["Within\0 30 days.", "\ud800 Within 30 days.", "x" * 2_000_000, " " * 2_000_000 + "Within 30 days."],
    ids=["nul", "surrogate", "one word of 2 MB", "2 MB of nothing"],
)
def test_any_passage_is_read_and_its_characters_are_its_own(reader: CountingReader, passage: str) -> None:
    [reading] = reader.read([(QUESTION, passage)])
    assert 0 <= reading.best.start < reading.best.end <= len(passage)
    said = passage[reading.best.start : reading.best.end]
    assert said == said.strip(" \n\0")


def test_readings_of_two_arithmetics_or_weights_never_mix(tmp_path: Path, weights: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file(load_file(weights) | {"pair.bias": torch.tensor([7.0])}, other)
    cache = Cache(tmp_path)
    names = [PairReader(cache, path, arithmetic).name for path in (weights, other) for arithmetic in ("fp32", "bf16")]
    assert len(set(names)) == 4
    [one], [two] = (CountingReader(cache, path).read([("Why?", "Because.")]) for path in (weights, other))
    assert (one.best.start, one.best.end, one.best.score) == (two.best.start, two.best.end, two.best.score)
    np.testing.assert_allclose(two.fit - one.fit, 7 - float(load_file(weights)["pair.bias"]), atol=1e-4)


def test_a_tuned_reader_reads_with_its_changes_and_leaves_the_shipped_one_alone(tmp_path: Path, weights: Path) -> None:
    cache = Cache(tmp_path)
    shipped = PairReader(cache, weights, "fp32")
    tuned = PairReader(cache, weights, "fp32", changes={"pair.bias": torch.tensor([7.0])}, key="tuned on three quotes")
    assert shipped.name != tuned.name
    [before], [after], [again] = (reader.read([("Why?", text)]) for reader, text in ((shipped, "So."), (tuned, "So."), (shipped, "So.")))
    assert (before, before.best.start, before.best.end, before.best.score) == (again, after.best.start, after.best.end, after.best.score)
    np.testing.assert_allclose(after.fit - before.fit, 7 - float(load_file(weights)["pair.bias"]), atol=1e-4)
    assert shipped.network.pair.bias.item() == float(load_file(weights)["pair.bias"])  # one network is shared by all readers


def test_changed_weights_need_a_key(tmp_path: Path, weights: Path) -> None:
    """Or the cache would give their readings for those of the shipped ones, and the other way round."""
    cache = Cache(tmp_path)
    with pytest.raises(ValueError, match="changed weights need a key"):
        PairReader(cache, weights, "fp32", changes={"pair.bias": torch.tensor([7.0])})
    assert PairReader(cache, weights, "fp32", changes={}).name == PairReader(cache, weights, "fp32").name  # nothing is changed


@pytest.mark.skipif(not has_bf16(), reason="this processor has no bf16 instructions and would emulate them for minutes")
def test_a_reading_in_bf16_is_nearly_that_in_fp32(tmp_path: Path, weights: Path) -> None:
    exact, fast = (PairReader(Cache(tmp_path), weights, arithmetic).read([(QUESTION, PASSAGE)])[0] for arithmetic in ("fp32", "bf16"))
    np.testing.assert_allclose((fast.best.score, fast.fit), (exact.best.score, exact.fit), atol=0.1)
    assert fast != exact  # it did compute in another arithmetic


# --- the weights


def test_missing_weights_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file; expected the weights of the reader; install the package again") as caught:
        PairReader(Cache(tmp_path), tmp_path / "none.safetensors", "fp32")
    assert str(tmp_path / "none.safetensors") in str(caught.value)


@pytest.mark.parametrize("name", ["span.weight", "pair.bias", "encoder.encoder.layer.3.attention.self.query.weight"])
def test_weights_that_lack_a_tensor_say_what_to_do(tmp_path: Path, weights: Path, name: str) -> None:
    kept = load_file(weights)
    kept.pop(name)
    save_file(kept, tmp_path / "cut.safetensors")
    with pytest.raises(WeightsError, match="restore the file") as caught:
        PairReader(Cache(tmp_path), tmp_path / "cut.safetensors", "fp32").read([("Why?", "Because.")])
    assert name in str(caught.value)
    assert str(tmp_path / "cut.safetensors") in str(caught.value)
