"""Making the database file, and finding out whether it may be written."""

import os
from contextlib import suppress
from pathlib import Path

from dagorama_broker.storage.faults import ELSEWHERE
from dagorama_broker.storage.journal import StorageError

#: To fill a file, no more than this share of the free room is taken.
_ROOM_SHARE = 1 / 16


def restoring_of(path: Path) -> Path:
    """Return the file that a database has while a backup is restored into it; by its last step it gets the name."""
    return path.with_name(f"{path.name}.restoring")


def prepare_file(path: Path) -> None:
    """Make the file, for its owner alone, and its folder, unless they exist. Raises `StorageError` if that fails or the
    file may not be written, or where a backup was being restored into it.
    """
    if restoring_of(path).exists() and not path.exists():
        raise StorageError(
            f"{path}: a backup was being restored into it, and that was broken off. Restore it again, which goes on "
            f"with what is there; to start empty, remove {restoring_of(path)} and the directory of its values, "
            f"{ELSEWHERE}."
        )
    try:
        prepare_folder(path)
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            # Not opened to find out: closing any handle of a file drops the locks that this process has on it.
            check_writable(path)
            return
        sync_folder(path.parent)
    except OSError as error:
        raise StorageError(
            f"{path}: the file cannot be made ({error.strerror}). Give the broker's user the right to write its "
            f"folder, {ELSEWHERE}."
        ) from error


def prepare_folder(path: Path) -> None:
    """Make the folder of a file, durably, unless it exists. Raises `OSError`."""
    missing = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync_folder(folder.parent)


def check_writable(path: Path) -> None:
    """Raise `StorageError` for a file or folder that this user may not write to."""
    # SQLite calls a read-only folder a disk error. The folder has to take the write-ahead log.
    for target in (path, path.parent):
        if not os.access(target, os.R_OK | os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise StorageError(
                f"{path}: it cannot be written, because {target} is read-only for this user. Give the broker's user "
                f"the right to write the file and its folder, {ELSEWHERE}."
            )


def sync_folder(folder: Path) -> None:
    """Make new names in a folder durable, so that a power cut cannot take the file away with all that is in it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fill_up(path: Path, size: int, bytes_max: int) -> bool:
    """Make a file longer by up to `bytes_max` zeros; return whether it is still to be longer. Sync it afterwards.

    To sync what overwrites the blocks of a file takes about half as long as to sync what makes it longer: then the file
    system has its own journal to write, too. So databases fill their logs beforehand (PostgreSQL: `wal_init_zero`).
    The zeros go behind all that is in the file, also where another process writes to it. The file stays shorter where
    there is little room or a write fails, and nothing is raised then: all goes on, only slower.
    """
    with suppress(OSError):
        disk = os.statvfs(path.parent)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND)
        try:
            present = os.fstat(handle).st_size
            count = min(size - present, bytes_max)
            if 0 < size - present <= disk.f_bavail * disk.f_frsize * _ROOM_SHARE:
                return os.write(handle, bytes(count)) == count and size - present > bytes_max
        finally:
            os.close(handle)
    return False
