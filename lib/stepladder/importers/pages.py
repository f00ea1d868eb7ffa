"""Kind folder, and --documents: Markdown, HTML, text, PDF and JSON files become documents."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stepladder.importers.documents import Documents, read_document_rows, safe_id
from stepladder.importers.draft import Collected
from stepladder.importers.options import Options
from stepladder.importers.reading import json_document
from stepladder.importers.report import Place, Report, short
from stepladder.records import Document, UserError

MARKDOWN = (".md", ".markdown")
HTML = (".html", ".htm", ".xhtml")
TEXT = (".txt", ".text", ".rst")
SUFFIXES = (*MARKDOWN, *HTML, *TEXT, ".pdf", ".json")
MAX_PAGE_BYTES = 50_000_000
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_BLOCKS = (
    "address", "article", "aside", "blockquote", "div", "dl", "figure", "footer", "form", "header", "main", "nav", "ol", "p", "pre",
    "section", "table", "ul", *_HEADINGS,
)  # fmt: skip
_UNREAD = ("script", "style", "noscript", "template", "iframe", "object", "svg")


def collect_folder(folder: Path, options: Options, report: Report) -> Collected:
    """The files of a folder as documents, and no cases. Raises UserError where no file can be used."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected a folder of {', '.join(SUFFIXES)} files")
    documents = Documents(report, options.date)
    read_documents(folder, documents)
    return Collected(documents=documents.documents, rows=len(documents.documents) + report.count("document left out"))


def read_documents(path: Path, documents: Documents) -> None:
    """Documents out of a folder of pages, or out of a documents.jsonl. Raises UserError where there is none."""
    if path.is_file():
        read_document_rows(path, documents)
        return
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder; expected a folder of pages, or a documents.jsonl")
    for file, place in _files(path, documents.report):
        _read_page(file, place, documents)
    documents.note_unused(path.name)
    if not documents.documents:
        why = "; ".join(documents.report.summary()) or "it is empty"
        raise UserError(f"{path}: found no document ({why}); expected {', '.join(SUFFIXES)} files with text in them")


def _files(folder: Path, report: Report) -> Iterator[tuple[Path, Place]]:
    """(file, its path within the folder as a place), sorted; whatever is not read is listed. Links out of the folder are not followed,
    nor are links to folders, which could lead round in a circle."""
    root = folder.resolve()
    for here, folders, files in os.walk(folder):
        for name in sorted(folders):
            path = Path(here) / name
            if name.startswith(".") or path.is_symlink():
                report.say(_place(path, folder), "file left out", "hidden folder" if name.startswith(".") else "link to a folder")
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not (Path(here) / name).is_symlink())
        for name in sorted(files):
            path = Path(here) / name
            if why := _why_not(path, root):
                report.say(_place(path, folder), "file left out", why)
            else:
                yield path, _place(path, folder)


def _place(path: Path, folder: Path) -> Place:
    """A name that is no valid Unicode gets question marks."""
    return Place(path.relative_to(folder).as_posix().encode("utf-8", "replace").decode())


def _why_not(path: Path, root: Path) -> str:
    if path.name.startswith("."):
        return "hidden file"
    if path.is_symlink() and not path.resolve().is_relative_to(root):
        return "link out of the folder"
    if not path.is_file():
        return "no regular file"
    if path.suffix.lower() not in SUFFIXES:
        return f"kind of file that is not read: {path.suffix.lower() or 'no suffix'}"
    if path.stat().st_size > MAX_PAGE_BYTES:
        return f"larger than {MAX_PAGE_BYTES:,} bytes"
    return ""


def _read_page(path: Path, place: Place, documents: Documents) -> None:
    suffix = path.suffix.lower()
    try:
        if suffix == ".json":
            value = json_document(path)
            for number, row in enumerate(value) if isinstance(value, list) else [(0, value)]:
                where = Place(place.file, f"[{number}]" if isinstance(value, list) else "")
                documents.add_row(where, row if isinstance(row, dict) else {})
            return
        title, text = _page(path, suffix)
    except (UserError, OSError, RecursionError) as error:
        documents.report.say(place, "document left out", "not readable", short(str(error) or type(error).__name__, 200))
        return
    kind, slash, _ = place.file.partition("/")
    date = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC).date().isoformat()
    bare = place.file[: -len(suffix)]
    document = Document(place.file, title or bare.rpartition("/")[2], "", kind if slash else "page", "published", date, text)
    documents.add(place, document, wanted=safe_id(bare.replace("/", "-")))


