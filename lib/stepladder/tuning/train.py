"""Train cases and their gold -> a tuned network, seeded."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from tqdm import tqdm

from stepladder.encoder import DIMENSIONS, Encoder
from stepladder.models.spans import candidate_spans, window
from stepladder.records import Case, Gold, Output, Passage
from stepladder.tuning.network import Plan, TunedNetwork, frozen_states

POINTER_STEPS = 300
START_SCALE = 10.0  # of 0, 10 and 30 the best on dev with 10, 30 and 100 examples


@dataclass(frozen=True)
class TuningSettings:
    """How a model is tuned. Steps are at least `min_steps`, so that ten examples are not seen just a few times."""

    epochs: int = 4
    min_steps: int = 80
    batch: int = 16
    rank: int = 16
    tuned_layers: int = 1
    dropout: float = 0.3
    label_smoothing: float = 0.1
    learning_rate: float = 5e-4
    head_learning_rate: float = 5e-3

    def halved(self) -> TuningSettings:
        """Half the training."""
        return replace(self, epochs=max(1, self.epochs // 2), min_steps=self.min_steps // 2)


@dataclass(frozen=True)
class Row:
    """One training example: what the model sees, and what is right."""

    message: str
    passages: tuple[Passage, ...] | None
    output: Output
    answers: tuple[str, ...]
    quotes: tuple[str, ...]

    @property
    def answer(self) -> str | None:
        return self.answers[0] if self.answers else None


def training_rows(cases: Sequence[Case], gold: Mapping[str, Gold], passages: Mapping[str, Sequence[Passage]] | None) -> list[Row]:
    """Train cases with their gold. The first needed quote is the one that holds the answer."""
    rows = []
    for case in cases:
        truth = gold[case.case_id]
        accepted = truth.output.get("answer")
        quotes = tuple(e.quote for item in truth.evidence[:1] for e in item if e.quote) if accepted else ()
        given = None if passages is None else tuple(passages[case.case_id])
        rows.append(Row(case.text, given, truth.output, tuple(accepted or ()), quotes))
    return rows


def plan_heads(schema: dict[str, Any], rows: Sequence[Row], with_passages: bool) -> Plan:
    """A head for each field that train labels; the FAQ head knows the messages that train has answered."""
    plan = Plan(passages=with_passages, n_examples=len(rows))
    for name, spec in schema["properties"].items():
        if name in ("answer", "sources") or not any(name in row.output for row in rows):
            continue
        if "enum" in spec:
            plan.choices[name] = list(spec["enum"])
        elif spec.get("type") == "boolean":
            plan.choices[name] = [True, False]
        elif "enum" in spec.get("items", {}):
            plan.several[name] = list(spec["items"]["enum"])
        elif candidate_spans("", name, spec) is not None:
            plan.spans.append(name)
    plan.answers = [(row.message, row.answer) for row in rows if row.answer]
    return plan


def train(plan: Plan, rows: Sequence[Row], schema: dict[str, Any], settings: TuningSettings, seed: int, encoder: Encoder) -> TunedNetwork:
    """Heads and adapters together; then the pointers.

    `plan.seconds` is what this took, with what the frozen layers had taken in this process before.
    """
    started = time.perf_counter()
    torch.manual_seed(seed)
    network = TunedNetwork(plan, settings.rank, settings.tuned_layers, settings.dropout)
    frozen, saved = frozen_states(network, [row.message for row in rows], encoder.cache)
    found = passage_vectors(encoder, [row.passages for row in rows])
    _standardise(network, rows, frozen)
    _start_at_descriptions(network, schema, encoder)
    adapters = [p for n, p in network.encoder.named_parameters() if "lora_" in n]
    heads = list(network.heads.parameters())
    rates = [settings.learning_rate, settings.head_learning_rate]
    groups = [{"params": some, "lr": rate} for some, rate in zip((adapters, heads), rates, strict=True)]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    steps = max(settings.min_steps, settings.epochs * -(-len(rows) // settings.batch))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps, pct_start=0.1, cycle_momentum=False)
    network.train()
    lengths = [len(frozen[row.message]) for row in rows]
    batches = _batches(lengths, settings.batch, steps, seed)
    for batch in tqdm(batches, desc=f"tuning on {len(rows)} examples", unit="step", leave=False):
        loss = _loss(network, [rows[i] for i in batch], frozen, found[batch], settings)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*adapters, *heads], 1.0)
        optimizer.step()
        schedule.step()
    _train_pointers(network, rows, schema, encoder)
    plan.seconds = time.perf_counter() - started + saved
    return network.eval()


def _batches(lengths: Sequence[int], size: int, steps: int, seed: int) -> list[list[int]]:
    """Row numbers of each step: all rows once per epoch, rows of similar length together, since padding is computed too."""
    random, batches = np.random.default_rng(seed), list[list[int]]()
    while len(batches) < steps:
        order = sorted(random.permutation(len(lengths)).tolist(), key=lambda i: lengths[i] // 16)
        parts = [order[i : i + size] for i in range(0, len(order), size)]
        batches += [parts[i] for i in random.permutation(len(parts))]
    return batches[:steps]


def passage_vectors(encoder: Encoder, passages: Sequence[Sequence[Passage] | None]) -> torch.Tensor:
    """Mean vector of each row's passages (n, 384); zeros where there are none."""
    out = torch.zeros(len(passages), DIMENSIONS)
    for i, some in enumerate(passages):
        if some:
            out[i] = torch.from_numpy(encoder.encode([p.headed for p in some]).mean(axis=0))
    return out


