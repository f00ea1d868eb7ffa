"""Reranking: a cross-encoder scores as sentence-transformers does, the embedded reader by fit; both compute a pair once."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from sentence_transformers import CrossEncoder

from stepladder.cache import Cache
from stepladder.encoder.pairs import PairReader, Reading, Span
from stepladder.records import Passage, UserError
from stepladder.search import rerank
from stepladder.search.rerank import CrossEncoderReranker, EmbeddedReranker, load_reranker

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789£."
QUERY = "how long to send a tent back"


def passage(text: str, title: str = "") -> Passage:
    return Passage("d#1", "d", title, "", "policy", text, 0, len(text))


PASSAGES = [passage("30 days.", "Returns"), passage("a tent weighs 4 kg"), passage(""), passage("postage " * 40), passage("£4.50")]


def save_tiny_cross_encoder(folder: Path, n_labels: int = 1) -> Path:
    """A BERT of one layer that reads letter by letter, random but the same every time, with weights large enough to differ."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{c}" for c in LETTERS)]
    transformers.BertTokenizerFast(vocab={token: i for i, token in enumerate(tokens)}).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(tokens),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        num_labels=n_labels,
        initializer_range=0.5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.BertForSequenceClassification(config).eval().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_cross_encoder(tmp_path_factory.mktemp("tiny"))


class FitReader(PairReader):
    """Fits are given by hand, for each passage as it is shown; it remembers what was asked."""

    def __init__(self, cache: Cache, fits: dict[str, float] = {}) -> None:
        self.cache = cache
        self.name = "by hand"
        self.fits = fits
        self.asked: list[tuple[str, str]] = []

    def _read(self, pairs: Sequence[tuple[str, str]]) -> list[Reading]:
        self.asked += pairs
        return [Reading((Span(0, 1, 100 - self.fits[text]),), self.fits[text]) for _, text in pairs]  # the score says the opposite


# --- by name


def test_a_reranker_is_loaded_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rerank, "PairReader", FitReader)
    cache = Cache(tmp_path)
    embedded, other = load_reranker("embedded", cache), load_reranker("hf:cross-encoder/ms-marco-MiniLM-L6-v2", cache)
    assert isinstance(embedded, EmbeddedReranker)
    assert embedded.reader.cache is cache
    assert isinstance(other, CrossEncoderReranker)  # nothing is fetched before there is something to score
    assert (other.name, other.cache) == ("cross-encoder/ms-marco-MiniLM-L6-v2", cache)


@pytest.mark.parametrize("name", ["", "hf:", "Embedded", "bm25", "cross-encoder/ms-marco-MiniLM-L6-v2"])
def test_any_other_name_says_what_is_expected(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="expected embedded or hf:ID") as caught:
        load_reranker(name, Cache(tmp_path))
    assert repr(name) in str(caught.value)


# --- a cross-encoder


def test_a_cross_encoder_scores_as_sentence_transformers_does(tmp_path: Path, folder: Path) -> None:
    expected = CrossEncoder(str(folder), num_labels=1).predict([(QUERY, p.headed) for p in PASSAGES])
    found = load_reranker(f"hf:{folder}", Cache(tmp_path))(QUERY, PASSAGES)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert len(set(np.round(found, 3))) == len(PASSAGES)


def test_a_title_counts(tmp_path: Path, folder: Path) -> None:
    assert [passage("30 days.", "Returns").headed, passage("30 days.").headed] == ["Returns\n30 days.", "30 days."]
    reranker = load_reranker(f"hf:{folder}", Cache(tmp_path))
    bare, titled = reranker(QUERY, [passage("30 days."), passage("30 days.", "Returns")])
    assert bare != titled


def test_a_pair_is_scored_once_and_the_model_is_not_loaded_for_what_is_known(tmp_path: Path, folder: Path) -> None:
    first, second = CrossEncoderReranker(str(folder), Cache(tmp_path)), CrossEncoderReranker(str(folder), Cache(tmp_path))
    scores = first(QUERY, PASSAGES)
    np.testing.assert_array_equal(second(QUERY, PASSAGES[::-1]), scores[::-1])
    assert second._model is None
    assert first("another query", PASSAGES[:1])[0] != scores[0]
    np.testing.assert_array_equal(first(QUERY, [PASSAGES[0], PASSAGES[1], PASSAGES[0]]), scores[[0, 1, 0]])


def test_two_cross_encoders_do_not_share_scores(tmp_path: Path, folder: Path) -> None:
    other = save_tiny_cross_encoder(tmp_path / "other")
    cache = Cache(tmp_path)
    CrossEncoderReranker(str(folder), cache)(QUERY, PASSAGES)
    reranker = CrossEncoderReranker(str(other), cache)
    reranker(QUERY, PASSAGES)
    assert reranker._model is not None


