"""Kills a process that backs up or restores, at each thing that it does in a folder, and looks at what is left.

A process of its own without threads, so that it may fork for each kill. It prints how many kills there were, and ends
with 1 where something that was broken off is taken for whole, or is not gone on with.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from dagorama_broker.care.auditing import audit_storage
from dagorama_broker.care.backups import MANIFEST, UNDERWAY, read_manifest
from dagorama_broker.care.faults import CareError
from dagorama_broker.care.restoring import restore
from dagorama_broker.care.saving import save
from dagorama_broker.care.stopped import StoppedStorage
from dagorama_broker.storage.journal import StorageError
from dagorama_broker.storage.sqlite import SqliteJournal
from tests.scenarios.storage.used_storage import make_used_storage, memory_folder

#: What Python tells of, each before it is done.
EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.utime", "os.truncate"}
EVENTS |= {"sqlite3.connect", "fcntl.flock"}


class Points:
    """Counts what is done, and kills this process before the one with a number."""

    def __init__(self) -> None:
        self.count = self.kill_at = 0
        self.is_counting = False
        sys.addaudithook(self._told)

    def _told(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.is_counting and event in EVENTS:
            self.count += 1
            if self.count == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    def counted(self, work: Callable[[], None]) -> int:
        """Return how much is done by some work."""
        self.count, self.is_counting = 0, True
        work()
        self.is_counting = False
        return self.count

    def killed(self, work: Callable[[], None], at: int) -> None:
        """Do some work in another process, which is killed at that point."""
        child = os.fork()
        if not child:
            self.kill_at = at
            self.counted(work)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), f"no kill at {at}"


def kill_backups(points: Points, source: str, folder: Path) -> int:
    """Break off a backup everywhere, and go on with it."""
    target = folder / "backup"

    def back_up() -> None:
        with StoppedStorage(source, "") as stopped:
            save(stopped, target)

    back_up()  # what is imported on the way is there from now on
    shutil.rmtree(target)
    count = points.counted(back_up)
    whole = read_manifest(target)
    shutil.rmtree(target)
    for at in range(1, count + 1):
        points.killed(back_up, at)
        if not (target / MANIFEST).exists():
            said = refusal(lambda: void(read_manifest(target)))
            assert ("broken off" if (target / UNDERWAY).exists() else "there is no backup") in said, said
            back_up()
        found = read_manifest(target)
        assert (found.values, found.values_bytes, found.problems) == (whole.values, whole.values_bytes, ()), found
        assert (found.database, found.logs) == (whole.database, whole.logs), found
        shutil.rmtree(target)
    return count


def kill_restores(points: Points, source: str, folder: Path) -> int:
    """Break off a restore everywhere, and go on with it."""
    backup, place = folder / "kept", folder / "restored"
    with StoppedStorage(source, "") as stopped:
        save(stopped, backup)
    path = place / "broker.db"
    url = f"sqlite:///{path}"
    restore(backup, url, "")
    shutil.rmtree(place)
    count = points.counted(lambda: void(restore(backup, url, "")))
    shutil.rmtree(place)
    for at in range(1, count + 1):
        points.killed(lambda: void(restore(backup, url, "")), at)
        if not path.exists():
            if (place / "broker.db.restoring").exists():
                assert "was broken off" in refusal(lambda: void(SqliteJournal(path).open()))
            else:
                assert not place.exists() or not os.listdir(place), os.listdir(place)
            restore(backup, url, "")
        audit = audit_storage(url, "", lambda line: sys.exit(line), reads=True)
        assert (audit.problems, audit.unused, audit.values) == (0, 0, 2), audit
        assert {*os.listdir(place)} == {"broker.db", "broker.logs.db", "broker.db.values"}, os.listdir(place)
        shutil.rmtree(place)
    return count


def refusal(work: Callable[[], None]) -> str:
    """Return why something is refused, nothing where it is not."""
    try:
        work()
    except (CareError, StorageError) as error:
        return str(error)
    return ""


def void(_: object) -> None:
    """Forget something."""


if __name__ == "__main__":
    os.fsync = lambda _: None  # type: ignore[assignment]  # a kill of the process takes nothing from the system
    with TemporaryDirectory(dir=memory_folder()) as place:
        storage = make_used_storage(Path(place) / "broker.db")
        points = Points()
        print(kill_backups(points, storage, Path(place)), kill_restores(points, storage, Path(place)))
