"""A saved index: what is loaded finds what was saved, a crash leaves the old one, and no damage goes unseen."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepladder.cache import Cache
from stepladder.encoder import DIMENSIONS
from stepladder.records import Document, UserError
from stepladder.search import Between, Changes, IndexFileError, SearchIndex, SearchSettings, load, save
from stepladder.search import index as index_module
from stepladder.search import store as store_module
from stepladder.search.graph import Graph
from test_search import BM25, DENSE, FUSED, GRAPH, HashEncoder, document, ids, query_of

ODD = 'Line\u2028separator, \x85 next line, \x1c, NUL \0, half a pair \ud83e, שלום, £5, \\u0041 "quoted".\r\n\r\nEnd.'
PAGES = [
    *(document(f"d{i}", f"Fact number {i} about thing{i}.", kind=f"kind {i % 3}") for i in range(250)),
    document("long", "One two. Three four. Five six. " * 20, title="Ünïcode\u2028title"),
    document("odd", ODD, kind=""),
    document("empty", ""),
    document("draft", "Not to be found.", status="draft"),
]
MANY_SETTINGS = [
    DENSE,
    BM25,
    FUSED,
    GRAPH,
    replace(GRAPH, method="fused", fusion="sum", dense_weight=0.3, ef=300),
    replace(FUSED, max_tokens=12, overlap=4, min_score=0.01),
    replace(FUSED, max_tokens=7, blind=True, graph=None),
]
SEARCHES: list[dict[str, Any]] = [
    {"query": "Where is thing77?", "k": 7},
    {"query": "alpha", "k": 300},
    {"query": "half a pair", "where": {"kind": [""]}},
    {"query": "three", "k": 9, "where": {"kind": ["kind 1", "policy"], "updated_at": Between("2026-01-01")}},
    {"query": "three", "k": 9, "token_budget": 20},
    {"query": "fact", "where": {"status": ["draft"]}},
]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> HashEncoder:
    return HashEncoder(Cache(tmp_path_factory.mktemp("cache")))


def found(index: SearchIndex) -> list[Any]:
    """What an index answers, scores and all."""
    return [index.search(**some) for some in SEARCHES]


def files(folder: Path) -> list[str]:
    """The files in a folder, without the checksums in their names and the lock."""
    return sorted(re.sub("-[0-9a-f]{64}", "", path.name) for path in folder.iterdir() if path.name != ".lock")


def data_file(folder: Path, name: str) -> Path:
    [path] = folder.glob(f"{name}-*")
    return path


# --- what was saved is loaded


@pytest.mark.parametrize("how", MANY_SETTINGS, ids=range(len(MANY_SETTINGS)))
def test_a_loaded_index_finds_what_the_saved_one_found(encoder: HashEncoder, tmp_path: Path, how: SearchSettings) -> None:
    index = SearchIndex(PAGES, encoder, how)
    save(index, tmp_path / "new" / "folder")
    loaded = load(tmp_path / "new" / "folder", encoder)
    assert found(loaded) == found(index)
    assert any(found(index))
    assert loaded.settings == how
    assert loaded.passages == index.passages
    assert loaded.parts == index.parts
    assert (loaded.graph is None) == (how.graph is not True)
    assert not loaded.stale(PAGES)


def test_a_loaded_index_embeds_nothing(encoder: HashEncoder, tmp_path: Path) -> None:
    save(SearchIndex(PAGES, encoder, GRAPH), tmp_path / "index")
    fresh = HashEncoder(Cache(tmp_path / "cache"))
    loaded = load(tmp_path / "index", fresh)
    assert fresh.computed == []
    loaded.search("alpha")
    assert fresh.computed == ["alpha"]


@pytest.mark.parametrize(("ef", "expected"), [(77, 77), (10, 50)])  # never fewer than the candidates of a search
def test_a_loaded_graph_has_the_breadth_of_the_settings(encoder: HashEncoder, tmp_path: Path, ef: int, expected: int) -> None:
    save(SearchIndex(PAGES, encoder, replace(GRAPH, ef=ef)), tmp_path)
    graph = load(tmp_path, encoder).graph
    assert graph is not None
    assert (graph.settings.ef, graph._index.ef) == (expected, expected)


@pytest.mark.parametrize("documents", [[], [document("a", "")], [document("a", "x", status="draft")]])
@pytest.mark.parametrize("how", [FUSED, GRAPH])
def test_an_index_of_nothing_is_saved_too(encoder: HashEncoder, tmp_path: Path, documents: list[Document], how: SearchSettings) -> None:
    save(SearchIndex(documents, encoder, how), tmp_path)
    loaded = load(tmp_path, encoder)
    assert (loaded.passages, loaded.vectors.shape, loaded.search("tent")) == ([], (0, DIMENSIONS), [])
    assert not loaded.stale(documents)
    loaded.update(PAGES[:3])
    assert loaded.search("alpha") == SearchIndex(PAGES[:3], encoder, how).search("alpha")


AFTER = [
    document("new", "Fact number 1000 about thing1000."),
    *PAGES[:10][::-1],
    *PAGES[20:],
    replace(PAGES[10], title="Another"),
    replace(PAGES[11], text="Other words about thing11."),
]


@pytest.mark.parametrize("how", [DENSE, FUSED, GRAPH])
def test_a_loaded_index_can_be_updated(tmp_path: Path, how: SearchSettings) -> None:
    first = HashEncoder(Cache(tmp_path / "cache"))
    save(SearchIndex(PAGES, first, how), tmp_path / "index")
    encoder = HashEncoder(Cache(tmp_path / "other cache"))
    loaded = load(tmp_path / "index", encoder)
    expected = Changes(("new",), ("d10", "d11"), tuple(f"d{i}" for i in range(12, 20)))
    assert loaded.stale(AFTER) == expected
    assert loaded.update(AFTER) == expected
    assert encoder.computed == [query_of(p) for p in loaded.passages if p.doc_id in ("new", "d10", "d11")]
    assert found(loaded) == found(SearchIndex(AFTER, first, how))


def test_tombstones_are_saved_too(encoder: HashEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large graph keeps what has gone as tombstones; loaded and updated once more, it is still the graph of its documents."""
    monkeypatch.setattr(index_module, "REBUILD_BELOW", 200)
    index = SearchIndex(PAGES, encoder, GRAPH)
    index.update(AFTER)
    save(index, tmp_path)
    loaded = load(tmp_path, encoder)
    assert index.graph is not None
    assert loaded.graph is not None
    assert loaded.graph.deleted == index.graph.deleted > 0
    assert loaded.graph.rows.tolist() == index.graph.rows.tolist()
    assert found(loaded) == found(index)
    again = loaded.graph
    loaded.update(PAGES)
    assert loaded.graph is again
    assert again.deleted > index.graph.deleted
    exact = SearchIndex(PAGES, encoder, DENSE)
    for query in ("alpha", "beta", "gamma", query_of(exact.passages[15])):
        assert len(set(ids(loaded.search(query, k=20))) & set(ids(exact.search(query, k=20)))) >= 19


