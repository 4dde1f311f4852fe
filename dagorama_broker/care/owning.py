"""The owner of restored files: the superuser gives them to the owner of the folder that they go into.

Else a broker that runs as that user could read none of them. That user may change what is in a folder of theirs at any
moment, so each file and directory is opened, looked at, and given as what was opened. What is in a directory is opened
from that, so no link leads elsewhere. Of the path of a restored file or directory, and of a folder that was missing,
only the last part may be no link: whoever may rename the folders above decides where it leads, so these have to be of
people who are trusted. A file that has another name too, a hard link, may be anybody's, and is not given.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from dagorama_broker.care.faults import CareError


class Place:
    """A place where files are to be made, and the user and group that they are to have."""

    def __init__(self, path: Path) -> None:
        """Look at it before anything is made there; it may be a directory that is there already."""
        folders = path.absolute().parents
        self._missing = [folder for folder in folders if not folder.exists()]
        parent = next(folder for folder in folders if folder.exists())
        # A directory of the superuser may have been made by a restore that was broken off.
        owner = next((about for one in (path, parent) if one.exists() and (about := one.stat()).st_uid), None)
        #: None: whoever makes them.
        self._owner = (owner.st_uid, owner.st_gid) if owner is not None and os.geteuid() == 0 else None

    def hand_over(self, *made: Path) -> None:
        """Give what was made to the owner, directories with all that is in them, and the folders that were missing.

        Raises `CareError` for a file with several names. Links are left as they are.
        """
        if self._owner is None:
            return
        for path in filter(Path.exists, made):
            # Bottom up: nobody else gets into a directory of the superuser before all in it is given.
            for folder, folders, files, handle in os.fwalk(path, topdown=False):
                for name in (*files, *folders):
                    _give(name, self._owner, Path(folder) / name, handle)
        for path in (*made, *self._missing):
            if path.exists():
                _give(path, self._owner, path)


def _give(name: str | Path, owner: tuple[int, int], path: Path, folder: int | None = None) -> None:
    """Give a file or directory, named from an open folder on where that is given, to a user and group."""
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            return
        if error.errno == errno.ENXIO:  # a socket
            raise _unlike_restored(path) from error
        raise
    try:
        about = os.fstat(handle)
        if not stat.S_ISDIR(about.st_mode) and (not stat.S_ISREG(about.st_mode) or about.st_nlink != 1):
            raise _unlike_restored(path)
        os.fchown(handle, *owner)
    finally:
        os.close(handle)


def _unlike_restored(path: Path) -> CareError:
    return CareError(
        f"{path} is no plain file with one name, as all that is restored is, so it is not given to the owner of the "
        "folder. Remove it, and what else of the restore is there, then restore again"
    )
