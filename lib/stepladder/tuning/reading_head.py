"""The embedded reader tuned on train's own messages, passages and quotes."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from stepladder.dataset import find_quote
from stepladder.encoder.pairs import LENGTHS, PairNetwork, PairReader, padded, windows
from stepladder.encoder.questions import asked
from stepladder.encoder.vectors import batches_by_length, has_bf16
from stepladder.records import Passage
from stepladder.tuning.reading import Item, linear_rate, loss_of

TUNED_LAYERS = 1
EPOCHS = 2
LEARNING_RATE = 2e-4
WARMUP = 0.1


@dataclass(frozen=True)
class Lesson:
    """A message with passages, the quotes that answer it and the accepted wordings; no wordings: the right answer is none."""

    message: str
    passages: tuple[Passage, ...]
    quotes: tuple[str, ...]
    answers: tuple[str, ...]


@dataclass(frozen=True)
class _Seen:
    """An item with what the frozen layers make of it, (tokens, 384)."""

    item: Item
    hidden: torch.Tensor


def tune_reader(base: PairReader, lessons: Sequence[Lesson], seed: int) -> dict[str, torch.Tensor]:
    """Weights to put in the place of the reader's: its last layer and its heads, trained on the lessons.

    What stands below is computed once. Passages beside the one with the quote teach what no answer looks like (RAFT, Zhang et
    al. 2024). No lessons, no changes.
    """
    torch.manual_seed(seed)
    items = [item for lesson in lessons for item in _items(lesson)]
    if not any(span != (0, 0) for _, span, _ in items):
        return {}
    network = copy.deepcopy(base.network).float()
    layers = network.encoder.encoder.layer
    top = layers[len(layers) - TUNED_LAYERS :]
    seen = _frozen(network, items)
    learned = [*top.parameters(), *network.encoder.pooler.parameters(), *network.span.parameters(), *network.pair.parameters()]
    batches = _epochs(seen, seed)
    optimizer = torch.optim.AdamW(learned, lr=LEARNING_RATE, weight_decay=0.01)
    for step, batch in enumerate(batches, start=1):
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * linear_rate(step / (len(batches) + 1), WARMUP)
        _, types, mask = padded([s.item[0] for s in batch])
        hidden = torch.zeros(*mask.shape, batch[0].hidden.shape[1])
        for row, s in enumerate(batch):
            hidden[row, : len(s.hidden)] = s.hidden
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bf16()):
            for layer in top:
                hidden = layer(hidden, mask[:, None, None, :].bool())
            logits = network.heads(hidden, types, mask)
        loss = loss_of(*logits, [s.item for s in batch])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
    names = tuple(f"encoder.encoder.layer.{i}." for i in range(len(layers) - TUNED_LAYERS, len(layers)))
    names += ("encoder.pooler.", "span.", "pair.")
    return {n: p.detach().clone() for n, p in network.named_parameters() if n.startswith(names)}


def _items(lesson: Lesson) -> list[Item]:
    """The windows of each passage with where the answer stands; a passage with the quote but not the wording teaches the quote.

    None where there is an answer without a quote: which passage holds it, nobody knows.
    """
    if lesson.answers and not lesson.quotes:
        return []
    question = asked(lesson.message) or lesson.message
    items: list[Item] = []
    for passage in lesson.passages:
        text = passage.headed
        span = _span(text, lesson) if lesson.answers else None
        for window in windows(question, text):
            found = window.token_span(*span) if span else None
            items.append((window, found or (0, 0), float(found is not None)))
    return items


def _span(text: str, lesson: Lesson) -> tuple[int, int] | None:
    for quote in lesson.quotes:
        held = find_quote(text, quote)
        if held is None:
            continue
        for answer in lesson.answers:
            if inside := re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text[slice(*held)], re.IGNORECASE):
                return held[0] + inside.start(), held[0] + inside.end()
        return held
    return None


@torch.no_grad()
def _frozen(network: PairNetwork, items: Sequence[Item]) -> list[_Seen]:
    out: list[_Seen | None] = [None] * len(items)
    kept = network.encoder.encoder.layer
    network.encoder.encoder.layer = kept[: len(kept) - TUNED_LAYERS]
    try:
        for batch in batches_by_length([len(window.ids) for window, _, _ in items], LENGTHS):
            ids, types, mask = padded([items[i][0] for i in batch])
            with torch.autocast("cpu", torch.bfloat16, enabled=has_bf16()):
                hidden = network.encoder(input_ids=ids, token_type_ids=types, attention_mask=mask).last_hidden_state.float()
            for row, i in enumerate(batch):
                out[i] = _Seen(items[i], hidden[row, : len(items[i][0].ids)].clone())
    finally:
        network.encoder.encoder.layer = kept
    return [s for s in out if s is not None]


def _epochs(seen: Sequence[_Seen], seed: int) -> list[list[_Seen]]:
    draw, batches = random.Random(seed), list[list[_Seen]]()
    for _ in range(EPOCHS):
        order = list(seen)
        draw.shuffle(order)
        made = [[order[i] for i in rows] for rows in batches_by_length([len(s.item[0].ids) for s in order], LENGTHS)]
        draw.shuffle(made)
        batches += made
    return batches
