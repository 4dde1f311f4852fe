"""Errors of staging: an input that cannot be brought, an output that is not there.

DagoramaError
`-- StagingFailed
    |-- LeadsElsewhere   a place is, or is below, a symbolic link
    |-- Missing          nothing is at a place
    |-- NotKept          something in a folder is neither a file nor a folder
    `-- TooMuch          a file, or an archive, is larger than is taken
"""

from __future__ import annotations

import stat

from dagorama.errors import DagoramaError
from dagorama.workflows.problems import PlainFailure

_KINDS = {stat.S_IFLNK: "a symbolic link", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}


class StagingFailed(DagoramaError, PlainFailure):
    """A file of a job cannot be brought or kept."""

    def __init__(self, *, what: str, problem: str, way_out: str = "") -> None:
        """`what` names the file as the job has it, `problem` says what is wrong with it."""
        self.what = what
        self.problem = problem
        self.way_out = way_out
        super().__init__(f"{what} {problem}" + (f"; {way_out}" if way_out else ""))


class LeadsElsewhere(StagingFailed):
    """A place in a run's directory is a symbolic link, or is reached over one."""

    def __init__(self, *, what: str) -> None:
        """`what` is the place."""
        problem = "is reached over a symbolic link, which may lead out of the run's directory"
        super().__init__(what=what, problem=problem, way_out="put the file itself there")


class Missing(StagingFailed):
    """Nothing is where a file or folder should be."""

    def __init__(self, *, what: str) -> None:
        """`what` is the place."""
        super().__init__(what=what, problem="is not there")


class NotKept(StagingFailed):
    """Something in a folder that is kept is neither a file nor a folder."""

    def __init__(self, *, what: str, mode: int) -> None:
        """`what` is the place in the folder, `mode` tells what is there."""
        kind = _KINDS.get(stat.S_IFMT(mode), "neither a file nor a folder")
        way_out = "have the command put a file there, or save each file by itself"
        super().__init__(what=what, problem=f"is {kind}, which is not kept", way_out=way_out)


class TooMuch(StagingFailed):
    """A file has more bytes, or a folder more files, than are taken."""

    def __init__(self, *, what: str, problem: str, way_out: str = "") -> None:
        """`problem` names the limit."""
        super().__init__(what=what, problem=problem, way_out=way_out)
