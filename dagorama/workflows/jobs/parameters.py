"""The parameters of a run of a jobs file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from dagorama.workflows.staging.file_data import FileData
from dagorama.workflows.staging.runs import run_path


@dataclass(frozen=True, kw_only=True)
class JobsParameters:
    """The files and programs of a run; each of its jobs is told its own."""

    #: Files by their names.
    uploads: tuple[tuple[str, FileData], ...] = ()
    #: The programs that stand for absolute commands.
    commands: tuple[tuple[str, str], ...] = ()
    #: Sentences for the person who starts it.
    notices: tuple[str, ...] = ()

    def part(self, command: str, uploads: Iterable[str]) -> JobsParameters:
        """Return what a job of this command and these uploads is told."""
        return JobsParameters(
            uploads=tuple((name, self._files[name]) for name in dict.fromkeys(uploads) if name in self._files),
            commands=((command, self._programs[command]),) if command in self._programs else (),
        )

    @cached_property
    def _files(self) -> dict[str, FileData]:
        return dict(self.uploads)

    @cached_property
    def _programs(self) -> dict[str, str]:
        return dict(self.commands)

    def told(self, run_id: str) -> list[str]:
        """Return the sentences for the person who has started a run, each of which is said once."""
        return [*self.notices, f"the files of the run are in {run_path(run_id)}"]
