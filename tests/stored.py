"""What a broker keeps in a directory, while it goes on working there."""

from __future__ import annotations

import os
from pathlib import Path


def value_files(folder: Path) -> list[Path]:
    """Return the files of the values in a directory; what the broker removes meanwhile may be there or not."""
    walk = os.walk(folder)  # unlike `Path.glob` it passes over a directory that has gone
    return [Path(at, name) for at, _, names in walk for name in names if Path(at).parent.parent == folder]
