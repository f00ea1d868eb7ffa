"""Question and passage read together: one pass gives where the answer stands, whether it stands there, and how well the two fit."""

from __future__ import annotations

import copy
import hashlib
import struct
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from stepladder.cache import Cache, Stopwatch, content_hash
from stepladder.encoder.text import sentence_spans
from stepladder.encoder.vectors import Arithmetic, batches_by_length, clean, fastest_arithmetic, height_of, legible, width_of
from stepladder.encoder.weights import DIMENSIONS, WeightsError, load_network, tokenizer

WEIGHTS = Path(__file__).parent / "reader.safetensors"
SOURCES = Path(__file__).parent / "reader_sources.npy"  # fingerprints of what the reader was trained on

MAX_PAIR_TOKENS = 256  # [CLS] question [SEP] passage [SEP]
MAX_QUESTION_TOKENS = 96
STRIDE = 64  # tokens that two windows of a long passage share
MAX_ANSWER_TOKENS = 24
LENGTHS = (32, 48, 64, 80, 96, 128, 160, 192, 224, 256)  # batches are padded to these: a new shape costs a kernel compilation in bf16
_SPAN = struct.Struct("<iif")


@dataclass(frozen=True)
class Window:
    """A question and a stretch of a passage, as tokens; `offsets` are characters of the passage, (-1, -1) outside it."""

    ids: list[int]
    types: list[int]
    offsets: list[tuple[int, int]]

    def token_span(self, start: int, end: int) -> tuple[int, int] | None:
        """First and last token of the characters `start` to `end`, or None where they are not wholly in this window."""
        first = next((i for i, (a, b) in enumerate(self.offsets) if a >= 0 and a <= start < b), None)
        last = next((i for i, (a, b) in enumerate(self.offsets) if a >= 0 and a < end <= b), None)
        return None if first is None or last is None or last < first else (first, last)


def windows(question: str, passage: str) -> list[Window]:
    """The windows of a pair: one where both fit into 256 tokens, else several that overlap by 64."""
    asked = tokenizer().encode(question, add_special_tokens=False).ids[:MAX_QUESTION_TOKENS]
    read = tokenizer().encode(passage, add_special_tokens=False)
    room = MAX_PAIR_TOKENS - len(asked) - 3
    cls, sep = tokenizer().encode("").ids
    out = []
    for start in _starts(len(read.ids), room):
        part = slice(start, start + room)
        ids = [cls, *asked, sep, *read.ids[part], sep]
        types = [0] * (len(asked) + 2) + [1] * (len(ids) - len(asked) - 2)
        offsets = [(-1, -1)] * (len(asked) + 2) + read.offsets[part] + [(-1, -1)]
        out.append(Window(ids, types, offsets))
    return out


def _starts(n_tokens: int, room: int) -> Iterator[int]:
    yield 0
    start = 0
    while start + room < n_tokens:
        start += room - STRIDE
        yield start


