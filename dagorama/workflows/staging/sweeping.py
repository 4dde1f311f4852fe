"""Removes the directories of runs that the broker has removed: by retention, `prune` or `delete`.

A broker keeps word of each instance that it has removed, for a year. Nothing but that word (`InstancePruned`) removes a
directory: one of a run that runs or is kept, one of another broker, and one that a broker which is away is asked about
stay as they are. `dagorama run` leaves a note with its own, as its broker is gone: for how long it is kept (`alone`).
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from threading import Thread
from uuid import UUID

from dagorama import DagoramaError, InstancePruned, UnknownId, attach
from dagorama.common.jitter import chance
from dagorama.logging import get_logger
from dagorama.settings import should_run_inline
from dagorama.workflows.staging.alone import left_alone, taken
from dagorama.workflows.staging.runs import runs_root

#: The workers of a machine look for such directories no more often than this many seconds, at so many of them.
SWEEP_S, LOOKED_AT_MAX = 600.0, 1000
#: The file in the root whose time says when that was done last. Who does it has it locked.
MARK = ".swept"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def sweep(root: Path | None = None, *, whole: bool = False) -> list[UUID]:
    """Remove the directories of runs below a root that the broker has removed, and return the ids of these.

    Without `root` it is that of this machine. Of more than 1,000 directories that many are looked at, drawn at random.
    Directories that `dagorama run` has left go when their time is over, and with `whole` all do. Raises
    `BrokerUnavailable`, and `BrokerRefused` where the broker does not answer such questions.
    """
    root = runs_root() if root is None else root
    notes = left_alone(root)
    gone = [run for run, note in notes.items() if _remove_alone(root / str(run), note, at_once=whole)]
    found = [(path, run) for path, run in _runs_in(root) if run not in notes]
    for path, run in chance.sample(found, min(len(found), LOOKED_AT_MAX)):
        try:
            attach(run).refresh()
        except InstancePruned:
            if _remove(path):
                gone.append(run)
        except UnknownId:
            pass  # of another broker, or of one that was begun anew
    return gone


def _remove_alone(path: Path, note: Path, *, at_once: bool) -> bool:
    """Remove a directory that `dagorama run` has left, if it is to go; return whether it has gone."""
    with taken(note, at_once=at_once) as is_to_go:
        return is_to_go and _remove(path)


def _remove(path: Path) -> bool:
    """Remove a directory; return whether it is gone: it may be another user's."""
    remove_tree(path)
    return not path.exists()


def sweep_sometimes(but: str) -> None:
    """Have `sweep` done in the background, unless it was lately, or there is no directory but that of one run."""
    root = runs_root()
    if should_run_inline() or _was_swept(root) or all(str(run) == but for _, run in _runs_in(root)):
        return
    Thread(target=_sweep_if_due, args=(root,), name="dagorama-sweep", daemon=True).start()


def _was_swept(root: Path) -> bool:
    try:
        # A clock that was wrong may have left a time to come.
        return abs(time.time() - (root / MARK).stat().st_mtime) < SWEEP_S
    except OSError:
        return False


def _sweep_if_due(root: Path) -> None:
    try:
        descriptor = os.open(root / MARK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return  # nothing can be written there, so nothing can be removed
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        gone = sweep(root)
        os.utime(descriptor)
    except DagoramaError as error:
        get_logger().debug("directories of removed runs were not looked for: %s", error)
        os.utime(descriptor, (0, 0))  # the next job tries again
        return
    except OSError:
        return  # another process is at it
    finally:
        os.close(descriptor)
    if gone:
        get_logger().info("removed the directories of %d runs that the broker has removed", len(gone))


def _runs_in(root: Path) -> list[tuple[Path, UUID]]:
    """Return the directories in a root that are named as those of runs are, with the ids of these."""
    found = []
    with suppress(OSError), os.scandir(root) as entries:  # there is none, or it is another user's
        for entry in entries:
            with suppress(ValueError):
                run = UUID(entry.name)
                if str(run) == entry.name and entry.is_dir(follow_symlinks=False):
                    found.append((root / entry.name, run))
    return found


def remove_tree(path: Path) -> None:
    """Remove a folder and what is in it, be it read-only; a no-op where there is none. A link is not followed."""
    if path.is_symlink():
        path.unlink()
        return
    # By descriptors: a program of the run that goes on may put a link to a folder of others where one was.
    with suppress(OSError), _opened(path) as top:
        pending = _emptied(top, top)
        while pending:
            name = pending.pop()
            with suppress(OSError), _opened(name, top) as folder:
                pending += _emptied(folder, top)
            with suppress(OSError):
                os.rmdir(name, dir_fd=top)
    with suppress(OSError):
        path.rmdir()


@contextmanager
def _opened(path: str | Path, above: int | None = None) -> Iterator[int]:
    """Open a folder, which is no link, and may be read and written from then on."""
    folder = os.open(path, _FOLDER, dir_fd=above)
    try:
        os.fchmod(folder, 0o700)
        yield folder
    finally:
        os.close(folder)


def _emptied(folder: int, top: int) -> list[str]:
    """Remove the files of a folder, move the folders in it to the top, and return the names that they have there.

    So the tree gets no deeper in memory, in calls or in descriptors, however deep it is on the disk.
    """
    moved = []
    for name in os.listdir(folder):
        with suppress(OSError):
            if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                at_top = name if folder == top else token_hex(16)
                if folder != top:
                    with _opened(name, folder):
                        pass  # only who may write to a folder may give it another one above it
                    os.rename(name, at_top, src_dir_fd=folder, dst_dir_fd=top)
                moved.append(at_top)
            else:
                os.unlink(name, dir_fd=folder)
    return moved
