"""Places in the directory of a run, and the texts that name one."""

from __future__ import annotations

import posixpath

#: The folder in the directory of a run that is dagorama's own: for files that are not whole yet.
OWN = ".dagorama"
#: As Linux has it, for a path and for a name in one.
PATH_BYTES_MAX = 4_000
NAME_BYTES_MAX = 255


class BadPlace(ValueError):
    """A text names no place in the directory of a run."""

    def __init__(self, problem: str, way_out: str) -> None:
        """Say what is wrong with it, and what to do."""
        super().__init__(f"{problem}; {way_out}")
        self.problem = problem
        self.way_out = way_out


def place_below(folder: str, text: str) -> str:
    """Return the place that a path names, for a job that works in `folder`; "." for the run's directory itself.

    Raises `BadPlace` for a path that leads out of the run's directory. Nothing is looked at: `Directory`
    opens the place, and follows no symbolic links on the way.
    """
    if not text:
        raise BadPlace("the path is empty", "name a file or folder")
    if any(not sign.isprintable() for sign in text):
        raise BadPlace("the path has control characters, or others that cannot be shown", "leave them out")
    if text.startswith("/"):
        raise BadPlace("the path is absolute", "write it relative to the working directory")
    place = posixpath.normpath(posixpath.join(folder, text))
    if place == ".." or place.startswith("../"):
        raise BadPlace("the path leads out of the run's directory", "leave out the ..")
    if place.split("/")[0] == OWN:
        raise BadPlace(f"{OWN} is dagorama's own", "take another name")
    too_long = len(place.encode()) > PATH_BYTES_MAX
    if too_long or any(len(name.encode()) > NAME_BYTES_MAX for name in place.split("/")):
        raise BadPlace("the path is longer than file systems take", "take a shorter one")
    return place


def is_name(text: str) -> bool:
    """Return whether a text names one thing in a folder: no path, and nothing that a terminal would act on."""
    return bool(text) and text not in (".", "..") and "/" not in text and text.isprintable()