class PairNetwork(torch.nn.Module):
    """MiniLM over a pair, a span head whose null is [CLS] (Devlin et al. 2019), and a pair head on the pooled [CLS]."""

    encoder: Any

    def __init__(self) -> None:
        super().__init__()
        self.encoder, _ = load_network()
        self.span = torch.nn.Linear(DIMENSIONS, 2)
        self.pair = torch.nn.Linear(DIMENSIONS, 1)

    def forward(self, ids: torch.Tensor, types: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(span logits (batch, tokens, 2), pair logits (batch,)); tokens that cannot be an answer are minus infinity."""
        return self.heads(self.encoder(input_ids=ids, token_type_ids=types, attention_mask=mask).last_hidden_state, types, mask)

    def heads(self, hidden: torch.Tensor, types: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What `forward` returns, from the last layer (batch, tokens, 384)."""
        possible = (types == 1) & (mask == 1)
        possible[:, 0] = True
        spans = self.span(hidden).float().masked_fill(~possible.unsqueeze(-1), -1e4)
        return spans, self.pair(self.encoder.pooler(hidden)).float()[:, 0]


def padded(some: Sequence[Window]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(ids, types, mask), each (height, tokens), padded to the next of the fixed lengths and heights."""
    width = width_of(max(len(w.ids) for w in some), LENGTHS)
    arrays = np.zeros((3, height_of(len(some)), width), dtype=np.int64)
    arrays[2, :, 0] = 1  # rows that only fill the shape
    for row, w in enumerate(some):
        n = len(w.ids)
        arrays[0, row, :n], arrays[1, row, :n], arrays[2, row, :n] = w.ids, w.types, 1
    ids, types, mask = torch.from_numpy(arrays)
    return ids, types, mask


@dataclass(frozen=True)
class Span:
    """Characters `start` to `end` of a passage, and how far the logit of that span is above that of no answer."""

    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Reading:
    """What one pass over a question and a passage finds: the best span of each sentence, best first, and the logit of the pair head.

    A passage without a word has no spans.
    """

    spans: tuple[Span, ...]
    fit: float

    @property
    def best(self) -> Span:
        """The best span of all; an empty one of a very low score where there is none."""
        return self.spans[0] if self.spans else Span(0, 0, -1e4)

    def to_bytes(self) -> bytes:
        return struct.pack("<f", self.fit) + b"".join(_SPAN.pack(s.start, s.end, s.score) for s in self.spans)

    @staticmethod
    def from_bytes(data: bytes) -> Reading:
        return Reading(tuple(Span(*row) for row in _SPAN.iter_unpack(data[4:])), struct.unpack("<f", data[:4])[0])


class PairReader:
    """The trained network behind the cache: question and passage to a Reading, batched by length.

    `changes` are weights that tuning has put in the place of the shipped ones; `key` names them in the cache.
    """

    def __init__(
        self,
        cache: Cache,
        weights: Path = WEIGHTS,
        arithmetic: Arithmetic | None = None,
        changes: Mapping[str, torch.Tensor] | None = None,
        key: str = "",
    ) -> None:
        if changes and not key:
            raise ValueError("changed weights need a key: the cache must not take their readings for those of the shipped ones")
        self.cache = cache
        self.arithmetic: Arithmetic = arithmetic or fastest_arithmetic(cache)
        self.weights = weights
        self.name = f"reader/{_checksum(weights)[:12]}/{self.arithmetic}/{key}"
        self._changes = changes
        self._network: PairNetwork | None = None

    @property
    def network(self) -> PairNetwork:
        """The network, loaded when it is first needed."""
        if self._network is None:
            self._network = trained_network(self.weights, self.arithmetic)
            if self._changes:
                self._network = copy.deepcopy(self._network)
                self._network.load_state_dict(dict(self._changes), strict=False)
        return self._network

    def read(self, pairs: Sequence[tuple[str, str]]) -> list[Reading]:
        """The reading of each (question, passage); every distinct pair is computed once."""
        keys = [content_hash(self.name, *pair) for pair in pairs]
        known = self.cache.get_many("sentence readings", sorted(set(keys)))
        missing = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in known}
        if missing:
            with Stopwatch() as watch:
                made = self._read(list(missing.values()))
            fresh = {key: reading.to_bytes() for key, reading in zip(missing, made, strict=True)}
            self.cache.put_many("sentence readings", fresh.items(), watch.seconds / len(fresh))
            known |= fresh
        return [Reading.from_bytes(known[key]) for key in keys]

    def _read(self, pairs: Sequence[tuple[str, str]]) -> list[Reading]:
        texts = [legible(passage) for _, passage in pairs]
        cut = [(row, window) for row, (question, _) in enumerate(pairs) for window in windows(clean(question), texts[row])]
        borders = [sentence_spans(text) for text in texts]
        spans: list[dict[int, Span]] = [{} for _ in pairs]  # by the number of the sentence
        fits = [-1e4] * len(pairs)
        for batch in batches_by_length([len(window.ids) for _, window in cut], LENGTHS):
            some = [cut[i] for i in batch]
            with torch.inference_mode():
                logits, fit = self.network(*padded([window for _, window in some]))
            for (row, window), own, value in zip(some, logits.numpy(), fit.tolist(), strict=False):
                fits[row] = max(fits[row], value)
                for number, span in best_spans(own[: len(window.ids)], window, borders[row]):
                    if number not in spans[row] or span.score > spans[row][number].score:
                        spans[row][number] = span
        return [
            Reading(tuple(sorted(some.values(), key=lambda span: (-span.score, span.start))), fit)
            for some, fit in zip(spans, fits, strict=True)
        ]


def best_spans(logits: np.ndarray, window: Window, sentences: Sequence[tuple[int, int]]) -> Iterator[tuple[int, Span]]:
    """(number of the sentence, its best span) for the sentences that a window reaches, by its logits (tokens, 2)."""
    null = float(logits[0, 0] + logits[0, 1])
    starts = np.array([a for a, _ in window.offsets])
    first_sentence = max(0, bisect_right(sentences, (int(starts[starts >= 0].min(initial=10**9)), 10**9)) - 1)
    for number, (left, right) in enumerate(sentences[first_sentence:], start=first_sentence):
        if left > starts.max():
            break
        inside = np.flatnonzero((starts >= left) & (starts < right))
        if not len(inside):
            continue
        pairs = logits[inside, 0, None] + logits[None, inside, 1]
        possible = np.triu(np.ones_like(pairs, dtype=bool)) & ~np.triu(np.ones_like(pairs, dtype=bool), MAX_ANSWER_TOKENS)
        pairs = np.where(possible, pairs, -np.inf)
        first, last = np.unravel_index(int(pairs.argmax()), pairs.shape)
        start, end = window.offsets[inside[int(first)]][0], window.offsets[inside[int(last)]][1]
        yield number, Span(start, end, float(pairs[first, last]) - null)


@lru_cache(maxsize=4)
def trained_network(weights: Path, arithmetic: Arithmetic) -> PairNetwork:
    """The published encoder with what training has changed, in that arithmetic; loaded once per process. Raises WeightsError."""
    network = PairNetwork()
    try:
        tensors = load_file(weights)
    except SafetensorError as error:
        raise WeightsError(f"{weights}: not a safetensors file ({error}); restore the file") from error
    missing = network.load_state_dict({n: t.float() for n, t in tensors.items()}, strict=False).missing_keys
    if unexpected := [name for name in missing if "word_embeddings" not in name and "position_ids" not in name]:
        raise WeightsError(f"{weights}: found no {unexpected[0]}, expected every weight but the word vectors; restore the file")
    return network.eval().to(torch.bfloat16 if arithmetic == "bf16" else torch.float32)


@lru_cache(maxsize=8)
def _checksum(weights: Path) -> str:
    if not weights.exists():
        raise WeightsError(f"{weights}: no such file; expected the weights of the reader; install the package again")
    return hashlib.sha256(weights.read_bytes()).hexdigest()
