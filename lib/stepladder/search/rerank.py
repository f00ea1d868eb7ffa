"""A second look at the best passages: question and passage read together by a cross-encoder."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from stepladder.cache import Cache, Stopwatch, content_hash
from stepladder.encoder.pairs import PairReader
from stepladder.encoder.questions import asked
from stepladder.encoder.vectors import legible
from stepladder.records import Passage, UserError

EMBEDDED = "embedded"


class Reranker(Protocol):
    """Scores of passages for a query, higher is better, (n_passages,)."""

    def __call__(self, query: str, passages: Sequence[Passage]) -> Sequence[float] | np.ndarray: ...


def load_reranker(name: str, cache: Cache) -> Reranker:
    """`embedded`, or any cross-encoder that sentence-transformers loads, as `hf:ID`. Raises UserError for another name."""
    if name == EMBEDDED:
        return EmbeddedReranker(PairReader(cache))
    if name.startswith("hf:") and name[3:]:
        return CrossEncoderReranker(name[3:], cache)
    raise UserError(f"reranker: found {name!r}, expected embedded or hf:ID, such as hf:cross-encoder/ms-marco-MiniLM-L6-v2")


class EmbeddedReranker:
    """The pair head of the embedded reader: how well question and passage fit.

    It has been trained on questions, so of a message it is shown the sentences that ask something, where there are any.
    """

    def __init__(self, reader: PairReader) -> None:
        self.reader = reader

    def __call__(self, query: str, passages: Sequence[Passage]) -> np.ndarray:
        question = asked(query) or query
        return np.array([reading.fit for reading in self.reader.read([(question, p.headed) for p in passages])])


class CrossEncoderReranker:
    """A cross-encoder of sentence-transformers, loaded when it is first needed, behind the cache."""

    def __init__(self, name: str, cache: Cache) -> None:
        self.name = name
        self.cache = cache
        self._model: Any = None
        files = [*Path(name).glob("*.json"), *Path(name).glob("*.safetensors")]  # none where it is a name of the Hub
        self._files = [[str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns] for f in sorted(files)]

    def __call__(self, query: str, passages: Sequence[Passage]) -> np.ndarray:
        texts = [p.headed for p in passages]
        keys = [content_hash("cross-encoder", self.name, self._files, query, text) for text in texts]
        known = self.cache.get_many("pair scores", sorted(set(keys)))
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        if missing:
            with Stopwatch() as watch:
                made = self._load().predict([(legible(query), legible(text)) for text in missing.values()], show_progress_bar=False)
            fresh = {key: struct.pack("<d", float(score)) for key, score in zip(missing, made, strict=True)}
            self.cache.put_many("pair scores", fresh.items(), watch.seconds / len(fresh))
            known |= fresh
        return np.array([struct.unpack("<d", known[key])[0] for key in keys])

    def _load(self) -> Any:
        if self._model is None:
            from sentence_transformers import CrossEncoder  # seconds to import
            from transformers import AutoConfig

            try:
                kinds = AutoConfig.from_pretrained(self.name, trust_remote_code=False).architectures or []
                if not any(kind.endswith("ForSequenceClassification") for kind in kinds):
                    raise ValueError(f"found {', '.join(kinds) or 'no architecture'}, a head for sequence classification was expected")
                self._model = CrossEncoder(self.name, num_labels=1, model_kwargs={"use_safetensors": True})
            except (OSError, ValueError, RuntimeError) as error:
                why = str(error)[:200]
                raise UserError(
                    f"reranker hf:{self.name} cannot be loaded: {why}; expected a folder or a model of the Hub, with safetensors"
                ) from error
        return self._model
