"""The versions of installed distributions, found without importing what parses all that is known of them."""

from __future__ import annotations

import os
import sys


def installed_version(name: str) -> str:
    """Return the version of an installed distribution, given by its name in small letters.

    An installed distribution has a folder on the path that is named `name-version.dist-info` ("Recording installed
    projects", PyPA). Importing `importlib.metadata`, which would read the file in it, takes a tenth of the time in
    which a broker, a worker or a command starts; it is asked where there is no such folder, as in an archive. Raises
    `importlib.metadata.PackageNotFoundError` where the distribution is not installed.
    """
    begins, ends = f"{name}-", ".dist-info"
    for folder in sys.path:
        try:
            entries = os.listdir(folder or ".")
        except OSError:  # an archive, or a folder that is not there
            continue
        for entry in entries:
            if entry.startswith(begins) and entry.endswith(ends):
                return entry.removeprefix(begins).removesuffix(ends)
    from importlib.metadata import version

    return version(name)
