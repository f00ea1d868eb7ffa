"""Files as bounded lines and strict JSON: what is not UTF-8 or not JSON is said, never guessed at."""

from __future__ import annotations

import codecs
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from stepladder.dataset import MAX_LINE_BYTES
from stepladder.importers.report import Report, short
from stepladder.records import UserError

MAX_DOCUMENT_BYTES = 200_000_000
LONG_FILE_BYTES = 5_000_000
_OTHER_BOMS = {
    codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32", codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16",
}  # fmt: skip
_SAVE_AS_UTF8 = "expected UTF-8; save it as UTF-8 (in Excel: CSV UTF-8), or: iconv -f CP1252 -t UTF-8 FILE"


def source_files(sources: Sequence[Path], suffixes: Iterable[str], report: Report) -> list[Path]:
    """The files to read: those named, and of a folder those with one of the suffixes, sorted; the others are noted."""
    wanted = tuple(suffixes)
    files: list[Path] = []
    for source in sources:
        if source.is_dir():
            inside = sorted(path for path in source.iterdir() if path.is_file())
            taken = [path for path in inside if path.suffix.lower() in wanted]
            if not taken:
                raise UserError(f"{source}: found no file ending in {', '.join(wanted)}; expected one; name the file itself")
            if other := [path.name for path in inside if path not in taken]:
                report.notes.append(f"{source.name}: not read, other kind of file: {short(', '.join(other))}")
            files += taken
        elif source.is_file():
            files.append(source)
        else:
            raise UserError(f"{source}: no such file or folder; expected the data to import")
    return files


def named_apart(files: Sequence[Path]) -> dict[Path, str]:
    """A name for each file that no other has: its own, else with as much of its folder as tells it apart."""
    names = [path.name for path in files]
    if len(set(names)) == len(names):
        return dict(zip(files, names, strict=True))
    common = Path(os.path.commonpath([path.resolve().parent for path in files]))
    return {path: path.resolve().relative_to(common).as_posix() for path in files}


def check_encoding(path: Path) -> None:
    """Raises UserError for what announces itself as UTF-16 or UTF-32."""
    with path.open("rb") as stream:
        head = stream.read(4)
    for bom, name in _OTHER_BOMS.items():
        if head.startswith(bom):
            raise UserError(f"{path}: found {name}, {_SAVE_AS_UTF8.replace('CP1252', name)}")


def lines(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """(number, line with its end) of a file; None for a line beyond MAX_LINE_BYTES, which is skipped unread.

    A byte order mark is taken off. Memory is bounded by the longest allowed line.
    """
    check_encoding(path)
    size = path.stat().st_size
    with path.open("rb") as stream, _progress(path.name, size) as bar:
        number = 0
        while line := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            bar.update(len(line))
            if len(line) <= MAX_LINE_BYTES:
                yield number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                continue
            while line and not line.endswith(b"\n"):
                line = stream.readline(MAX_LINE_BYTES)
                bar.update(len(line))
            yield number, None


def _progress(name: str, size: int) -> tqdm[Any]:
    """A bar for long files on a terminal; silent otherwise."""
    return tqdm(total=size, desc=name, unit="B", unit_scale=True, leave=False, disable=True if size < LONG_FILE_BYTES else None)


def utf8(line: bytes, place: str) -> str:
    """Raises UserError where the bytes are not UTF-8."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{place}: found byte 0x{line[error.start]:02x} that is not UTF-8; {_SAVE_AS_UTF8}") from None


def strict_json(text: str) -> Any:
    """A JSON value as RFC 8259 has it. Raises ValueError, also for what json.loads lets pass: NaN and Infinity, numbers
    beyond a double, a key that stands twice in one object (one of its values would be lost) and half a surrogate pair."""
    try:
        value = json.loads(text, parse_constant=_no_number, parse_float=_finite, object_pairs_hook=_unique_keys)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if re.search(r"\\u[dD][89a-fA-F]", text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except (UnicodeEncodeError, RecursionError):
            raise ValueError("half a surrogate pair (\\ud800 to \\udfff) that is no character") from None
    return value


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{short(text, 20)} is beyond the range of numbers")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {short(repr(next(k for k in keys if keys.count(k) > 1)), 40)} stands twice in one object")
    return row


def json_document(path: Path) -> Any:
    """A file that is one JSON value. Raises UserError, with the line where the parser knows it."""
    check_encoding(path)
    if (size := path.stat().st_size) > MAX_DOCUMENT_BYTES:
        what = f"found one JSON document of {size:,} bytes; expected at most {MAX_DOCUMENT_BYTES:,}"
        raise UserError(f"{path}: {what}; write one object per line (JSON Lines), which is read piece by piece")
    text = utf8(path.read_bytes().removeprefix(codecs.BOM_UTF8), str(path))
    try:
        return strict_json(text)
    except ValueError as error:
        place = f"{path}:{error.lineno}" if isinstance(error, json.JSONDecodeError) else str(path)
        raise UserError(f"{place}: not valid JSON ({short(error)}); expected JSON in UTF-8; mend that place") from None
