"""Databases of earlier schemas, kept as SQL.

`python -m tests.scenarios.storage.old_databases COMMIT` makes the one of a commit: its code is taken out of git, and a
broker of that version runs three instances: one completes, one fails, one has not been begun when the broker ends. The
file is `old/NNNN.sql`, by the number of the schema. Schema 9 is that of dagorama 0.2.0; 11 was never the newest of any
version. Before a migration is added, the database of the schema before it is made with HEAD, and stays as it is.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

OLD = Path(__file__).with_name("old")
_ROOT = Path(__file__).parents[3]
_DEFINITIONS = "tests/scenarios/library/older_definitions.py"

#: Run by the code of the commit, with the file of the database and whether a worker is there.
_STORY = """
import sys
import dagorama
from dagorama_broker.launch import launch_broker
from tests.scenarios.library.older_definitions import Older

if __name__ == "__main__":
    with launch_broker(port=0, storage=f"sqlite:///{sys.argv[1]}"):
        with dagorama.launch_workers(1):
            print(Older()(False)[0].result(timeout=60))
            try:
                print(Older()(True)[0].result(timeout=60))
            except dagorama.NodeFailed as error:
                print(error)
        Older()(False)
"""


def old_databases() -> dict[int, Path]:
    """Return the files that there are, by the number of their schemas."""
    return {int(path.stem): path for path in sorted(OLD.glob("*.sql"))}


def restore_old(source: Path, path: Path) -> None:
    """Make a database of one of the files, with a write-ahead log as a broker has it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript(source.read_text())


def make(commit: str) -> Path:
    """Make the file of a commit."""
    with TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", commit], cwd=_ROOT, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        (Path(folder) / _DEFINITIONS).write_text((_ROOT / _DEFINITIONS).read_text())
        (Path(folder) / "story.py").write_text(_STORY)
        environment = {**os.environ, "PYTHONPATH": folder}
        subprocess.run([sys.executable, "story.py", "old.db"], cwd=folder, env=environment, check=True)
        with closing(sqlite3.connect(Path(folder) / "old.db")) as connection:
            (number,) = connection.execute("SELECT max(number) FROM schema").fetchone()
            connection.execute("UPDATE epochs SET boot = NULL")
            text = "\n".join(connection.iterdump()) + "\n"
        made = OLD / f"{number:04}.sql"
        # Nothing of the machine stays, also within payloads, whose lengths stay as they are.
        for word in (folder, socket.gethostname()):
            for found, other in ((word, "x" * len(word)), (word.encode().hex().upper(), "78" * len(word))):
                text = text.replace(found, other)
        made.write_text(text)
    return made


if __name__ == "__main__":
    print(make(sys.argv[1]))
