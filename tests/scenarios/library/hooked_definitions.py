"""A definition whose ends are written into a file."""

from __future__ import annotations

import os
from pathlib import Path

from dagorama import DAGDefinition, dagorama
from dagorama.hooks import EndedInstance


def write_down(ended: EndedInstance) -> None:
    """Write an end down, in the folder that the worker's environment names."""
    with Path(os.environ["HOOKED_FOLDER"], "ends").open("a") as file:
        file.write(f"{ended.instance_id} {ended.end} {ended.state.value} {ended.error}\n")


class Hooked(DAGDefinition, on_end=write_down):
    """Fails as long as there is no file."""

    @dagorama().syncfn
    def entrypoint(self) -> int:
        """Look for the file."""
        if not Path(os.environ["HOOKED_FOLDER"], "go").exists():
            raise ValueError("not yet")
        return 1
