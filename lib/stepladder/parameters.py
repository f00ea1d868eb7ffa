"""The parameters of a notebook: which there are, and whether what was given is one of them and of its type."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from typing import Any

from stepladder.records import UserError

COMMON: dict[str, type] = {"data": str, "model": str, "out": str, "split": str, "seed": int, "limit": int, "thorough": bool}


class ParameterError(UserError):
    """A notebook parameter is misspelt, ill-typed or out of range."""


def check_parameters(values: Mapping[str, Any], own: Mapping[str, type] = {}) -> dict[str, Any]:
    """The parameters with their types checked: all known, none missing. Raises ParameterError."""
    expected = COMMON | dict(own)
    unknown = [name for name in values if name not in expected]
    if unknown:
        raise ParameterError(f"unknown parameter {', '.join(unknown)}; expected some of {', '.join(expected)}")
    for name, wanted in expected.items():
        if name not in values:
            raise ParameterError(f"parameter {name} is missing; expected it in the cell tagged parameters, as {wanted.__name__}")
        value = values[name]
        right = isinstance(value, wanted) or (wanted is float and isinstance(value, int))
        if not right or (isinstance(value, bool) and wanted is not bool):
            raise ParameterError(f"parameter {name}: found {value!r}, a {type(value).__name__}; expected a {wanted.__name__}")
    if values["split"] not in ("dev", "test"):
        raise ParameterError(f"parameter split: found {values['split']!r}; expected dev or test")
    if values["limit"] < 0 or values["seed"] < 0:
        raise ParameterError("parameters limit and seed: found a negative number; expected 0 or more (limit 0: all cases)")
    return {name: values[name] for name in expected}


def injected_names(cells: Iterable[str]) -> set[str]:
    """Names that parameter cells assign: cells with typed assignments, and the cell that papermill injects.

    >>> sorted(injected_names(["# Parameters\\nlimt = 3", "x = 1", "seed: int = 0"]))
    ['limt', 'seed']
    """
    names: set[str] = set()
    for cell in cells:
        if "runs.start(" in cell:  # what was mistyped before an earlier start has been dealt with
            names.clear()
        try:
            body = ast.parse(cell).body
        except (SyntaxError, ValueError):
            continue
        typed = {n.target.id for n in body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
        plain = {t.id for n in body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
        names |= typed | (plain if cell.lstrip().startswith("# Parameters") or (typed and len(typed) + len(plain) == len(body)) else set())
    return names
