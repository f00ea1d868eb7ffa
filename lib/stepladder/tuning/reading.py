"""Rows of reading sets -> the embedded reader: seeded, checkpointed, resumed from a file."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from tqdm import tqdm

from stepladder.cache import content_hash
from stepladder.encoder.pairs import LENGTHS, PairNetwork, Window, padded, windows
from stepladder.encoder.vectors import has_bf16, width_of
from stepladder.records import UserError
from stepladder.tuning.reading_sets import Row

CHECKPOINT_SECONDS = 300
PAIR_WEIGHT = 0.5
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_FILLERS = set("a an the is are was were do does did of to in for on at by with that this it its".split())
_FILLERS |= set("what which who whom how when where why".split())


@dataclass(frozen=True)
class ReadingSettings:
    """How the reader is trained. Dropout of attention is left out, since it costs a third of the speed."""

    epochs: float = 4
    learning_rate: float = 2e-4
    dropout: float = 0.1
    warmup: float = 0.06
    batch_tokens: int = 4096
    weight_decay: float = 0.01
    chatter: float = 0.2  # share of questions with a customer's message in front
    keywords: float = 0.1  # share of questions cut down to their keywords


def train_reader(
    epochs: Callable[[int], Sequence[Row]],
    settings: ReadingSettings,
    chatter: Sequence[str],
    folder: Path,
    seed: int = 0,
    evaluate: Callable[[PairNetwork], None] | None = None,
) -> PairNetwork:
    """A trained network; `epochs(i)` gives the rows of epoch i. Checkpoints lie in `folder`, and a second call goes on from the last.
    Raises UserError where they are of another training.

    Word vectors stay as published, so that they need not be shipped again. Arithmetic is bf16 where the processor has it.
    """
    torch.manual_seed(seed)
    network = PairNetwork()
    _keep_memory()
    _drop_out(network, settings.dropout)
    network.encoder.set_attn_implementation("eager")  # faster than torch's fused attention when training in bf16
    network.encoder.embeddings.word_embeddings.weight.requires_grad_(False)
    learned = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
    batches = _batches(epochs, settings, chatter, seed)
    training = content_hash(asdict(settings), seed, [[window.ids for window, _, _ in batch] for batch in batches])
    done = _resume(folder, training, network, optimizer)
    saved, losses = time.monotonic(), list[float]()
    progress = tqdm(batches[done:], initial=done, total=len(batches), desc="training the reader", unit="step", mininterval=10)
    for step, batch in enumerate(progress, start=done + 1):
        torch.manual_seed(seed * 1_000_003 + step)  # so that a training that goes on drops out what it would have dropped out
        optimizer.param_groups[0]["lr"] = settings.learning_rate * linear_rate(step / (len(batches) + 1), settings.warmup)
        loss = _loss(network, batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        progress.set_postfix(loss=f"{np.mean(losses[-200:]):.3f}")
        if time.monotonic() - saved > CHECKPOINT_SECONDS or step == len(batches):
            _checkpoint(folder, training, network, optimizer, step)
            saved = time.monotonic()
        if evaluate and step % max(1, len(batches) // 4) == 0:
            evaluate(network)
    return network.eval()


def save_reader(network: PairNetwork, path: Path) -> None:
    """What training has changed, as safetensors in half precision: all but the word vectors."""
    learned = {n: p.detach().to(torch.float16).contiguous() for n, p in network.named_parameters() if "word_embeddings" not in n}
    save_file(learned, path)


def _drop_out(network: PairNetwork, share: float) -> None:
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = share
    for layer in network.encoder.encoder.layer:
        layer.attention.self.dropout.p = 0.0


def _keep_memory() -> None:
    """Keep freed memory in the process: on Linux, handing it back and asking for it again costs a quarter of the time."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        for what, size in ((M_MMAP_THRESHOLD, 2**30), (M_TRIM_THRESHOLD, 2**31 - 1)):
            libc.mallopt(what, size)


Item = tuple[Window, tuple[int, int], float]
"""A window, its gold tokens ((0, 0) is the null), and whether the pair fits (-1: nobody said)."""


def _batches(epochs: Callable[[int], Sequence[Row]], settings: ReadingSettings, chatter: Sequence[str], seed: int) -> list[list[Item]]:
    """All batches of the training: windows of similar length together, as many as fit into `batch_tokens`."""
    batches: list[list[Item]] = []
    n_epochs = int(np.ceil(settings.epochs))
    for epoch in range(n_epochs):
        draw = random.Random(f"{seed}/{epoch}")
        rows = list(epochs(epoch))
        draw.shuffle(rows)
        rows = rows[: int(len(rows) * min(1.0, settings.epochs - epoch))]
        items = [
            item
            for row in tqdm(rows, desc=f"tokens of epoch {epoch + 1}", leave=False)
            for item in _items(_varied(row, settings, chatter, draw), draw)
        ]
        items.sort(key=lambda item: (_width(item[0]), draw.random()))
        made: list[list[Item]] = []
        for item in items:
            width = _width(item[0])
            if made and _width(made[-1][0][0]) == width and (len(made[-1]) + 1) * width <= settings.batch_tokens:
                made[-1].append(item)
            else:
                made.append([item])
        draw.shuffle(made)
        batches += made
    return batches


