"""The gates and the verdict: pure functions of intervals. Undecided never climbs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from stepladder.comparison import Difference, Interval, more_cases

Answer = Literal["yes", "no", "undecided", "not measured"]
RUNGS = ("prompt", "rag", "fine_tune", "hybrid")
MIN_CASES = 20  # fewer prove nothing: the bootstrap cannot see what it has not drawn


@dataclass(frozen=True)
class Gate:
    """One gate's verdict; `more` is about how many more cases would decide it, None where nobody can say."""

    number: int
    question: str
    answer: Answer
    reason: str
    more: int | None = None

    def line(self) -> str:
        """
        >>> Gate(1, "Is the prompt provably below target?", "undecided", "0.70 spans 0.80", 40).line()
        'Gate 1: undecided (about 40 more cases). Is the prompt provably below target? 0.70 spans 0.80.'
        """
        amount = f"about {self.more:,} more cases" if self.more else "too close for any number of cases"
        hint = f" ({amount})" if self.answer == "undecided" else ""
        return f"Gate {self.number}: {self.answer}{hint}. {self.question} {self.reason}."


@dataclass(frozen=True)
class Verdict:
    """Which rung to ship and why, and what is still open."""

    ship: str
    because: str
    at_target: bool
    undecided: tuple[str, ...] = ()


def side(interval: Interval, threshold: float) -> Literal["above", "below", "undecided"]:
    """Where the whole interval lies. Fewer than MIN_CASES cases are always undecided."""
    if interval.n_cases < MIN_CASES:
        return "undecided"
    if interval.high < threshold:
        return "below"
    return "above" if interval.low > threshold or (interval.low == threshold and interval.mean > threshold) else "undecided"


def _more(interval: Interval, threshold: float) -> int | None:
    few = MIN_CASES - interval.n_cases
    extra = more_cases(interval, threshold)
    return max(few, extra or 0) if few > 0 else extra


def gate_1(resolved: Interval, target: float) -> Gate:
    """Climb past the prompt only if it is provably below target."""
    question = "Is the tuned prompt provably below target?"
    what = f"resolved {resolved} against a target of {target:.2f}"
    where = side(resolved, target)
    if where == "undecided":
        return Gate(1, question, "undecided", what, _more(resolved, target))
    return Gate(1, question, "yes" if where == "below" else "no", what)


def gate_2(gap: Difference | None, gain: Difference | None, margin: float) -> Gate:
    """Retrieve only if there is a knowledge gap (gold over empty context on facts) and retrieval closes it (RAG over prompt)."""
    question = "Is there a knowledge gap, and does retrieval close it?"
    if gap is None or gain is None:
        return Gate(2, question, "not measured", "no documents, or no case that asks for a fact and names its evidence")
    what = f"on facts gold context over empty context {gap}, RAG over prompt {gain}, margin {margin:.2f}"
    if side(gap, margin) == "undecided":
        return Gate(2, question, "undecided", what, _more(gap, margin))
    if side(gap, margin) == "below":
        return Gate(2, question, "no", f"no knowledge gap: {what}; skip retrieval")
    if side(gain, margin) == "undecided":
        return Gate(2, question, "undecided", what, _more(gain, margin))
    if side(gain, margin) == "below":
        return Gate(2, question, "no", f"a gap that retrieval does not close: {what}; mend retrieval, do not train")
    return Gate(2, question, "yes", what)


def gate_3(resolved: Interval, target: float, fields: Mapping[str, tuple[Interval, float]], rung: str = "RAG") -> Gate:
    """Tune only if the rung is provably below target, and a required behaviour field stays below its own with gold passages.

    `fields`: name -> (share right with gold passages in the prompt, target of the field).
    """
    question = f"Is {rung} provably below target, and does behaviour stay below its target even with gold passages?"
    what = f"resolved {resolved} against {target:.2f}"
    where = side(resolved, target)
    if where == "above":
        return Gate(3, question, "no", f"at target: {what}")
    if not fields:
        return Gate(3, question, "not measured", "the brief requires no labelled behaviour field")
    below = {name: share for name, (share, wanted) in fields.items() if side(share, wanted) == "below"}
    named = ", ".join(f"{name} {share}" for name, share in below.items())
    if where == "undecided":
        return Gate(3, question, "undecided", what, _more(resolved, target))
    if below:
        return Gate(3, question, "yes", f"{what}; fine-tune for {named}")
    open_fields = {name: (share, wanted) for name, (share, wanted) in fields.items() if side(share, wanted) == "undecided"}
    if open_fields:
        needed = [_more(share, wanted) for share, wanted in open_fields.values()]
        known = [n for n in needed if n]
        return Gate(3, question, "undecided", f"{what}; undecided: {', '.join(open_fields)}", min(known) if known else None)
    return Gate(3, question, "no", f"{what}, but every required behaviour field is at target: mend what is said, not how")


def gate_4_apart(facts: Difference | None, behaviour: Difference | None) -> Gate:
    """First half of gate 4: each gain is proven alone, retrieval's on facts and tuning's on behaviour."""
    question = "Is retrieval's gain on facts proven, and tuning's on behaviour?"
    if facts is None or behaviour is None:
        return Gate(4, question, "not measured", "one of the two rungs has no row of this base model")
    what = f"retrieval on facts {facts}, tuning on behaviour {behaviour}"
    for gain in (facts, behaviour):
        if side(gain, 0.0) == "undecided":
            return Gate(4, question, "undecided", what, _more(gain, 0.0))
    return Gate(4, question, "yes" if side(facts, 0.0) == side(behaviour, 0.0) == "above" else "no", what)


