"""The disk cache: whole entries or none, seconds that tables can report, counters."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from stepladder.cache import Cache, Stopwatch, content_hash, default_folder


def test_content_hash_sees_content_and_not_order_of_keys() -> None:
    assert content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})
    assert content_hash("a", "b") != content_hash("ab")
    assert content_hash(["a", "b"]) != content_hash("a", "b")
    assert content_hash(1) != content_hash("1")


def test_content_hash_takes_any_text() -> None:
    assert len({content_hash(t) for t in ("", "£", "\ud800", "\0", "é", "e\u0301")}) == 6


def test_folder_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STEPLADDER_CACHE", str(tmp_path / "mine"))
    assert default_folder() == tmp_path / "mine"
    assert Cache().folder == tmp_path / "mine"
    assert (tmp_path / "mine").is_dir()


def test_an_empty_variable_means_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPLADDER_CACHE", "")
    assert default_folder().name == "stepladder"


def test_put_get_and_absent(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put("vectors", "k", b"\0\xff", seconds=1.5)
    assert cache.get("vectors", "k") == b"\0\xff"
    assert cache.get("vectors", "other") is None
    assert cache.get("answers", "k") is None
    assert cache.seconds("vectors", "k") == 1.5
    assert cache.seconds("vectors", "other") is None


def test_the_last_value_stands_and_another_cache_reads_it(tmp_path: Path) -> None:
    Cache(tmp_path).put("s", "k", b"old", 9)
    Cache(tmp_path).put("s", "k", b"new", 2)
    assert Cache(tmp_path).get("s", "k") == b"new"
    assert Cache(tmp_path).seconds("s", "k") == 2


def test_get_many_over_the_limit_of_one_statement(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    entries = {f"k{i}": str(i).encode() for i in range(1201)}
    cache.put_many("s", entries.items(), 0.0)
    assert cache.get_many("s", [*entries, "absent"]) == entries
    assert cache.get_many("s", []) == {}


def test_put_many_stores_all_or_none(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with pytest.raises(sqlite3.IntegrityError):
        cache.put_many("s", [("a", b"1"), ("b", None)], 0.0)  # type: ignore[list-item]
    assert cache.get_many("s", ["a", "b"]) == {}


def test_saved_seconds_count_each_entry_of_this_thread_once(tmp_path: Path) -> None:
    Cache(tmp_path).put_many("s", [("a", b"1"), ("b", b"2")], 2.0)
    cache = Cache(tmp_path)
    assert cache.saved_seconds() == 0
    cache.get_many("s", ["a", "b", "absent"])
    assert cache.saved_seconds() == 4
    assert cache.saved_seconds() == 0
    cache.get("s", "a")
    assert cache.saved_seconds() == 0, "a text in memory is not computed again"
    with cache.counting_afresh():
        cache.get_many("s", ["a"])
        cache.get_many("s", ["a"])
        assert cache.saved_seconds() == 2
        others: list[float] = []
        thread = threading.Thread(target=lambda: others.append(cache.get("s", "b") and cache.saved_seconds()))
        thread.start()
        thread.join()
        assert others == [2]
    cache.get("s", "a")
    assert cache.saved_seconds() == 0


def test_what_was_just_made_has_saved_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put("s", "a", b"1", 2.0)
    cache.get("s", "a")
    assert cache.saved_seconds() == 0


def test_count_goes_up_by_one_and_spaces_are_apart(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert [cache.count("test_scored", "x") for _ in range(3)] == [1, 2, 3]
    assert cache.count("test_scored", "y") == 1
    assert Cache(tmp_path).count("test_scored", "x") == 4


def test_threads_share_one_file_and_lose_no_count(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    faults: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(10):
                cache.count("s", "shared")
                cache.put("t", f"{number}-{i}", b"x")
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert cache.count("s", "shared") == 41
    assert len(cache.get_many("t", [f"{n}-{i}" for n in range(4) for i in range(10)])) == 40


def test_values_are_bytes_and_never_unpickled(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    pickled = b"cos\nsystem\n(S'exit 1'\ntR."
    cache.put("s", "k", pickled)
    assert cache.get("s", "k") == pickled


def test_stopwatch_measures_also_what_failed() -> None:
    watch = Stopwatch()
    assert watch.seconds == 0
    with pytest.raises(RuntimeError), watch:
        raise RuntimeError
    assert watch.seconds > 0