def _width(window: Window) -> int:
    return width_of(len(window.ids), LENGTHS)


def _varied(row: Row, settings: ReadingSettings, chatter: Sequence[str], draw: random.Random) -> Row:
    """Some questions as customers ask them: after a message about something else, or as keywords."""
    if not row.source.startswith(("squad", "qed", "desk")):
        return row
    luck = draw.random()
    if luck < settings.chatter and chatter:
        return replace(row, question=f"{draw.choice(chatter)} {row.question}")
    if luck > 1 - settings.keywords:
        words = [w for w in re.findall(r"[\w'’.,£$€%-]+", row.question) if w.lower() not in _FILLERS]
        return replace(row, question=" ".join(words)) if len(words) > 1 else row
    return row


def _items(row: Row, draw: random.Random) -> list[Item]:
    """The windows of a row; of a long passage without the answer one window is enough."""
    head = f"{row.title}\n" if row.title and (row.source.startswith("desk") or draw.random() < 0.5) else ""
    out: list[Item] = []
    for window in windows(row.question, head + row.passage):
        found = window.token_span(len(head) + row.span[0], len(head) + row.span[1]) if row.span else None
        fits = -1.0 if row.fits is None or (row.fits and not found) else float(row.fits)
        out.append((window, found or (0, 0), fits))
    right = [item for item in out if item[1] != (0, 0)]
    empty = [item for item in out if item[1] == (0, 0)]
    return right[:1] + draw.sample(empty, min(len(empty), 1 if not right else int(draw.random() < 0.3)))


def _loss(network: PairNetwork, batch: Sequence[Item]) -> torch.Tensor:
    network.train()
    with torch.autocast("cpu", torch.bfloat16, enabled=has_bf16()):
        spans, pair = network(*padded([window for window, _, _ in batch]))
    return loss_of(spans, pair, batch)


def loss_of(spans: torch.Tensor, pair: torch.Tensor, batch: Sequence[Item]) -> torch.Tensor:
    """Cross-entropy of the first and last token, and of the pair head where somebody said; rows that fill the shape are left out."""
    spans, pair = spans[: len(batch)], pair[: len(batch)]
    gold = torch.tensor([span for _, span, _ in batch])
    loss = (functional.cross_entropy(spans[:, :, 0], gold[:, 0]) + functional.cross_entropy(spans[:, :, 1], gold[:, 1])) / 2
    fits = torch.tensor([f for _, _, f in batch])
    said = fits >= 0
    if said.any():
        loss = loss + PAIR_WEIGHT * functional.binary_cross_entropy_with_logits(pair[said], fits[said])
    return loss


def linear_rate(part: float, warmup: float) -> float:
    """The learning rate as a share of its highest: up in a straight line, and down to zero."""
    return min(part / warmup, (1 - part) / (1 - warmup))


def _checkpoint(folder: Path, training: str, network: PairNetwork, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Weights and moments as safetensors, the rest as JSON; the step is written last and names its files."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {f"network.{n}": p.detach() for n, p in network.named_parameters() if p.requires_grad}
    names = [n for n, p in network.named_parameters() if p.requires_grad]
    for i, moments in optimizer.state_dict()["state"].items():
        state |= {f"{key}.{names[i]}": value for key, value in moments.items()}
    save_file({n: t.contiguous().clone() for n, t in state.items()}, folder / f"{step}.safetensors")
    (folder / "step.json.part").write_text(json.dumps({"step": step, "training": training}), encoding="utf-8")
    os.replace(folder / "step.json.part", folder / "step.json")
    for old in folder.glob("*.safetensors"):
        if old.stem != str(step):
            old.unlink()


def _resume(folder: Path, training: str, network: PairNetwork, optimizer: torch.optim.Optimizer) -> int:
    """Steps that are done. Raises UserError where the checkpoint is of another training."""
    if not (folder / "step.json").exists():
        return 0
    about = json.loads((folder / "step.json").read_text(encoding="utf-8"))
    if about["training"] != training:
        raise UserError(f"{folder}: found the checkpoint of a training with other settings or rows; remove the folder, or choose another")
    state = load_file(folder / f"{about['step']}.safetensors")
    network.load_state_dict({n.removeprefix("network."): t for n, t in state.items() if n.startswith("network.")}, strict=False)
    names = [n for n, p in network.named_parameters() if p.requires_grad]
    moments = {i: {key: state[f"{key}.{n}"] for key in ("step", "exp_avg", "exp_avg_sq")} for i, n in enumerate(names)}
    optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
    return int(about["step"])