def test_a_saved_index_does_not_change_with_the_one_in_memory(encoder: HashEncoder, tmp_path: Path) -> None:
    index = SearchIndex(PAGES, encoder, FUSED)
    before = found(index)
    save(index, tmp_path)
    index.update(AFTER)
    assert found(load(tmp_path, encoder)) == before
    one, two = load(tmp_path, encoder), load(tmp_path, encoder)
    one.update(AFTER)
    assert found(two) == before


# --- saving again, and what a crash leaves

WITH_GRAPH = ["graph.hnsw", "manifest.json", "passages.jsonl", "rows.i64", "vectors.f32"]
WITHOUT = ["manifest.json", "passages.jsonl", "vectors.f32"]


def test_saving_again_leaves_no_orphan(encoder: HashEncoder, tmp_path: Path) -> None:
    for documents, how, expected in [
        (PAGES, GRAPH, WITH_GRAPH),
        (PAGES, GRAPH, WITH_GRAPH),
        (AFTER, GRAPH, WITH_GRAPH),
        (AFTER, DENSE, WITHOUT),
        (PAGES, GRAPH, WITH_GRAPH),
    ]:
        index = SearchIndex(documents, encoder, how)
        save(index, tmp_path)
        assert files(tmp_path) == expected
        assert found(load(tmp_path, encoder)) == found(index)


def test_the_same_index_is_saved_as_the_same_files(encoder: HashEncoder, tmp_path: Path) -> None:
    for name in ("one", "two"):
        save(SearchIndex(PAGES, encoder, GRAPH), tmp_path / name)
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two


class Killed(BaseException):
    """Stands for a kill: nothing that catches Exception stops it."""


