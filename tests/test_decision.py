"""Each gate's verdicts; undecided never climbs; every path of the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from stepladder.comparison import Difference, Interval
from stepladder.decision import (
    MIN_CASES,
    RUNGS,
    Answer,
    Gate,
    gate_1,
    gate_2,
    gate_3,
    gate_4,
    gate_4_apart,
    opens,
    side,
    verdict,
)

TARGET, MARGIN = 0.8, 0.05


def interval(low: float, high: float, n: int = 300) -> Interval:
    return Interval((low + high) / 2, low, high, n)


def difference(low: float, high: float, n: int = 300) -> Difference:
    return Difference((low + high) / 2, low, high, n)


BELOW, ABOVE, SPANS = interval(0.5, 0.6), interval(0.85, 0.95), interval(0.75, 0.9)
GAIN, NO_GAIN, MAYBE = difference(0.2, 0.4), difference(-0.02, 0.02), difference(0.0, 0.2)
LOSS = difference(-0.4, -0.2)


def gate(number: int, answer: Answer, reason: str = "because", more: int | None = None) -> Gate:
    return Gate(number, "Is it?", answer, reason, more)


# Sides


@pytest.mark.parametrize(
    ("low", "high", "where"),
    [
        (0.5, 0.79, "below"),
        (0.81, 0.9, "above"),
        (0.7, 0.9, "undecided"),
        (0.7, 0.8, "undecided"),
        (0.8, 0.9, "above"),
        (0.8, 0.8, "undecided"),
    ],
)
def test_side(low: float, high: float, where: str) -> None:
    assert side(interval(low, high), 0.8) == where


def test_fewer_than_min_cases_are_always_undecided() -> None:
    assert side(interval(0, 0.01, MIN_CASES - 1), 0.8) == "undecided"
    assert side(interval(0, 0.01, MIN_CASES), 0.8) == "below"
    assert side(Interval(math.nan, math.nan, math.nan, 300), 0.8) == "undecided"


# Gate 1


def test_gate_1() -> None:
    assert gate_1(BELOW, TARGET).answer == "yes"
    assert gate_1(ABOVE, TARGET).answer == "no"
    spans = gate_1(SPANS, TARGET)
    assert spans.answer == "undecided"
    assert spans.more is not None
    assert spans.more > 0
    assert "resolved 0.55 [0.50, 0.60] against a target of 0.80" in gate_1(BELOW, TARGET).reason


def test_gate_1_with_few_cases_asks_for_the_minimum() -> None:
    few = gate_1(interval(0.0, 0.1, 5), TARGET)
    assert (few.answer, few.more) == ("undecided", MIN_CASES - 5)
    nothing = gate_1(Interval(math.nan, math.nan, math.nan, 0), TARGET)
    assert (nothing.answer, nothing.more) == ("undecided", MIN_CASES)


def test_gate_1_too_close_for_any_number_of_cases() -> None:
    close = gate_1(interval(0.7, 0.9), 0.8)
    assert (close.answer, close.more) == ("undecided", None)
    assert "too close for any number of cases" in close.line()


# Gate 2


@pytest.mark.parametrize(
    ("gap", "gain", "answer", "words"),
    [
        (GAIN, GAIN, "yes", "gold context over empty context +0.30 [+0.20, +0.40]"),
        (NO_GAIN, GAIN, "no", "no knowledge gap"),
        (GAIN, NO_GAIN, "no", "mend retrieval, do not train"),
        (MAYBE, GAIN, "undecided", "margin 0.05"),
        (GAIN, MAYBE, "undecided", "margin 0.05"),
        (MAYBE, NO_GAIN, "undecided", "margin 0.05"),
        (NO_GAIN, MAYBE, "no", "no knowledge gap"),
        (None, GAIN, "not measured", "no documents"),
        (GAIN, None, "not measured", "no documents"),
        (difference(0.2, 0.4, 5), GAIN, "undecided", "margin"),
        (difference(0.01, 0.04), GAIN, "no", "no knowledge gap"),  # above zero, and still not worth it
    ],
)
def test_gate_2(gap: Difference | None, gain: Difference | None, answer: str, words: str) -> None:
    found = gate_2(gap, gain, MARGIN)
    assert found.answer == answer
    assert words in found.reason


def test_gate_2_counts_cases_of_what_is_undecided() -> None:
    assert gate_2(GAIN, difference(0.0, 0.3), MARGIN).more == 375  # reach .15, distance .10
    assert gate_2(difference(0.0, 0.3), NO_GAIN, MARGIN).more == 375


# Gate 3

FIELDS = {"intent": (interval(0.6, 0.7), 0.9), "days": (interval(0.96, 0.99), 0.95)}
GOOD = {"days": (interval(0.96, 0.99), 0.95)}
OPEN = {"intent": (interval(0.85, 0.93), 0.9), "days": (interval(0.96, 0.99), 0.95)}


@pytest.mark.parametrize(
    ("resolved", "fields", "answer", "words"),
    [
        (BELOW, FIELDS, "yes", "fine-tune for intent 0.65 [0.60, 0.70]"),
        (ABOVE, FIELDS, "no", "at target"),
        (BELOW, GOOD, "no", "mend what is said, not how"),
        (SPANS, FIELDS, "undecided", "against 0.80"),
        (BELOW, OPEN, "undecided", "undecided: intent"),
        (BELOW, {}, "not measured", "no labelled behaviour field"),
        (ABOVE, {}, "no", "at target"),
        (interval(0.1, 0.2, 10), FIELDS, "undecided", "against 0.80"),
        (BELOW, {"intent": (interval(0.1, 0.2, 10), 0.9)}, "undecided", "undecided: intent"),
    ],
)
def test_gate_3(resolved: Interval, fields: Mapping[str, tuple[Interval, float]], answer: str, words: str) -> None:
    found = gate_3(resolved, TARGET, fields)
    assert found.answer == answer
    assert words in found.reason


def test_gate_3_names_only_the_fields_that_are_proven_below() -> None:
    found = gate_3(BELOW, TARGET, FIELDS | {"mood": (interval(0.7, 0.9), 0.8)}, rung="the prompt")
    assert found.answer == "yes"
    assert "intent" in found.reason
    assert "days" not in found.reason
    assert "mood" not in found.reason
    assert found.question.startswith("Is the prompt provably below target")


def test_gate_3_asks_for_the_field_that_is_decided_first() -> None:
    fields = {"a": (interval(0.80, 0.96), 0.9), "b": (interval(0.84, 0.94), 0.9)}
    assert gate_3(BELOW, TARGET, {"b": fields["b"]}).more == pytest.approx(7200, abs=1)  # reach .05, distance .01
    assert gate_3(BELOW, TARGET, fields).more == pytest.approx(4500, abs=1)  # reach .08, distance .02
    assert gate_3(BELOW, TARGET, {"b": (interval(0.8, 1.0), 0.9)}).more is None


# Gate 4


@pytest.mark.parametrize(
    ("facts", "behaviour", "answer"),
    [
        (GAIN, GAIN, "yes"),
        (GAIN, difference(-0.3, -0.1), "no"),
        (difference(-0.3, -0.1), GAIN, "no"),
        (GAIN, difference(-0.1, 0.3), "undecided"),
        (difference(-0.1, 0.3), GAIN, "undecided"),
        (difference(0.2, 0.4, 10), GAIN, "undecided"),
        (None, GAIN, "not measured"),
        (GAIN, None, "not measured"),
    ],
)
def test_gate_4_apart(facts: Difference | None, behaviour: Difference | None, answer: str) -> None:
    assert gate_4_apart(facts, behaviour).answer == answer


@pytest.mark.parametrize(
    ("resolved", "facts", "behaviour", "answer"),
    [
        (GAIN, NO_GAIN, NO_GAIN, "yes"),  # not inferior by the margin is enough for facts and behaviour
        (NO_GAIN, NO_GAIN, NO_GAIN, "no"),
        (GAIN, difference(-0.3, -0.1), NO_GAIN, "no"),
        (GAIN, NO_GAIN, difference(-0.3, -0.1), "no"),
        (MAYBE, NO_GAIN, NO_GAIN, "undecided"),
        (GAIN, difference(-0.1, 0.1), NO_GAIN, "undecided"),
        (GAIN, NO_GAIN, difference(-0.1, 0.1), "undecided"),
        (MAYBE, NO_GAIN, difference(-0.3, -0.1), "no"),  # one proven loss decides
        (None, NO_GAIN, NO_GAIN, "not measured"),
        (GAIN, None, NO_GAIN, "not measured"),
        (GAIN, NO_GAIN, None, "not measured"),
    ],
)
def test_gate_4(resolved: Difference | None, facts: Difference | None, behaviour: Difference | None, answer: str) -> None:
    assert gate_4(gate(4, "yes"), resolved, facts, behaviour, MARGIN, "rag").answer == answer


@pytest.mark.parametrize("answer", ["no", "undecided", "not measured"])
def test_gate_4_stays_where_the_gains_are_not_proven_apart(answer: Answer) -> None:
    apart = gate(4, answer)
    assert gate_4(apart, GAIN, NO_GAIN, NO_GAIN, MARGIN, "rag") is apart


# Lines


def test_lines() -> None:
    assert gate(2, "undecided", "it spans", 1234).line() == "Gate 2: undecided (about 1,234 more cases). Is it? it spans."
    assert gate(2, "undecided", "it spans").line() == "Gate 2: undecided (too close for any number of cases). Is it? it spans."
    assert gate(2, "no", "it is", 40).line() == "Gate 2: no. Is it? it is."


# Climbing

NO_GAP = gate(2, "no", "no knowledge gap: +0.00; skip retrieval")
NOT_CLOSED = gate(2, "no", "a gap that retrieval does not close; mend retrieval, do not train")
ONE, TWO, THREE, FOUR = (gate(n, "yes") for n in (1, 2, 3, 4))


@pytest.mark.parametrize(
    ("gates", "rungs"),
    [
        ([], "prompt"),
        ([gate(1, "no")], "prompt"),
        ([gate(1, "undecided")], "prompt"),
        ([gate(1, "not measured")], "prompt"),
        ([ONE], "prompt rag"),
        ([ONE, TWO], "prompt rag"),
        ([ONE, TWO, gate(3, "no")], "prompt rag"),
        ([ONE, TWO, gate(3, "undecided")], "prompt rag"),
        ([ONE, TWO, gate(3, "not measured")], "prompt rag"),
        ([ONE, TWO, THREE], "prompt rag fine_tune"),
        ([ONE, THREE], "prompt rag fine_tune"),  # no documents: gate 2 was skipped
        ([ONE, gate(2, "not measured"), THREE], "prompt rag fine_tune"),
        ([ONE, NO_GAP, THREE], "prompt rag fine_tune"),
        ([ONE, NOT_CLOSED, THREE], "prompt rag"),
        ([ONE, gate(2, "undecided"), THREE], "prompt rag"),
        ([gate(1, "undecided"), TWO, THREE, FOUR], "prompt"),
        ([ONE, TWO, THREE, FOUR], "prompt rag fine_tune hybrid"),
        ([ONE, TWO, THREE, gate(4, "undecided")], "prompt rag fine_tune"),
        ([ONE, TWO, gate(3, "undecided"), FOUR], "prompt rag"),
    ],
)
def test_opens(gates: list[Gate], rungs: str) -> None:
    by_number = {g.number: g for g in gates}
    assert [rung for rung in RUNGS if opens(by_number, rung)] == rungs.split()


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_undecided_never_climbs_past_its_gate(number: int) -> None:
    rung_behind = {1: "rag", 2: "fine_tune", 3: "fine_tune", 4: "hybrid"}[number]
    gates = {g.number: g for g in (ONE, TWO, THREE, FOUR)} | {number: gate(number, "undecided")}
    assert not opens(gates, rung_behind)
    shipped = verdict(gates, {"prompt": BELOW, "rag": BELOW, "fine_tune": BELOW, "hybrid": ABOVE}, TARGET).ship
    assert RUNGS.index(shipped) < RUNGS.index("hybrid")
    assert shipped == {1: "prompt", 2: "prompt", 3: "rag", 4: "rag"}[number]


def test_the_wording_of_gate_2_is_what_opens_reads() -> None:
    assert opens({1: ONE, 2: gate_2(NO_GAIN, GAIN, MARGIN), 3: THREE}, "fine_tune")
    assert not opens({1: ONE, 2: gate_2(GAIN, NO_GAIN, MARGIN), 3: THREE}, "fine_tune")
    assert not opens({1: ONE, 2: gate_2(MAYBE, GAIN, MARGIN), 3: THREE}, "fine_tune")


# The verdict

ALL = {"prompt": interval(0.3, 0.4), "rag": interval(0.5, 0.6), "fine_tune": interval(0.4, 0.5), "hybrid": ABOVE}


@pytest.mark.parametrize(
    ("gates", "resolved", "ship", "words"),
    [
        ([], ALL, "prompt", "nothing was scored"),
        ([gate(1, "not measured")], {}, "prompt", "nothing was scored"),
        ([gate(1, "no")], {"prompt": ABOVE}, "prompt", "provably at target"),
        ([gate(1, "undecided")], {"prompt": SPANS}, "prompt", "gate 1 is undecided, and undecided never climbs"),
        ([ONE, NOT_CLOSED, THREE], ALL, "prompt", "mend retrieval before anything else"),
        ([ONE, gate(2, "undecided"), THREE, FOUR], ALL, "prompt", "gate 2 is undecided"),
        ([ONE, TWO, gate(3, "no")], ALL, "rag", "gate 3 does not call for tuning"),
        ([ONE, TWO, gate(3, "undecided")], ALL, "rag", "gate 3 is undecided"),
        ([ONE, TWO, gate(3, "not measured")], ALL, "rag", "tuning was not measured"),
        ([ONE, TWO], ALL, "rag", "retrieval closes a proven knowledge gap, and tuning was not measured"),
        ([ONE, NO_GAP, gate(3, "no")], ALL, "prompt", "there is no knowledge gap"),
        ([ONE, NO_GAP, THREE], ALL, "prompt", "hybrid was not measured"),
        (
            [ONE, THREE],
            {"prompt": BELOW, "fine_tune": ABOVE},
            "prompt",
            "not proven to resolve more or fewer cases, so the lower rung stands",
        ),
        ([ONE, THREE], {"fine_tune": ABOVE}, "fine_tune", "the only single rung that was measured"),
        ([ONE, TWO, THREE, FOUR], ALL, "hybrid", "both gains are proven"),
        ([ONE, TWO, THREE, gate(4, "no")], ALL, "rag", "gate 4 does not open"),
        ([ONE, TWO, THREE, gate(4, "undecided")], ALL | {"fine_tune": interval(0.7, 0.75)}, "rag", "gate 4 does not open"),
        ([ONE, TWO, THREE, gate(4, "not measured")], ALL, "rag", "hybrid was not measured"),
        ([ONE, TWO, THREE], {"prompt": BELOW}, "prompt", "tuning is called for"),
    ],
)
def test_verdict(gates: list[Gate], resolved: Mapping[str, Interval], ship: str, words: str) -> None:
    found = verdict({g.number: g for g in gates}, resolved, TARGET)
    assert found.ship == ship
    assert words in found.because


@pytest.mark.parametrize(("tuning", "ship"), [(GAIN, "fine_tune"), (LOSS, "rag"), (NO_GAIN, "rag"), (None, "rag")])
def test_of_two_single_rungs_the_higher_must_be_proven_better(tuning: Difference | None, ship: str) -> None:
    gates = {g.number: g for g in (ONE, TWO, THREE, gate(4, "undecided"))}
    found = verdict(gates, ALL, TARGET, tuning)
    assert found.ship == ship
    assert ("is proven to resolve more" in found.because) == (tuning in (GAIN, LOSS))


def test_verdict_says_where_the_shipped_rung_stands() -> None:
    at = verdict({1: gate(1, "no")}, {"prompt": ABOVE}, TARGET)
    assert (at.at_target, at.because) == (True, "it is provably at target")
    below = verdict({1: ONE, 2: TWO, 3: gate(3, "no")}, {"rag": BELOW}, TARGET)
    assert not below.at_target
    assert "it is provably below the target of 0.80, with 0.55 [0.50, 0.60] resolved" in below.because
    spans = verdict({1: gate(1, "undecided", more=70)}, {"prompt": SPANS}, TARGET)
    assert not spans.at_target
    assert "not proven to reach the target" in spans.because
    assert spans.undecided == ("gate 1, about 70 more cases",)
    unmeasured = verdict({}, {}, TARGET)
    assert (unmeasured.at_target, unmeasured.undecided) == (False, ())


def test_verdict_names_every_undecided_gate() -> None:
    found = verdict({1: ONE, 2: gate(2, "undecided"), 3: gate(3, "undecided", more=1200)}, ALL, TARGET)
    assert found.undecided == ("gate 2, too close to call", "gate 3, about 1,200 more cases")
