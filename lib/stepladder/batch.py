"""Run the notebooks with papermill, one process each, and render the report. The report only reads what they wrote."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import papermill

from stepladder.dataset import load
from stepladder.decision import Gate, opens
from stepladder.floors import incumbent
from stepladder.models import check_model_name, is_priced
from stepladder.parameters import COMMON, ParameterError, check_parameters
from stepladder.records import UserError
from stepladder.render import render
from stepladder.runs import STEPS, checkout, run_name, sweep

RUNG_OF = {"02_rag": "rag", "03_fine_tune": "fine_tune", "04_hybrid": "hybrid"}
_PATH = re.compile(r'"(/[^"\n]*)"')
START_TRIES = 2  # a kernel sometimes fails to bind its port
KERNEL = {
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # else it warns of frozen modules
    # glibc keeps freed memory: handing it back and asking for it again costs a tenth of the time of a network
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
}


class NotebookError(UserError):
    """A notebook stopped; the message is what its cell said."""


@dataclass(frozen=True)
class Options:
    """What `make report` takes."""

    data: str = ""
    model: str = "embedded"
    out: str = ""
    split: str = "test"
    seed: int = 0
    limit: int = 0
    climb: str = ""
    thorough: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def common(self) -> dict[str, Any]:
        return {
            "data": self.data,
            "model": self.model,
            "out": self.out,
            "split": self.split,
            "seed": self.seed,
            "limit": self.limit,
            "thorough": self.thorough,
        }


def notebooks_folder() -> Path:
    """The notebooks of the checkout. Raises UserError where the package was installed without them."""
    root = checkout()
    if root is None:
        raise UserError("no notebooks beside the package; expected an editable install of the checkout (make report)")
    return root / "notebooks"


def check(options: Options) -> tuple[Path, Path]:
    """All that can be wrong before any work: data, model, parameters. Returns (dataset folder, folder of the run)."""
    check_model_name(options.model)
    if options.climb not in ("", "all"):
        raise ParameterError(f"CLIMB: found {options.climb!r}; expected all, or nothing")
    check_parameters(options.common())
    known = set(COMMON)
    for name in STEPS:
        known |= set(papermill.inspect_notebook(str(notebooks_folder() / f"{name}.ipynb")))
    unknown = sorted(set(options.parameters) - known)
    if unknown:
        raise ParameterError(f"unknown parameter {', '.join(unknown)}; expected some of {', '.join(sorted(known))}")
    data = Path(options.data).expanduser().resolve() if options.data else notebooks_folder().parent / "data" / "support"
    folder = load(data)
    if options.parameters.get("incumbent"):
        incumbent(Path(str(options.parameters["incumbent"])), [case for case in folder.all_cases if case.split == options.split])
    out = Path(options.out).expanduser().resolve() if options.out else _default_out(data, options)
    if out.exists() and not out.is_dir():
        raise ParameterError(f"OUT: {out} is a file; expected a folder")
    return data, out


def _default_out(data: Path, options: Options) -> Path:
    return notebooks_folder().parent / "results" / run_name(data.name, options.model, options.limit, options.seed, options.split)


def run(options: Options, tell: Callable[[str], None] = print) -> Path:
    """Climb the ladder and render the report; returns the folder of the run.

    With a priced model the batch stops at the first gate that does not open, unless `climb` is "all". Raises UserError for
    bad input before any work, and NotebookError where a notebook stops.
    """
    data, out = check(options)
    out.mkdir(parents=True, exist_ok=True)
    sweep(out)
    expected = expected_seconds()
    took: dict[str, float] = {}
    gates: dict[int, Gate] = {}
    for number, name in enumerate(STEPS):
        rung = RUNG_OF.get(name)
        if rung and is_priced(options.model) and options.climb != "all" and not opens(gates, rung):
            shutil.rmtree(out / name, ignore_errors=True)
            tell(f"{name}: not run, the gate before it did not open (CLIMB=all goes on)")
            continue
        left = sum(expected.get(later, 0.0) for later in STEPS[number + 1 :])
        parameters = options.common() | ({"out": str(out)} if options.out else {}) | ({"data": str(data)} if options.data else {})
        took[name] = _run_one(name, parameters | _own(options, name), out, expected.get(name), left, tell)
        for gate in _gates(out / name):
            gates[gate.number] = gate
    table = pd.DataFrame({"notebook": list(took), "seconds": [round(s, 1) for s in took.values()]})
    table.to_csv(out / "timing.csv", index=False)
    render(out)
    return out


def _own(options: Options, name: str) -> dict[str, Any]:
    inside = papermill.inspect_notebook(str(notebooks_folder() / f"{name}.ipynb"))
    return {k: v for k, v in options.parameters.items() if k in inside}


def _gates(folder: Path) -> Iterator[Gate]:
    path = folder / "run.json"
    for row in json.loads(path.read_text(encoding="utf-8"))["gates"] if path.exists() else ():
        yield Gate(**row)


def expected_seconds() -> dict[str, float]:
    """Seconds of each notebook in the reference run, to estimate what is left; empty where there is none."""
    root = checkout()
    path = root / "results" / "reference" / "timing.csv" if root else None
    if path is None or not path.exists():
        return {}
    frame = pd.read_csv(path)
    return dict(zip(frame["notebook"], frame["seconds"].astype(float), strict=True))


def _run_one(
    name: str, parameters: Mapping[str, Any], out: Path, expected: float | None, left: float, tell: Callable[[str], None]
) -> float:
    """Run one notebook in a process of its own and put the executed copy beside its results. Returns seconds."""
    started = time.monotonic()
    executed = out / f".{name}.ipynb"
    for attempt in range(1, START_TRIES + 1):
        code = _papermill(notebooks_folder() / f"{name}.ipynb", executed, parameters, lambda: _progress(name, started, expected, left))
        if code == 0 or attempt == START_TRIES or _first_error(executed):
            break
    print("\r\033[K" if sys.stderr.isatty() else "", end="", file=sys.stderr, flush=True)
    seconds = time.monotonic() - started
    if code != 0:
        failed = out / f"{name}.failed.ipynb"
        if executed.exists():
            _clean(executed).rename(failed)
        raise NotebookError(
            f"{name} stopped: {_first_error(failed) or f'papermill ended with code {code}'}\nThe notebook as far as it got: {failed}"
        )
    (out / f"{name}.failed.ipynb").unlink(missing_ok=True)
    _clean(executed).rename(out / name / f"{name}.ipynb")
    tell(f"{name:<22} {seconds:5.0f} s" + (f", about {_minutes(left)} left" if left >= 1 else ""))
    return seconds


def _progress(name: str, started: float, expected: float | None, left: float) -> None:
    """Rewrite the line of the running notebook, on a terminal only."""
    if sys.stderr.isatty():
        elapsed = time.monotonic() - started
        rest = max(0.0, (expected or 0.0) - elapsed) + left
        hint = f", about {_minutes(rest)} left" if expected else ""
        print(f"\r\033[K{name:<22} {elapsed:5.0f} s{hint}", end="", file=sys.stderr, flush=True)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _papermill(source: Path, target: Path, parameters: Mapping[str, Any], tick: Callable[[], None]) -> int:
    """Papermill as a child process; whatever ends this process ends the child and its kernel too."""
    command = [
        sys.executable,
        "-m",
        "papermill",
        str(source),
        str(target),
        "--no-progress-bar",
        "--log-level",
        "ERROR",
        "--cwd",
        str(source.parent),
    ]
    command += ["--parameters_yaml", json.dumps(dict(parameters))]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=KERNEL | os.environ)
    try:
        while child.poll() is None:
            tick()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=0.5)
    except BaseException:
        child.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=10)
        child.kill()
        target.unlink(missing_ok=True)
        raise
    return child.returncode


def _first_error(path: Path) -> str:
    """What the first failing cell said, without its traceback; empty where no cell failed."""
    if not path.exists():
        return ""
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                return f"{output.ename}: {output.evalue}"
    return ""


def _clean(path: Path) -> Path:
    """Take progress bars, seconds and paths of this machine out of an executed notebook."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("papermill", None)
    notebook.metadata.get("language_info", {}).pop("version", None)
    for cell in notebook.cells:
        for key in ("papermill", "execution", "ExecuteTime"):
            cell.metadata.pop(key, None)
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.source = _PATH.sub(lambda found: json.dumps(_here(found[1])), cell.source)
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if not (o.output_type == "stream" and o.name == "stderr")]
    nbformat.write(notebook, path)
    return path


def _here(path: str) -> str:
    """A path without the machine it is on: from the checkout on, else its last part."""
    root = checkout()
    inside = root is not None and Path(path).is_relative_to(root)
    return Path(path).relative_to(root).as_posix() if root and inside else Path(path).name
