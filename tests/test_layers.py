"""A module imports only from floors below its own; heavy imports live on few of them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import stepladder

ROOT = Path(stepladder.__file__).parent
FLOORS = {
    "records": 1, "cache": 1,
    "encoder": 2, "answers": 2, "guard": 2, "parameters": 2,
    "dataset": 3, "prompts": 3, "models": 3, "search": 3, "scoring": 3, "runs": 3,
    "tuning": 4, "comparison": 4, "floors": 4, "personal_data": 4, "importers": 4,
    "decision": 5, "show": 5, "render": 5, "audit": 5, "labels": 5,
    "summary": 6, "card": 6,
    "batch": 7, "readme": 7, "cli_import": 7,
    "cli": 8,
    "__main__": 9,
}  # fmt: skip
HEAVY = {"torch", "transformers", "sentence_transformers"}
MAY_BE_HEAVY = {"encoder", "models", "search", "tuning"}
FILES = sorted(ROOT.rglob("*.py"))


def module_of(path: Path) -> str:
    """The module or package of the library that a file belongs to: models/chat.py is `models`."""
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def imported(tree: ast.AST, path: Path) -> set[str]:
    """Full dotted names of what a tree imports; relative imports are spelt out."""
    names: set[str] = set()
    package = ["stepladder", *path.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from stepladder import runs` imports stepladder.runs
            names |= {f"{module}.{alias.name}" for alias in node.names} if module == "stepladder" else {module}
    return names


def floor_faults(source: str, path: Path) -> list[str]:
    own = module_of(path)
    faults = []
    for name in sorted(imported(ast.parse(source), path)):
        parts = name.split(".")
        if parts[0] != "stepladder" or len(parts) < 2 or parts[1] == own:
            continue
        if parts[1] not in FLOORS:
            faults.append(f"{own} imports {parts[1]}, which is on no floor")
        elif FLOORS[parts[1]] >= FLOORS[own]:
            faults.append(f"{own} (floor {FLOORS[own]}) imports {parts[1]} (floor {FLOORS[parts[1]]})")
    return faults


def runs_at_import(tree: ast.Module) -> ast.Module:
    """The statements that run when the module is imported: all but the bodies of functions, and `if TYPE_CHECKING`."""

    class Drop(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
            return None

        def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
            return None

        def visit_If(self, node: ast.If) -> ast.AST | None:
            return None if "TYPE_CHECKING" in ast.unparse(node.test) else self.generic_visit(node)

    return Drop().visit(tree)


def test_every_module_stands_on_a_floor() -> None:
    assert {module_of(path) for path in FILES} - {"__init__"} == set(FLOORS)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_only_from_floors_below(path: Path) -> None:
    if module_of(path) == "__init__":
        assert not any(name.startswith("stepladder") for name in imported(ast.parse(path.read_text(encoding="utf-8")), path))
    else:
        assert floor_faults(path.read_text(encoding="utf-8"), path) == []


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_heavy_imports_live_on_few_floors(path: Path) -> None:
    top = runs_at_import(ast.parse(path.read_text(encoding="utf-8")))
    heavy = {name.split(".")[0] for name in imported(top, path)} & HEAVY
    assert not heavy or module_of(path) in MAY_BE_HEAVY


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("scoring.py", "from stepladder.runs import start", "scoring (floor 3) imports runs (floor 3)"),
        ("scoring.py", "from stepladder import decision", "scoring (floor 3) imports decision (floor 5)"),
        ("scoring.py", "def f():\n    import stepladder.batch", "scoring (floor 3) imports batch (floor 7)"),
        ("scoring.py", "from .runs import start", "scoring (floor 3) imports runs (floor 3)"),
        ("models/chat.py", "from ..scoring import tokens", "models (floor 3) imports scoring (floor 3)"),
        ("scoring.py", "from stepladder.helpers import x", "scoring imports helpers, which is on no floor"),
    ],
)
def test_the_rule_sees_each_way_of_importing(module: str, source: str, fault: str) -> None:
    assert floor_faults(source, ROOT / module) == [fault]


def test_the_rule_allows_what_lies_below_and_in_the_same_package() -> None:
    assert floor_faults("from stepladder.records import Case\nimport stepladder.cache", ROOT / "scoring.py") == []
    assert floor_faults("from .protocol import Model\nfrom stepladder.models.spans import window", ROOT / "models" / "chat.py") == []


def test_the_heavy_rule_sees_classes_and_not_functions() -> None:
    source = "class A:\n    import torch\ndef f():\n    import transformers\nif TYPE_CHECKING:\n    import sentence_transformers"
    assert imported(runs_at_import(ast.parse(source)), ROOT / "scoring.py") & HEAVY == {"torch"}
