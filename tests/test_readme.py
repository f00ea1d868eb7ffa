"""The README's figures are those of the reference run, and what it names exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stepladder import readme

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "results" / "reference"


def test_figures_are_those_of_the_reference_run() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.renewed(text, REFERENCE) == text, "run: make reference, or stepladder readme"
    prompt = pd.read_csv(REFERENCE / "summary.csv").set_index("rung").loc["prompt"]
    assert f"| prompt | {prompt['resolved']:.2f} [" in text


def test_a_changed_figure_is_noticed() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    prompt = pd.read_csv(REFERENCE / "summary.csv").set_index("rung").loc["prompt"]
    wrong = text.replace(f"| prompt | {prompt['resolved']:.2f} [", "| prompt | 0.99 [")
    assert wrong != text
    assert readme.renewed(wrong, REFERENCE) == text


def test_the_reference_run_is_of_the_dataset_as_it_is() -> None:
    import json

    from stepladder import dataset

    about = json.loads((REFERENCE / "06_decision" / "run.json").read_text(encoding="utf-8"))
    assert about["same_run"]["data_hash"] == dataset.load(ROOT / "data" / "support").content_hash, "run: make reference"
    assert about["same_run"] | {"data_hash": ""} == {"data_hash": "", "model": "embedded", "split": "test", "limit": 0, "seed": 0}


@pytest.mark.parametrize("file", ["README.md", "data/README.md"])
def test_links_lead_somewhere(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#]+)\)", text)
    for target in targets:
        assert ((ROOT / file).parent / target).exists(), target


def test_every_dependency_is_named() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8").lower()
    for name in re.findall(r'"([a-z][\w-]+)[="]', (ROOT / "pyproject.toml").read_text().split("dependencies = [")[1].split("]")[0]):
        if name not in ("ipykernel", "jupyterlab", "matplotlib", "nbformat", "numpy", "pyyaml", "safetensors", "torch"):
            assert name.replace("pystemmer", "pystemmer") in text, f"{name} is a dependency that the README does not name"


def test_the_lines_of_python_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    assert "policy" in {passage.kind for passage in names["found"]}
    assert (tmp_path / "my_index").is_dir()


def test_reference_is_small() -> None:
    assert sum(path.stat().st_size for path in REFERENCE.rglob("*") if path.is_file()) < 8e6
