"""Control files (`.cfg`, `.ini`): one section for each task.

`DagBuilder` and `PipelineRunner` are for scripts that have these names from where control files come from.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from dagorama.common.starting import own_python
from dagorama.workflows.formats import load_workflow
from dagorama.workflows.model import Loaded, Workflow

__all__ = ["DagBuilder", "PipelineRunner"]


class DagBuilder:
    """Reads the workflow of a control file."""

    def __init__(self, file: str | Path) -> None:
        """Take the path of the file."""
        self._file = Path(file)

    def load(self) -> Loaded:
        """Return the workflow with the warnings about it. `WorkflowError` with all that is wrong with the file."""
        return load_workflow(self._file)

    def build_dag(self) -> Workflow:
        """Return the workflow. `WorkflowError` with all that is wrong with the file."""
        return self.load().workflow


class PipelineRunner:
    """Runs the workflow of a control file as `dagorama run` does."""

    def __init__(self, dag: Workflow, tick_freq: float = 15) -> None:
        """Take the workflow, which must have been read from a file.

        `tick_freq` is taken for scripts that give it: changes are told when they come, and nobody polls for them.
        """
        if not dag.source:
            raise ValueError(f"the workflow {dag.name!r} was not read from a file: start it with start_workflow()")
        self._dag = dag
        self.tick_freq = tick_freq

    def run(self) -> bool:
        """Run it on a broker and workers of its own, print a line for each task that changes, and tell whether all
        have succeeded."""
        running = subprocess.Popen([*own_python(), "-m", "dagorama", "run", "--", self._dag.source])
        try:
            return running.wait() == 0
        except KeyboardInterrupt:  # Ctrl-C has told the command, too, which ends its jobs before it ends
            running.wait()
            raise
