"""The interpreters that dagorama promises to run on, as far as this machine has them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PYTHONS = ("3.11", "3.12", "3.13")


def find_python(version: str) -> str | None:
    """Returns an interpreter of this version: this one, or one that pyenv has, or one on the path."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [*map(str, pyenv.glob(f"versions/{version}.*/bin/python")), f"python{version}"]
    for candidate in candidates:
        try:
            answer = subprocess.run(
                [candidate, "-c", "import sys; print(sys.version)"], capture_output=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        if answer.stdout.decode().startswith(f"{version}."):
            return candidate
    return None


FOUND = {version: python for version in PYTHONS if (python := find_python(version))}