def _page(path: Path, suffix: str) -> tuple[str, str]:
    """(title, text) of a file; the title is empty where the file names none."""
    if suffix == ".pdf":
        return "", pdf_text(path)
    if suffix in HTML:
        return html_text(path.read_bytes())
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path.name}: not UTF-8 ({short(error)}); expected UTF-8; save it as UTF-8") from None
    text = text.replace("\r\n", "\n")
    return (_first_heading(text) if suffix in MARKDOWN else ""), text


def _first_heading(text: str) -> str:
    """The first heading of Markdown outside code, `# Like this` or underlined; else the title of its front matter, else nothing.

    >>> _first_heading("# The C# guide ##"), _first_heading("Fees\\n===="), _first_heading("---\\ntitle: 'Fees'\\n---\\nNone.")
    ('The C# guide', 'Fees', 'Fees')
    """
    front = re.match(r"---\n(.*?\n)---\n", text, re.DOTALL)
    body = re.sub(r"^(```|~~~).*?^\1", "", text[front.end() if front else 0 :], flags=re.MULTILINE | re.DOTALL)
    found = re.search(r"^ {0,3}#{1,6}[ \t]+(\S.*)$|^(\S.*)\n(?:=+|-{3,})[ \t]*$", body, re.MULTILINE)
    if found:
        words = (found.group(1) or found.group(2)).split()
        return " ".join(words[:-1] if len(words) > 1 and set(words[-1]) == {"#"} else words)
    titled = re.search(r"^title:(.+)$", front.group(1), re.MULTILINE) if front else None
    return titled.group(1).strip().strip("\"'") if titled else ""


def html_text(page: bytes) -> tuple[str, str]:
    """(title, text) of an HTML page: its headings as `# lines`, a blank line between blocks, scripts and styles removed.

    The title is the first heading, else <title>. The encoding is what the page declares. Nothing is loaded or run.
    """
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(page, "html.parser")
    if soup.contains_replacement_characters:
        raise UserError("not in the encoding that it declares; expected UTF-8; save it as UTF-8")
    for tag in soup(_UNREAD):
        tag.decompose()
    title = soup.title.get_text() if soup.title else ""
    for tag in soup(["head", "title"]):
        tag.decompose()
    heading = next((words for tag in soup.find_all(_HEADINGS) if (words := tag.get_text().strip())), "")
    text = "\n".join(line.strip() for line in "".join(_pieces(soup)).splitlines())
    text = re.sub(r"^(-|#+)\n+", r"\1 ", text, flags=re.MULTILINE)  # the mark of a block beside its words
    return " ".join((heading or title).split()), re.sub(r"\n{3,}", "\n\n", text).strip()


def _pieces(soup: Any) -> Iterator[str]:
    """The text of a page with what its tags mean, in one pass however deep it is nested."""
    from bs4.element import CData, NavigableString, Tag

    open_tags: list[Any] = []
    n_pre = 0
    for node in soup.descendants:
        while open_tags and open_tags[-1] is not node.parent:
            closed = open_tags.pop()
            n_pre -= closed.name == "pre"
            yield " | " if closed.name in ("td", "th") else _apart(closed.name)
        if isinstance(node, Tag):
            open_tags.append(node)
            n_pre += node.name == "pre"
            mark = "#" * int(node.name[1]) + " " if node.name in _HEADINGS else {"li": "- ", "br": "\n"}.get(node.name, "")
            yield _apart(node.name) + mark
        elif type(node) in (NavigableString, CData):  # comments and the like are kinds of strings too
            yield str(node) if n_pre else re.sub(r"\s+", " ", node)


def _apart(name: str) -> str:
    """What stands before and after a tag, so that blocks do not run into each other."""
    return "\n" if name in ("li", "tr", "dt", "dd") else "\n\n" if name in _BLOCKS else ""


def pdf_text(path: Path) -> str:
    """The text of a PDF, a blank line between pages. Raises UserError where it is encrypted, broken, or a scan without text."""
    import pypdf

    try:
        reader = pypdf.PdfReader(path)
        if reader.is_encrypted and not reader.decrypt(""):
            raise UserError("encrypted; expected a PDF that opens without a password; save it without one")
        text = "\n\n".join(page.extract_text().strip() for page in reader.pages).strip()
    except UserError:
        raise
    except Exception as error:  # a broken PDF makes the parser fail in any way there is
        raise UserError(f"not a readable PDF ({type(error).__name__}: {short(error)}); expected one that opens; save it anew") from None
    if not text:
        raise UserError("found no text, perhaps a scan; expected a PDF with text; run text recognition (OCR) first")
    return text.encode("utf-8", "replace").decode()
