"""The report: one file that opens from disk, without code, script or any reference to the outside."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from stepladder import render as render_module
from stepladder import show
from stepladder.records import UserError
from stepladder.render import render

EVIL = (
    "<script>alert(1)</script><img src=x onerror=alert(2)><a href='javascript:alert(3)'>a</a>"
    "<img src='https://evil.example/i.png'><a href='https://evil.example/'>b</a><link rel=stylesheet href='//evil.example/x.css'>"
    "<style>@import url(https://evil.example/a.css);</style><div style='background:url(http://evil.example/c.png)'>c</div>"
    "<iframe src='https://evil.example'></iframe><svg onload=alert(4)></svg><base href='https://evil.example/'>"
    "<form action='https://evil.example/f'><input></form><meta http-equiv=refresh content='0;url=https://evil.example'>"
)
RED = base64.b64encode(b"\x89PNG red").decode()
BLUE = base64.b64encode(b"\x89PNG blue").decode()


def shown(**data: str) -> Any:
    """An output as Jupyter stores it; text_html="..." is the type text/html."""
    return new_output("display_data", data={name.replace("_", "/", 1): value for name, value in data.items()})


def table_output(frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What `show.table` leaves in a notebook."""
    bundles: list[dict[str, str]] = []
    monkeypatch.setattr(show, "display", lambda bundle, raw: bundles.append(bundle))
    show.table(frame, "A caption")
    return new_output("display_data", data=bundles[0])


def write_run(folder: Path, *outputs: Any, heading: str = "# Which rung?\n\nA *plain* sentence.") -> Path:
    """A run with an executed notebook 06: a heading, then a code cell for each output."""
    cells = [new_markdown_cell(heading), *(new_code_cell("secret_code()", execution_count=1, outputs=[o]) for o in outputs)]
    (folder / "06_decision").mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells), folder / "06_decision" / "06_decision.ipynb")
    return folder


