"""How a notebook shows things: sentences, tables, traces, figures. All text from outside is escaped here.

Each output carries HTML for the notebook and the report, and Markdown for `report.md`.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from IPython.display import display
from matplotlib.axes import Axes

from stepladder.records import Gold, Prediction, Prompt

RUNG_NAMES = {
    "prompt": "prompt", "rag": "RAG", "fine_tune": "fine-tune", "hybrid": "hybrid", "empty_context": "empty context (bound)",
    "gold_context": "gold context (bound)", "incumbent": "what runs today", "majority": "majority (floor)", "tfidf": "TF-IDF (floor)",
}  # fmt: skip
COLOURS = {"prompt": "#4c72b0", "rag": "#55a868", "fine_tune": "#dd8452", "hybrid": "#8172b3"}
GREY = "#9a9a9a"


def _bundle(as_html: str, as_markdown: str) -> None:
    display({"text/html": as_html, "text/markdown": as_markdown, "text/plain": as_markdown}, raw=True)


def _for_markdown(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]|])", r"\\\1", html.escape(text, quote=False))


def say(*sentences: str) -> None:
    """Sentences that read a table or figure aloud, each computed from it."""
    text = " ".join(sentences)
    _bundle(f"<p class='say'>{html.escape(text)}</p>", _for_markdown(text) + "\n")


def table(frame: pd.DataFrame, caption: str = "", digits: int = 2) -> None:
    """A table; numbers rounded for the eye only, text escaped, an empty cell where nothing was measured."""
    if frame.empty:
        return
    names = [str(name).replace("_", " ") for name in frame.columns]
    rows = [[_cell(value, digits) for value in row] for row in frame.astype(object).to_numpy().tolist()]
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    lines = [f"*{_for_markdown(caption)}*", ""] if caption else []
    lines += ["| " + " | ".join(_for_markdown(" ".join(cell.split())) for cell in row) + " |" for row in [names, *rows]]
    lines.insert(3 if caption else 1, "|" + " --- |" * len(names))
    _bundle(f"<div class='wide'><table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>", "\n".join([*lines, ""]))


def _cell(value: Any, digits: int) -> str:
    if isinstance(value, float):
        if pd.isna(value):
            return ""
        return f"{value:,.0f}" if value.is_integer() and abs(value) >= 10 else f"{value:,.{digits}f}"
    if value is None or value is pd.NA or value is pd.NaT:
        return ""
    return str(value)


def trace(prompt: Prompt, prediction: Prediction, gold: Gold | None, scores: dict[str, float]) -> None:
    """One case from message to score: what was asked, given, said, and what is right."""
    parts = [("message", prompt.message)]
    parts += [(f"passage {p.passage_id} (cosine {p.score:.2f})", p.text) for p in prompt.passages or ()]
    if prompt.examples:
        parts.append((f"first of {len(prompt.examples)} examples", f"{prompt.examples[0].text}\n→ {_json(prompt.examples[0].output)}"))
    parts.append(("the model said", prediction.text or f"(nothing: {prediction.error})"))
    if gold:
        right = _json(gold.output) + (f"\nrejected: {', '.join(gold.rejected)}" if gold.rejected else "")
        parts.append(("gold", right))
        parts.append(("scores", ", ".join(f"{k} {v:g}" for k, v in scores.items() if k.endswith(("_correct", "resolved")))))
    rows = "".join(f"<tr><th>{html.escape(k)}</th><td><pre>{html.escape(v)}</pre></td></tr>" for k, v in parts)
    text = "\n".join(f"- **{_for_markdown(k)}**: {_for_markdown(' '.join(v.split()))}" for k, v in parts)
    _bundle(f"<div class='wide'><table class='trace'>{rows}</table></div>", text + "\n")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def intervals(
    frame: pd.DataFrame, label: str, mean: str, low: str, high: str, title: str, unit: str, line: float | None = None, line_label: str = ""
) -> None:
    """Means with their 95 % intervals, one row each, labelled with the value; `line` marks a target or zero."""
    frame = frame.dropna(subset=[mean]).iloc[::-1]
    _, ax = plt.subplots(figsize=(7, 0.7 + 0.42 * len(frame)))
    for i, values in enumerate(frame.to_dict("records")):
        colour = COLOURS.get(str(values.get("rung", values[label])), GREY)
        ax.plot([values[low], values[high]], [i, i], color=colour, linewidth=3, solid_capstyle="round")
        ax.plot(values[mean], i, "o", color=colour, markersize=7)
        ax.annotate(f"{values[mean]:.2f}", (values[mean], i), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=9)
    ax.set_yticks(range(len(frame)), [RUNG_NAMES.get(str(v), str(v)) for v in frame[label]])
    ax.set_ylim(-0.6, len(frame) - 0.3)
    if line is not None:
        ax.axvline(line, color="black", linewidth=1, linestyle="--")
        ax.annotate(line_label, (line, len(frame) - 0.45), xytext=(3, 0), textcoords="offset points", fontsize=8)
    _finish(ax, title, unit)


def lines(
    frame: pd.DataFrame, x: str, series: Sequence[str], title: str, x_label: str, unit: str, levels: dict[str, float] | None = None
) -> None:
    """Curves over x, labelled at their last point; `levels` are horizontal lines for other rungs."""
    _, ax = plt.subplots(figsize=(7, 3.6))
    palette = sns.color_palette("deep", len(series))
    for colour, name in zip(palette, series, strict=True):
        ax.plot(frame[x], frame[name], "o-", color=colour)
        ax.annotate(
            name,
            (frame[x].iloc[-1], frame[name].iloc[-1]),
            xytext=(6, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            fontsize=9,
        )
    for name, level in (levels or {}).items():
        ax.axhline(level, color=COLOURS.get(name, GREY), linestyle="--", linewidth=1)
        ax.annotate(
            RUNG_NAMES.get(name, name),
            (frame[x].iloc[0], level),
            xytext=(0, 3),
            textcoords="offset points",
            color=COLOURS.get(name, GREY),
            fontsize=9,
        )
    ax.set_xlabel(x_label)
    ax.margins(x=0.15)
    _finish(ax, title, unit, horizontal=False)


def bars(frame: pd.DataFrame, x: str, y: str, title: str, unit: str) -> None:
    """Horizontal bars with their values."""
    _, ax = plt.subplots(figsize=(7, 0.7 + 0.34 * len(frame)))
    ax.barh([str(v) for v in frame[y]][::-1], frame[x][::-1], color=COLOURS["prompt"])
    for i, value in enumerate(frame[x][::-1]):
        ax.annotate(f"{value:g}", (value, i), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9)
    _finish(ax, title, unit)


def _finish(ax: Axes, title: str, unit: str, horizontal: bool = True) -> None:
    ax.set_title(title, loc="left", fontsize=11)
    (ax.set_xlabel if horizontal else ax.set_ylabel)(unit)
    sns.despine(ax=ax)
    plt.tight_layout()
    plt.show()
