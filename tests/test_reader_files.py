"""The reader's weights as they ship: small enough, safe to load, described by a card that agrees with what they score."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from stepladder.cache import Cache
from stepladder.encoder.pairs import SOURCES, WEIGHTS, PairReader
from stepladder.encoder.text import fingerprints
from stepladder.tuning.reading_scores import asked_of, at_threshold, questions_of, read_alone
from stepladder.tuning.reading_sets import DESK_DEV, DESK_HELD_OUT, SQUAD_HELD_OUT, desk

DESK = Path(__file__).parents[1] / "data" / "reading" / "desk.jsonl"
DATASETS = os.environ.get("STEPLADDER_DATASETS", "")


@pytest.fixture(scope="module")
def about() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(WEIGHTS.with_suffix(".json").read_text(encoding="utf-8"))
    return loaded


def test_the_weights_are_small_and_half_precision() -> None:
    assert WEIGHTS.stat().st_size < 50_000_000
    with safe_open(WEIGHTS, framework="pt") as file:
        kinds = {name: file.get_slice(name).get_dtype() for name in file.offset_keys()}
    assert set(kinds.values()) == {"F16"}
    assert {"span.weight", "pair.weight"} <= set(kinds)


def test_the_card_agrees_with_the_scores(about: dict[str, Any]) -> None:
    card = WEIGHTS.with_suffix(".md").read_text(encoding="utf-8")
    rows = {cells[0]: cells[1:] for line in card.splitlines() if line.startswith("| ") for cells in [line.strip("| ").split(" | ")]}
    columns = ("exact, answerable", "F1, answerable", "right abstentions", "F1", "F1, never abstaining")
    assert {s["set"] for s in about["scores"]} <= set(rows)
    for scores in about["scores"]:
        assert rows[scores["set"]] == [
            f"{scores['questions']:.0f}",
            *("none unanswerable" if scores[name] is None else f"{scores[name]:.3f}" for name in columns),
        ]
    said = re.sub(r"\s+", " ", card)
    assert f"abstaining below {about['threshold']:.2f}" in said
    assert f"holds the answer for {about['sentence holds the answer, retrieved']:.3f} of" in said
    first, second = ([f"{ranks[when]:.3f}" for when in ("as found", "reranked")] for ranks in about["reciprocal rank"])
    assert f"goes from {first[0]} to {first[1]} when the pair head reranks them on the held-out articles" in said
    assert f"and from {second[0]} to {second[1]} on the held-out help pages" in said
    assert f"cases of `data/support`: {about['answer']['calibration_error']:.3f}" in said


def test_the_sources_are_those_of_the_card() -> None:
    """The pages that taught are there; those that score are not."""
    sources = np.load(SOURCES, allow_pickle=False)
    taught, kept = (
        fingerprints(row.passage for row in desk(DESK, lambda sector, apart=apart: (sector in DESK_DEV + DESK_HELD_OUT) == apart))
        for apart in (False, True)
    )
    assert np.isin(taught, sources).all()
    assert np.isin(kept, sources).mean() < 0.02


def test_it_reads_a_help_page_that_it_was_never_shown(tmp_path: Path) -> None:
    reader = PairReader(Cache(tmp_path), arithmetic="fp32")
    page = "Opening hours\nThe workshop is open from 9:30 to 17:00 on weekdays. A service takes two days and costs £65."
    answers = {"How much is a service?": "£65", "How long does a service take?": "two days"}
    for question, answer in answers.items():
        [reading] = reader.read([(question, page)])
        assert answer in page[reading.best.start : reading.best.end]
    about_it, other = reader.read(
        [("What does a service cost?", page), ("What does a service cost?", "Our cats sleep all day. They like fish.")]
    )
    assert about_it.fit > other.fit
    assert about_it.best.score > other.best.score


def test_it_reads_held_out_help_pages_as_the_card_says(tmp_path: Path, about: dict[str, Any]) -> None:
    torch.manual_seed(0)
    asked = asked_of(desk(DESK, lambda sector: sector in DESK_HELD_OUT))[::6]
    found = at_threshold(read_alone(PairReader(Cache(tmp_path)), asked), about["threshold"])
    expected = next(s for s in about["scores"] if s["set"] == "help pages, held out")
    assert found["F1"] == pytest.approx(expected["F1"], abs=0.15)  # some 70 of them


@pytest.mark.skipif(not DATASETS, reason="STEPLADDER_DATASETS is not set")
def test_it_reads_the_held_out_articles_as_the_card_says(tmp_path: Path, about: dict[str, Any]) -> None:
    asked = questions_of(Path(DATASETS) / "squad2_dev_half" / "dev-v2.0.json", lambda title: title in SQUAD_HELD_OUT)
    found = at_threshold(read_alone(PairReader(Cache(tmp_path)), asked), about["threshold"])
    expected = next(s for s in about["scores"] if s["set"] == "SQuAD, held out")
    assert found == {name: pytest.approx(expected[name], abs=0.01) for name in found}  # fp32 and bf16 differ a little
