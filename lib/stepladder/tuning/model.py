"""A tuned model: made once, kept in the cache, used like any other model."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from stepladder.cache import Cache, Stopwatch, content_hash
from stepladder.encoder import SHA256, Encoder
from stepladder.encoder.pairs import PairReader
from stepladder.encoder.questions import asked
from stepladder.models.embedded import EmbeddedModel
from stepladder.models.spans import candidate_spans, window
from stepladder.records import Case, Gold, Output, Passage, Prompt, UserError
from stepladder.tuning.network import Plan, TunedNetwork, frozen_states
from stepladder.tuning.reading_head import Lesson, tune_reader
from stepladder.tuning.train import TuningSettings, passage_vectors, plan_heads, train, training_rows

VERSION = 8  # part of the cache key: raise it when training changes


def train_or_load(
    cases: Sequence[Case],
    gold: Mapping[str, Gold],
    schema: dict[str, Any],
    settings: TuningSettings = TuningSettings(),
    passages: Mapping[str, Sequence[Passage]] | None = None,
    seed: int = 0,
    cache: Cache | None = None,
) -> TunedModel:
    """A model tuned on these cases, from the cache where the same rows, settings, base and seed were tuned before.

    `passages` gives each case the passages to be read with it; None tunes a model that reads the message alone.
    Raises UserError without labelled cases.
    """
    cases = [case for case in cases if case.case_id in gold]
    if not cases:
        raise UserError("no labelled train cases; expected at least one case of split train with a row in gold.jsonl")
    cache = cache or Cache()
    rows = training_rows(cases, gold, passages)
    seen = [[r.message, r.output, r.quotes, r.answers, None if r.passages is None else [p.headed for p in r.passages]] for r in rows]
    key = content_hash(VERSION, SHA256, PairReader(cache).name, seen, schema, asdict(settings), seed)
    if not (cache.folder / "tuned" / key).exists():
        plan = plan_heads(schema, rows, passages is not None)
        network = train(plan, rows, schema, settings, seed, Encoder(cache))
        reader: dict[str, torch.Tensor] = {}
        if plan.passages:
            with Stopwatch() as watch:
                reader = tune_reader(PairReader(cache), [Lesson(r.message, r.passages or (), r.quotes, r.answers) for r in rows], seed)
            plan.seconds += watch.seconds
        _save(network, reader, settings, cache.folder / "tuned" / key)
    return load(key, cache)


def load(key: str, cache: Cache) -> TunedModel:
    """The tuned model of that key. Raises UserError where the cache does not hold it."""
    folder = cache.folder / "tuned" / key
    if not folder.exists():
        raise UserError(f"no tuned model {key[:12]} in {cache.folder}; run notebook 04 again")
    stored = json.loads((folder / "tuned.json").read_text(encoding="utf-8"))
    settings = TuningSettings(**stored["settings"])
    network = TunedNetwork(Plan(**stored["plan"]), settings.rank, settings.tuned_layers, settings.dropout)
    network.load_state_dict(load_file(folder / "tuned.safetensors"), strict=False)
    reader = PairReader(cache, changes=load_file(folder / "reader.safetensors"), key=key)
    return TunedModel(network.eval(), key, cache, reader)


def _save(network: TunedNetwork, reader: Mapping[str, torch.Tensor], settings: TuningSettings, folder: Path) -> None:
    """Weights as safetensors, the rest as JSON; the folder appears whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".making-"))
    try:
        save_file(network.learned(), staging / "tuned.safetensors")
        save_file(dict(reader), staging / "reader.safetensors")
        (staging / "tuned.json").write_text(json.dumps({"plan": asdict(network.plan), "settings": asdict(settings)}), encoding="utf-8")
        with contextlib.suppress(OSError):  # another process has just made the same model
            os.rename(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


class TunedModel(EmbeddedModel):
    """The embedded model with what tuning has taught it.

    Without passages in the prompt it can only repeat an answer that train taught, or abstain.
    """

    name = "embedded-tuned"
    plan: Plan

    def __init__(self, network: TunedNetwork, key: str, cache: Cache, reader: PairReader) -> None:
        super().__init__(Encoder(cache), reader)
        self.network = network
        self.plan = network.plan
        self.key = key
        self._known: np.ndarray | None = None  # vectors of the messages that train answered

    def fill(self, prompt: Prompt) -> Output:
        """One object with every field of the schema; fields that train did not label are filled as untuned."""
        with torch.inference_mode():
            frozen, saved = frozen_states(self.network, [prompt.message], self.encoder.cache)
            self.encoder.cache.credit(saved)
            features = self.network.features([frozen[prompt.message]])
            found = passage_vectors(self.encoder, [prompt.passages if self.plan.passages else None])
            logits = self.network.decide(features, found)
        output: Output = {}
        for name, spec in prompt.schema["properties"].items():
            if name == "answer":
                output["answer"], output["sources"] = self._answer(prompt, float(torch.sigmoid(logits["answerable"][0, 0])))
            elif name in self.plan.choices:
                output[name] = self.plan.choices[name][int(logits[f"choose:{name}"].argmax())]
            elif name in self.plan.several:
                output[name] = [v for v, x in zip(self.plan.several[name], logits[f"several:{name}"][0], strict=True) if x > 0]
            elif name in self.plan.spans:
                output[name] = self._point(prompt.message, name, spec)
            elif name != "sources":
                output[name] = self.field(prompt, name, spec)
        return {name: output[name] for name in prompt.schema["properties"] if name in output}

    def _point(self, message: str, name: str, spec: dict[str, Any]) -> Any:
        """The value of the span whose surroundings look most like those of right ones; null where none reaches one half."""
        spans = candidate_spans(message, name, spec)
        if not spans:
            return None
        with torch.inference_mode():
            around = torch.from_numpy(self.encoder.encode([window(message, span) for span in spans]))
            scores = self.network.pointers[name](around)[:, 0]
        best = int(scores.argmax())
        return spans[best].value if scores[best] > 0 else None

    def _answer(self, prompt: Prompt, answerable: float) -> tuple[str | None, list[str]]:
        """(answer, sources): from the passages where there are any, else the answer of the nearest train message."""
        if prompt.passages is None:
            text, confidence = self._repeat(prompt.message)
            doc_id = ""
        else:
            text, doc_id, sure = self.best_answer(prompt, asked(prompt.message) or prompt.message)
            confidence = (sure + answerable) / 2
        if text is None or confidence < prompt.abstain_below:
            return None, []
        return text, [doc_id] if doc_id else []

    def _repeat(self, message: str) -> tuple[str | None, float]:
        """The FAQ head: the answer of the train message that is nearest, and how near it is."""
        if not self.plan.answers:
            return None, 0.0
        if self._known is None:
            self._known = np.stack(self._reading_vectors([text for text, _ in self.plan.answers]))
        near = self._known @ self._reading_vectors([message])[0]
        best = int(np.argmax(near))
        return self.plan.answers[best][1], float(near[best])
