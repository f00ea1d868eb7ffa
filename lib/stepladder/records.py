"""The rows that travel through the ladder: plain, typed, frozen.

One case flows Case -> Passage -> Prompt -> Completion -> Prediction; Gold waits in `scoring`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["published", "draft", "archived"]
Split = Literal["train", "dev", "test"]
Output = dict[str, Any]
"""One JSON object as the schema asks for it."""


class UserError(ValueError):
    """Something that the user can mend: its text says what was found, what was expected and what to do."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows instead of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class CaseError(ValueError):
    """One case cannot be answered; it counts as a failure of that case, and the others go on."""


@dataclass(frozen=True)
class Document:
    """A page of the knowledge base."""

    doc_id: str
    title: str
    url: str
    kind: str
    status: Status
    updated_at: str
    text: str


@dataclass(frozen=True)
class Passage:
    """A piece of a document; `start` and `end` are character offsets in its text."""

    passage_id: str
    doc_id: str
    title: str
    url: str
    kind: str
    text: str
    start: int
    end: int
    score: float = 0.0

    @property
    def headed(self) -> str:
        """The text under its title, as it is embedded and read."""
        return f"{self.title}\n{self.text}" if self.title else self.text


@dataclass(frozen=True)
class Case:
    """One customer message. It holds no answers, so a rung cannot peek."""

    case_id: str
    split: Split
    text: str
    tags: tuple[str, ...] = ()
    group_id: str | None = None


@dataclass(frozen=True)
class Evidence:
    """Where an answer stands: a document and, if known, the words in it."""

    doc_id: str
    quote: str | None = None


EvidenceSet = tuple[tuple[Evidence, ...], ...]
"""All outer items are needed; the items inside one are alternatives."""


@dataclass(frozen=True)
class Gold:
    """What is right for one case. An absent output key is unlabelled; None means the field must be empty."""

    case_id: str
    output: Output
    evidence: EvidenceSet = ()
    output_after_update: Output | None = None
    evidence_after_update: EvidenceSet | None = None
    rejected: tuple[str, ...] = ()

    def after_update(self) -> Gold:
        """This gold on the day the facts have changed: what was right before is now a rejected wording."""
        if self.output_after_update is None and self.evidence_after_update is None:
            return self
        output = {**self.output, **(self.output_after_update or {})}
        new = output.get("answer") or []
        old = self.output.get("answer") or []
        evidence = self.evidence if self.evidence_after_update is None else self.evidence_after_update
        rejected = tuple(dict.fromkeys(w for w in (*self.rejected, *old) if w not in new))
        return Gold(self.case_id, output, evidence, rejected=rejected)


@dataclass(frozen=True)
class Example:
    """A train message with the output that is right for it, as a prompt shows it."""

    text: str
    output: Output


@dataclass(frozen=True)
class Prompt:
    """What a model is asked. `passages` is None where nothing was retrieved, and empty where nothing was found."""

    message: str
    schema: dict[str, Any]
    instruction: str = ""
    brief: str = ""
    examples: tuple[Example, ...] = ()
    passages: tuple[Passage, ...] | None = None
    abstain_below: float = 0.5


@dataclass(frozen=True)
class Completion:
    """What a model said: text as it came, and what it cost. A failure has an `error` and scores zero."""

    text: str
    tokens_in: int = 0
    tokens_out: int = 0
    error: str = ""


@dataclass(frozen=True)
class Prediction:
    """One row per case, none missing. `output` is None where the text was no valid object."""

    case_id: str
    output: Output | None
    text: str
    passages: tuple[Passage, ...] = field(default=())
    error: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
