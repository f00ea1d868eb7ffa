"""What a notebook shows: all text from outside is escaped, in HTML and in Markdown, and nothing odd stops a figure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from stepladder import show
from stepladder.records import Example, Gold, Passage, Prediction, Prompt

EVIL = "<script>alert(1)</script> [x](javascript:alert(2)) ![i](https://evil.example/i.png) `c` *b* _u_ | a\\b <img src=x onerror=y>"


class Reader(HTMLParser):
    """The tags of a piece of HTML, and the text of its cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.cells: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.cells:
            self.cells[-1] += data


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What was handed to Jupyter."""
    bundles: list[dict[str, str]] = []
    monkeypatch.setattr(show, "display", lambda bundle, raw: bundles.append(bundle))
    return bundles


@pytest.fixture
def axes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[plt.Axes]]:
    """The axes of every figure that was shown."""
    found: list[plt.Axes] = []
    plt.switch_backend("Agg")

    def keep() -> None:
        plt.gcf().canvas.draw()
        found.append(plt.gca())

    monkeypatch.setattr(plt, "show", keep)
    yield found
    plt.close("all")


def bare(markdown: str) -> str:
    """Markdown without its escaped characters: what is left over is markup."""
    return re.sub(r"\\[\\`*_{}\[\]|]", "", markdown)


# --- text


def test_a_sentence_is_escaped(shown: list[dict[str, str]]) -> None:
    show.say("First.", EVIL)
    [bundle] = shown
    assert set(bundle) == {"text/html", "text/markdown", "text/plain"}
    reader = Reader(bundle["text/html"])
    assert reader.tags == {"p"}
    assert reader.text == f"First. {EVIL}"
    assert not re.search(r"[<>\[\]`*_|\\]", bare(bundle["text/markdown"]))


@pytest.mark.parametrize("text", ["", "Größe £5 – ü", "a < b > c & d"])
def test_a_harmless_sentence_reads_as_it_was_written(shown: list[dict[str, str]], text: str) -> None:
    show.say(text)
    assert Reader(shown[0]["text/html"]).text == text


# --- tables


def test_cells_names_and_caption_of_a_table_are_escaped(shown: list[dict[str, str]]) -> None:
    show.table(pd.DataFrame({EVIL: ["<b>x</b>", "a|b\nc"], "n": [1, 2]}), caption=EVIL)
    [bundle] = shown
    reader = Reader(bundle["text/html"])
    assert reader.tags == {"div", "table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert reader.cells[2:] == ["<b>x</b>", "1", "a|b\nc", "2"]
    caption, empty, head, rule, *rows, end = bundle["text/markdown"].split("\n")
    assert (empty, rule, end) == ("", "| --- | --- |", "")
    assert len(rows) == 2
    assert [bare(line).count("|") for line in (head, *rows)] == [3, 3, 3]
    assert not re.search(r"[<>\[\]`_]", bare(bundle["text/markdown"]))
    assert caption.startswith("*")
    assert caption.endswith("*")
    assert bare(caption).count("*") == 2


def test_numbers_are_rounded_for_the_eye(shown: list[dict[str, str]]) -> None:
    frame = pd.DataFrame({"share": [0.12345, 1.0], "tokens": [1234.0, 12.0], "n": [7, 12345], "text": ["x", "y"]})
    show.table(frame, digits=3)
    assert Reader(shown[0]["text/html"]).cells[4:] == ["0.123", "1,234", "7", "x", "1.000", "12", "12345", "y"]
    assert frame["share"].tolist() == [0.12345, 1.0]


@pytest.mark.parametrize("nothing", [float("nan"), None, np.nan, pd.NA, pd.NaT])
def test_a_cell_that_was_not_measured_is_empty(shown: list[dict[str, str]], nothing: Any) -> None:
    show.table(pd.DataFrame({"a": ["x", nothing], "b": pd.Series([nothing, 0.5], dtype=object)}))
    assert Reader(shown[0]["text/html"]).cells[2:] == ["x", "", "", "0.50"]
    assert not re.search("nan|NaN|NA|NaT|None", shown[0]["text/markdown"])


def test_a_column_of_nothing_but_nan_is_shown_empty(shown: list[dict[str, str]]) -> None:
    show.table(pd.DataFrame({"rung": ["rag"], "gain": [np.nan]}))
    assert Reader(shown[0]["text/html"]).cells[2:] == ["rag", ""]


@pytest.mark.parametrize("frame", [pd.DataFrame(), pd.DataFrame(columns=["a", "b"]), pd.DataFrame({"a": pd.Series([], dtype=float)})])
def test_an_empty_frame_shows_no_row_and_is_no_error(shown: list[dict[str, str]], frame: pd.DataFrame) -> None:
    show.table(frame, "Nothing")
    assert all("<td>" not in bundle["text/html"] for bundle in shown)


def test_one_row_of_one_column_is_a_table(shown: list[dict[str, str]]) -> None:
    show.table(pd.DataFrame({"days_waiting": [14]}))
    assert Reader(shown[0]["text/html"]).cells == ["days waiting", "14"]
    assert shown[0]["text/markdown"] == "| days waiting |\n| --- |\n| 14 |\n"


# --- one case


def test_a_trace_escapes_message_passages_answer_and_gold(shown: list[dict[str, str]]) -> None:
    passage = Passage("d#1", "d", "T", "", "policy", EVIL, 0, 9, score=0.5)
    prompt = Prompt(EVIL, {}, passages=(passage,), examples=(Example(EVIL, {"answer": EVIL}),))
    gold = Gold("c1", {"answer": [EVIL]}, rejected=(EVIL,))
    show.trace(prompt, Prediction("c1", None, EVIL), gold, {"answer_correct": 1.0, "recall_at_5": 1.0})
    reader = Reader(shown[0]["text/html"])
    assert reader.tags == {"div", "table", "tr", "th", "td", "pre"}
    assert reader.cells[:4] == ["message", EVIL, "passage d#1 (cosine 0.50)", EVIL]
    assert reader.cells[-2:] == ["scores", "answer_correct 1"]
    lines = shown[0]["text/markdown"].strip().split("\n")
    assert len(lines) == 6
    assert all(line.startswith("- **") for line in lines)
    assert not re.search(r"[<>\[\]`_|]", bare(shown[0]["text/markdown"]))


def test_a_trace_of_a_failure_says_why(shown: list[dict[str, str]]) -> None:
    show.trace(Prompt("Hi", {}), Prediction("c1", None, "", error="no answer within 5 seconds"), None, {})
    assert Reader(shown[0]["text/html"]).cells == ["message", "Hi", "the model said", "(nothing: no answer within 5 seconds)"]


# --- figures


def test_intervals_with_one_row(axes: list[plt.Axes]) -> None:
    frame = pd.DataFrame({"rung": ["rag"], "right after": [0.5], "low": [0.4], "high": [0.6]})
    show.intervals(frame, "rung", "right after", "low", "high", "Right", "share", line=0.8, line_label="target")
    [ax] = axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["RAG"]
    assert [text.get_text() for text in ax.texts] == ["0.50", "target"]
    assert (ax.get_xlabel(), ax.get_title(loc="left")) == ("share", "Right")


def test_intervals_leave_out_what_was_not_measured_and_keep_the_order(axes: list[plt.Axes]) -> None:
    frame = pd.DataFrame({"rung": ["prompt", "rag", "<b>$x$"], "m": [0.1, np.nan, 0.3], "low": [0, 0, np.nan], "high": [0.2, 1, np.nan]})
    show.intervals(frame, "rung", "m", "low", "high", "t", "u")
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["<b>$x$", "prompt"]  # the first row stands at the top


def test_intervals_of_nothing_are_no_error(axes: list[plt.Axes]) -> None:
    frame = pd.DataFrame({"rung": ["prompt"], "m": [np.nan], "low": [np.nan], "high": [np.nan]})
    show.intervals(frame, "rung", "m", "low", "high", "t", "u", line=0.0)
    assert len(axes) <= 1


def test_lines_with_one_row(axes: list[plt.Axes]) -> None:
    frame = pd.DataFrame({"examples": [8], "resolved": [0.5], "behaviour": [np.nan]})
    show.lines(frame, "examples", ["resolved", "behaviour"], "t", "examples", "share", levels={"rag": 0.7})
    [ax] = axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("examples", "share")
    assert [text.get_text() for text in ax.texts] == ["resolved", "behaviour", "RAG"]


def test_bars_with_one_row(axes: list[plt.Axes]) -> None:
    show.bars(pd.DataFrame({"cases": [3], "cause": ["not found"]}), "cases", "cause", "t", "cases")
    assert [text.get_text() for text in axes[0].texts] == ["3"]
    assert [patch.get_width() for patch in axes[0].patches] == [3]


def test_bars_stand_in_the_order_of_the_table_from_the_top(axes: list[plt.Axes]) -> None:
    show.bars(pd.DataFrame({"cases": [3, 5], "cause": ["first", "second"]}), "cases", "cause", "t", "cases")
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["second", "first"]
    assert [patch.get_width() for patch in axes[0].patches] == [5, 3]
