"""The READMEs' figures: copied from `results/reference` and from the dataset by `stepladder readme`, checked by a test."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from stepladder.card import card
from stepladder.records import UserError
from stepladder.runs import checkout, verdict_lines

_BLOCK = re.compile(r"(<!-- reference -->\n).*?(<!-- /reference -->)", re.DOTALL)
_CARD = re.compile(r"(<!-- card -->\n).*?(<!-- /card -->)", re.DOTALL)
NAMES = {
    "majority": "majority (floor)",
    "tfidf": "TF-IDF + logistic regression (floor)",
    "prompt": "prompt",
    "rag": "RAG",
    "fine_tune": "fine-tune",
    "hybrid": "hybrid",
}


def reference_block(reference: Path) -> str:
    """Table and verdict of the reference run, as Markdown."""
    summary = pd.read_csv(reference / "summary.csv")
    head = "| rung | resolved | difference in resolved | won / lost / tied | facts | behaviour | p50 | p95 | training |"
    rows = [head, "|" + " --- |" * 9]
    for row in summary[summary["rung"].isin(list(NAMES)) & ~summary["base"].str.contains(",")].to_dict("records"):
        cells = [
            NAMES[row["rung"]],
            _interval(row, "resolved"),
            "" if pd.isna(row["won"]) else f"{_interval(row, 'difference', sign=True)} over {NAMES[row['difference_to']]}",
            "" if pd.isna(row["won"]) else f"{row['won']:.0f} / {row['lost']:.0f} / {row['tied']:.0f}",
            _interval(row, "facts"),
            _interval(row, "behaviour"),
            *("" if pd.isna(row[name]) else f"{1000 * row[name]:.0f} ms" for name in ("seconds_p50", "seconds_p95")),
            "" if pd.isna(row["training_seconds"]) else f"{row['training_seconds']:.0f} s",
        ]
        rows.append("| " + " | ".join(cells) + " |")
    timing = pd.read_csv(reference / "timing.csv")
    lines = verdict_lines(reference)
    return "\n".join(
        [
            *rows,
            "",
            *(f"> {line}" + "  " for line in lines),
            "",
            f"The whole run took {timing['seconds'].sum() / 60:.1f} minutes on two cores.",
            "",
        ]
    )


def _interval(row: Mapping[Hashable, Any], name: str, sign: bool = False) -> str:
    if pd.isna(row[name]):
        return ""
    form = "{:+.2f}" if sign else "{:.2f}"
    mean, low, high = (form.format(round(row[key], 2) + 0.0) for key in (name, f"{name}_low", f"{name}_high"))
    return f"{mean} [{low}, {high}]"


def renewed(readme: str, reference: Path) -> str:
    """The README with its block of figures replaced."""
    return _BLOCK.sub(lambda m: m.group(1) + reference_block(reference) + m.group(2), readme)


def renewed_card(text: str, data: Path) -> str:
    """The data card with its block of tables replaced."""
    tables = card(data)
    return _CARD.sub(lambda m: m.group(1) + tables + m.group(2), text)


def renew() -> str:
    """Rewrite README.md and data/README.md of the checkout. Raises UserError where there is no reference run."""
    root = checkout()
    if root is None or not (root / "results" / "reference" / "summary.csv").exists():
        raise UserError("results/reference: no summary.csv; run make reference")
    path = root / "README.md"
    path.write_text(renewed(path.read_text(encoding="utf-8"), root / "results" / "reference"), encoding="utf-8")
    path = root / "data" / "README.md"
    path.write_text(renewed_card(path.read_text(encoding="utf-8"), root / "data" / "support"), encoding="utf-8")
    return "README.md now holds the figures of results/reference, data/README.md those of data/support"
