"""The owner of restored files: the superuser gives them to the owner of the folder that they go into.

Else a broker that runs as that user could read none of them.
"""

from __future__ import annotations

import os
from pathlib import Path


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
        """Give what was made to the owner, directories with all that is in them, and the folders that were missing."""
        if self._owner is None:
            return
        for path in filter(Path.exists, made):
            # Bottom up: nobody else gets into a directory of the superuser before all in it is given.
            for _, folders, files, handle in os.fwalk(path, topdown=False):
                for name in (*files, *folders):
                    os.chown(name, *self._owner, dir_fd=handle, follow_symlinks=False)
        for path in (*made, *self._missing):
            if path.exists():
                os.chown(path, *self._owner, follow_symlinks=False)