def replace_until(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `os.replace` work n times and then fail."""
    left = iter(range(n))

    def fake(source: Any, target: Any) -> None:
        if next(left, None) is None:
            raise Killed
        os.rename(source, target)

    monkeypatch.setattr(store_module.os, "replace", fake)


@pytest.mark.parametrize("step", range(5))  # passages, vectors, graph, rows, manifest
def test_a_crash_while_saving_leaves_the_old_index(
    encoder: HashEncoder, tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (SearchIndex(documents, encoder, GRAPH) for documents in (PAGES, AFTER))
    save(old, tmp_path)
    with monkeypatch.context() as patched:
        replace_until(step, patched)
        with pytest.raises(Killed):
            save(new, tmp_path)
    assert len(files(tmp_path)) > len(WITH_GRAPH)
    assert found(load(tmp_path, encoder)) == found(old)
    save(new, tmp_path)
    assert found(load(tmp_path, encoder)) == found(new)
    assert files(tmp_path) == WITH_GRAPH


def test_a_crash_after_the_manifest_leaves_the_new_index(encoder: HashEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = (SearchIndex(documents, encoder, GRAPH) for documents in (PAGES, AFTER))
    save(old, tmp_path)

    def killed(path: Path) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", killed)
        with pytest.raises(Killed):
            save(new, tmp_path)
    assert len(files(tmp_path)) > len(WITH_GRAPH)
    assert found(load(tmp_path, encoder)) == found(new)
    save(new, tmp_path)
    assert files(tmp_path) == WITH_GRAPH


def test_a_crash_of_the_first_save_leaves_no_index(encoder: HashEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_until(2, monkeypatch)
    with pytest.raises(Killed):
        save(SearchIndex(PAGES, encoder, DENSE), tmp_path)
    with pytest.raises(IndexFileError, match=r"no manifest\.json"):
        load(tmp_path, encoder)


def test_who_reads_while_another_saves_finds_one_of_the_two(encoder: HashEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = (SearchIndex(documents, encoder, GRAPH) for documents in (PAGES, AFTER))
    save(old, tmp_path)
    read: Callable[[Path], dict[str, Any]] = store_module._manifest
    saved: list[Path] = []

    def and_then_another_saves(folder: Path) -> dict[str, Any]:
        manifest = read(folder)
        if not saved:
            saved.append(folder)
            save(new, folder)
        return manifest

    monkeypatch.setattr(store_module, "_manifest", and_then_another_saves)
    assert found(load(tmp_path, encoder)) in (found(old), found(new))


def test_of_two_who_save_at_once_one_waits(encoder: HashEncoder, tmp_path: Path) -> None:
    with store_module._alone(tmp_path), (tmp_path / ".lock").open("w") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    indexes = [SearchIndex(documents, encoder, GRAPH) for documents in (PAGES, AFTER)]
    with ThreadPoolExecutor(2) as both:
        for _ in range(5):
            list(both.map(lambda index: save(index, tmp_path), indexes))
            assert found(load(tmp_path, encoder)) in [found(index) for index in indexes]
            assert files(tmp_path) == WITH_GRAPH


def test_a_graph_that_cannot_be_read_is_named(encoder: HashEncoder, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when another save has removed it since it was checked."""

    def gone(self: Graph, path: Path, rows: Any) -> Graph:
        raise RuntimeError("Cannot open file")

    monkeypatch.setattr(Graph, "load", gone)
    with pytest.raises(IndexFileError, match=r"cannot be read \(Cannot open file\); make the index again"):
        load(saved, encoder)


def test_files_of_others_are_left_alone(encoder: HashEncoder, tmp_path: Path) -> None:
    names = ["cases.jsonl", "documents.jsonl", "passages-of-mine.jsonl", "other.hnsw", "notes.txt"]
    for name in names:
        (tmp_path / name).write_text("mine", encoding="utf-8")
    save(SearchIndex(PAGES[:3], encoder, DENSE), tmp_path)
    save(SearchIndex(PAGES[:4], encoder, DENSE), tmp_path)
    assert [name for name in names if not (tmp_path / name).exists()] == []


# --- what cannot be loaded


@pytest.fixture
def saved(encoder: HashEncoder, tmp_path: Path) -> Path:
    save(SearchIndex(PAGES[:20], encoder, GRAPH), tmp_path / "index")
    return tmp_path / "index"


def test_an_error_of_the_file_is_one_that_the_user_can_mend() -> None:
    assert issubclass(IndexFileError, UserError)


@pytest.mark.parametrize("make", [True, False])
def test_a_folder_without_a_manifest(encoder: HashEncoder, tmp_path: Path, make: bool) -> None:
    folder = tmp_path / "empty"
    if make:
        folder.mkdir()
    with pytest.raises(IndexFileError, match=r"empty: no manifest\.json, expected a saved index; make it with save\(index, folder\)"):
        load(folder, encoder)


def test_another_encoder(encoder: HashEncoder, saved: Path, tmp_path: Path) -> None:
    other = HashEncoder(Cache(tmp_path / "cache"))
    other.name = "another"
    with pytest.raises(IndexFileError) as caught:
        load(saved, other)
    assert str(caught.value) == f"{saved}: the index was made with the encoder {encoder.name}, found another; make the index again"


@pytest.mark.parametrize("text", ["", "{", "not JSON", "[]", "null", "3", '"text"', "{}", '{"passages": 3}', "\ud800"])
def test_a_manifest_that_is_none(encoder: HashEncoder, saved: Path, text: str) -> None:
    (saved / "manifest.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(IndexFileError, match=r"manifest\.json: not the manifest of an index \(.+\); make the index again"):
        load(saved, encoder)


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


@pytest.mark.parametrize("version", [0, 2, "1.0", None])
def test_an_unknown_version(encoder: HashEncoder, saved: Path, version: Any) -> None:
    change_manifest(saved, lambda manifest: manifest.update(version=version))
    with pytest.raises(IndexFileError, match=rf"manifest\.json: found version {version}, expected 1; make the index again"):
        load(saved, encoder)


@pytest.mark.parametrize("name", ["encoder", "settings", "files"])
def test_a_manifest_that_lacks_something(encoder: HashEncoder, saved: Path, name: str) -> None:
    change_manifest(saved, lambda manifest: manifest.pop(name))
    with pytest.raises(IndexFileError, match=rf"manifest\.json: found no {name}; the file is damaged, make the index again"):
        load(saved, encoder)


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest["files"].pop("passages"),
        lambda manifest: manifest["files"].pop("vectors"),
        lambda manifest: manifest["files"].pop("rows"),
        lambda manifest: manifest.update(files=[]),
        lambda manifest: manifest["settings"].update(colour="red"),
        lambda manifest: manifest.update(settings=None),
    ],
    ids=["no passages", "no vectors", "no rows", "files are a list", "unknown setting", "no settings"],
)
def test_a_manifest_with_something_wrong_inside(encoder: HashEncoder, saved: Path, change: Callable[[dict[str, Any]], object]) -> None:
    change_manifest(saved, change)
    with pytest.raises(IndexFileError, match=r"manifest\.json"):
        load(saved, encoder)


