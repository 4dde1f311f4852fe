"""Jobs for the tests of executors, and a worker that follows one until it is killed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from dagorama.workflows.executors.finding import executor_named
from dagorama.workflows.executors.following import follow
from dagorama.workflows.executors.port import Executor, Job, JobStatus
from dagorama.workflows.model import Command


def job(argv: tuple[str, ...] | str, *, key: str = "job-1", timeout_s: float = 0.0, **env: str) -> Job:
    """Make a job."""
    return Job(
        key=key,
        workflow="demo",
        task_id="a",
        run_id="run",
        command=Command(argv=argv),
        env=env,
        timeout_s=timeout_s,
    )


class Told:
    """The output that following a job has told."""

    def __init__(self) -> None:
        self.text = {1: "", 2: ""}
        self.warnings: list[str] = []

    def tell(self, stream: int, text: str) -> None:
        """Take a piece."""
        self.text[stream] += text

    def follow(self, executor: Executor, job: Job, should_stop: Callable[[], bool] = lambda: False) -> JobStatus:
        """Follow a job to its end."""
        return follow(executor, job, should_stop=should_stop, tell=self.tell, warn=self.warnings.append)


def is_alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended and that nobody has asked for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def main() -> None:
    """Follow a job, given the executor, the key and the text for a shell, and print its output as it comes."""
    name, key, text = sys.argv[1:]

    def tell(_: int, told: str) -> None:
        os.write(1, told.encode())

    follow(
        executor_named(name, "a"),
        job(text, key=key),
        should_stop=lambda: False,
        tell=tell,
        warn=print,
    )


if __name__ == "__main__":
    main()
