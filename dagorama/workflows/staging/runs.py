"""The directories of runs: `<root>/<run id>`, shared by the jobs of a run.

Workers on several machines need a root that all of them have, such as a network file system.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from dagorama.workflows.staging.directory import Directory
from dagorama.workflows.staging.faults import Missing, StagingFailed
from dagorama.workflows.staging.places import OWN

ROOT_SETTING = "DAGORAMA_RUNS"
#: The folder of calls of functions in the directory of a run.
CALLS = "calls"
_RUN_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,99}")


def runs_root() -> Path:
    """Return the root, which `DAGORAMA_RUNS` names; without it a folder for the state of programs (XDG)."""
    setting = os.environ.get(ROOT_SETTING)
    if setting:
        return Path(setting).absolute()
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "dagorama" / "runs"


def run_path(run_id: str) -> Path:
    """Return the path of the directory of a run, which may not be there."""
    if not _RUN_ID.fullmatch(run_id):
        raise ValueError(f"{run_id!r} is no id of a run")
    return runs_root() / run_id


def make_run_directory(run_id: str) -> Directory:
    """Return the directory of a run, made where it is not there; only its user can look into it."""
    path = run_path(run_id)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StagingFailed(
            what=f"the run's directory {path}",
            problem=f"cannot be made: {error.strerror}",
            way_out=f"set {ROOT_SETTING} for the workers",
        ) from None
    return Directory(path)


def run_directory(run_id: str) -> Directory:
    """Return the directory of a run; raise `Missing` where there is none on this machine."""
    path = run_path(run_id)
    if not path.is_dir():
        raise Missing(what=f"the run's directory {path}")
    return Directory(path)


def has_files(path: Path) -> bool:
    """Return whether a run's directory is there, and has more than what is dagorama's own, or empty folders."""
    for folder, folders, files in os.walk(path):
        if Path(folder) == path:
            folders[:] = [name for name in folders if name not in (OWN, CALLS)]
        if files:
            return True
    return False
