"""Functions that tasks of operations call by their names, on workers."""

from __future__ import annotations

import os
from pathlib import Path

from dagorama.workflows.configuration import SHARED_VARIABLE


def write(name: str, text: str) -> int:
    """Write a file into the shared directory, and return how long it is."""
    return (Path(os.environ[SHARED_VARIABLE]) / name).write_text(text)