@torch.no_grad()
def _standardise(network: TunedNetwork, rows: Sequence[Row], frozen: Mapping[str, torch.Tensor]) -> None:
    """Centre and scale of the features over train, so that the heads start from what tells messages apart."""
    network.eval()
    seen = torch.cat([network.features([frozen[row.message]]) for row in rows])
    network.centre.copy_(seen.mean(0))
    for half in (slice(0, DIMENSIONS), slice(DIMENSIONS, None)):
        spread = seen[:, half].std(0).mean() if len(seen) > 1 else torch.tensor(0.05)
        network.spread[half] = spread.clamp(min=1e-3)
    for parameter in network.heads.parameters():
        torch.nn.init.zeros_(parameter)


@torch.no_grad()
def _start_at_descriptions(network: TunedNetwork, schema: dict[str, Any], encoder: Encoder) -> None:
    """Start each choice where the untuned model stands: at the nearness of the message to the described values.

    A head's weights are the centred vectors of the descriptions, undoing the scale of the features.
    """
    for name, values in network.plan.choices.items():
        described = schema["properties"][name].get("x-enum-descriptions", {})
        vectors = encoder.encode([described.get(str(v), str(v).replace("_", " ")) for v in values])
        prototypes = functional.normalize(torch.from_numpy(vectors - vectors.mean(axis=0)), dim=-1)
        head: Any = network.heads[f"choose:{name}"]
        head.weight[:, :DIMENSIONS] = START_SCALE * network.spread[:DIMENSIONS] * prototypes


def _loss(
    network: TunedNetwork, rows: Sequence[Row], frozen: Mapping[str, torch.Tensor], found: torch.Tensor, settings: TuningSettings
) -> torch.Tensor:
    """Cross-entropy of every head that the rows label."""
    logits, plan = network.decide(network.features([frozen[row.message] for row in rows]), found), network.plan
    losses = [torch.zeros(())]
    for name, values in plan.choices.items():
        target = torch.tensor([values.index(r.output[name]) if r.output.get(name) in values else -100 for r in rows])
        if (target >= 0).any():
            losses.append(functional.cross_entropy(logits[f"choose:{name}"], target, label_smoothing=settings.label_smoothing))
    for name, values in plan.several.items():
        labelled = [i for i, r in enumerate(rows) if r.output.get(name) is not None]
        if labelled:
            wanted = torch.tensor([[float(v in rows[i].output[name]) for v in values] for i in labelled])
            losses.append(functional.binary_cross_entropy_with_logits(logits[f"several:{name}"][labelled], wanted))
    asked = [i for i, r in enumerate(rows) if "answer" in r.output]
    if asked:
        wanted = torch.tensor([[float(rows[i].answer is not None)] for i in asked])
        losses.append(functional.binary_cross_entropy_with_logits(logits["answerable"][asked], wanted))
    return torch.stack(losses).sum()


def _train_pointers(network: TunedNetwork, rows: Sequence[Row], schema: dict[str, Any], encoder: Encoder) -> None:
    """For each field that is read out of the message: logistic regression on the surroundings of right and wrong spans."""
    for name, pointer in network.pointers.items():
        around, right = [], []
        for row in rows:
            for span in (candidate_spans(row.message, name, schema["properties"][name]) or []) if name in row.output else []:
                around.append(window(row.message, span))
                right.append(float(span.value == row.output[name]))
        if not around:
            continue
        vectors, wanted = torch.from_numpy(encoder.encode(around)), torch.tensor(right)
        optimizer = torch.optim.AdamW(pointer.parameters(), lr=0.05, weight_decay=0.1)
        for _ in range(POINTER_STEPS):
            loss = functional.binary_cross_entropy_with_logits(pointer(vectors)[:, 0], wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
