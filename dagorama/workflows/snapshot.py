"""Snapshots: the whole directory of a run as one archive."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from dagorama.workflows.staging.archives import pack
from dagorama.workflows.staging.faults import NotKept
from dagorama.workflows.staging.runs import run_directory


def snapshot(run: UUID | str, path: str | os.PathLike[str]) -> list[NotKept]:
    """Write the directory of a run to a zip archive, which is there when all of it is.

    Symbolic links, pipes and the like are left out: they are returned, `what` of each is its place in the directory.
    The directory has to be on this machine, or on a file system that it shares with the workers. Files that jobs write
    at the moment are as they are. Raises `Missing` for a run that has no directory here, and `OSError` for an archive
    that cannot be written.
    """
    directory = run_directory(str(run))
    left_out: list[NotKept] = []
    target = Path(path)
    aside = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        with aside.open("xb") as opened:
            pack(directory, ".", opened, lambda: None, left_out.append)
        aside.replace(target)
    finally:
        with suppress(OSError):
            aside.unlink()
    return left_out
