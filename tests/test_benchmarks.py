"""The benchmarks are run by hand: what they take from the library is there."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_benchmark_imports_what_there_is(path: Path) -> None:
    taken = [
        (node.module, alias.name)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stepladder")
        for alias in node.names
    ]
    assert taken
    for module, name in taken:
        assert hasattr(importlib.import_module(module), name), f"{path.name}: {module}.{name}"
