"""What a model is: something that completes prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from stepladder.records import Completion, Prompt, UserError


class ModelError(UserError):
    """A model that cannot be used, with what to do about it."""


class Model(Protocol):
    """One completion per prompt, in order. A failure is a completion with an `error`, never an exception."""

    name: str
    workers: int

    def complete(self, prompts: Sequence[Prompt]) -> list[Completion]: ...
