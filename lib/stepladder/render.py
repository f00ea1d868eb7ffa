"""Notebook 06 as a report: one HTML file that opens from disk, and Markdown beside it. Neither shows code."""

from __future__ import annotations

import base64
import html
import os
import re
import shutil
import tempfile
from pathlib import Path

import bleach
import nbformat
from nbconvert import HTMLExporter, MarkdownExporter
from traitlets.config import Config

from stepladder.records import UserError

_CSS = """
:root{color-scheme:light}*{box-sizing:border-box}
body{margin:0 auto;max-width:62rem;padding:1.5rem 1.25rem 4rem;color:#1d2330;background:#fff;
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
h1{font-size:1.9rem;line-height:1.2;margin:.5rem 0 1rem}
h2{font-size:1.3rem;margin:2.4rem 0 .6rem;border-bottom:1px solid #dfe3ea;padding-bottom:.25rem}
p,li{max-width:48rem}.say{margin:.5rem 0}code{background:#f1f3f7;padding:.1em .3em;border-radius:3px;font-size:.9em}
.wide{overflow-x:auto;margin:.8rem 0}table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:#5a6472;padding-bottom:.3rem}
th,td{padding:.3rem .6rem;border-bottom:1px solid #e6e9ef;text-align:left;vertical-align:top}
th{background:#f6f7fa;font-weight:600}td pre{white-space:pre-wrap;margin:0;font-size:.85em}img{max-width:100%;height:auto}
.jp-RenderedMarkdown,.jp-OutputArea-output{max-width:100%}.anchor-link{display:none}
.verdict{border-left:5px solid #4c72b0;background:#f3f6fc;padding:.8rem 1.1rem;margin:1rem 0;font-size:1.08rem}
@media(max-width:640px){body{padding:1rem .8rem 3rem;font-size:15px}h1{font-size:1.5rem}}
"""
_TAGS = frozenset(
    "a b blockquote br caption code div em h1 h2 h3 h4 h5 h6 hr i img li ol p pre span strong sub sup table tbody td th thead tr ul".split()
)
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def render(run: Path) -> Path:
    """Write report.html, report.md, figures/ and summary.csv of a run; returns the path of report.html.

    Raises UserError where notebook 06 has not been run.
    """
    source = run / "06_decision" / "06_decision.ipynb"
    if not source.exists():
        raise UserError(f"{source}: no such file; expected a run that has come to notebook 06; run make report first")
    notebook = nbformat.read(source, as_version=4)
    _write(run / "report.html", _page(notebook))
    text, figures = _markdown(notebook)
    _write(run / "report.md", text)
    shutil.rmtree(run / "figures", ignore_errors=True)
    (run / "figures").mkdir()
    for name, data in figures.items():
        (run / "figures" / name).write_bytes(data)
    summary = run / "06_decision" / "tables" / "summary.csv"
    if summary.exists():
        _write(run / "summary.csv", summary.read_text(encoding="utf-8"))
    return run / "report.html"


def _options() -> Config:
    return Config(
        {"TemplateExporter": {"exclude_input": True, "exclude_input_prompt": True, "exclude_output_prompt": True, "exclude_raw": True}}
    )


def _page(notebook: nbformat.NotebookNode) -> str:
    exporter = HTMLExporter(template_name="basic", config=_options())
    body, _ = exporter.from_notebook_node(notebook)
    heading = re.search(r"^# (.+)$", notebook.cells[0].source, re.MULTILINE)
    title = html.escape(heading.group(1) if heading else "Stepladder")
    body = re.sub(r"<(script|style)\b.*?</\1>", "", body, flags=re.DOTALL | re.IGNORECASE)
    body = bleach.clean(body, tags=_TAGS, attributes=_may_stand, protocols=["data"], strip=True)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><title>{title}</title><style>{_CSS}</style></head>'
        f"<body>{body}</body></html>\n"
    )


def _may_stand(tag: str, name: str, value: str) -> bool:
    if name == "src":
        return value.startswith("data:image/")
    return value.startswith("#") if name == "href" else name in ("class", "id", "alt", "title", "colspan", "rowspan")


def _markdown(notebook: nbformat.NotebookNode) -> tuple[str, dict[str, bytes]]:
    """Markdown with its figures as files, named in the order in which they stand."""
    config = _options()
    config.NbConvertBase.display_data_priority = ["text/markdown", "image/png", "text/plain"]
    exporter = MarkdownExporter(config=config)
    text, resources = exporter.from_notebook_node(notebook)
    figures = {}
    for i, (name, data) in enumerate(
        sorted(resources.get("outputs", {}).items(), key=lambda item: [int(n) for n in re.findall(r"\d+", item[0])]), start=1
    ):
        text = text.replace(name, f"figures/figure-{i}.png")
        figures[f"figure-{i}.png"] = data if isinstance(data, bytes) else base64.b64decode(data)
    return text, figures


def _write(path: Path, text: str) -> None:
    """The whole file or the old one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
        stream.write(text)
    os.chmod(name, 0o644)
    os.replace(name, path)