@pytest.mark.parametrize("name", ["passages", "vectors", "graph", "rows"])
def test_a_missing_data_file_is_named(encoder: HashEncoder, saved: Path, name: str) -> None:
    path = data_file(saved, name)
    path.unlink()
    with pytest.raises(IndexFileError, match="no such file, expected it beside its manifest; make the index again") as caught:
        load(saved, encoder)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("name", ["passages", "vectors", "graph", "rows"])
@pytest.mark.parametrize("where", [0, 0.5, -1])
def test_one_flipped_bit_in_a_data_file_is_named(encoder: HashEncoder, saved: Path, name: str, where: float) -> None:
    path = data_file(saved, name)
    data = bytearray(path.read_bytes())
    data[-1 if where == -1 else int(where * len(data))] ^= 1
    path.write_bytes(data)
    with pytest.raises(IndexFileError, match="the file is damaged, make the index again") as caught:
        load(saved, encoder)
    assert f"{path}: found SHA-256" in str(caught.value)
    assert f"expected {path.stem.split('-')[1]};" in str(caught.value)


@pytest.mark.parametrize("name", ["passages", "vectors", "graph", "rows"])
def test_half_a_data_file_is_named(encoder: HashEncoder, saved: Path, name: str) -> None:
    path = data_file(saved, name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(IndexFileError, match=f"{name}-.*the file is damaged"):
        load(saved, encoder)


def test_a_damaged_index_is_replaced_by_saving_again(encoder: HashEncoder, saved: Path) -> None:
    path = data_file(saved, "vectors")
    path.write_bytes(b"nothing")
    index = SearchIndex(PAGES[:20], encoder, GRAPH)
    save(index, saved)
    loaded = load(saved, encoder)
    np.testing.assert_array_equal(loaded.vectors, index.vectors)
    assert found(loaded) == found(index)