def gate_4(
    apart: Gate, resolved: Difference | None, facts: Difference | None, behaviour: Difference | None, margin: float, better: str
) -> Gate:
    """Combine only if each gain is proven, hybrid beats the better single rung by the margin and is inferior to it in nothing.

    `resolved` is hybrid minus the better single rung; `facts` hybrid minus RAG; `behaviour` hybrid minus fine-tuning.
    """
    if apart.answer != "yes":
        return apart
    question = f"Does hybrid beat the better single rung ({better}) by the margin, without loss on facts or behaviour?"
    if resolved is None or facts is None or behaviour is None:
        return Gate(4, question, "not measured", "no row of hybrid with this base model")
    what = f"resolved {resolved} over {better}, facts {facts} over rag, behaviour {behaviour} over fine_tune, margin {margin:.2f}"
    tests = [(resolved, margin), (facts, -margin), (behaviour, -margin)]
    if any(side(d, threshold) == "below" for d, threshold in tests):
        return Gate(4, question, "no", what)
    for d, threshold in tests:
        if side(d, threshold) == "undecided":
            return Gate(4, question, "undecided", what, _more(d, threshold))
    return Gate(4, question, "yes", what)


def opens(gates: Mapping[int, Gate], rung: str) -> bool:
    """May the ladder be climbed to this rung? Gate 3 alone leads to tuning where there is no knowledge gap to close."""
    answers = {number: gate.answer for number, gate in gates.items()}
    first = answers.get(1) == "yes"
    if rung in ("prompt", "rag"):
        return rung == "prompt" or first
    tune = first and answers.get(3) == "yes" and _may_skip_retrieval(gates)
    return tune if rung == "fine_tune" else tune and answers.get(4) == "yes"


def _may_skip_retrieval(gates: Mapping[int, Gate]) -> bool:
    gate = gates.get(2)
    return gate is None or gate.answer in ("yes", "not measured") or "no knowledge gap" in gate.reason


def verdict(gates: Mapping[int, Gate], resolved: Mapping[str, Interval], target: float, tuning: Difference | None = None) -> Verdict:
    """The rung on which the gates stop. `resolved` holds the rungs that were measured, of one base model.

    `tuning` is fine-tuning minus the rung below it on `resolved`: of two single rungs the higher is taken only where it
    is proven to resolve more.
    """
    undecided = tuple(
        f"gate {g.number}, " + (f"about {g.more:,} more cases" if g.more else "too close to call")
        for g in gates.values()
        if g.answer == "undecided"
    )
    ship, because = _stop(gates, resolved, tuning)
    at_target = ship in resolved and side(resolved[ship], target) == "above"
    if ship in resolved and not at_target:
        proven = side(resolved[ship], target) == "below"
        where = "provably below" if proven else "not proven to reach"
        because += f"; but it is {where} the target of {target:.2f}, with {resolved[ship]} resolved"
        because += ": mend it before anybody relies on it" if proven else ""
    return Verdict(ship, because, at_target, undecided)


def _stop(gates: Mapping[int, Gate], resolved: Mapping[str, Interval], tuning: Difference | None) -> tuple[str, str]:
    one, two, three, four = (gates.get(n) for n in (1, 2, 3, 4))
    if one is None or one.answer == "not measured":
        return "prompt", "nothing was scored, so nothing speaks for climbing"
    if one.answer != "yes":
        return "prompt", "it is provably at target" if one.answer == "no" else "gate 1 is undecided, and undecided never climbs"
    if not _may_skip_retrieval(gates) and two is not None:
        reason = "retrieval does not close the knowledge gap: mend retrieval before anything else"
        return "prompt", reason if two.answer == "no" else "gate 2 is undecided, and undecided never climbs"
    found = "rag" if two is not None and two.answer == "yes" and "rag" in resolved else "prompt"
    gap = "there is no knowledge gap for retrieval to close" if two and two.answer == "no" else "what retrieval is worth was not measured"
    lead = "retrieval closes a proven knowledge gap" if found == "rag" else gap
    if three is None or three.answer != "yes":
        why = {"no": "gate 3 does not call for tuning", "undecided": "gate 3 is undecided"}.get(
            three.answer if three else "", "tuning was not measured"
        )
        return found, f"{lead}, and {why}"
    if four is not None and four.answer == "yes":
        return "hybrid", "both gains are proven, and together they beat either alone"
    held = "hybrid was not measured" if four is None or four.answer == "not measured" else "gate 4 does not open"
    lead = f"tuning is called for, {held}, and "
    if "fine_tune" not in resolved or found not in resolved:
        return (found if found in resolved else "fine_tune"), f"{lead}this is the only single rung that was measured"
    if tuning is None or side(tuning, 0.0) == "undecided":
        return found, f"{lead}tuning alone is not proven to resolve more or fewer cases, so the lower rung stands"
    return ("fine_tune" if side(tuning, 0.0) == "above" else found), f"{lead}this single rung is proven to resolve more"
