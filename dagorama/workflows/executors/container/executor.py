"""The executor that runs jobs as containers of podman or docker, each below a keeper."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from dagorama.workflows.executors.container.commands import container_name, environment_of_tool, words_of
from dagorama.workflows.executors.container.tools import find_tool
from dagorama.workflows.executors.port import Handle, Job
from dagorama.workflows.executors.process.executor import ProcessExecutor, clear, was_lost

#: A tool that does not answer for so long is not there, in seconds.
_ANSWER_S = 60.0


class ContainerExecutor(ProcessExecutor):
    """Runs jobs as containers, which are followed as processes are: by a keeper, and the files that it writes."""

    keeper = str(Path(__file__).with_name("keeper.py"))

    def begin(self, job: Job, folder: Path) -> subprocess.Popen[bytes]:
        """Start the keeper of a job. Where one was killed its container may be there, and its output goes on."""
        tool = find_tool(job.task_id)
        words = words_of(job, tool)
        is_new = not (folder / "job.json").exists() or not was_lost(folder)
        goes_on = not is_new and (folder / "told").exists() and _is_there(tool, job.key)
        clear(folder, *(["told"] if goes_on else []))
        told = {
            "tool": tool,
            "name": container_name(job.key),
            "image": job.command.image,
            "argv": words,
            "directory": "/",
            "env": environment_of_tool(job, os.environ),
            "resource_limits": [],
            "is_new": is_new,
        }
        return self.launched(job, folder, told)

    def forget(self, handle: Handle) -> None:
        """Remove what is kept of a job that has ended, and its container where a killed keeper has left that behind."""
        if was_lost(self.folder(handle)):
            tool = find_tool("")
            for words in (["kill", "--signal", "KILL"], ["rm", "--force", "--volumes"]):
                _ask(tool, *words, container_name(handle))
        super().forget(handle)


def _is_there(tool: str, key: str) -> bool:
    return _ask(tool, "container", "inspect", container_name(key))


def _ask(tool: str, *words: str) -> bool:
    """Run the tool, and return whether it ended well."""
    try:
        ended = subprocess.run(
            [tool, *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=_ANSWER_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ended.returncode == 0
