"""An index on disk: written whole or not at all, and read back only if it is what its manifest says."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from stepladder.encoder import DIMENSIONS, Encoder
from stepladder.records import Passage, UserError
from stepladder.search.index import Part, SearchIndex
from stepladder.search.settings import SearchSettings

VERSION = 1
_DATA_FILE = re.compile(r"(passages|vectors|rows|graph)-[0-9a-f]{64}\.\w+")


class IndexFileError(UserError):
    """A saved index is missing, damaged, or was made in another way."""


def save(index: SearchIndex, folder: Path) -> None:
    """Write an index into a folder. Data files are named by their content and the manifest is replaced last,
    so that whoever reads meanwhile, or after a crash, finds the old index or the new one, never half of each. Of two who save
    at once, one waits."""
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        _save(index, folder)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _save(index: SearchIndex, folder: Path) -> None:
    files = {"passages": _put(folder, "passages", ".jsonl", _passages_as_bytes(index))}
    files["vectors"] = _put(folder, "vectors", ".f32", index.vectors.tobytes())
    if index.graph is not None:
        index.graph.save(folder / "graph.part")
        files["graph"] = _named(folder, folder / "graph.part", "graph", ".hnsw")
        files["rows"] = _put(folder, "rows", ".i64", index.graph.rows.tobytes())
    manifest = {
        "version": VERSION,
        "encoder": index.encoder.name,
        "settings": asdict(index.settings),
        "documents": len(index.parts),
        "passages": len(index.passages),
        "files": files,
    }
    (folder / "manifest.json.part").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    os.replace(folder / "manifest.json.part", folder / "manifest.json")
    for old in folder.iterdir():
        if _DATA_FILE.fullmatch(old.name) and old.name not in files.values():
            old.unlink()


def load(folder: Path, encoder: Encoder) -> SearchIndex:
    """The saved index. Raises IndexFileError where it is absent, damaged, or was made with another encoder."""
    manifest = _manifest(folder)
    try:
        return _load(folder, manifest, encoder)
    except IndexFileError:
        now = _manifest(folder)
        if now == manifest:
            raise
        return _load(folder, now, encoder)  # somebody has just saved another index


def _load(folder: Path, manifest: dict[str, Any], encoder: Encoder) -> SearchIndex:
    if manifest["encoder"] != encoder.name:
        raise IndexFileError(
            f"{folder}: the index was made with the encoder {manifest['encoder']}, found {encoder.name}; make the index again"
        )
    index = SearchIndex([], encoder, SearchSettings(**manifest["settings"]))
    data = {name: _checked(folder / file) for name, file in manifest["files"].items()}
    parts = {row["metadata"]["doc_id"]: _part(row, index) for row in map(json.loads, data["passages"].decode().splitlines())}
    vectors = np.frombuffer(data["vectors"], dtype=np.float32).reshape(-1, DIMENSIONS)
    if "graph" in manifest["files"]:
        rows = np.frombuffer(data["rows"], dtype=np.int64).copy()
        path = folder / manifest["files"]["graph"]
        try:
            index.graph = index._empty_graph().load(path, rows)
        except RuntimeError as error:
            raise IndexFileError(f"{path}: cannot be read ({str(error)[:80]}); make the index again") from error
    index.restore(parts, vectors.copy())
    return index


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.exists():
        raise IndexFileError(f"{folder}: no manifest.json, expected a saved index; make it with save(index, folder)")
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if manifest["version"] != VERSION:
            raise IndexFileError(f"{path}: found version {manifest['version']}, expected {VERSION}; make the index again")
        if missing := {"encoder", "settings", "files"} - set(manifest):
            raise IndexFileError(f"{path}: found no {min(missing)}; the file is damaged, make the index again")
        wanted = {"passages", "vectors"} | ({"graph", "rows"} if {"graph", "rows"} & set(manifest["files"]) else set())
        if not isinstance(manifest["files"], dict) or set(manifest["files"]) != wanted:
            raise IndexFileError(f"{path}: found files {sorted(manifest['files'])}, expected {sorted(wanted)}; make the index again")
        if strange := set(dict(manifest["settings"])) - {field.name for field in fields(SearchSettings)}:
            raise IndexFileError(f"{path}: found the setting {min(strange)}, which nothing knows; make the index again")
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, IndexFileError):
            raise
        raise IndexFileError(f"{path}: not the manifest of an index ({str(error)[:80]}); make the index again") from error
    return manifest


def _passages_as_bytes(index: SearchIndex) -> bytes:
    """One line for each document: metadata, hash, and its passages without what the metadata says."""
    lines = []
    for part in index.parts.values():
        passages = [[p.passage_id, p.text, p.start, p.end] for p in part.passages]
        lines.append(json.dumps({"metadata": part.metadata, "content": part.content, "passages": passages}) + "\n")
    return "".join(lines).encode()


def _part(row: dict[str, Any], index: SearchIndex) -> Part:
    about = {name: row["metadata"][name] for name in ("doc_id", "title", "url", "kind")}
    passages = [Passage(passage_id=i, text=text, start=start, end=end, **about) for i, text, start, end in row["passages"]]
    return Part(row["metadata"], row["content"], tuple(passages), tuple(index.stems([p.headed for p in passages])))


def _put(folder: Path, name: str, suffix: str, data: bytes) -> str:
    part = folder / f"{name}.part"
    part.write_bytes(data)
    return _named(folder, part, name, suffix)


def _named(folder: Path, part: Path, name: str, suffix: str) -> str:
    file = f"{name}-{hashlib.sha256(part.read_bytes()).hexdigest()}{suffix}"
    os.replace(part, folder / file)
    return file


def _checked(path: Path) -> bytes:
    """The bytes of a data file, if they have the checksum that its name says."""
    expected = path.stem.partition("-")[2]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise IndexFileError(f"{path}: no such file, expected it beside its manifest; make the index again") from error
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise IndexFileError(f"{path}: found SHA-256 {found}, expected {expected}; the file is damaged, make the index again")
    return data