def test_a_folder_whose_model_has_changed_is_scored_anew(tmp_path: Path) -> None:
    made, cache = save_tiny_cross_encoder(tmp_path / "made"), Cache(tmp_path)
    CrossEncoderReranker(str(made), cache)(QUERY, PASSAGES)
    os.utime(made / "model.safetensors", (1, 1))
    reranker = CrossEncoderReranker(str(made), cache)
    reranker(QUERY, PASSAGES)
    assert reranker._model is not None


def test_no_passages_are_no_scores(tmp_path: Path, folder: Path) -> None:
    reranker = CrossEncoderReranker(str(folder), Cache(tmp_path))
    assert (len(reranker(QUERY, [])), reranker._model) == (0, None)


@pytest.mark.parametrize("text", ["", "\0", "שלום", "why " * 5000, "\ud800 alone"], ids=["empty", "nul", "hebrew", "long", "surrogate"])
def test_any_query_and_passage_has_a_score(tmp_path: Path, folder: Path, text: str) -> None:
    reranker = CrossEncoderReranker(str(folder), Cache(tmp_path))
    assert np.isfinite([reranker(text, PASSAGES[:1]), reranker(QUERY, [passage(text)])]).all()


def test_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be loaded") as caught:
        load_reranker(f"hf:{tmp_path}/none", Cache(tmp_path))(QUERY, PASSAGES)
    assert f"hf:{tmp_path}/none" in str(caught.value)


def test_a_folder_without_a_model_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"cannot be loaded.* expected a folder or a model of the Hub"):
        load_reranker(f"hf:{tmp_path}/empty", Cache(tmp_path))(QUERY, PASSAGES)


def test_a_model_of_three_classes_is_no_reranker_and_says_so(tmp_path: Path) -> None:
    folder = save_tiny_cross_encoder(tmp_path / "three", n_labels=3)
    with pytest.raises(UserError, match="cannot be loaded"):
        load_reranker(f"hf:{folder}", Cache(tmp_path))(QUERY, PASSAGES)


def test_code_in_a_model_folder_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_tiny_cross_encoder(tmp_path / "evil")
    auto_map = {"AutoConfig": "evil.EvilConfig", "AutoModelForSequenceClassification": "evil.EvilModel"}
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "evil", "architectures": ["EvilModel"], "auto_map": auto_map}))
    mark = tmp_path / "was_run"
    (folder / "evil.py").write_text(f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n")
    asked: list[str] = []

    def answer(question: str = "") -> Any:
        asked.append(question)
        return "y"

    monkeypatch.setattr("builtins.input", answer)
    with pytest.raises(UserError, match="cannot be loaded"):
        load_reranker(f"hf:{folder}", Cache(tmp_path))(QUERY, PASSAGES)
    assert not mark.exists()
    assert asked == []


# --- the embedded reader


def test_the_embedded_reranker_goes_by_fit_and_shows_the_title(tmp_path: Path) -> None:
    reader = FitReader(Cache(tmp_path), {"Returns\n30 days.": 1.5, "a tent weighs 4 kg": -2.0, "£4.50": 3.0})
    some = [PASSAGES[0], PASSAGES[1], PASSAGES[4]]
    scores = EmbeddedReranker(reader)(QUERY, some)
    np.testing.assert_array_equal(scores, [1.5, -2.0, 3.0])
    assert reader.asked == [(QUERY, "Returns\n30 days."), (QUERY, "a tent weighs 4 kg"), (QUERY, "£4.50")]


def test_the_embedded_reranker_is_shown_what_a_message_asks(tmp_path: Path) -> None:
    reader = FitReader(Cache(tmp_path), {"£4.50": 3.0})
    EmbeddedReranker(reader)("The tent came today. How long may I keep it? Lovely colour.", PASSAGES[4:5])
    EmbeddedReranker(reader)("tent return time", PASSAGES[4:5])
    assert reader.asked == [("How long may I keep it?", "£4.50"), ("tent return time", "£4.50")]


def test_what_was_reranked_is_not_read_again(tmp_path: Path) -> None:
    reader = FitReader(Cache(tmp_path), {"£4.50": 3.0})
    reranker = EmbeddedReranker(reader)
    assert reranker(QUERY, [PASSAGES[4]]) == reranker(QUERY, [PASSAGES[4]])
    [reading] = reader.read([(QUERY, "£4.50")])
    assert (reading.fit, reading.best.score) == (3.0, 97.0)
    assert len(reader.asked) == 1


def test_the_embedded_reranker_scores_nothing_where_there_is_nothing(tmp_path: Path) -> None:
    assert len(EmbeddedReranker(FitReader(Cache(tmp_path)))(QUERY, [])) == 0
