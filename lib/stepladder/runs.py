"""The only writer and reader of `results/`.

A step (one notebook's results) is staged beside its folder and moved there when it is whole, so that a kill leaves the
last whole result, or none.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from stepladder.cache import Cache, content_hash
from stepladder.parameters import COMMON, ParameterError, check_parameters, injected_names
from stepladder.records import Case, CaseError, Prediction

STEPS = ("00_brief", "01_prompt", "02_rag", "03_fine_tune", "04_hybrid", "05_when_facts_change", "06_decision")
SCORE_COLUMNS = ["rung", "base", "case_id", "metric", "value"]
TIMING_COLUMNS = ["rung", "kind", "case_id", "seconds", "cached"]


def checkout() -> Path | None:
    """The folder of this repository, found through the editable install; None where it is not installed that way."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "data" / "support").is_dir() and (root / "notebooks").is_dir() else None


def run_name(data: str, model: str, limit: int, seed: int, split: str) -> str:
    """Folder name of a run: data and model, and what differs from a full run on test.

    >>> run_name("support", "openai:gpt-x", 20, 0, "dev")
    'support-openai-gpt-x-limit20-dev'
    """
    name = re.sub(r"[^\w.]+", "-", f"{data}-{model}").strip("-.") or "run"
    return name + (f"-limit{limit}" if limit else "") + (f"-seed{seed}" if seed else "") + ("" if split == "test" else f"-{split}")


@dataclass
class Step:
    """One notebook's parameters on the way in and its results on the way out."""

    name: str
    data: Path
    model: str
    out: Path
    split: str
    seed: int
    limit: int
    thorough: bool
    cache: Cache
    own: dict[str, Any] = field(default_factory=dict)
    _timing: list[tuple[str, str, str, float, bool]] = field(default_factory=list)

    def answer_all(
        self, rung: str, cases: Sequence[Case], answer: Callable[[Case], Prediction], workers: int = 1, time_it: bool = True
    ) -> list[Prediction]:
        """One prediction per case, in order, with a progress bar. A case that cannot be answered is a failed prediction.

        Seconds are noted per case: those that a cached part once took are added, and marked.
        """

        def one(case: Case) -> tuple[Prediction, float, bool]:
            self.cache.saved_seconds()
            started = time.perf_counter()
            try:
                prediction = answer(case)
            except CaseError as error:
                prediction = Prediction(case.case_id, None, "", error=str(error))
            seconds = time.perf_counter() - started
            saved = self.cache.saved_seconds()
            return prediction, seconds + saved, saved > 0

        with self.cache.counting_afresh(), ThreadPoolExecutor(workers) as pool:
            work = map(one, cases) if workers == 1 else pool.map(one, cases)
            done = list(tqdm(work, total=len(cases), desc=rung, unit="case", leave=False))
        if time_it:
            self._timing += [(rung, "case", c.case_id, s, cached) for c, (_, s, cached) in zip(cases, done, strict=True)]
        return [prediction for prediction, _, _ in done]

    def note_seconds(self, rung: str, kind: str, seconds: float, cached: bool = False) -> None:
        """Note seconds that belong to no single case: to index, to train."""
        self._timing.append((rung, kind, "", seconds, cached))

    def timing(self) -> pd.DataFrame:
        return pd.DataFrame(self._timing, columns=TIMING_COLUMNS)

    def finish(
        self,
        data_hash: str,
        predictions: Mapping[str, Sequence[Prediction]] = {},
        scores: pd.DataFrame | None = None,
        choice: Mapping[str, Any] | None = None,
        gates: Sequence[Any] = (),
        tables: Mapping[str, pd.DataFrame] = {},
        not_measured: Mapping[str, str] = {},
        extra: Mapping[str, Any] = {},
    ) -> Path:
        """Write the step whole, or not at all, and return its folder. `predictions` by rung; gates are dataclasses."""
        self.out.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=self.out, prefix=f".{self.name}-"))
        try:
            if predictions:
                rows = [json.dumps({"rung": rung} | _row(p), ensure_ascii=False) for rung, some in predictions.items() for p in some]
                (staging / "predictions.jsonl").write_text("".join(row + "\n" for row in rows), encoding="utf-8", errors="backslashreplace")
            if scores is not None:
                scores[SCORE_COLUMNS].to_csv(staging / "scores.csv", index=False, lineterminator="\n")
            if choice is not None:
                (staging / "choice.json").write_text(json.dumps(dict(choice), indent=1, sort_keys=True), encoding="utf-8")
            self.timing().to_csv(staging / "timing.csv", index=False, lineterminator="\n")
            (staging / "tables").mkdir()
            for name, table in ((n, t) for n, t in tables.items() if len(t.columns)):  # nothing was measured: no table
                table.to_csv(staging / "tables" / f"{name}.csv", index=False, lineterminator="\n")
            about = self._about(data_hash) | {"gates": [asdict(g) for g in gates], "not_measured": dict(not_measured)} | dict(extra)
            if self.split == "test" and scores is not None and not scores.empty:
                about["test_scored"] = self.cache.count("test_scored", content_hash(data_hash, self.name))
            (staging / "run.json").write_text(json.dumps(about, indent=1, sort_keys=True), encoding="utf-8")
            _swap(staging, self.out / self.name)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return self.out / self.name

    def _about(self, data_hash: str) -> dict[str, Any]:
        packages = ("stepladder", "numpy", "scikit-learn", "sentence-transformers", "torch", "transformers", "peft", "hnswlib", "bm25s")
        return {
            "step": self.name,
            "same_run": {"data_hash": data_hash, "model": self.model, "split": self.split, "limit": self.limit, "seed": self.seed},
            "data": self.data.resolve().name,
            "own": self.own,
            "thorough": self.thorough,
            "threads": int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1),
            "python": platform.python_version(),
            "packages": {name: _version(name) for name in packages},
        }


