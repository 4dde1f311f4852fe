"""The question whether a file is the user's own."""

from __future__ import annotations

import os

#: The folders of the standard library and of our packages, as written and with links followed.
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_FOLDERS = (os.path.dirname(os.__file__), _OURS, f"{_OURS}_broker")
NOT_PROJECTS = tuple(folder + os.sep for written in _FOLDERS for folder in (written, os.path.realpath(written)))

#: Folders that packages are installed into.
INSTALLED = {"site-packages", "dist-packages"}


def is_project_file(path: str) -> bool:
    """Return whether a file belongs neither to Python nor to an installed package nor to dagorama."""
    if path.startswith(("<", "frozen", "built-in")):
        return False
    return not (_is_installed(path) or _is_installed(os.path.realpath(path)))


def _is_installed(path: str) -> bool:
    return path.startswith(NOT_PROJECTS) or not INSTALLED.isdisjoint(path.split(os.sep))
