"""A disk cache by content hash: vectors, answers that were paid for, tuned models, counts.

One SQLite file, so that a kill never leaves half an entry. Values are bytes; nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import platformdirs

_SCHEMA = """CREATE TABLE IF NOT EXISTS entries (
    space TEXT, key TEXT, value BLOB NOT NULL, seconds REAL NOT NULL, PRIMARY KEY (space, key)) WITHOUT ROWID"""


def content_hash(*parts: Any) -> str:
    """SHA-256 of the parts as canonical JSON.

    >>> content_hash("a", {"b": 1})[:8]
    '3d6f51e1'
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def default_folder() -> Path:
    """`STEPLADDER_CACHE`, else the user's cache folder."""
    return Path(os.environ.get("STEPLADDER_CACHE") or platformdirs.user_cache_dir("stepladder"))


class Cache:
    """Bytes by (space, key), each with the seconds it took to make.

    `saved_seconds()` tells how much time the hits of this thread have saved since it was last asked, each entry counted
    once, so that a table can report what an answer costs when it is not in the cache.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or default_folder()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._local = threading.local()
        self.memory: dict[Any, Any] = {}  # what is too large for the disk and not worth computing twice in one process

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self.folder / "cache.sqlite", timeout=60)
            _use_wal(connection)
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(_SCHEMA)
            self._local.connection = connection
        return connection

    def get_many(self, space: str, keys: Sequence[str]) -> dict[str, bytes]:
        """The entries that exist; absent keys are absent from the answer."""
        found: dict[str, bytes] = {}
        for start in range(0, len(keys), 500):
            some = list(keys[start : start + 500])
            marks = ",".join("?" * len(some))
            rows = self._connection().execute(f"SELECT key, value, seconds FROM entries WHERE space=? AND key IN ({marks})", [space, *some])
            for key, value, seconds in rows:
                found[key] = value
                self._count(space, key, seconds)
        return found

    def _count(self, space: str, key: str, seconds: float) -> None:
        """Add what a hit has saved, once for each entry: who holds a text in memory does not compute it again."""
        counted: set[tuple[str, str]] = self._local.__dict__.setdefault("counted", set())
        if (space, key) not in counted:
            counted.add((space, key))
            self._local.saved = getattr(self._local, "saved", 0.0) + seconds

    @contextlib.contextmanager
    def counting_afresh(self) -> Iterator[None]:
        """Inside, every entry counts once more, whatever this thread has hit or made before; what was counted is kept."""
        before = self._local.__dict__.get("counted", set())
        self._local.counted = set()
        try:
            yield
        finally:
            self._local.counted = before

    def put_many(self, space: str, entries: Iterable[tuple[str, bytes]], seconds: float) -> None:
        """Store all entries or none; `seconds` is what each of them took to make."""
        rows = [(space, key, value, seconds) for key, value in entries]
        for _, key, _, _ in rows:
            self._count(space, key, 0.0)  # its seconds have just been spent
        with self._connection() as connection:
            connection.executemany("INSERT OR REPLACE INTO entries VALUES (?,?,?,?)", rows)

    def get(self, space: str, key: str) -> bytes | None:
        return self.get_many(space, [key]).get(key)

    def put(self, space: str, key: str, value: bytes, seconds: float = 0.0) -> None:
        self.put_many(space, [(key, value)], seconds)

    def seconds(self, space: str, key: str) -> float | None:
        """The seconds that an entry took to make, or None where there is no such entry."""
        row = self._connection().execute("SELECT seconds FROM entries WHERE space=? AND key=?", [space, key]).fetchone()
        return None if row is None else float(row[0])

    def count(self, space: str, key: str) -> int:
        """Add one to a counter and return it."""
        with self._connection() as connection:
            connection.execute(
                "INSERT INTO entries VALUES (?,?,?,0) ON CONFLICT DO UPDATE SET value=CAST(value AS INTEGER)+1",
                [space, key, 1],
            )
            row = connection.execute("SELECT value FROM entries WHERE space=? AND key=?", [space, key]).fetchone()
        return int(row[0])

    def credit(self, seconds: float) -> None:
        """Note seconds that something kept in `memory` has saved."""
        self._local.saved = getattr(self._local, "saved", 0.0) + seconds

    def saved_seconds(self) -> float:
        saved: float = getattr(self._local, "saved", 0.0)
        self._local.saved = 0.0
        return saved


def _use_wal(connection: sqlite3.Connection) -> None:
    for attempt in range(600):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if attempt == 599:
                raise
            time.sleep(0.1)


class Stopwatch:
    """Seconds of computing inside a `with` block, in `.seconds`."""

    seconds: float = 0.0

    def __enter__(self) -> Stopwatch:
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._start
