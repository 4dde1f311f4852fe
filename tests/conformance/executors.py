"""Jobs for the tests of executors, and a worker that follows one until it is killed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dagorama.workflows.executors import finding
from dagorama.workflows.executors.following import follow
from dagorama.workflows.executors.kubernetes.executor import KubernetesExecutor
from dagorama.workflows.executors.port import Executor, Job, JobStatus
from dagorama.workflows.model import Command

#: The image of jobs for an executor that needs one.
IMAGE_VARIABLE = "DAGORAMA_TEST_IMAGE"


def job(argv: tuple[str, ...] | str, *, key: str = "job-1", timeout_s: float = 0.0, **env: str) -> Job:
    """Make a job that begins in the current folder."""
    image = os.environ.get(IMAGE_VARIABLE, "")
    return Job(
        key=key,
        workflow="demo",
        task_id="a",
        run_id="run",
        command=Command(argv=argv, image=image, directory=os.getcwd() if image else ""),
        env=env,
        timeout_s=timeout_s,
    )


@contextmanager
def fresh_executor(name: str) -> Iterator[Executor]:
    """Give an executor as a process that begins has it, since the one of a process remembers its settings."""
    finding._made.cache_clear()
    made = finding.executor_named(name, "a")
    yield made
    finding._made.cache_clear()
    if isinstance(made, KubernetesExecutor):
        made.close()


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
    """Return whether a process runs that is in the current folder and has this id, be it in a container.

    One that has ended and that nobody has asked for does not.
    """
    return any(_has_id(process, pid) for process in Path("/proc").iterdir() if process.name.isdigit())


def _has_id(process: Path, pid: int) -> bool:
    try:
        if os.readlink(process / "cwd") != os.getcwd():
            return False
        facts = (process / "status").read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    ids = next(line for line in facts.splitlines() if line.startswith("NSpid:"))
    return int(ids.split()[-1]) == pid and "\nState:\tZ" not in facts


def main() -> None:
    """Follow a job, given the executor, the key and the text for a shell, and print its output as it comes."""
    name, key, text = sys.argv[1:]

    def tell(_: int, told: str) -> None:
        os.write(1, told.encode())

    follow(
        finding.executor_named(name, "a"),
        job(text, key=key),
        should_stop=lambda: False,
        tell=tell,
        warn=print,
    )


if __name__ == "__main__":
    main()
