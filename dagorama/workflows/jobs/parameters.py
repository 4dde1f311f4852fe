"""The parameters of a run of a jobs file."""

from __future__ import annotations

from dataclasses import dataclass

from dagorama.workflows.staging.file_data import FileData
from dagorama.workflows.staging.runs import run_path


@dataclass(frozen=True, kw_only=True)
class JobsParameters:
    """The files and programs of a run, which all of its jobs are told."""

    #: Files by their names.
    uploads: tuple[tuple[str, FileData], ...] = ()
    #: The programs that stand for absolute commands.
    commands: tuple[tuple[str, str], ...] = ()
    #: Sentences for the person who starts it.
    notices: tuple[str, ...] = ()

    def told(self, run_id: str) -> list[str]:
        """Return the sentences for the person who has started a run, each of which is said once."""
        return [*self.notices, f"the files of the run are in {run_path(run_id)}"]
