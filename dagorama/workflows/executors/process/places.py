"""The folders and locks by which workers and keepers of jobs meet."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

#: Where the folders of jobs are; a folder of the user's own among temporary ones unless given.
FOLDER_ENVIRONMENT_FLAG = "DAGORAMA_JOBS"


def jobs_folder() -> Path:
    """Return the folder of all jobs of this user on this machine; `PermissionError` where another has made it."""
    given = os.environ.get(FOLDER_ENVIRONMENT_FLAG)
    folder = Path(given) if given else Path(tempfile.gettempdir()) / f"dagorama-jobs-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise PermissionError(
            f"{folder} belongs to somebody else, who could read and change jobs in it: set {FOLDER_ENVIRONMENT_FLAG} "
            "to another folder"
        )
    return folder.resolve()


def jobs_of(key: str) -> list[Path]:
    """Return the folders of the jobs that a task of this key has on this machine; there are none once they ended."""
    return list(jobs_folder().glob(f"{key}-*"))


def lock_now(path: Path) -> int | None:
    """Take the lock of a file, which is made; return its descriptor, or None where somebody has it (flock(2)).

    A file that was removed meanwhile is another one, and `FileNotFoundError` where its folder was.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except BlockingIOError:
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def is_locked(path: Path) -> bool:
    """Return whether somebody has the lock of a file; not where there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