class Page(HTMLParser):
    """The tags of a page with their attributes, its text, and the text of its style sheets."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.style = ""
        self._open = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._open = tag

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open == "style":
            self.style += data
        else:
            self.text += data

    @property
    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}


LOADS = {"src", "href", "srcset", "action", "formaction", "data", "poster", "background", "xlink:href", "ping"}


def problems(page: Page) -> list[str]:
    """All that could run, load or lead outside."""
    found = sorted(page.tags & {"script", "link", "iframe", "object", "embed", "base", "form", "svg"})
    for tag, attributes in page.elements:
        found += [f"{tag} {name}" for name in attributes if name.startswith("on")]
        found += [f"{tag} {n}={v}" for n, v in attributes.items() if n in LOADS and not v.startswith(("data:image/", "#"))]
        found += [f"{tag} style" for name, value in attributes.items() if name == "style" and "url(" in value]
        if tag == "meta" and attributes.get("http-equiv", "").lower() == "refresh":
            found.append("meta refresh")
    return found + re.findall(r"@import|url\(\s*['\"]?(?:https?:)?//", page.style)


# --- the page


def test_a_hostile_cell_of_a_table_is_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({"answer": [EVIL], "n": [1]})
    page = Page(render(write_run(tmp_path, table_output(frame, monkeypatch))))
    assert problems(page) == []
    assert EVIL in page.text


@pytest.mark.parametrize("kind", ["text_html", "text_markdown", "image_svg+xml", "application_javascript", "text_latex", "text_plain"])
def test_a_hostile_output_is_disarmed(tmp_path: Path, kind: str) -> None:
    """A second wall: our own outputs are escaped, those of a cell that somebody adds are not."""
    page = Page(render(write_run(tmp_path, shown(**{kind: EVIL}))))
    assert problems(page) == []


def test_a_hostile_markdown_cell_is_disarmed(tmp_path: Path) -> None:
    heading = f"# Which rung?\n\n{EVIL}\n\n![i](https://evil.example/i.png) [l](javascript:alert(1)) ![d](../../secret.png)"
    assert problems(Page(render(write_run(tmp_path, heading=heading)))) == []


def test_a_hostile_heading_does_not_leave_the_title(tmp_path: Path) -> None:
    page = Page(render(write_run(tmp_path, heading="# A </title><script>alert(1)</script> B")))
    assert problems(page) == []


def test_the_policy_of_the_page_forbids_all_that_is_outside(tmp_path: Path) -> None:
    page = Page(render(write_run(tmp_path)))
    [policy] = [a["content"] for tag, a in page.elements if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    names = [tag for tag, _ in page.elements]
    first = next(i for i, (tag, a) in enumerate(page.elements) if a.get("http-equiv") == "Content-Security-Policy")
    assert first < names.index("style")  # a policy holds for what comes after it


def test_the_markup_of_our_own_outputs_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundles: list[dict[str, str]] = []
    table = table_output(pd.DataFrame({"rung": ["rag"], "resolved": [0.61]}), monkeypatch)
    monkeypatch.setattr(show, "display", lambda bundle, raw: bundles.append(bundle))
    show.say("RAG is ahead & proven.")
    page = Page(render(write_run(tmp_path, table, new_output("display_data", data=bundles[0]))))
    assert {"h1", "em", "p", "table", "caption", "thead", "tbody", "tr", "th", "td"} <= page.tags
    assert ("p", {"class": "say"}) in page.elements
    assert any(tag == "div" and a.get("class") == "wide" for tag, a in page.elements)
    assert not re.search(r"</?[a-z]", page.text)
    for words in ("Which rung?", "A plain sentence.", "A caption", "0.61", "RAG is ahead & proven."):
        assert words in page.text


def test_the_page_shows_no_code_and_has_the_heading_as_its_title(tmp_path: Path) -> None:
    path = render(write_run(tmp_path, shown(text_plain="seen"), heading="intro\n\n# Which rung & why?"))
    text = path.read_text(encoding="utf-8")
    assert path == tmp_path / "report.html"
    assert "<title>Which rung &amp; why?</title>" in text
    assert "secret_code" not in text + (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "seen" in text


def test_figures_stand_in_the_page_itself(tmp_path: Path) -> None:
    page = Page(render(write_run(tmp_path, shown(image_png=RED, text_plain="<Figure>"))))
    assert [a["src"] for tag, a in page.elements if tag == "img"] == [f"data:image/png;base64,{RED}"]


# --- Markdown, figures, summary


def test_markdown_and_figures_stand_beside_the_page(tmp_path: Path) -> None:
    run = write_run(tmp_path, shown(image_png=RED), shown(text_html="<p>html</p>", text_markdown="*said*\n"), shown(image_png=BLUE))
    render(run)
    text = (run / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# Which rung?")
    assert "*said*" in text
    assert "<p>" not in text
    assert re.findall(r"!\[\w*\]\((.*?)\)", text) == ["figures/figure-1.png", "figures/figure-2.png"]
    assert [(run / "figures" / f"figure-{i}.png").read_bytes() for i in (1, 2)] == [b"\x89PNG red", b"\x89PNG blue"]


def test_figures_are_numbered_as_they_stand_in_a_long_notebook(tmp_path: Path) -> None:
    fill = [shown(text_plain="x")] * 8
    run = write_run(tmp_path, shown(text_plain="x"), shown(image_png=RED), *fill, shown(image_png=BLUE))
    render(run)
    found = re.findall(r"\((figures/.*?)\)", (run / "report.md").read_text(encoding="utf-8"))
    assert found == ["figures/figure-1.png", "figures/figure-2.png"]
    assert (run / "figures" / "figure-1.png").read_bytes() == b"\x89PNG red"


def test_the_summary_of_notebook_06_is_copied_beside_the_report(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    render(run)
    assert not (run / "summary.csv").exists()
    (run / "06_decision" / "tables").mkdir()
    (run / "06_decision" / "tables" / "summary.csv").write_text("rung,resolved\nrag,0.61\n", encoding="utf-8")
    render(run)
    assert (run / "summary.csv").read_text(encoding="utf-8") == "rung,resolved\nrag,0.61\n"


# --- files


@pytest.mark.parametrize("made", [False, True])
def test_a_run_without_notebook_06_says_what_to_do(tmp_path: Path, made: bool) -> None:
    run = tmp_path / "run"
    if made:
        (run / "06_decision").mkdir(parents=True)
    with pytest.raises(UserError, match="run make report first") as caught:
        render(run)
    assert "06_decision.ipynb" in str(caught.value)
    assert not (run / "report.html").exists()


def test_rendering_again_replaces_every_file_whole(tmp_path: Path) -> None:
    long = shown(text_plain="a long first version " * 200)
    render(write_run(tmp_path, shown(image_png=RED), shown(image_png=BLUE), long))
    write_run(tmp_path, shown(text_plain="short"))
    render(tmp_path)
    for name in ("report.html", "report.md"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "first version" not in text
        assert "short" in text
    assert (tmp_path / "report.html").read_text(encoding="utf-8").count("</html>") == 1
    assert list((tmp_path / "figures").iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["06_decision", "figures", "report.html", "report.md"]


def test_rendering_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    run = write_run(tmp_path, shown(image_png=RED), shown(text_html="<table><tr><td>x</td></tr></table>"))
    first = render(run).read_bytes(), (run / "report.md").read_bytes()
    assert (render(run).read_bytes(), (run / "report.md").read_bytes()) == first


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = render(write_run(tmp_path, shown(text_plain="old"))).read_bytes()
    write_run(tmp_path, shown(text_plain="new"))

    def no_space(source: object, target: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(render_module.os, "replace", no_space)
    with pytest.raises(OSError, match="no space"):
        render(tmp_path)
    assert (tmp_path / "report.html").read_bytes() == old
