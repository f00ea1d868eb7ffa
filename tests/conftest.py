"""One small run of the seven notebooks, with a cache of its own, for all tests that look at results."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # two workers side by side; kernels inherit it

from stepladder import batch, dataset
from stepladder.encoder.vectors import has_bf16

os.environ["STEPLADDER_ARITHMETIC"] = "bf16" if has_bf16() else "fp32"  # not measured anew for each of the empty caches

SHARED = Path(__file__).parents[1] / "data" / "support"
SMALL = 5


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's cache. The variable is inherited by every kernel."""
    before = os.environ.get("STEPLADDER_CACHE")
    os.environ["STEPLADDER_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["STEPLADDER_CACHE"]
    else:
        os.environ["STEPLADDER_CACHE"] = before


@pytest.fixture(scope="session")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five cases of each split of the shared dataset, with the documents that they need and two that tempt."""
    folder = tmp_path_factory.mktemp("data") / "small"
    shutil.copytree(SHARED, folder)
    shared = dataset.load(SHARED).limited(SMALL)
    cases = {case.case_id for case in shared.all_cases}
    gold = [row for case_id, row in shared.gold.items() if case_id in cases]
    needed = {e.doc_id for row in gold for item in (*row.evidence, *(row.evidence_after_update or ())) for e in item}
    needed |= {"returns-policy-draft", "returns-policy-2023"}
    for file, key, kept in (
        ("cases", "case_id", cases),
        ("gold", "case_id", cases),
        ("documents", "doc_id", needed),
        ("updates", "doc_id", needed),
    ):
        path = folder / f"{file}.jsonl"
        rows = [line for line in path.read_text(encoding="utf-8").splitlines() if json.loads(line)[key] in kept]
        path.write_text("".join(row + "\n" for row in rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def small_run(small_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of all seven notebooks on the small folder."""
    out = tmp_path_factory.mktemp("results") / "small"
    told: list[str] = []
    shared_cache = os.environ["STEPLADDER_CACHE"]
    os.environ["STEPLADDER_CACHE"] = str(tmp_path_factory.mktemp("first-cache"))  # empty, as that of the repeat
    batch.run(batch.Options(data=str(small_folder), out=str(out)), tell=told.append)
    os.environ["STEPLADDER_CACHE"] = shared_cache
    (out / "told.txt").write_text("\n".join(told), encoding="utf-8")
    return out
