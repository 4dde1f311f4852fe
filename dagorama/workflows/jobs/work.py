"""The work of a job: its inputs are brought, its command runs, and its outputs are looked after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dagorama.workflows.jobs.parameters import JobsParameters
from dagorama.workflows.model import Command, TaskRun
from dagorama.workflows.staging.steps import Staging, Upload

#: For a job that has its files by itself.
NOTHING_STAGED = Staging()


@dataclass(frozen=True, kw_only=True)
class StagedCommand:
    """A command that works in the directory of its run."""

    kind: ClassVar[str] = "job"
    #: Its time is that of the command.
    keeps_timeout: ClassVar[bool] = True

    command: Command
    staging: Staging = NOTHING_STAGED

    def part_of(self, parameters: object) -> object:
        """Return its part of the parameters of a run."""
        if not isinstance(parameters, JobsParameters):
            return parameters
        uploads = [step.name for step in self.staging.inputs if isinstance(step, Upload)]
        return parameters.part(self.command.argv[0], uploads)

    def run(self, here: TaskRun) -> tuple[str, ...]:
        """Do it, and return the names of the artifacts that were saved."""
        from dagorama.workflows.jobs.running import run_job  # a program that only reads files needs none of it

        return run_job(self.command, self.staging, here)