def start(name: str, namespace: Mapping[str, Any], **own: type) -> Step:
    """Check a notebook's parameters (the names in `namespace`) and say where its results go.

    `own` gives the types of the parameters that only this notebook has. Raises ParameterError for a misspelt or ill-typed
    one, also where papermill injected it or somebody mistyped it in the parameters cell.
    """
    expected = COMMON | own
    names = injected_names(namespace.get("In", [])[:-1]) | {n for n in expected if n in namespace}
    values = check_parameters({n: namespace.get(n) for n in names}, own)
    root = checkout()
    if values["data"]:
        data = Path(values["data"]).expanduser()
    elif root:
        data = root / "data" / "support"
    else:
        raise ParameterError("parameter data is empty and there is no checkout with data/support; expected the path of a dataset folder")
    results = (root or Path.cwd()) / "results"
    default = run_name(data.resolve().name, values["model"], values["limit"], values["seed"], values["split"])
    out = Path(values["out"]).expanduser() if values["out"] else results / default
    common = {n: values[n] for n in ("model", "split", "seed", "limit", "thorough")}
    return Step(name=name, data=data, out=out, cache=Cache(), own={n: values[n] for n in own}, **common)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package).split("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _swap(staging: Path, folder: Path) -> None:
    """Put the staged folder in place of the old one."""
    os.chmod(staging, 0o755)
    old = folder.with_name(f".old-{folder.name}")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    staging.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _row(prediction: Prediction) -> dict[str, Any]:
    row = asdict(prediction)
    row["passages"] = [{"passage_id": p.passage_id, "doc_id": p.doc_id, "score": round(p.score, 6)} for p in prediction.passages]
    return row


def _read_ids(path: Path) -> pd.DataFrame:
    """A table with case ids as text: 007 is no number, and NA is an id too."""
    return pd.read_csv(path, dtype={"case_id": str}, keep_default_na=False, na_values={"value": [""], "seconds": [""]})


@dataclass(frozen=True)
class StepResult:
    """What a step has written."""

    folder: Path
    about: dict[str, Any]

    def table(self, name: str) -> pd.DataFrame | None:
        """A table of the step, or None where it wrote none of that name."""
        path = self.folder / "tables" / f"{name}.csv"
        return pd.read_csv(path) if path.exists() else None

    @property
    def choice(self) -> dict[str, Any]:
        path = self.folder / "choice.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    @property
    def scores(self) -> pd.DataFrame:
        path = self.folder / "scores.csv"
        return _read_ids(path) if path.exists() else pd.DataFrame(columns=SCORE_COLUMNS)

    @property
    def timing(self) -> pd.DataFrame:
        path = self.folder / "timing.csv"
        return _read_ids(path) if path.exists() else pd.DataFrame(columns=TIMING_COLUMNS)

    @property
    def predictions(self) -> list[dict[str, Any]]:
        path = self.folder / "predictions.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line] if path.exists() else []


def verdict_lines(run: Path) -> list[str]:
    """What notebook 06 of a run concluded, a line each."""
    about = json.loads((run / "06_decision" / "run.json").read_text(encoding="utf-8"))
    return [str(line) for line in about["verdict_lines"]]


def sweep(out: Path) -> None:
    """Remove what a killed run has left unfinished: staged folders and notebooks that were being executed."""
    for path in out.glob(".*"):
        if any(path.name.startswith((f".{name}", f".old-{name}")) for name in STEPS):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def read_step(step: Step, name: str, data_hash: str) -> tuple[StepResult | None, str]:
    """(another step of the same run, "") or (None, why not): absent, or made with other data, model, split, limit or seed."""
    path = step.out / name / "run.json"
    if not path.exists():
        return None, f"{name} has not been run"
    about = json.loads(path.read_text(encoding="utf-8"))
    mine = {"data_hash": data_hash, "model": step.model, "split": step.split, "limit": step.limit, "seed": step.seed}
    differs = [key for key, value in mine.items() if about.get("same_run", {}).get(key) != value]
    if differs:
        return None, f"{name} was run with another {', '.join(differs)}; run it again"
    return StepResult(path.parent, about), ""
