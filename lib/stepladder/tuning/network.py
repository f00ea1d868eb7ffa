"""The tuned network: MiniLM under LoRA, a head per behaviour field, pointers for spans.

Only the upper layers learn; what the lower ones make of a text is computed once and kept, which makes an
epoch three times as fast. Heads see the mean of the last layer and of the last frozen one, because mood and haste live
in the middle of an encoder and matter in its last layer (Tenney et al. 2019), and the mean vector of the passages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import peft
import torch

from stepladder.cache import Cache, Stopwatch
from stepladder.encoder import DIMENSIONS, load_network, mean_pool

MAX_MESSAGE_TOKENS = 160
MAX_KEPT = 4000  # messages whose frozen states one process keeps, some 0.1 MB each


@dataclass
class Plan:
    """What the heads decide between; saved beside the weights."""

    choices: dict[str, list[Any]] = field(default_factory=dict)  # enum and boolean fields -> their values
    several: dict[str, list[Any]] = field(default_factory=dict)  # list-of-enum fields -> their values
    spans: list[str] = field(default_factory=list)
    answers: list[tuple[str, str]] = field(default_factory=list)  # (train message, its answer): what the FAQ head can repeat
    passages: bool = False
    seconds: float = 0.0
    n_examples: int = 0


class TunedNetwork(torch.nn.Module):
    """Encoder with LoRA in its upper layers and heads; pointers on the untuned encoder's vectors."""

    centre: torch.Tensor
    spread: torch.Tensor
    encoder: Any

    def __init__(self, plan: Plan, rank: int, tuned_layers: int, dropout: float) -> None:
        super().__init__()
        network, self.tokenizer = load_network()
        layers = list(range(network.config.num_hidden_layers))
        self.n_frozen = len(layers) - tuned_layers
        config = peft.LoraConfig(
            r=rank,
            lora_alpha=2 * rank,
            target_modules=["query", "key", "value", "dense"],
            layers_to_transform=layers[self.n_frozen :],
            layers_pattern="layer",
        )
        self.encoder = peft.inject_adapter_in_model(config, network)
        self.plan = plan
        sizes = {f"choose:{n}": len(v) for n, v in plan.choices.items()} | {f"several:{n}": len(v) for n, v in plan.several.items()}
        sizes |= {"answerable": 1}
        self.dropout = torch.nn.Dropout(dropout)
        self.heads = torch.nn.ModuleDict({name: torch.nn.Linear(3 * DIMENSIONS, size) for name, size in sizes.items()})
        self.pointers = torch.nn.ModuleDict({name: torch.nn.Linear(DIMENSIONS, 1) for name in plan.spans})
        self.register_buffer("centre", torch.zeros(2 * DIMENSIONS))
        self.register_buffer("spread", torch.ones(2 * DIMENSIONS))

    @torch.no_grad()
    def freeze(self, texts: Sequence[str], batch: int = 16) -> dict[str, torch.Tensor]:
        """Every distinct text behind the frozen layers, (tokens, 384) each, batched by length. Texts are cut at 160 tokens."""
        out: dict[str, torch.Tensor] = {}
        order = sorted(set(texts), key=lambda text: (len(text), text))
        for start in range(0, len(order), batch):
            some = order[start : start + batch]
            tokens = self.tokenizer(some, padding=True, truncation=True, max_length=MAX_MESSAGE_TOKENS, return_tensors="pt")
            hidden = self.encoder.embeddings(input_ids=tokens["input_ids"])
            hidden = self._layers(hidden, tokens["attention_mask"], slice(0, self.n_frozen))
            for text, vectors, mask in zip(some, hidden, tokens["attention_mask"], strict=True):
                out[text] = vectors[: int(mask.sum())].clone()
        return out

    def features(self, frozen: Sequence[torch.Tensor]) -> torch.Tensor:
        """Means of the last layer and of the last frozen one, each of length one: (batch, 768)."""
        lower = torch.nn.utils.rnn.pad_sequence(list(frozen), batch_first=True)
        lengths = torch.tensor([len(hidden) for hidden in frozen])
        mask = (torch.arange(lower.shape[1]) < lengths[:, None]).long()
        upper = self._layers(lower, mask, slice(self.n_frozen, None))
        return torch.cat([mean_pool(upper, mask), mean_pool(lower, mask)], dim=-1)

    def _layers(self, hidden: torch.Tensor, mask: torch.Tensor, which: slice) -> torch.Tensor:
        allowed = None if bool(mask.all()) else mask[:, None, None, :].bool()
        for layer in self.encoder.encoder.layer[which]:
            hidden = layer(hidden, allowed)
        return hidden

    def decide(self, features: torch.Tensor, passages: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits of each head, (batch, size); `passages` (batch, 384) holds their mean vectors, zeros where there are none."""
        message = (features - self.centre) / self.spread
        seen = self.dropout(torch.cat([message, passages / self.spread[:DIMENSIONS]], dim=-1))
        return {name: head(seen) for name, head in self.heads.items()}

    def learned(self) -> dict[str, torch.Tensor]:
        """What tuning has changed: the adapters, the heads, the scale of the features."""
        tensors = {n: p.detach() for n, p in self.named_parameters() if "lora_" in n or not n.startswith("encoder.")}
        return {n: t.contiguous() for n, t in (tensors | {"centre": self.centre, "spread": self.spread}).items()}


def frozen_states(network: TunedNetwork, texts: Sequence[str], cache: Cache) -> tuple[dict[str, torch.Tensor], float]:
    """(what the frozen layers make of each text, the seconds that were saved because this process had it already).

    The frozen layers are those of the published encoder, so every tuned network of one process shares their states.
    """
    known: dict[str, tuple[torch.Tensor, float]] = cache.memory.setdefault(("frozen", network.n_frozen), {})
    missing = [text for text in dict.fromkeys(texts) if text not in known]
    with Stopwatch() as watch:
        made = network.freeze(missing)
    saved = sum(known[text][1] for text in set(texts) - made.keys())
    states = made | {text: known[text][0] for text in texts if text not in made}
    for text, state in made.items():
        if len(known) < MAX_KEPT:
            known[text] = state, watch.seconds / len(made)
    return states, saved
