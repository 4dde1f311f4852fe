"""Kills a process that migrates a database, before each of its statements and within some, and migrates it again.

A process of its own without threads, so that it may fork for each kill. It prints how many kills there were, and ends
with 1 where a schema or a row came out otherwise than without a kill.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from dagorama_broker.storage.schema import load_migrations, migrate
from tests.scenarios.storage.old_databases import restore_old

#: So many instructions of SQLite's machine are between two kills within statements.
WITHIN = 3_000

#: Called with a connection and what to call at each point; the point is before a statement, or within one.
Points = Callable[[sqlite3.Connection, Callable[[], None]], None]


def before_statements(connection: sqlite3.Connection, reached: Callable[[], None]) -> None:
    """Call `reached` before each statement."""
    connection.set_trace_callback(lambda _: reached())


def within_statements(connection: sqlite3.Connection, reached: Callable[[], None]) -> None:
    """Call `reached` now and then while statements run."""
    connection.set_progress_handler(lambda: reached(), WITHIN)


def run(path: Path, points: Points | None = None, kill_at: int = 0) -> int:
    """Migrate a database as a broker does; kill this process at that point, or return how many there were."""
    count = 0

    def reached() -> None:
        nonlocal count
        count += 1
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")  # a kill of the process takes nothing from the system
        if points is not None:
            points(connection, reached)
        migrate(connection, str(path), load_migrations())
    return count


def content(path: Path) -> list[str]:
    """Return schema and rows; without the times of migrations and the id that is drawn in one."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("UPDATE schema SET applied_at = 0")
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'value_owner'").fetchone():
            connection.execute("UPDATE value_owner SET id = zeroblob(length(id))")
        return list(connection.iterdump())


def kill_everywhere(source: Path | None, folder: Path) -> int:
    """Kill at each point, and compare what comes of it; return how many kills there were."""
    base, whole, path = folder / "base.db", folder / "whole.db", folder / "killed.db"
    base.touch()
    if source is not None:
        restore_old(source, base)
    kills = 0
    for points in (before_statements, within_statements):
        shutil.copyfile(base, whole)
        count = run(whole, points)
        expected = content(whole)
        for kill_at in range(1, count + 1):
            shutil.copyfile(base, path)
            child = os.fork()
            if not child:
                run(path, points, kill_at)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            if not os.WIFSIGNALED(status):
                sys.exit(f"{source}: no kill at point {kill_at} of {count}")
            run(path)
            if content(path) != expected:
                sys.exit(f"{source}: another database after a kill at point {kill_at} of {count}")
            for left in folder.glob("killed.db*"):
                left.unlink()
            kills += 1
        for left in folder.glob("whole.db*"):
            left.unlink()
    base.unlink()
    return kills


if __name__ == "__main__":
    with TemporaryDirectory() as place:
        sources = [Path(name) if name else None for name in sys.argv[1:]]
        print(*(kill_everywhere(source, Path(place)) for source in sources))
