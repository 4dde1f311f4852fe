"""The kinds of work that only control files have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dagorama.logging import get_logger
from dagorama.workflows.model import TaskRun


@dataclass(frozen=True, kw_only=True)
class Scheduled:
    """A job with a schedule of its own, which its task would register."""

    kind: ClassVar[str] = "schedule"
    keeps_timeout: ClassVar[bool] = False

    cron: str
    #: One text for a shell.
    command: str
    submit_as_running_user: bool = False
    deploy_by_name: bool = False

    def run(self, here: TaskRun) -> None:
        """Say that nothing is scheduled: this version of dagorama has no schedules."""
        get_logger().warning(
            "task %r is not scheduled: its cron string %r is right, but there are no schedules yet, so its command has "
            "not run and will not",
            *(here.task.id, self.cron),
        )
