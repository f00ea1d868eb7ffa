"""Texts to vectors: batched by length in the fastest arithmetic that is exact enough, each text computed once."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from tqdm import tqdm

from stepladder.cache import Cache, Stopwatch, content_hash
from stepladder.encoder.weights import DIMENSIONS, SHA256, load_network, tokenizer
from stepladder.records import UserError

MAX_TOKENS = 256
LENGTHS = (16, 24, 32, 48, 64, 80, 96, 128, 160, 192, 224, 256)  # in bf16 every new shape of a batch costs a kernel compilation
BATCH_TOKENS = 2048
BLOCK = 4096  # texts that are stored together
EXACT_ENOUGH = 0.995  # the smallest cosine to the fp32 vector that bf16 may show
NOT_SLOWER = 0.9  # bf16 on a processor made for it is twice as fast; this only catches one that says so and emulates it
_PROBES = ["Orders are sent out on working days; how long a parcel takes depends on the service chosen at the checkout. " * 4] * 16

Arithmetic = Literal["fp32", "bf16"]


def mean_pool(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of the token vectors (batch, tokens, 384) under the mask (batch, tokens), to length one: (batch, 384)."""
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    mean = (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
    return torch.nn.functional.normalize(mean, dim=-1)


@lru_cache(maxsize=2)
def network_in(arithmetic: Arithmetic) -> Any:
    """The published network in that arithmetic, loaded once per process."""
    network, _ = load_network()
    return network.eval().to(torch.bfloat16 if arithmetic == "bf16" else torch.float32)


def has_bf16() -> bool:
    """Does the processor multiply bf16 by itself?"""
    return any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16"))


def fastest_arithmetic(cache: Cache) -> Arithmetic:
    """bf16 where the processor has instructions for it, and measured to be exact enough and not slower; else fp32.

    Measured once for a machine and kept in the cache. Without such instructions bf16 is many times slower and not even tried.
    The variable STEPLADDER_ARITHMETIC, fp32 or bf16, decides instead where it is set; another value is a UserError.
    """
    wanted = os.environ.get("STEPLADDER_ARITHMETIC", "")
    if wanted not in ("", "fp32", "bf16"):
        raise UserError(f"STEPLADDER_ARITHMETIC: found {wanted!r}, expected fp32 or bf16")
    if wanted == "fp32" or not (wanted or has_bf16()):
        return "fp32"
    if wanted == "bf16":
        return "bf16"
    key = content_hash("arithmetic", platform.node(), platform.processor(), torch.__version__, SHA256)
    known = cache.get("arithmetic", key)
    if known is None:
        exact = float((embed(_PROBES, "fp32") * embed(_PROBES, "bf16")).sum(axis=1).min()) >= EXACT_ENOUGH
        pairs = [(_seconds("fp32"), _seconds("bf16")) for _ in range(4)]  # in turn, so that other work slows both
        slow, fast = (min(some) for some in zip(*pairs, strict=True))
        known = b"bf16" if exact and slow > NOT_SLOWER * fast else b"fp32"
        cache.put("arithmetic", key, known)
    return "bf16" if known == b"bf16" else "fp32"


def _seconds(arithmetic: Arithmetic) -> float:
    with Stopwatch() as watch:
        embed(_PROBES, arithmetic)
    return watch.seconds


def embed(texts: Sequence[str], arithmetic: Arithmetic = "fp32") -> np.ndarray:
    """Vectors (n_texts, 384), float32, of length one, uncached. Texts over 256 tokens are cut, as the model was trained."""
    ids = [_tokens(text) for text in texts]
    out = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
    for rows in batches_by_length([len(some) for some in ids], LENGTHS):
        width = width_of(len(ids[rows[-1]]), LENGTHS)
        tokens = np.zeros((2, height_of(len(rows)), width), dtype=np.int64)
        for i, row in enumerate(rows):
            tokens[0, i, : len(ids[row])], tokens[1, i, : len(ids[row])] = ids[row], 1
        tokens[1, len(rows) :, 0] = 1  # rows that only fill the shape
        words, mask = torch.from_numpy(tokens)
        with torch.inference_mode():
            hidden = network_in(arithmetic)(input_ids=words, attention_mask=mask).last_hidden_state
            out[rows] = mean_pool(hidden.float(), mask)[: len(rows)].numpy()
    return out


def _tokens(text: str) -> list[int]:
    encoded: list[int] = tokenizer().encode(text).ids
    return encoded if len(encoded) <= MAX_TOKENS else [*encoded[: MAX_TOKENS - 1], encoded[-1]]


def batches_by_length(lengths: Sequence[int], widths: Sequence[int]) -> Iterator[list[int]]:
    """Rows of one padded width together, shortest first, BATCH_TOKENS tokens in a batch at most."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    start = 0
    while start < len(order):
        width = width_of(lengths[order[start]], widths)
        rows = [i for i in order[start : start + max(1, BATCH_TOKENS // width)] if lengths[i] <= width]
        start += len(rows)
        yield rows


def width_of(length: int, widths: Sequence[int]) -> int:
    """The smallest of the ascending widths that holds so many tokens."""
    return next(n for n in widths if n >= length)


def height_of(n_rows: int) -> int:
    """Rows of a batch; above eight filled up to multiples of four, so that few shapes occur.

    >>> [height_of(n) for n in (1, 3, 8, 9, 64)]
    [1, 3, 8, 12, 64]
    """
    return n_rows if n_rows <= 8 else -(-n_rows // 4) * 4


def legible(text: str) -> str:
    """The text with lone surrogates and NUL replaced, character by character: the tokenizer chokes on them."""
    return text.encode("utf-8", "replace").decode().replace("\0", " ")


def clean(text: str) -> str:
    """`legible`, without what is far beyond the limit and would only take time."""
    return legible(text[: MAX_TOKENS * 40])


class Encoder:
    """Texts to vectors of length one, through the cache. `arithmetic` None: the fastest that is exact enough here."""

    def __init__(self, cache: Cache | None = None, arithmetic: Arithmetic | None = None) -> None:
        self.cache = cache or Cache()
        self.arithmetic: Arithmetic = arithmetic or fastest_arithmetic(self.cache)
        self.name = f"all-MiniLM-L6-v2/{SHA256['model.safetensors'][:12]}/{self.arithmetic}"

    def _embed(self, texts: list[str]) -> np.ndarray:
        return embed(texts, self.arithmetic)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors (n_texts, 384), float32, normalised. Every distinct text is computed once; what a kill leaves is kept."""
        keys = [content_hash(self.name, text) for text in texts]
        known = self.cache.get_many("vectors", sorted(set(keys)))
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        for block in self._blocks(missing):
            with Stopwatch() as watch:
                made = self._embed([clean(text) for _, text in block])
            fresh = {key: np.asarray(row, dtype=np.float32).tobytes() for (key, _), row in zip(block, made, strict=True)}
            self.cache.put_many("vectors", fresh.items(), watch.seconds / len(block))
            known |= fresh
        if not texts:
            return np.zeros((0, DIMENSIONS), dtype=np.float32)
        return np.stack([np.frombuffer(known[key], dtype=np.float32) for key in keys])

    def _blocks(self, missing: dict[str, str]) -> Iterator[list[tuple[str, str]]]:
        """(key, text) by length, in blocks that are stored one by one; a bar where there is more than one."""
        todo = list(missing.items()) if len(missing) <= BLOCK else sorted(missing.items(), key=lambda item: len(item[1]))
        starts = range(0, len(todo), BLOCK)
        for start in tqdm(
            starts, desc=f"embedding {len(todo):,} texts", unit="block", leave=False, disable=True if len(starts) < 2 else None
        ):
            yield todo[start : start + BLOCK]
